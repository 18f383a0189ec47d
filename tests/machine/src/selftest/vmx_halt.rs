//! Guests in the HLT state: what ends them, and that they are in it still after that.

use crate::report::Report;
use crate::state::{ON, write};
use crate::vmcs::*;
use crate::vmx::{REASON_VMCALL, prepare};
use crate::{guest, state};
use machine_kernels::cpu::{apic, apic_write, take_interrupts};
use machine_scenarios::{Geometry, LVT_MASKED, LVT_NMI, PMI_VECTOR, msr::*};
use x86::vmx::vmcs::guest as guest_state;

/// Exit reasons (SDM volume 3, appendix C).
const REASON_EXCEPTION_OR_NMI: u64 = 0;
const REASON_EXTERNAL_INTERRUPT: u64 = 1;
const REASON_INTERRUPT_WINDOW: u64 = 7;
const REASON_NMI_WINDOW: u64 = 8;
const REASON_PREEMPTION_TIMER: u64 = 52;
/// Divide by one (SDM volume 3, figure 11-10).
const DIVIDE_BY_ONE: u32 = 0xB;
/// Ticks of the local APIC's timer, which wakes the guest at last: far more than from its start to the VM entry.
const LATER: u32 = 10_000;

/// How a halted guest ends: the event, the controls for it, the LVT entry of the PMI that the VM-entry
/// instruction causes by its own overflow, and the exit reason.
struct End {
    by: &'static str,
    pin: u64,
    processor: u64,
    pmi: u32,
    reason: u64,
}

/// All but the first end the guest at once.
const ENDS: [End; 6] = [
    End {
        by: "timer",
        pin: EXTERNAL_INTERRUPT_EXITING,
        processor: 0,
        pmi: LVT_MASKED,
        reason: REASON_EXTERNAL_INTERRUPT,
    },
    End {
        by: "PMI",
        pin: EXTERNAL_INTERRUPT_EXITING,
        processor: 0,
        pmi: PMI_VECTOR,
        reason: REASON_EXTERNAL_INTERRUPT,
    },
    End { by: "NMI", pin: NMI_EXITING, processor: 0, pmi: LVT_NMI, reason: REASON_EXCEPTION_OR_NMI },
    End {
        by: "interrupt window",
        pin: EXTERNAL_INTERRUPT_EXITING,
        processor: INTERRUPT_WINDOW_EXITING,
        pmi: LVT_MASKED,
        reason: REASON_INTERRUPT_WINDOW,
    },
    End {
        by: "NMI window",
        pin: EXTERNAL_INTERRUPT_EXITING | NMI_EXITING | VIRTUAL_NMIS,
        processor: NMI_WINDOW_EXITING,
        pmi: LVT_MASKED,
        reason: REASON_NMI_WINDOW,
    },
    End {
        by: "preemption timer before a PMI",
        pin: EXTERNAL_INTERRUPT_EXITING | PREEMPTION_TIMER,
        processor: 0,
        pmi: PMI_VECTOR,
        reason: REASON_PREEMPTION_TIMER,
    },
];

pub fn check(report: &mut Report, geometry: &Geometry) {
    for (index, end) in ENDS.iter().enumerate() {
        let mut check = |what, got, want| {
            report.check(format_args!("VMX, HLT, {}: {what}", end.by), "26.2, 28.1, 28.3.4", got, want);
        };
        prepare(geometry, 0);
        pin_controls(end.pin);
        processor_controls(end.processor);
        set(guest_state::VMX_PREEMPTION_TIMER_VALUE, 0);
        set(guest_state::INTERRUPTIBILITY_STATE, 0);
        set(guest_state::ACTIVITY_STATE, ACTIVITY_HLT);
        apic_write(apic::LVT_PC, end.pmi);
        write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS);
        write(IA32_A_PMC0, geometry.counter_mask());
        apic_write(apic::TIMER_DIVISOR, DIVIDE_BY_ONE);
        apic_write(apic::LVT_TIMER, PMI_VECTOR);
        apic_write(apic::TIMER_COUNT, LATER);
        let exit = run_in_state(guest::nops(), RFLAGS_IF, 1);
        apic_write(apic::TIMER_COUNT, 0);
        apic_write(apic::LVT_TIMER, LVT_MASKED);
        take_interrupts();
        check("it ends the guest", exit.code(), end.reason);
        check("the guest did not run", get(guest_state::RIP), guest::nops().0);
        check("the guest is halted still", get(guest_state::ACTIVITY_STATE), ACTIVITY_HLT);
        check("it does so at once", u64::from(exit.cycles() < u64::from(LATER) / 2), u64::from(index != 0));
    }
    prepare(geometry, 0);
    state::reset(geometry);
    let exit = run(guest::nops(), 0, 0);
    report.check("VMX: the next guest runs", "27.7.2", exit.code(), REASON_VMCALL);
    report.check("VMX: it ends active", "28.3.4", get(guest_state::ACTIVITY_STATE), ACTIVITY_ACTIVE);
}
