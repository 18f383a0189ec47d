//! What the next entry injects, and the timer that ends it.

use super::{State, Vm};
use crate::apic::Pmi;
use crate::arch::{
    Field, Interruption, PREEMPTION_TIMER_LONGEST, activity, interruptibility, primary, rflags,
};
use crate::pmu::PmuLink;
use crate::report::StopReason;
use crate::vcpu::Vcpu;

impl<L: PmuLink> Vm<L> {
    /// Chooses the event to inject, arms the preemption timer, and returns the primary controls with the
    /// windows that are needed. Without a `state` (the guest ran on since the last exit) nothing new is injected.
    #[inline(always)]
    pub(super) fn prepare<V: Vcpu>(&mut self, vcpu: &mut V, state: Option<&State>) -> u64 {
        if self.is_quiet() { self.primary_controls } else { self.prepare_events(vcpu, state) }
    }

    /// Whether there is nothing to inject and nothing to wait for.
    fn is_quiet(&self) -> bool {
        !self.waits()
            && self.timer.is_idle()
            && !self.apic.has_ended()
            && !self.devices.ioapic.has_message()
            && !self.apic.nmi_pending()
            && self.apic.pending().is_none()
            && !self.external_interrupt()
    }

    fn prepare_events<V: Vcpu>(&mut self, vcpu: &mut V, state: Option<&State>) -> u64 {
        self.expire(vcpu);
        self.route();
        let mut pending = self.apic.pending();
        // SDM vol. 3C, 27.7.3: an injected event takes the place of a pending debug exception.
        if let Some(state) = state.filter(|state| !self.injection.is_valid() && !state.steps) {
            self.choose(state, pending);
            // What was chosen pends no more, and something of a lower priority may.
            if self.injection.is_valid() {
                pending = self.apic.pending();
            }
        }
        self.timer.arm(vcpu, self.deadline());
        let mut controls = self.primary_controls;
        if pending.is_some() || self.external_interrupt() {
            controls |= primary::INTERRUPT_WINDOW;
        }
        if self.apic.nmi_pending() {
            let sti = state.is_some_and(|s| s.interruptibility & interruptibility::STI != 0);
            // SDM vol. 3C, 26.2: whether blocking by STI holds an NMI window back is up to the processor; the
            // interrupt window comes right after it.
            controls |= if sti { primary::INTERRUPT_WINDOW } else { primary::NMI_WINDOW };
        }
        controls
    }

    /// An NMI before the interrupt that pends (SDM vol. 3A, table 6-2).
    fn choose(&mut self, state: &State, pending: Option<u8>) {
        let blocking = state.interruptibility & (interruptibility::STI | interruptibility::MOV_SS);
        let nmi_blocking = state.interruptibility & (interruptibility::NMI | interruptibility::SMI);
        if self.apic.nmi_pending() && blocking == 0 && nmi_blocking == 0 {
            self.apic.acknowledge_nmi();
            self.injection = Interruption::nmi();
        } else if blocking == 0 && state.rflags & rflags::IF != 0 {
            if self.external_interrupt() {
                self.injection = Interruption::external(self.devices.acknowledge());
            } else if let Some(vector) = pending {
                self.apic.acknowledge(vector);
                self.injection = Interruption::external(vector);
            }
        }
    }

    /// Whether the 8259A's interrupt reaches the processor.
    fn external_interrupt(&self) -> bool {
        self.devices.external_interrupt() && self.apic.accepts_external()
    }

    /// Messages between the I/O APIC and the local APIC.
    fn route(&mut self) {
        if self.apic.has_ended() || self.devices.ioapic.has_message() {
            if let Some(vector) = self.apic.take_ended() {
                self.devices.ioapic.end_of_interrupt(vector);
            }
            self.devices.ioapic.deliver(|message| self.apic.receive(message));
        }
    }

    /// Whether something can wake the processor that halts in this state.
    ///
    /// # Errors
    /// Why nothing can.
    pub(super) fn can_wake<V: Vcpu>(&mut self, vcpu: &mut V, state: &State) -> Result<(), StopReason> {
        if self.is_awaited(state) {
            return Ok(());
        }
        if state.rflags & rflags::IF != 0 {
            return Err(StopReason::Idle);
        }
        if !self.accepts_performance_nmi(state) {
            return Err(StopReason::Halted);
        }
        // The counters may have overflown at HLT or just before: the kernel then has the PMI, and gives it before the timer.
        self.last_look = Some(vcpu.now());
        self.timer.arm(vcpu, self.last_look);
        Ok(())
    }

