//! CPUID leaf 0xA (SDM vol. 3B, 20.2; vol. 2A, CPUID).

mod common;

use common::{EN, GP, INSTRUCTIONS, OS, instructions, leaf, pmc0, pmu, v5};
use pmu_model::{Cpuid0A, Geometry, GeometryError, MsrError, PerfCapabilities, Pmu, msr};

fn geometry(leaf: Cpuid0A) -> Geometry {
    Geometry::from_cpuid(leaf).expect("a possible leaf")
}

/// 20.2.1: number and width of the counters.
#[test]
fn the_leaf_of_two_processors() {
    // Ice Lake client and Skylake server, as their CPUID says.
    let ice_lake = geometry(Cpuid0A { eax: 0x0830_0805, ebx: 0, ecx: 0xF, edx: 0x8604 });
    assert_eq!((ice_lake.version(), ice_lake.gp_counters()), (5, 8));
    assert_eq!(ice_lake.counter_bits(), 0xF_0000_00FF);
    assert_eq!((ice_lake.gp_mask(), ice_lake.fixed_mask()), (0xFFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF));
    assert!(!ice_lake.any_thread());
    let skylake = geometry(Cpuid0A { eax: 0x0730_0404, ebx: 0, ecx: 0, edx: 0x603 });
    assert_eq!((skylake.version(), skylake.gp_counters()), (4, 4));
    assert_eq!(skylake.counter_bits(), 0x7_0000_000F);
    assert!(skylake.any_thread());
}

/// 20.2.5: fixed counter i is supported when ECX[i] is set or EDX[4:0] > i.
#[test]
fn fixed_counters_of_version_5_may_have_gaps() {
    let gap = geometry(Cpuid0A { ecx: 0b1010, edx: 1 | 48 << 5, ..leaf(5, 4, 0) });
    assert_eq!(gap.counter_bits() >> 32, 0b1011);
    let ignored = geometry(Cpuid0A { ecx: 0b1000, ..leaf(4, 4, 3) });
    assert_eq!(ignored.counter_bits() >> 32, 0b111, "ECX is reserved before version 5");
    let none = geometry(Cpuid0A { edx: 3 | 48 << 5, ..leaf(1, 2, 0) });
    assert_eq!(none.counter_bits() >> 32, 0, "fixed counters came with version 2");
}

/// Leaves that the model cannot be are refused by name.
#[test]
fn impossible_leaves_are_refused() {
    for (wrong, expected) in [
        (leaf(0, 0, 0), GeometryError::NoPmu),
        (leaf(6, 8, 4), GeometryError::Version(6)),
        (leaf(5, 9, 4), GeometryError::GpCounters(9)),
        (leaf(5, 8, 5), GeometryError::FixedCounters(0b1_1111)),
        (Cpuid0A { eax: 5 | 4 << 8 | 31 << 16 | 8 << 24, ..leaf(5, 4, 4) }, GeometryError::Width(31)),
        (Cpuid0A { edx: 3 | 64 << 5, ..leaf(4, 4, 3) }, GeometryError::Width(64)),
    ] {
        assert_eq!(Geometry::from_cpuid(wrong), Err(expected), "{wrong:x?}");
        assert!(expected.to_string().starts_with("CPUID leaf 0xA reports"));
    }
}

/// CPUID leaf 0xA EBX: a set bit means that the event does not exist; so does a bit beyond EAX[31:24].
#[test]
fn an_event_that_does_not_exist_counts_nothing() {
    for (ebx, length, counts) in [(0, 8, true), (0b10, 8, false), (0, 2, true), (0, 1, false)] {
        let leaf = Cpuid0A { eax: 5 | 8 << 8 | 48 << 16 | length << 24, ebx, ..leaf(5, 8, 4) };
        let mut pmu = Pmu::new(geometry(leaf), None);
        pmu.wrmsr(msr::IA32_PERFEVTSEL0, INSTRUCTIONS | OS | EN).unwrap();
        instructions(&mut pmu, 3);
        assert_eq!(pmc0(&pmu), if counts { 3 } else { 0 }, "EBX {ebx:#b}, length {length}");
    }
}

