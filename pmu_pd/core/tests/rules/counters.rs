//! The rules of counters: writes by MSR, RDPMC, what a read shows. SDM volume 3B, chapter 20.

use crate::common::{Bench, allow_all, hardware, ice_lake, policy, version};
use pmu_api::{Mode, Privilege};
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::vpmu::{Trouble, Written};

/// 20.2.6: a legacy write is sign-extended from bit 31 and cut to the width.
#[test]
fn legacy_counter_writes_are_sign_extended() {
    let mut guest = Bench::guest(4);
    for (value, expected) in [
        (0, 0),
        (0x7FFF_FFFF, 0x7FFF_FFFF),
        (0x8000_0000, 0xFFFF_8000_0000),
        (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF),
        (0x1234_5678_0000_0001, 1),
        (0xFFFF_FFFF_0000_DEAD, 0xDEAD),
    ] {
        assert_eq!(guest.write(IA32_PMC0 + 7, value), Ok(Written::Data));
        assert_eq!(guest.port.get(IA32_A_PMC0 + 7), expected, "{value:#x}");
        assert_eq!(guest.read(IA32_PMC0 + 7), Ok(expected));
        assert_eq!(guest.read(IA32_A_PMC0 + 7), Ok(expected));
    }
}

/// 20.2.6: bits above the width fault in a full-width write.
#[test]
fn full_width_writes_fault_above_the_width() {
    let mut guest = Bench::guest(4);
    guest.accepts(IA32_A_PMC0, 0xFFFF_FFFF_FFFF);
    assert_eq!(guest.read(IA32_PMC0), Ok(0xFFFF_FFFF_FFFF));
    for bit in 48..64 {
        guest.faults(IA32_A_PMC0, 1 << bit);
    }
}

/// 20.2.6: without FW_WRITES in IA32_PERF_CAPABILITIES there is no full-width address.
#[test]
fn full_width_addresses_need_the_capability() {
    let mut raw = ice_lake();
    raw.perf_capabilities = 0;
    let mut guest = Bench::with(raw, &policy(Mode::Mediated, version(4), allow_all()));
    guest.faults(IA32_A_PMC0, 0);
    assert!(guest.is_absent(IA32_A_PMC0));
    guest.accepts(IA32_PMC0, 5);
    assert_eq!(guest.read(IA32_PERF_CAPABILITIES), Ok(0));
}

/// KVM cuts a fixed counter's value to its width.
#[test]
fn fixed_counter_writes_are_cut_to_the_width() {
    let mut guest = Bench::guest(4);
    guest.accepts(IA32_FIXED_CTR0 + 3, u64::MAX);
    assert_eq!(guest.read(IA32_FIXED_CTR0 + 3), Ok(0xFFFF_FFFF_FFFF));
    assert_eq!(guest.port.get(IA32_FIXED_CTR0 + 3), 0xFFFF_FFFF_FFFF);
}

/// Volume 2B, RDPMC: type and index.
#[test]
fn rdpmc_reads_present_counters_only() {
    let wanted = Wanted { general: Some(4), fixed: Some(3), ..version(4) };
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Emulated, wanted, allow_all()));
    for i in 0..8 {
        guest.port.set(IA32_A_PMC0 + i, u64::from(100 + i));
    }
    for i in 0..4 {
        guest.port.set(IA32_FIXED_CTR0 + i, u64::from(200 + i));
    }
    for i in 0..4 {
        assert_eq!(guest.rdpmc(i), Ok(u64::from(100 + i)));
    }
    for i in 0..3 {
        assert_eq!(guest.rdpmc(0x4000_0000 | i), Ok(u64::from(200 + i)));
    }
    // Absent counters, the fast form (bit 31), metrics (0x2000), unknown types, high index bits.
    for ecx in
        [4, 7, 64, 0xFFFF, 0x4000_0003, 0x4000_0010, 0x8000_0000, 0xC000_0000, 0x2000_0000, 0x0001_0000]
    {
        assert_eq!(guest.rdpmc(ecx), Err(Trouble::Fault), "{ecx:#x}");
    }
    let mut old = Bench::with(hardware(2, 2, 3), &policy(Mode::Emulated, version(1), allow_all()));
    assert_eq!(old.rdpmc(1), Ok(0));
    assert_eq!(old.rdpmc(0x4000_0000), Err(Trouble::Fault));
}

/// Volume 2B, RDPMC: #GP(0) if CR4.PCE = 0, CPL is not 0 and CR0.PE = 1.
#[test]
fn rdpmc_checks_the_privilege() {
    let Bench { vpmu, mut port } = Bench::guest(4);
    for cpl in 0..4 {
        for (protected, enabled) in [(false, false), (false, true), (true, false), (true, true)] {
            let allowed = enabled || cpl == 0 || !protected;
            let result = vpmu.rdpmc(&mut port, 0, Privilege::new(cpl, protected, enabled));
            assert_eq!(result.is_ok(), allowed, "CPL {cpl}, PE {protected}, PCE {enabled}");
        }
    }
}

/// The context may hold more than the guest has: reads show the guest's counters and status bits alone.
#[test]
fn reads_show_no_unexposed_state() {
    let wanted = Wanted { general: Some(2), fixed: Some(1), ..version(4) };
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    for msr in [IA32_PERF_GLOBAL_STATUS, IA32_PERF_GLOBAL_CTRL] {
        guest.port.set(msr, u64::MAX);
        assert_eq!(guest.read(msr), Ok(0x1_0000_0003));
    }
    guest.port.set(IA32_A_PMC0, u64::MAX);
    guest.port.set(IA32_FIXED_CTR0, u64::MAX);
    assert_eq!(guest.read(IA32_A_PMC0), Ok(0xFFFF_FFFF_FFFF));
    assert_eq!(guest.read(IA32_FIXED_CTR0), Ok(0xFFFF_FFFF_FFFF));
    assert_eq!(guest.rdpmc(0), Ok(0xFFFF_FFFF_FFFF));
    assert_eq!(guest.rdpmc(0x4000_0000), Ok(0xFFFF_FFFF_FFFF));
}
