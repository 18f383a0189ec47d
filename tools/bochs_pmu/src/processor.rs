//! One logical processor's PMU in a simulator that counts slots.
//!
//! A *slot* is one turn of Bochs's instruction loop and one tick of its clock: an instruction, an iteration
//! of a REP instruction, or an instruction that was abandoned for a fault or a VM exit. Slots are numbered
//! from power-up (`icount`). Nothing is done for a slot until [`Processor::sync`]; [`Processor::wake`] says
//! when that is due at the latest.
#![forbid(unsafe_code)]

use crate::costs::Costs;
use crate::report::Totals;
use crate::settings::Settings;
use pmu_model::{
    Events, ExitLoads, Geometry, GuestLoads, Llc, Lookup, Lvtpc, PerfCapabilities, PmiLine, Pmu, Predictor,
    Ring,
};
use std::mem;

/// What a VM entry or exit in progress still has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// None is in progress.
    None,
    /// A VM-entry instruction runs and has not loaded the guest's PMU registers yet.
    Entering(GuestLoads),
    /// A VM exit has not loaded the host's PMU registers yet.
    Exiting(ExitLoads),
}

/// The PMU, what feeds it, and what is charged.
pub struct Processor {
    /// The registers.
    pub pmu: Pmu,
    /// VM entry or exit in progress.
    pub transition: Transition,
    /// What happened, for the report.
    pub totals: Totals,
    /// What events cost.
    pub costs: Costs,
    line: PmiLine,
    ring: Ring,
    /// Slots before this one have been handed to the PMU.
    synced: u64,
    /// Slots since then in which no instruction retired, without [`Self::abandoned`].
    unretired: u64,
    /// The last slot in which no instruction retired. It may still be running.
    abandoned: Option<u64>,
    /// Branches and cache accesses since then.
    batch: Events,
    predictor: Predictor,
    llc: Box<Llc>,
    guest: bool,
    ticks_due: u64,
}

impl Processor {
    /// A processor after power-up.
    pub fn new(geometry: Geometry, capabilities: Option<PerfCapabilities>, settings: &Settings) -> Self {
        Self {
            pmu: Pmu::new(geometry, capabilities),
            transition: Transition::None,
            totals: Totals::default(),
            costs: settings.costs,
            line: PmiLine::new(settings.skid),
            ring: Ring::Kernel,
            synced: 0,
            unretired: 0,
            abandoned: None,
            batch: Events::default(),
            predictor: Predictor::new(),
            llc: Box::default(),
            guest: false,
            ticks_due: 0,
        }
    }

    /// A power-up reset: the registers start again, the totals go on.
    pub fn reset(&mut self, now: u64) {
        self.sync(now);
        self.pmu = Pmu::new(*self.pmu.geometry(), self.pmu.capabilities());
        self.line.reset();
        self.transition = Transition::None;
        self.guest = false;
    }

    /// Hands all slots before `now` to the PMU. Does nothing when it already has them.
    pub fn sync(&mut self, now: u64) {
        let Some(slots) = now.checked_sub(self.synced).filter(|&n| n > 0) else { return };
        if self.abandoned.is_some_and(|slot| slot < now) {
            self.abandoned = None;
            self.unretired += 1;
        }
        let mut events = Events { instructions: slots.saturating_sub(self.unretired), ..Events::idle(slots) };
        events += mem::take(&mut self.batch);
        self.synced = now;
        self.unretired = 0;
        self.advance(now, &events);
    }

    fn advance(&mut self, now: u64, events: &Events) {
        let span = if self.guest { &mut self.totals.guest } else { &mut self.totals.host };
        span.instructions += events.instructions;
        span.cycles += events.core_cycles;
        if let Some(request) = self.pmu.advance(self.ring, events) {
            self.totals.pmis.requested += 1;
            self.line.request(request, now);
        }
    }

    /// Charges `cycles`, at the end of the slots before `now`: cycles for the counters, ticks for the clock.
    pub fn charge(&mut self, cycles: u32, now: u64) {
        if cycles > 0 {
            self.sync(now);
            self.advance(now, &Events::idle(cycles.into()));
            self.ticks_due += u64::from(cycles);
            self.totals.charged_cycles += u64::from(cycles);
        }
    }

    /// The ticks by which the machine's clock must move for what was charged.
    pub fn take_ticks(&mut self) -> u64 {
        mem::take(&mut self.ticks_due)
    }