/// SDM vol. 4, table 2-2: which MSRs exist in which version.
#[test]
fn every_version_has_its_msrs() {
    const SINCE: [(u32, u32); 10] = [
        (msr::IA32_PMC0, 1),
        (msr::IA32_PERFEVTSEL0, 1),
        (msr::IA32_FIXED_CTR0, 2),
        (msr::IA32_FIXED_CTR_CTRL, 2),
        (msr::IA32_PERF_GLOBAL_STATUS, 2),
        (msr::IA32_PERF_GLOBAL_CTRL, 2),
        (msr::IA32_PERF_GLOBAL_STATUS_RESET, 2),
        (msr::IA32_PERF_GLOBAL_STATUS_SET, 4),
        (msr::IA32_PERF_GLOBAL_INUSE, 4),
        (msr::IA32_DEBUGCTL, 1),
    ];
    for version in 1..=5 {
        let pmu = pmu(version, 4, 3);
        for (number, since) in SINCE {
            let expected = if version >= since { Ok(()) } else { Err(GP) };
            assert_eq!(pmu.rdmsr(number).map(drop), expected, "version {version}, MSR {number:#x}");
        }
    }
}

/// Counters that the leaf does not report fault; an MSR of another part is not the PMU's.
#[test]
fn counters_beyond_the_geometry_fault() {
    let mut pmu = pmu(4, 4, 3);
    for beyond in
        [msr::IA32_PMC0 + 4, msr::IA32_PERFEVTSEL0 + 4, msr::IA32_A_PMC0 + 4, msr::IA32_FIXED_CTR0 + 3]
    {
        assert_eq!(pmu.rdmsr(beyond - 1).map(drop), Ok(()));
        assert_eq!(pmu.rdmsr(beyond), Err(GP));
        assert_eq!(pmu.wrmsr(beyond, 0), Err(GP));
    }
    assert_eq!(pmu.rdmsr(0x10), Err(MsrError::NotPmu));
    assert_eq!(pmu.wrmsr(0x10, 0), Err(MsrError::NotPmu));
}

/// 20.2.8: IA32_A_PMCi exist with PERF_CAPABILITIES.FW_WRITE; PERF_CAPABILITIES exists with CPUID.1 ECX.PDCM.
#[test]
fn full_width_aliases_need_fw_write() {
    let with = v5();
    assert_eq!(with.rdmsr(msr::IA32_A_PMC0), Ok(0));
    assert_eq!(with.rdmsr(msr::IA32_PERF_CAPABILITIES), Ok(1 << 13));
    let without = Pmu::new(*with.geometry(), Some(PerfCapabilities(0)));
    assert_eq!(without.rdmsr(msr::IA32_A_PMC0), Err(GP));
    assert_eq!(without.rdmsr(msr::IA32_PERF_CAPABILITIES), Ok(0));
    let none = Pmu::new(*with.geometry(), None);
    assert_eq!(none.rdmsr(msr::IA32_A_PMC0), Err(GP));
    assert_eq!(none.rdmsr(msr::IA32_PERF_CAPABILITIES), Err(GP));
}

/// Vol. 3A, table 10-1, and vol. 4, table 2-2: values after power-up.
#[test]
fn power_up_enables_the_general_purpose_counters_globally() {
    assert_eq!(v5().rdmsr(msr::IA32_PERF_GLOBAL_CTRL), Ok(0xFF));
    assert_eq!(pmu(4, 4, 3).rdmsr(msr::IA32_PERF_GLOBAL_CTRL), Ok(0xF));
    for zero in [msr::IA32_PMC0, msr::IA32_PERFEVTSEL0, msr::IA32_FIXED_CTR_CTRL, msr::IA32_DEBUGCTL] {
        assert_eq!(v5().rdmsr(zero), Ok(0));
    }
}
