//! When and where a PMI arrives.

use crate::report::Report;
use crate::state::{arm, pmis, read, write};
use crate::window::{NOPS, nops, nops_uninterrupted, run};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::cpu::{apic, apic_read, apic_write, take_interrupts};
use machine_kernels::traps::{HANDLER_END, PMI_LVTPC, PMI_RIP, PMI_STATUS, RELOAD, RESUME};
use machine_scenarios::{Geometry, HANDLER, LVT_MASKED, LVT_NMI, PMI_VECTOR, Program, WINDOW, msr::*};

const MASKED: u64 = LVT_MASKED as u64 | PMI_VECTOR as u64;

pub fn check(report: &mut Report, geometry: &Geometry) {
    place(report, geometry);
    interrupt_flag(report, geometry);
    sampling(report, geometry);
}

fn place(report: &mut Report, geometry: &Geometry) {
    for period in [1, 2, 50, NOPS] {
        arm(geometry, period);
        let start = nops(1);
        let name = format_args!("PMI after instruction {period}: its return address");
        report.check(name, "20.2.1.1, 7.6", PMI_RIP.load(Relaxed).wrapping_sub(start), period);
    }
    report.check("in the handler: LVTPC is masked", "11.5.1", PMI_LVTPC.load(Relaxed), MASKED);
    report.check("in the handler: the status bit is set", "20.2.2", PMI_STATUS.load(Relaxed), 1);
    // The second general-purpose counter and a fixed counter see the same instructions.
    arm(geometry, 50);
    write(IA32_PERFEVTSEL0 + 1, EN | OS | INSTRUCTIONS);
    write(IA32_FIXED_CTR_CTRL, 1);
    nops(1 << 32 | 3);
    report.check("another counter goes on into the handler", "20.2.1", read(IA32_PMC0 + 1), 50 + HANDLER);
    report.check("a fixed counter goes on into the handler", "20.2.2", read(IA32_FIXED_CTR0), 50 + HANDLER);
}

fn interrupt_flag(report: &mut Report, geometry: &Geometry) {
    arm(geometry, 50);
    nops_uninterrupted(1);
    report.check("IF clear: the PMI waits", "7.8.1", pmis(), 0);
    report.check(
        "IF clear: LVTPC is masked all the same",
        "11.5.1",
        u64::from(apic_read(apic::LVT_PC)),
        MASKED,
    );
    report.check("IF clear: counting goes on", "20.2.1", read(IA32_PMC0), NOPS + WINDOW - 50);
    take_interrupts();
    report.check("IF set: the PMI comes", "7.8.1", pmis(), 1);

    arm(geometry, 50);
    apic_write(apic::LVT_PC, LVT_NMI);
    let start = nops_uninterrupted(1);
    report.check("IF clear: an NMI comes at once", "7.7", pmis(), 1);
    report.check("NMI: its return address", "7.6", PMI_RIP.load(Relaxed).wrapping_sub(start), 50);
}

/// A handler that starts the counter again, as a profiler does.
fn sampling(report: &mut Report, geometry: &Geometry) {
    const PERIOD: u64 = 1000;
    const LOOP: Program = Program::Loop(1000);
    let reload = geometry.counter_mask() + 1 - PERIOD;
    arm(geometry, PERIOD);
    write(IA32_FIXED_CTR_CTRL, 1);
    RELOAD.store(reload, Relaxed);
    RESUME.store(1 << 32 | 1, Relaxed);
    run(1 << 32 | 1, LOOP);
    RESUME.store(0, Relaxed);
    // The counter sees the last instructions of the handler, then the loop: after the first PMI each comes
    // PERIOD - HANDLER_END instructions of the window after the one before.
    let seen = LOOP.instructions() + WINDOW;
    let (more, rest) = ((seen - PERIOD) / (PERIOD - HANDLER_END), (seen - PERIOD) % (PERIOD - HANDLER_END));
    report.check("sampling: number of PMIs", "20.6.3", pmis(), 1 + more);
    report.check(
        "sampling: what the counter shows at the end",
        "20.2.1",
        read(IA32_PMC0),
        reload + HANDLER_END + rest,
    );
    let total = seen + (1 + more) * (HANDLER + HANDLER_END);
    report.check("sampling: instructions of window and handlers", "20.2.2", read(IA32_FIXED_CTR0), total);
}
