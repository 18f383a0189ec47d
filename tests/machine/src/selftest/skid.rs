//! Interrupts that come late, as on hardware.

use crate::report::Report;
use crate::state::{ON, arm, pmis, read, write};
use crate::window::{self, NOPS, nops};
use crate::{guest, vmcs, vmx};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::cpu::{apic, apic_write, take_interrupts};
use machine_kernels::traps::PMI_RIP;
use machine_scenarios::{Geometry, HANDLER, PMI_VECTOR, msr::*};

/// `skid` instructions pass between the overflow and the PMI.
pub fn check(report: &mut Report, geometry: &Geometry, skid: u64) {
    const PERIOD: u64 = 50;
    assert!(PERIOD + skid < NOPS, "skid too large for this test");
    arm(geometry, PERIOD);
    let start = nops(1);
    let rule = "20.4.4 (skid)";
    report.check("late PMI: one", rule, pmis(), 1);
    report.check(
        "late PMI: its return address",
        rule,
        PMI_RIP.load(Relaxed).wrapping_sub(start),
        PERIOD + skid,
    );
    report.check("late PMI: the counter went on", rule, read(IA32_PMC0), skid + HANDLER);

    after_exit(report, geometry, skid);
}

/// The guest overflows shortly before its last instruction: the PMI comes when the host runs.
fn after_exit(report: &mut Report, geometry: &Geometry, skid: u64) {
    const BEFORE_END: u64 = 1;
    assert!(skid > BEFORE_END, "nothing would be late");
    vmcs::initialise();
    vmx::prepare(geometry, 1);
    vmcs::pin_controls(vmcs::EXTERNAL_INTERRUPT_EXITING);
    apic_write(apic::LVT_PC, PMI_VECTOR);
    write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS);
    write(IA32_A_PMC0, geometry.counter_mask() + 1 - (guest::NOPS - BEFORE_END));
    let exit = vmcs::run(guest::nops(), 0, 0);
    let mut check = |name, got, want| report.check(name, "20.4.4 (skid)", got, want);
    check("late PMI of a guest: the guest ends first", exit.code(), vmx::REASON_VMCALL);
    check("late PMI of a guest: the status says so already", read(IA32_PERF_GLOBAL_STATUS), 1);
    check("late PMI of a guest: the counter went on to the exit", read(IA32_PMC0), BEFORE_END);
    window::nops_uninterrupted(0);
    take_interrupts();
    check("late PMI of a guest: the host takes it", pmis(), 1);
    vmcs::end();
}
