//! PMUs to test with.
#![allow(dead_code)]

use pmu_model::{Cpuid0A, Events, Geometry, MsrError, PerfCapabilities, Pmu, Ring, msr};

/// Selector bits that the tests combine.
pub const USR: u64 = 1 << 16;
pub const OS: u64 = 1 << 17;
pub const EDGE: u64 = 1 << 18;
pub const INT: u64 = 1 << 20;
pub const EN: u64 = 1 << 22;
pub const INV: u64 = 1 << 23;
pub const CMASK_1: u64 = 1 << 24;
pub const CMASK_2: u64 = 2 << 24;
/// Event select and unit mask of the architectural events (SDM vol. 3B, table 20-1).
pub const CYCLES: u64 = 0x3C;
pub const INSTRUCTIONS: u64 = 0xC0;
pub const REF_CYCLES: u64 = 0x13C;
pub const LLC_REFERENCES: u64 = 0x4F2E;
pub const LLC_MISSES: u64 = 0x412E;
pub const BRANCHES: u64 = 0xC4;
pub const BRANCH_MISSES: u64 = 0xC5;
pub const SLOTS: u64 = 0x1A4;

/// IA32_PERF_GLOBAL_STATUS.CTR_FRZ.
pub const CTR_FRZ: u64 = 1 << 59;
/// IA32_DEBUGCTL.FREEZE_PERFMON_ON_PMI.
pub const FREEZE: u64 = 1 << 12;
/// 2^48 - 1, the largest value of the counters of [`leaf`].
pub const MAX: u64 = 0xFFFF_FFFF_FFFF;

/// CPUID leaf 0xA: `gp` and `fixed` counters of 48 bits, all eight architectural events.
pub fn leaf(version: u32, gp: u32, fixed: u32) -> Cpuid0A {
    Cpuid0A {
        eax: version | gp << 8 | 48 << 16 | 8 << 24,
        ebx: 0,
        ecx: if version >= 5 { (1 << fixed) - 1 } else { 0 },
        edx: if version >= 2 { fixed | 48 << 5 } else { 0 } | u32::from(version >= 5) << 15,
    }
}

/// The PMU of that leaf, with full-width writes.
pub fn pmu(version: u32, gp: u32, fixed: u32) -> Pmu {
    let geometry = Geometry::from_cpuid(leaf(version, gp, fixed)).expect("a possible leaf");
    Pmu::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE)))
}

/// As icelake_u has it: version 5, 8 + 4 counters.
pub fn v5() -> Pmu {
    pmu(5, 8, 4)
}

/// A [`v5`] whose PMC0 counts what `selector` says.
pub fn counting(selector: u64) -> Pmu {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_PERFEVTSEL0, selector).expect("a valid selector");
    pmu
}

/// Some steps of kernel code; says how many PMIs were requested.
pub fn kernel(pmu: &mut Pmu, steps: &[Events]) -> usize {
    steps.iter().filter(|step| pmu.advance(Ring::Kernel, step).is_some()).count()
}

/// `n` plain instructions of kernel code.
pub fn instructions(pmu: &mut Pmu, n: usize) -> usize {
    (0..n).map(|_| kernel(pmu, &[Events::instruction()])).sum()
}

/// PMC0.
pub fn pmc0(pmu: &Pmu) -> u64 {
    pmu.rdmsr(msr::IA32_PMC0).expect("PMC0 exists")
}

/// IA32_PERF_GLOBAL_STATUS.
pub fn status(pmu: &Pmu) -> u64 {
    pmu.rdmsr(msr::IA32_PERF_GLOBAL_STATUS).expect("version 2 or later")
}

/// A refused access.
pub const GP: MsrError = MsrError::GeneralProtection;
