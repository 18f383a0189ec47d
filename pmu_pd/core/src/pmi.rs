//! The rate limit of PMIs: bounded, and none is lost.

use pmu_api::OverflowDecision;

/// At most `count` PMIs in each window of `cycles` TSC cycles. Both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmiLimit {
    /// PMIs in a window.
    pub count: u32,
    /// The window's length in TSC cycles.
    pub cycles: u64,
}

/// One VM's limiter. A PMI above the limit is delayed to the start of the next window and counts there; more
/// that come meanwhile merge with it, as they do in a local APIC's LVT entry.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    limit: Option<PmiLimit>,
    window_start: u64,
    delivered: u32,
    delayed: bool,
}

impl Limiter {
    /// A limiter before its first PMI.
    pub const fn new(limit: Option<PmiLimit>) -> Self {
        Self { limit, window_start: 0, delivered: 0, delayed: false }
    }

    /// Whether there is a limit at all.
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// What to do with a PMI at TSC time `now` (in cycles; a time that runs backwards opens a new window).
    pub fn decide(&mut self, now: u64) -> OverflowDecision {
        let Some(limit) = self.limit else { return OverflowDecision::Deliver };
        if now.wrapping_sub(self.window_start) >= limit.cycles {
            let next = self.window_start.wrapping_add(limit.cycles);
            let delayed_is_recent = self.delayed && now.wrapping_sub(next) < limit.cycles;
            self.window_start = if delayed_is_recent { next } else { now };
            self.delivered = u32::from(delayed_is_recent);
            self.delayed = false;
        }
        if self.delivered < limit.count {
            self.delivered += 1;
            return OverflowDecision::Deliver;
        }
        self.delayed = true;
        OverflowDecision::Delay { cycles: limit.cycles - now.wrapping_sub(self.window_start) }
    }
}
