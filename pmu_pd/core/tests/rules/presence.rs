//! Which registers there are, by version, counts and mode. SDM volume 3B, chapter 20.

use crate::common::{Bench, allow_all, ice_lake, policy, version};
use pmu_api::Mode;
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::vpmu::{Trouble, Written};

/// 20.2.6, 20.3.1.1.1: IA32_PERF_CAPABILITIES is read-only and shows full-width writes alone.
#[test]
fn perf_capabilities_show_full_width_writes_only() {
    let mut raw = ice_lake();
    raw.perf_capabilities = u64::MAX;
    let mut guest = Bench::with(raw, &policy(Mode::Mediated, version(4), allow_all()));
    assert_eq!(guest.read(IA32_PERF_CAPABILITIES), Ok(capabilities::FW_WRITES));
    for bit in 0..64 {
        guest.faults(IA32_PERF_CAPABILITIES, capabilities::FW_WRITES ^ 1 << bit);
    }
}

/// The MSRs beyond the architectural counters: PEBS, DS, LBR, off-core, metrics, uncore.
#[test]
fn denied_msrs_fault_in_every_version_and_mode() {
    for mode in [Mode::Off, Mode::Mediated, Mode::Emulated, Mode::Passthrough] {
        for v in 0..=5 {
            if mode == Mode::Passthrough && v < 4 {
                continue;
            }
            let mut guest = Bench::with(ice_lake(), &policy(mode, version(v), allow_all()));
            for (msr, name) in DENIED_MSRS {
                assert!(guest.is_absent(*msr), "{name}");
                guest.faults(*msr, 0);
                guest.faults(*msr, 1);
            }
        }
    }
}

/// 20.2.2: fixed counters and global registers exist from version 2 on; counters beyond the counts do not.
#[test]
fn registers_exist_by_version_and_count() {
    for v in 1..=5_u8 {
        for (general, fixed) in [(1, 0), (4, 3), (8, 4)] {
            let wanted = Wanted { general: Some(general), fixed: Some(fixed), ..version(v) };
            let mut guest = Bench::with(ice_lake(), &policy(Mode::Emulated, wanted, allow_all()));
            for i in 0..20 {
                let present = i < u32::from(general);
                for base in [IA32_PERFEVTSEL0, IA32_PMC0, IA32_A_PMC0] {
                    assert_eq!(guest.is_absent(base + i), !present, "{:#x}", base + i);
                }
                let present = v >= 2 && i < u32::from(fixed);
                assert_eq!(guest.is_absent(IA32_FIXED_CTR0 + i), !present, "fixed {i}, version {v}");
                assert_eq!(guest.write(IA32_FIXED_CTR0 + i, 0).is_err(), !present);
            }
            for msr in [0x38D, 0x38E, 0x38F, 0x390] {
                assert_eq!(guest.is_absent(msr), v < 2, "{msr:#x}, version {v}");
            }
            for msr in [0x391, 0x392] {
                assert_eq!(guest.is_absent(msr), v < 4, "{msr:#x}, version {v}");
            }
            for msr in [0xC0, 0x185, 0x308, 0x38C, 0x393, 0x4C0, 0, u32::MAX] {
                assert!(guest.is_absent(msr), "{msr:#x}");
            }
        }
    }
}

/// The P6 family's registers read 0 and drop writes without a PMU; every other one faults.
#[test]
fn version_0_keeps_the_p6_registers() {
    let mut guest = Bench::guest(0);
    for msr in [0xC1, 0xC2, 0x186, 0x187] {
        assert_eq!(guest.write(msr, u64::MAX), Ok(Written::Data));
        assert_eq!(guest.read(msr), Ok(0));
    }
    assert!(guest.port.writes.is_empty());
    for msr in [0xC0, 0xC3, 0x185, 0x188, 0x309, 0x38D, 0x38E, 0x38F, 0x390, 0x391, 0x392, 0x4C1] {
        guest.faults(msr, 0);
        assert!(guest.is_absent(msr));
    }
    // Without CPUID PDCM it reads 0; a write faults.
    assert_eq!(guest.read(IA32_PERF_CAPABILITIES), Ok(0));
    guest.faults(IA32_PERF_CAPABILITIES, 0);
    assert_eq!(guest.rdpmc(0), Err(Trouble::Fault));
}

/// Mode off: every PMU register faults, the P6 ones too.
#[test]
fn mode_off_faults_everywhere() {
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Off, Wanted::default(), allow_all()));
    for msr in [0xC1, 0xC2, 0x186, 0x187, 0x309, 0x345, 0x38D, 0x38E, 0x38F, 0x390, 0x391, 0x392, 0x4C1] {
        guest.faults(msr, 0);
        assert!(guest.is_absent(msr));
    }
    assert_eq!(guest.rdpmc(0), Err(Trouble::Fault));
    assert_eq!(guest.rdpmc(rdpmc::FIXED << 16), Err(Trouble::Fault));
}

/// In passthrough the guest writes the hardware's control registers itself, and IA32_PERF_GLOBAL_INUSE, which still
/// exits, is about what they hold (20.2.4.3).
#[test]
fn in_passthrough_the_registers_in_use_are_the_hardwares() {
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Passthrough, Wanted::default(), allow_all()));
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(0));
    guest.port.set(IA32_PERFEVTSEL0 + 3, 0x53_00C0);
    guest.port.set(IA32_FIXED_CTR_CTRL, 0xB0);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(1 << 63 | 1 << 33 | 1 << 3));
    guest.port.set(IA32_PERFEVTSEL0 + 3, 0);
    guest.port.set(IA32_FIXED_CTR_CTRL, 0);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(0));
}

/// 20.2.4: IA32_PERF_GLOBAL_STATUS_SET does not exit in passthrough, so that a guest of a version without it would have it.
#[test]
fn passthrough_wants_the_registers_of_the_hardware() {
    use pmu_api::UnavailableReason::Geometry;
    let vpmu =
        |v| pmu_core::Vpmu::new(&ice_lake(), &policy(Mode::Passthrough, version(v), allow_all())).map(drop);
    for v in [2, 3] {
        assert_eq!(vpmu(v), Err(Geometry), "version {v}");
    }
    for v in [4, 5] {
        assert_eq!(vpmu(v), Ok(()), "version {v}");
    }
}
