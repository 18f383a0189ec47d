//! CPUID, values after reset, and MSRs beside the PMU's that software needs.

use crate::report::Report;
use machine_kernels::cpu::{cpuid, rdmsr, wrmsr};
use machine_scenarios::{Geometry, msr::*};

/// CPUID leaf 0xA.
pub fn geometry() -> Geometry {
    let [eax, ebx, _, edx] = cpuid(0xA);
    Geometry::from_cpuid(eax, ebx, edx)
}

/// What the processors that we simulate have: CPUID leaf 1 EAX without the stepping; version, general-purpose and
/// fixed counters.
const KNOWN: &[(u32, [u64; 3])] = &[
    (0x000306C, [3, 4, 3]), // Haswell
    (0x0005065, [4, 4, 3]), // Skylake-X
    (0x000706E, [5, 8, 4]), // Ice Lake U
];

/// Must run first: it looks at values after reset.
pub fn check(report: &mut Report, geometry: &Geometry) {
    let [signature, _, features, _] = cpuid(1);
    if let Some((_, want)) = KNOWN.iter().find(|(model, _)| *model == signature >> 4) {
        let got = [geometry.version, geometry.general, geometry.fixed];
        let names = ["version", "general-purpose counters", "fixed counters"];
        for ((name, got), want) in names.iter().zip(got).zip(want) {
            report.check(format_args!("CPUID leaf 0xA: {name}"), "20.2", u64::from(got), *want);
        }
    }
    report.check("CPUID leaf 0xA: counters have 48 bits", "20.2", u64::from(geometry.width), 48);
    report.check("CPUID leaf 0xA: fixed counters have 48 bits", "20.2", u64::from(geometry.fixed_width), 48);
    report.check("CPUID leaf 1: PDCM", "CPUID", u64::from(features >> 15 & 1), 1);
    const NO_MSR: u32 = 0x1234;
    report.check("an MSR that does not exist: RDMSR is #GP", "RDMSR", u64::from(rdmsr(NO_MSR).is_none()), 1);
    report.check("an MSR that does not exist: WRMSR is #GP", "WRMSR", u64::from(!wrmsr(NO_MSR, 0)), 1);
    let mut value = |name: &str, section, msr, mask, want| {
        report.check(name, section, rdmsr(msr).map_or(u64::MAX, |v| v & mask), want);
    };
    value(
        "after reset: IA32_PERF_GLOBAL_CTRL",
        "10.1.1 (table 10-1)",
        IA32_PERF_GLOBAL_CTRL,
        u64::MAX,
        (1 << geometry.general) - 1,
    );
    value(
        "after reset: IA32_PERF_GLOBAL_STATUS",
        "10.1.1 (table 10-1)",
        IA32_PERF_GLOBAL_STATUS,
        u64::MAX,
        0,
    );
    value("after reset: IA32_PERFEVTSEL0", "10.1.1 (table 10-1)", IA32_PERFEVTSEL0, u64::MAX, 0);
    value("after reset: IA32_FIXED_CTR_CTRL", "10.1.1 (table 10-1)", IA32_FIXED_CTR_CTRL, u64::MAX, 0);
    value("after reset: IA32_PMC0", "10.1.1 (table 10-1)", IA32_PMC0, u64::MAX, 0);
    value("IA32_PERF_CAPABILITIES: full-width writes", "20.8", IA32_PERF_CAPABILITIES, FW_WRITE, FW_WRITE);
    let unavailable = 1 << 11 | 1 << 12;
    value(
        "IA32_MISC_ENABLE: monitoring available, BTS and PEBS not",
        "vol. 4, table 2-2",
        IA32_MISC_ENABLE,
        1 << 7 | unavailable,
        1 << 7 | unavailable,
    );
}