    /// The guest has halted before, and what this exit was for has not woken it.
    ///
    /// # Errors
    /// Nothing will any more.
    pub(super) fn halts_on<V: Vcpu>(&mut self, vcpu: &mut V, state: &State) -> Result<(), StopReason> {
        if self.is_awaited(state) || vcpu.read(Field::GuestActivity) != activity::HLT {
            return Ok(());
        }
        self.can_wake(vcpu, state)
    }

    /// Whether something is known that wakes the processor that halts in this state.
    fn is_awaited(&self, state: &State) -> bool {
        let performance_nmi = self.accepts_performance_nmi(state);
        let delayed = performance_nmi && self.delayed_pmi.is_some();
        let device_nmi = self.devices.deadline().is_some() && self.devices.ioapic.sends_nmis();
        if delayed || takes_nmis(state) && (self.apic.nmi_pending() || device_nmi) {
            return true;
        }
        let pends = self.apic.pending().is_some() || self.external_interrupt();
        let performance = performance_nmi || self.has_pmu() && self.apic.accepts_performance_interrupt();
        state.rflags & rflags::IF != 0 && (pends || performance || self.deadline().is_some())
    }

    /// Whether a PMI that comes now wakes the processor as NMI.
    fn accepts_performance_nmi(&self, state: &State) -> bool {
        self.has_pmu() && takes_nmis(state) && self.apic.accepts_performance_nmi()
    }

    /// Whether a time is waited for, be it that of an interrupt that pends already.
    fn waits(&self) -> bool {
        let timers = self.apic.timer_deadline().is_some() || self.devices.deadline().is_some();
        timers || self.delayed_pmi.is_some()
    }

    /// Lets timers that have run out act.
    fn expire<V: Vcpu>(&mut self, vcpu: &V) {
        // What a timer has missed until its interrupt is taken is lost.
        if self.waits() {
            let now = vcpu.now();
            self.apic.tick(now);
            self.devices.tick(now);
            if self.delayed_pmi.is_some_and(|time| time <= now) {
                self.delayed_pmi = None;
                self.deliver_pmi();
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        let timers = earlier(self.apic.deadline(), self.devices.deadline());
        earlier(timers, earlier(self.delayed_pmi, self.last_look))
    }

    /// The PMI reaches the guest's local APIC.
    pub(super) fn deliver_pmi(&mut self) {
        let counts = &mut self.statistics.pmi;
        match self.apic.performance_interrupt() {
            Pmi::Delivered => counts.delivered += 1,
            Pmi::Merged => counts.lost += 1,
            Pmi::Masked => counts.spurious += 1,
        }
    }

    /// The preemption timer ran out.
    pub(super) fn timer_expired<V: Vcpu>(&mut self, vcpu: &V) {
        self.timer.expired(vcpu.now());
    }
}

/// SDM vol. 3A, 6.7.1: no NMI comes before the IRET of the one in service.
const fn takes_nmis(state: &State) -> bool {
    state.interruptibility & interruptibility::NMI == 0
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The VMX-preemption timer (SDM vol. 3C, 26.5.1). It counts at the rate of the TSC shifted right by a number
/// of bits that user level cannot read (IA32_VMX_MISC 4:0): it is learnt from how long the timer took. It always
/// runs: without a deadline it ends the guest's run once in a long time, to no effect.
#[derive(Debug)]
pub(super) struct PreemptionTimer {
    shift: u32,
    started: u64,
    /// What it was last set to.
    value: u64,
}

/// The shift of most processors; the first guess.
const SHIFT: u32 = 5;

impl PreemptionTimer {
    pub const fn new() -> Self {
        Self { shift: SHIFT, started: 0, value: PREEMPTION_TIMER_LONGEST }
    }

    /// Whether it runs without a deadline.
    const fn is_idle(&self) -> bool {
        self.value == PREEMPTION_TIMER_LONGEST
    }

    fn arm<V: Vcpu>(&mut self, vcpu: &mut V, deadline: Option<u64>) {
        let value = match deadline {
            None if self.is_idle() => return,
            None => PREEMPTION_TIMER_LONGEST,
            Some(deadline) => {
                self.started = vcpu.now();
                let ticks = deadline.saturating_sub(self.started) >> self.shift;
                ticks.min(PREEMPTION_TIMER_LONGEST - 1)
            }
        };
        self.value = value;
        vcpu.write(Field::PreemptionTimer, value);
    }

    fn expired(&mut self, now: u64) {
        if (1..PREEMPTION_TIMER_LONGEST).contains(&self.value) {
            let cycles = now.saturating_sub(self.started) / self.value;
            // It took at least 2^shift cycles for each tick, and the entry and exit besides: what is seen is
            // never too small.
            self.shift = cycles.checked_ilog2().map_or(self.shift, |shift| shift.min(self.shift));
        }
        self.value = 0;
    }
}
