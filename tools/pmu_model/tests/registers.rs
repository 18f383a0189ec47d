//! Reserved bits, read-only registers, counter writes and RDPMC.

mod common;

use common::{CTR_FRZ, EN, FREEZE, GP, INT, MAX, OS, leaf, pmc0, pmu, status, v5};
use pmu_model::{Cpuid0A, GeneralProtection, Geometry, PerfCapabilities, Pmu, msr};

/// Bits of a 64-bit register that WRMSR accepts one at a time.
fn writable_bits(fresh: impl Fn() -> Pmu, number: u32) -> u64 {
    (0..64).filter(|bit| fresh().wrmsr(number, 1 << bit).is_ok()).fold(0, |bits, bit| bits | 1 << bit)
}

/// SDM vol. 3B, figure 20-1, and 20.2.3: AnyThread, bit 21, from version 3 to its deprecation in EDX[15].
#[test]
fn reserved_bits_of_perfevtsel() {
    for version in 1..=2 {
        assert_eq!(writable_bits(|| pmu(version, 4, 3), msr::IA32_PERFEVTSEL0), 0xFFDF_FFFF);
    }
    for version in 3..=4 {
        assert_eq!(writable_bits(|| pmu(version, 4, 3), msr::IA32_PERFEVTSEL0), 0xFFFF_FFFF);
    }
    assert_eq!(writable_bits(v5, msr::IA32_PERFEVTSEL0), 0xFFDF_FFFF);
    let kept = Geometry::from_cpuid(Cpuid0A { edx: 4 | 48 << 5, ..leaf(5, 8, 4) }).unwrap();
    assert_eq!(writable_bits(|| Pmu::new(kept, None), msr::IA32_PERFEVTSEL0), 0xFFFF_FFFF);
}

/// Figures 20-2 and 20-6: four bits a counter that exists; AnyThread as above.
#[test]
fn reserved_bits_of_fixed_ctr_ctrl() {
    assert_eq!(writable_bits(|| pmu(2, 2, 3), msr::IA32_FIXED_CTR_CTRL), 0xBBB);
    assert_eq!(writable_bits(|| pmu(3, 4, 3), msr::IA32_FIXED_CTR_CTRL), 0xFFF);
    assert_eq!(writable_bits(|| pmu(4, 4, 3), msr::IA32_FIXED_CTR_CTRL), 0xFFF);
    assert_eq!(writable_bits(v5, msr::IA32_FIXED_CTR_CTRL), 0xBBBB);
    let gap = Geometry::from_cpuid(Cpuid0A { ecx: 0b1001, edx: 1 << 15 | 48 << 5, ..leaf(5, 8, 0) }).unwrap();
    assert_eq!(writable_bits(|| Pmu::new(gap, None), msr::IA32_FIXED_CTR_CTRL), 0xB00B);
}

/// 20.2.2: IA32_PERF_GLOBAL_CTRL has the counters' bits only.
#[test]
fn reserved_bits_of_global_ctrl() {
    assert_eq!(writable_bits(v5, msr::IA32_PERF_GLOBAL_CTRL), 0xF_0000_00FF);
    assert_eq!(writable_bits(|| pmu(4, 4, 3), msr::IA32_PERF_GLOBAL_CTRL), 0x7_0000_000F);
}

/// Figures 20-3, 20-7 and 20-10 to 20-12: status bits 61 (version 3), 58 and 59 (version 4), 62 and 63;
/// STATUS_SET has no bit 63.
#[test]
fn reserved_bits_of_the_status_registers() {
    let reset = msr::IA32_PERF_GLOBAL_STATUS_RESET;
    let set = msr::IA32_PERF_GLOBAL_STATUS_SET;
    assert_eq!(writable_bits(|| pmu(2, 2, 3), reset), 0xC000_0007_0000_0003);
    assert_eq!(writable_bits(|| pmu(3, 4, 3), reset), 0xE000_0007_0000_000F);
    assert_eq!(writable_bits(|| pmu(4, 4, 3), reset), 0xEC00_0007_0000_000F);
    assert_eq!(writable_bits(v5, reset), 0xEC00_000F_0000_00FF);
    assert_eq!(writable_bits(v5, set), 0x6C00_000F_0000_00FF);
}

/// Vol. 3B, 18.4.1, of a processor without branch records: BTF and FREEZE_PERFMON_ON_PMI (version 2 on).
#[test]
fn reserved_bits_of_debugctl() {
    assert_eq!(writable_bits(v5, msr::IA32_DEBUGCTL), FREEZE | 2);
    assert_eq!(writable_bits(|| pmu(1, 2, 0), msr::IA32_DEBUGCTL), 2);
}

/// Vol. 4, table 2-2: read-only registers.
#[test]
fn read_only_registers_refuse_every_value() {
    for number in [msr::IA32_PERF_GLOBAL_STATUS, msr::IA32_PERF_GLOBAL_INUSE, msr::IA32_PERF_CAPABILITIES] {
        assert_eq!(v5().wrmsr(number, 0), Err(GP), "{number:#x}");
    }
}

