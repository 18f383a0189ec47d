//! HLT: no unhalted cycles.

use crate::report::Report;
use crate::{discovery, state, window};
use machine_kernels::cpu::{apic, apic_write, rdtsc};
use machine_scenarios::{HANDLER, LVT_MASKED, PMI_VECTOR, msr::*};

/// Divide by one (SDM volume 3, figure 11-10).
const DIVIDE_BY_ONE: u32 = 0xB;
const HALTED: u32 = 100_000;

pub fn check(report: &mut Report) {
    state::reset(&discovery::geometry());
    write_all_fixed();
    // The timer enters the PMI handler, which stops the counters after a known number of instructions.
    apic_write(apic::TIMER_DIVISOR, DIVIDE_BY_ONE);
    apic_write(apic::LVT_TIMER, PMI_VECTOR);
    let before = rdtsc();
    apic_write(apic::TIMER_COUNT, HALTED);
    window::halt(7 << 32);
    let passed = rdtsc() - before;
    apic_write(apic::LVT_TIMER, LVT_MASKED);
    report.check("HLT: woken by the timer", "9.10", state::pmis(), 1);
    report.check("HLT: one instruction", "20.2.1.2", state::read(IA32_FIXED_CTR0), 1 + HANDLER);
    report.check(
        "HLT: no core cycles while halted",
        "20.2.1.2",
        state::read(IA32_FIXED_CTR0 + 1),
        1 + HANDLER,
    );
    report.check(
        "HLT: no reference cycles while halted",
        "20.2.1.2",
        state::read(IA32_FIXED_CTR0 + 2),
        1 + HANDLER,
    );
    report.check("HLT: the time-stamp counter goes on", "18.17", u64::from(passed >= u64::from(HALTED)), 1);
}

fn write_all_fixed() {
    state::write(IA32_FIXED_CTR_CTRL, 0x333);
}
