//! The state in which every scenario and test starts.

use crate::window;
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::cpu::{apic, apic_write, rdmsr, wrmsr};
use machine_kernels::traps::{PMIS, RELOAD, RESUME};
use machine_scenarios::{Geometry, LVT_MASKED, PMI_VECTOR, msr::*};

/// Counts in every ring.
pub const ON: u64 = EN | OS | USR;

/// An MSR that exists.
pub fn read(msr: u32) -> u64 {
    rdmsr(msr).unwrap_or_else(|| panic!("RDMSR {msr:#x} is #GP"))
}

/// An MSR that takes this value.
pub fn write(msr: u32, value: u64) {
    assert!(wrmsr(msr, value), "WRMSR {msr:#x} of {value:#x} is #GP");
}

/// Zero in every PMU register, LVTPC masked, no PMI seen.
pub fn reset(geometry: &Geometry) {
    write(IA32_PERF_GLOBAL_CTRL, 0);
    for i in 0..geometry.general {
        write(IA32_PERFEVTSEL0 + i, 0);
        write(IA32_PMC0 + i, 0);
    }
    write(IA32_FIXED_CTR_CTRL, 0);
    for i in 0..geometry.fixed {
        write(IA32_FIXED_CTR0 + i, 0);
    }
    write(IA32_DEBUGCTL, 0);
    write(IA32_PERF_GLOBAL_STATUS_RESET, read(IA32_PERF_GLOBAL_STATUS));
    apic_write(apic::LVT_PC, LVT_MASKED);
    PMIS.store(0, Relaxed);
    RESUME.store(0, Relaxed);
    RELOAD.store(0, Relaxed);
}

/// Counter 0 counts instructions, overflows after `period` of them, and sends a PMI to [`PMI_VECTOR`].
pub fn arm(geometry: &Geometry, period: u64) {
    reset(geometry);
    apic_write(apic::LVT_PC, PMI_VECTOR);
    write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS);
    write(IA32_A_PMC0, geometry.counter_mask() + 1 - period);
}

/// PMIs since [`reset`].
pub fn pmis() -> u64 {
    PMIS.load(Relaxed)
}

/// Runs a program and gives the change of counter 0, which counts `event`.
pub fn count(geometry: &Geometry, selector: u64, program: impl FnOnce(u64) -> window::Place) -> u64 {
    reset(geometry);
    write(IA32_PERFEVTSEL0, selector);
    program(1);
    read(IA32_PMC0)
}
