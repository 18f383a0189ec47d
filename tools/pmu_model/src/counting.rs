//! Counting: which counters are enabled, how they advance, and when they overflow.

use crate::event::{Event, Events};
use crate::geometry::{MAX_FIXED, MAX_GP};
use crate::lvtpc::PmiRequest;
use crate::pmu::{CTR_FRZ, Headroom, Observed, Pmu, Ring};
use crate::registers::{FixedField, PerfEvtSel};

/// Bit of fixed-function counter 0 in IA32_PERF_GLOBAL_CTRL and _STATUS.
pub(crate) const FIXED_SHIFT: usize = 32;

/// A counter's value, and whether its condition held in the last cycle (for EDGE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) value: u64,
    pub(crate) asserted: bool,
}

impl Counter {
    /// Adds `amount`; true when the counter overflowed (SDM vol. 3B, 20.2.1.1: it wraps to 0).
    fn add(&mut self, amount: u64, mask: u64) -> bool {
        let sum = self.value + amount;
        self.value = sum & mask;
        sum > mask
    }
}

/// Cycles or events until a counter at `value` overflows.
fn room(value: u64, mask: u64) -> u64 {
    mask - value + 1
}

/// By how much a selector with EDGE, INV or CMASK counts in one step (SDM vol. 3B, 20.2.1.1).
///
/// In each cycle the number of events is compared with CMASK; where that is 0, with 1, and INV is ignored.
/// `asserted` is the outcome in the cycle before, and becomes that of the last. It is false while the counter is
/// disabled.
fn compared(selector: PerfEvtSel, event: Event, step: &Events, asserted: &mut bool) -> u64 {
    if step.core_cycles == 0 {
        return 0;
    }
    let cmask = u64::from(selector.cmask());
    let condition = |count: u64| {
        if cmask == 0 { count > 0 } else { (count >= cmask) != selector.has(PerfEvtSel::INV) }
    };
    // The first cycle of a step has its discrete events; the others have cycles and slots only.
    let (first, later) = match event {
        Event::CoreCycles | Event::RefCycles | Event::Slots => {
            let rate = event.per_cycle().unwrap_or(1);
            (condition(rate), condition(rate))
        }
        _ => (condition(step.count(event)), condition(0)),
    };
    let others = step.core_cycles - 1;
    let before = core::mem::replace(asserted, if others > 0 { later } else { first });
    if selector.has(PerfEvtSel::EDGE) {
        u64::from(first && !before) + u64::from(others > 0 && later && !first)
    } else {
        u64::from(first) + if later { others } else { 0 }
    }
}

/// Whether a selector counts something else than the plain number of events.
fn compares(selector: PerfEvtSel) -> bool {
    selector.has(PerfEvtSel::EDGE) || selector.cmask() != 0
}

impl Pmu {
    /// The event that general-purpose counter `i` counts, if it is enabled.
    fn gp_event(&self, i: usize) -> Option<Event> {
        let selector = self.evtsel[i];
        if i >= self.geometry.gp_counters() || !selector.has(PerfEvtSel::EN) {
            return None;
        }
        // SDM 20.2.2: since version 2 IA32_PERF_GLOBAL_CTRL enables too.
        if self.geometry.version() >= 2 && self.global_ctrl & (1 << i) == 0 {
            return None;
        }
        let event = Event::from_selector(selector.umask_and_event())?;
        self.geometry.has_event(event as u32).then_some(event)
    }

    /// The event that fixed-function counter `i` counts, if it is enabled.
    fn fixed_event(&self, i: usize) -> Option<Event> {
        let enabled = self.geometry.has_fixed(i)
            && self.global_ctrl & (1 << (FIXED_SHIFT + i)) != 0
            && self.fixed_ctrl.field(i).enabled();
        if enabled { Event::of_fixed(i) } else { None }
    }

    /// Recomputes what depends on the registers. Called after every change of one.
    pub(crate) fn refresh(&mut self) {
        self.active = 0;
        self.observed = Observed::default();
        self.headroom = Headroom { cycles: u64::MAX, llc_references: u64::MAX };
        if !self.frozen() {
            self.find_active();
        }
        let active = self.active;
        for i in (0..MAX_GP).filter(|i| active & (1 << i) == 0) {
            self.gp[i].asserted = false;
        }
    }

