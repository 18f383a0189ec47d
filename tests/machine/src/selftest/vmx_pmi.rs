//! PMIs while a guest runs.

use crate::guest;
use crate::report::Report;
use crate::state::{ON, pmis, read, write};
use crate::vmcs::*;
use crate::vmx::{REASON_VMCALL, prepare};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::cpu::{apic, apic_read, apic_write, take_interrupts};
use machine_kernels::traps::PMI_STATUS;
use machine_scenarios::{Geometry, LVT_MASKED, LVT_NMI, PMI_VECTOR, msr::*};
use x86::vmx::vmcs::{guest as guest_state, ro};

const REASON_EXCEPTION_OR_NMI: u64 = 0;
const REASON_EXTERNAL_INTERRUPT: u64 = 1;
/// VM-exit interruption information: valid, and the vector (external interrupt has type 0).
const VALID: u64 = 1 << 31;
/// The same for an NMI: type 2, vector 2.
const NMI_INFORMATION: u64 = VALID | 2 << 8 | 2;
const PERIOD: u64 = 500;

/// Counter 0 counts the guest and overflows after [`PERIOD`] instructions.
fn arm(geometry: &Geometry, lvtpc: u32) {
    prepare(geometry, 1);
    apic_write(apic::LVT_PC, lvtpc);
    write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS);
    write(IA32_A_PMC0, geometry.counter_mask() + 1 - PERIOD);
}

pub fn check(report: &mut Report, geometry: &Geometry) {
    for (name, flags) in [("IF set", RFLAGS_IF), ("IF clear", 0)] {
        arm(geometry, PMI_VECTOR);
        pin_controls(EXTERNAL_INTERRUPT_EXITING);
        let exit = run(guest::nops(), flags, 0);
        let mut check = |what, got, want| {
            report.check(format_args!("VMX, PMI, guest's {name}: {what}"), "26.2, 28.2.1", got, want);
        };
        check("it ends the guest", exit.code(), REASON_EXTERNAL_INTERRUPT);
        check("after the overflowing instruction", get(guest_state::RIP) - guest::nops().0, PERIOD);
        check("the counter has wrapped", read(IA32_PMC0), 0);
        check("the status bit is set", read(IA32_PERF_GLOBAL_STATUS), 1);
        check("LVTPC is masked", u64::from(apic_read(apic::LVT_PC)), u64::from(LVT_MASKED | PMI_VECTOR));
        check("the host has not taken it yet", pmis(), 0);
        take_interrupts();
        check("the host takes it", pmis(), 1);
    }

    arm(geometry, PMI_VECTOR);
    pin_controls(EXTERNAL_INTERRUPT_EXITING);
    exit_controls(EXIT_LOAD_GLOBAL_CTRL | EXIT_SAVE_GLOBAL_CTRL | EXIT_SAVE_DEBUG | EXIT_ACKNOWLEDGE);
    run(guest::nops(), RFLAGS_IF, 0);
    let vector = get(ro::VMEXIT_INTERRUPTION_INFO);
    report.check("VMX, PMI, acknowledged: the vector", "28.2.2", vector, VALID | u64::from(PMI_VECTOR));
    apic_write(apic::EOI, 0);
    take_interrupts();
    report.check("VMX, PMI, acknowledged: it does not come again", "28.2.2", pmis(), 0);

    arm(geometry, LVT_NMI);
    pin_controls(NMI_EXITING);
    let exit = run(guest::nops(), 0, 0);
    report.check("VMX, PMI as NMI: it ends the guest", "26.2", exit.code(), REASON_EXCEPTION_OR_NMI);
    report.check("VMX, PMI as NMI: the reason", "28.2.2", get(ro::VMEXIT_INTERRUPTION_INFO), NMI_INFORMATION);
    report.check(
        "VMX, PMI as NMI: after the overflowing instruction",
        "26.2",
        get(guest_state::RIP) - guest::nops().0,
        PERIOD,
    );

    arm(geometry, PMI_VECTOR);
    let exit = run(guest::nops(), RFLAGS_IF, 0);
    report.check("VMX, PMI without exiting: the guest goes on", "26.2", exit.code(), REASON_VMCALL);
    report.check("VMX, PMI without exiting: the guest's handler takes it", "26.2", pmis(), 1);
    report.check(
        "VMX, PMI without exiting: the guest's handler sees the status",
        "26.2",
        PMI_STATUS.load(Relaxed),
        1,
    );

    arm(geometry, PMI_VECTOR);
    pin_controls(EXTERNAL_INTERRUPT_EXITING);
    set(guest_state::IA32_DEBUGCTL_FULL, FREEZE_PERFMON_ON_PMI);
    run(guest::nops(), 0, 0);
    let (status, ctrl) = if geometry.version >= 4 { (CTR_FRZ | 1, 1) } else { (1, 0) };
    report.check("VMX, PMI with freezing: the status", "18.4.7", read(IA32_PERF_GLOBAL_STATUS), status);
    let saved = get(guest_state::IA32_PERF_GLOBAL_CTRL_FULL);
    report.check("VMX, PMI with freezing: the guest's IA32_PERF_GLOBAL_CTRL", "18.4.7", saved, ctrl);
    take_interrupts();
    end();
}
