//! The local APIC timer (SDM vol. 3A, 11.5.4). It counts at the rate of the time-stamp counter, divided.

/// Bits 18:17 of the timer's LVT entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OneShot,
    Periodic,
    TscDeadline,
}

/// The timer's state. Times are in cycles of the processor's TSC, but for the deadline that the guest has set.
#[derive(Debug, Clone)]
pub struct Timer {
    kind: Kind,
    divide: u32,
    initial: u32,
    /// When it runs out.
    deadline: Option<u64>,
    /// The same in TSC-deadline mode, as the guest has set it: by its own counter.
    guest_deadline: u64,
}

impl Timer {
    /// The state after reset: stopped.
    pub const fn new() -> Self {
        Self { kind: Kind::OneShot, divide: 0, initial: 0, deadline: None, guest_deadline: 0 }
    }

    /// The LVT entry was written: a change between counting and TSC deadline stops the timer (11.5.4.1).
    pub fn set_entry(&mut self, entry: u32) {
        let kind = match entry >> 17 & 3 {
            0 => Kind::OneShot,
            1 => Kind::Periodic,
            _ => Kind::TscDeadline,
        };
        if (kind == Kind::TscDeadline) != (self.kind == Kind::TscDeadline) {
            self.deadline = None;
        }
        self.kind = kind;
    }

    /// The divide configuration register.
    pub const fn divide(&self) -> u32 {
        self.divide
    }

    /// A write of the divide configuration register; only bits 3, 1 and 0 exist. What is left of the count is counted down
    /// at the new rate.
    pub fn set_divide(&mut self, value: u32, now: u64) {
        let (ticks, old) = (u64::from(self.current(now)), self.divide);
        self.divide = value & 0xb;
        if ticks != 0 && self.divide != old {
            self.deadline = Some(now.saturating_add(ticks * self.divisor()));
        }
    }

    /// TSC cycles in a timer tick (figure 11-10).
    const fn divisor(&self) -> u64 {
        match self.divide & 3 | (self.divide & 8) >> 1 {
            7 => 1,
            code => 2 << code,
        }
    }

    /// The initial-count register.
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// A write of the initial-count register starts the timer, 0 stops it; ignored in TSC-deadline mode.
    pub fn set_initial(&mut self, value: u32, now: u64) {
        if self.kind == Kind::TscDeadline {
            return;
        }
        self.initial = value;
        self.deadline = (value != 0).then(|| now.saturating_add(self.period()));
    }

    /// The current-count register.
    pub fn current(&self, now: u64) -> u32 {
        let Some(deadline) = self.deadline.filter(|_| self.kind != Kind::TscDeadline) else { return 0 };
        let left = match now.checked_sub(deadline) {
            // A masked one starts again all the same.
            Some(past) if self.kind == Kind::Periodic => self.period() - past % self.period(),
            _ => deadline.saturating_sub(now),
        };
        let ticks = left.div_ceil(self.divisor());
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// IA32_TSC_DEADLINE: 0 unless armed.
    pub fn tsc_deadline(&self) -> u64 {
        self.deadline.filter(|_| self.kind == Kind::TscDeadline).map_or(0, |_| self.guest_deadline)
    }

    /// A write of IA32_TSC_DEADLINE when the guest's TSC is `tsc`; ignored outside TSC-deadline mode.
    pub fn set_tsc_deadline(&mut self, value: u64, tsc: u64, now: u64) {
        if self.kind == Kind::TscDeadline {
            self.guest_deadline = value;
            self.deadline = (value != 0).then(|| now.saturating_add(value.saturating_sub(tsc)));
        }
    }

    /// The guest's TSC has got the value `tsc`: what it counts up to comes sooner or later.
    pub fn tsc_moved(&mut self, tsc: u64, now: u64) {
        if self.deadline.is_some() {
            self.set_tsc_deadline(self.guest_deadline, tsc, now);
        }
    }

    /// When it runs out.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether the timer has run out; a periodic one starts again, counted from when it ran out.
    pub fn expire(&mut self, now: u64) -> bool {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now) else { return false };
        self.deadline = match self.kind {
            Kind::Periodic => {
                let period = self.period();
                let missed = (now - deadline) / period;
                Some(deadline.saturating_add((missed + 1).saturating_mul(period)))
            }
            Kind::OneShot | Kind::TscDeadline => None,
        };
        true
    }

    const fn period(&self) -> u64 {
        self.initial as u64 * self.divisor()
    }
}