    fn find_active(&mut self) {
        for i in 0..MAX_GP {
            let selector = self.evtsel[i];
            if let Some(event) = self.gp_event(i) {
                if selector.0 & (PerfEvtSel::USR | PerfEvtSel::OS) == 0 {
                    continue;
                }
                self.active |= 1 << i;
                let room = room(self.gp[i].value, self.geometry.gp_mask());
                self.observe(event, if compares(selector) { None } else { Some(room) });
            }
        }
        for i in 0..MAX_FIXED {
            if let Some(event) = self.fixed_event(i) {
                self.active |= 1 << (FIXED_SHIFT + i);
                let room = room(self.fixed[i].value, self.geometry.fixed_mask());
                self.observe(event, Some(room));
            }
        }
    }

    /// Takes one active counter into account; `room` is `None` for a counter that must see every step.
    fn observe(&mut self, event: Event, room: Option<u64>) {
        self.observed.any = true;
        match event {
            Event::Branches | Event::BranchMisses => self.observed.branches = true,
            Event::LlcReferences | Event::LlcMisses => self.observed.llc = true,
            _ => {}
        }
        let headroom = &mut self.headroom;
        match (room, event.per_cycle()) {
            (None, _) => headroom.cycles = 1,
            (Some(room), Some(rate)) => headroom.cycles = headroom.cycles.min(room.div_ceil(rate)),
            (Some(room), None) => headroom.llc_references = headroom.llc_references.min(room),
        }
    }

    /// Lets the counters see what happened in `ring`. Says whether a PMI is requested.
    ///
    /// `events` is one step, or a sum of steps within [`Pmu::headroom`].
    #[must_use]
    pub fn advance(&mut self, ring: Ring, events: &Events) -> Option<PmiRequest> {
        if self.active == 0 || *events == Events::default() {
            return None;
        }
        let active = self.active;
        let mut requested = false;
        for i in (0..MAX_GP).filter(|i| active & (1 << i) != 0) {
            requested |= self.advance_gp(i, ring, events);
        }
        for i in (0..MAX_FIXED).filter(|i| active & (1 << (FIXED_SHIFT + i)) != 0) {
            requested |= self.advance_fixed(i, ring, events);
        }
        if requested && self.debugctl.freezes() {
            self.freeze();
        }
        self.refresh();
        requested.then_some(PmiRequest)
    }

    fn advance_gp(&mut self, i: usize, ring: Ring, events: &Events) -> bool {
        let selector = self.evtsel[i];
        let Some(event) = self.gp_event(i) else { return false };
        let filter = if ring == Ring::User { PerfEvtSel::USR } else { PerfEvtSel::OS };
        if !selector.has(filter) {
            self.gp[i].asserted = false;
            return false;
        }
        let amount = if compares(selector) {
            compared(selector, event, events, &mut self.gp[i].asserted)
        } else {
            events.count(event)
        };
        let overflowed = self.gp[i].add(amount, self.geometry.gp_mask());
        if overflowed && self.geometry.version() >= 2 {
            self.global_status |= 1 << i;
        }
        overflowed && selector.has(PerfEvtSel::INT)
    }

    fn advance_fixed(&mut self, i: usize, ring: Ring, events: &Events) -> bool {
        let field = self.fixed_ctrl.field(i);
        let filter = if ring == Ring::User { FixedField::USR } else { FixedField::OS };
        let Some(event) = Event::of_fixed(i) else { return false };
        if !field.has(filter) {
            return false;
        }
        let overflowed = self.fixed[i].add(events.count(event), self.geometry.fixed_mask());
        if overflowed {
            self.global_status |= 1 << (FIXED_SHIFT + i);
        }
        overflowed && field.has(FixedField::PMI)
    }

    /// FREEZE_PERFMON_ON_PMI: version 4 on sets CTR_FRZ (SDM vol. 3B, 20.2.4); before that the enable bits of
    /// IA32_PERF_GLOBAL_CTRL are cleared (vol. 3B, 18.4.7).
    fn freeze(&mut self) {
        if self.geometry.version() >= 4 {
            self.global_status |= CTR_FRZ;
        } else {
            self.global_ctrl = 0;
        }
    }
}