    /// Code runs in ring `cpl` from slot `now` on.
    pub fn set_ring(&mut self, cpl: u8, now: u64) {
        let ring = if cpl == 0 { Ring::Kernel } else { Ring::User };
        if ring != self.ring {
            self.sync(now);
            self.ring = ring;
        }
    }

    /// No instruction retires in `slot`, unless the PMU has the slot already.
    pub fn abandon_slot(&mut self, slot: u64) {
        if self.synced <= slot && self.abandoned.replace(slot).is_some_and(|before| before != slot) {
            self.unretired += 1;
        }
    }

    /// The number of the slot after whose predecessor [`Processor::sync`] or the PMI is due.
    pub fn wake(&self) -> u64 {
        let headroom = self.pmu.headroom();
        if self.batch.llc_references >= headroom.llc_references {
            return 0;
        }
        let deadline = self.synced.saturating_add(headroom.cycles);
        deadline.min(self.line.due().unwrap_or(u64::MAX))
    }

    /// Slots are counted from `now` on; Bochs may start again at 0 after a reset.
    pub fn restart(&mut self, now: u64) {
        self.synced = now;
        self.abandoned = None;
        self.unretired = 0;
    }

    /// Unhalted core cycles since power-up.
    pub fn cycles(&self) -> u64 {
        self.totals.host.cycles + self.totals.guest.cycles
    }

    /// The processor halts after the slots before `now`.
    pub fn halt(&mut self, now: u64) {
        self.line.hurry(now);
    }

    /// Takes the PMI that is due and delivers it through the LVT entry; says what the local APIC delivers.
    pub fn deliver_pmi(&mut self, lvtpc: &mut Lvtpc, now: u64) -> Option<pmu_model::Delivery> {
        let delivery = lvtpc.deliver(self.line.take(now)?);
        if delivery.is_some() {
            self.totals.pmis.delivered += 1;
        } else {
            self.totals.pmis.masked += 1;
        }
        delivery
    }

    /// Whether a PMI is due before slot `now`.
    pub fn pmi_due(&self, now: u64) -> bool {
        self.line.due().is_some_and(|due| due <= now)
    }

    /// A conditional branch at `address` retires.
    pub fn conditional_branch(&mut self, address: u64, taken: bool) {
        self.batch.branches += 1;
        self.batch.branch_misses += u64::from(self.predictor.conditional(address, taken));
    }

    /// Any other branch retires.
    pub fn other_branch(&mut self) {
        self.batch.branches += 1;
    }

    /// Data at a physical address is accessed. Says whether the PMU must see it after this slot.
    pub fn data_access(&mut self, physical: u64) -> bool {
        self.batch.llc_references += 1;
        self.batch.llc_misses += u64::from(self.llc.access(physical) == Lookup::Miss);
        self.batch.llc_references >= self.pmu.headroom().llc_references
    }

    /// The VM-entry instruction of slot `slot` succeeded so far: it retires for the host, and the guest's
    /// registers are loaded.
    pub fn complete_entry(&mut self, slot: u64) {
        if let Transition::Entering(loads) = self.transition {
            self.sync(slot + 1);
            self.pmu.vm_entry(&loads);
            self.transition = Transition::None;
            self.guest = true;
            self.totals.vm_entries += 1;
        }
    }

    /// The VM-entry instruction did not enter.
    pub fn abandon_entry(&mut self) {
        if matches!(self.transition, Transition::Entering(_)) {
            self.transition = Transition::None;
        }
    }

    /// A VM exit begins in slot `slot`, or a VM entry fails after its checks of controls and host state.
    pub fn begin_exit(&mut self, reason: u32, slot: u64, loads: ExitLoads) {
        if is_trap_like(reason) {
            self.sync(slot + 1);
        } else {
            self.sync(slot);
            self.abandon_slot(slot);
        }
        *self.totals.vm_exits.entry(reason & 0xFFFF).or_default() += 1;
        self.transition = Transition::Exiting(loads);
    }

    /// The host's registers are loaded, the first thing that the VM exit does after its MSR-store list.
    pub fn complete_exit(&mut self, cpl: u8) {
        if let Transition::Exiting(loads) = self.transition {
            self.pmu.vm_exit(&loads);
            self.transition = Transition::None;
            self.guest = false;
            self.ring = if cpl == 0 { Ring::Kernel } else { Ring::User };
        }
    }
}

/// Exits after the instruction that causes them (SDM vol. 3C, 26.1 and appendix C): TPR below threshold,
/// virtualized EOI, APIC write.
fn is_trap_like(reason: u32) -> bool {
    matches!(reason, 43 | 45 | 56)
}

#[cfg(test)]
mod tests;