/// A refused write changes nothing.
#[test]
fn a_refused_write_changes_nothing() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_PERFEVTSEL0, EN | OS).unwrap();
    assert_eq!(pmu.wrmsr(msr::IA32_PERFEVTSEL0, 1 << 32 | INT), Err(GP));
    assert_eq!(pmu.rdmsr(msr::IA32_PERFEVTSEL0), Ok(EN | OS));
}

/// 20.2.1.1: a write of IA32_PMCi has 32 bits, sign-extended to the counter's width; 20.2.8: IA32_A_PMCi takes
/// the whole width, and what exceeds it faults.
#[test]
fn legacy_writes_sign_extend_and_full_width_writes_do_not() {
    let mut pmu = v5();
    for (written, read) in [(0x7FFF_FFFF, 0x7FFF_FFFF), (0x8000_0000, 0xFFFF_8000_0000), (u64::MAX, MAX)] {
        pmu.wrmsr(msr::IA32_PMC0, written).unwrap();
        assert_eq!(pmc0(&pmu), read);
    }
    pmu.wrmsr(msr::IA32_PMC0, 0x1_0000_0005).unwrap();
    assert_eq!(pmc0(&pmu), 5, "the upper half is ignored");
    pmu.wrmsr(msr::IA32_A_PMC0, 0x8000_0000).unwrap();
    assert_eq!(pmc0(&pmu), 0x8000_0000);
    assert_eq!(pmu.wrmsr(msr::IA32_A_PMC0, MAX), Ok(()));
    assert_eq!(pmu.wrmsr(msr::IA32_A_PMC0, MAX + 1), Err(GP));
    assert_eq!(pmu.rdmsr(msr::IA32_A_PMC0), Ok(MAX));
}

/// 20.2.2: fixed counters are written in their whole width.
#[test]
fn fixed_counters_take_their_width() {
    let mut pmu = v5();
    assert_eq!(pmu.wrmsr(msr::IA32_FIXED_CTR0, 0x8000_0000), Ok(()));
    assert_eq!(pmu.rdmsr(msr::IA32_FIXED_CTR0), Ok(0x8000_0000));
    assert_eq!(pmu.wrmsr(msr::IA32_FIXED_CTR0, MAX + 1), Err(GP));
}

/// 20.2.4: STATUS_SET sets and STATUS_RESET clears; both read as 0.
#[test]
fn status_bits_are_set_and_reset() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_SET, 0x1_0000_0003).unwrap();
    assert_eq!(status(&pmu), 0x1_0000_0003);
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET, 1 << 32 | 1).unwrap();
    assert_eq!(status(&pmu), 2);
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_STATUS_SET), Ok(0));
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET), Ok(0));
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_SET, CTR_FRZ).unwrap();
    assert!(pmu.frozen());
}

/// 20.2.4.3: IA32_PERF_GLOBAL_INUSE.
#[test]
fn in_use_follows_the_selectors() {
    let mut pmu = v5();
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_INUSE), Ok(0));
    pmu.wrmsr(msr::IA32_PERFEVTSEL0 + 1, 0xC0).unwrap();
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_INUSE), Ok(0b10), "the event select alone counts");
    pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, 0x0020).unwrap();
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_INUSE), Ok(1 << 33 | 0b10));
    pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, 0x8000).unwrap();
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_INUSE), Ok(1 << 63 | 0b10), "PMI without enable");
    pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, 0).unwrap();
    pmu.wrmsr(msr::IA32_PERFEVTSEL0 + 1, INT).unwrap();
    assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_INUSE), Ok(1 << 63));
}

/// Vol. 2B, RDPMC: ECX[31:16] is the type, ECX[15:0] the index; anything else faults.
#[test]
fn rdpmc_takes_type_and_index() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_A_PMC0 + 7, 77).unwrap();
    pmu.wrmsr(msr::IA32_FIXED_CTR0 + 3, 33).unwrap();
    assert_eq!(pmu.rdpmc(7), Ok(77));
    assert_eq!(pmu.rdpmc(0x4000_0003), Ok(33));
    for ecx in [8, 18, 0x4000_0004, 0x2000_0000, 0x8000_0000, 0xC000_0000, 0x1_0000, 0x4001_0000, u32::MAX] {
        assert_eq!(pmu.rdpmc(ecx), Err(GeneralProtection), "{ecx:#x}");
    }
    assert_eq!(common::pmu(1, 2, 0).rdpmc(0x4000_0000), Err(GeneralProtection));
}

/// A power-up state is the same however it was reached: nothing survives in a new PMU.
#[test]
fn a_new_pmu_knows_nothing_of_the_old() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_PERFEVTSEL0, 0xC0 | OS | EN).unwrap();
    let new = Pmu::new(*pmu.geometry(), Some(PerfCapabilities(PerfCapabilities::FW_WRITE)));
    assert_eq!(new.rdmsr(msr::IA32_PERFEVTSEL0), Ok(0));
    assert!(!new.observed().any && pmu.observed().any);
}
