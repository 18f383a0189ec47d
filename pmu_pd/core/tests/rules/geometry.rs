//! Guest geometries on hardware of versions 1 to 5, CPUID leaf 0xA, what is direct.

use crate::common::{Bench, FakePort, allow_all, filter, hardware, ice_lake, policy, version};
use pmu_api::{Direct, Mode, Privilege, UnavailableReason};
use pmu_core::geometry::{Hardware, Wanted};
use pmu_core::vpmu::Trouble;
use pmu_core::{KernelMode, RawGeometry, Vpmu};

const DATA: Direct = Direct::LEGACY_COUNTERS
    .union(Direct::FULL_WIDTH_COUNTERS)
    .union(Direct::FIXED_COUNTERS)
    .union(Direct::GLOBAL)
    .union(Direct::RDPMC);

fn kernel_mode(raw: RawGeometry, mode: Mode, wanted: Wanted) -> KernelMode {
    let mut port = FakePort::new(raw);
    let mut vpmu = Vpmu::new(&raw, &policy(mode, wanted, allow_all())).unwrap();
    vpmu.reset(&mut port).unwrap();
    port.mode.unwrap()
}

/// 20.2: a guest's version is at most the hardware's; each smaller one is possible. Version 1 has no
/// IA32_PERF_GLOBAL_CTRL (20.2.2), so that its counters would count the host as well: a guest gets none of them.
#[test]
fn every_version_up_to_the_hardwares() {
    for hardware_version in 1..=6 {
        let raw = hardware(hardware_version, 8, if hardware_version >= 2 { 4 } else { 0 });
        let latest = if hardware_version == 1 { 0 } else { hardware_version };
        for guest_version in 0..=5_u8 {
            let result = Vpmu::new(&raw, &policy(Mode::Emulated, version(guest_version), allow_all()));
            if u32::from(guest_version) > latest {
                assert_eq!(result.err(), Some(UnavailableReason::Geometry));
                continue;
            }
            let configuration = result.unwrap().configuration();
            let [eax, _, ecx, edx] = configuration.leaf_a;
            assert_eq!(eax & 0xFF, u32::from(guest_version));
            let fixed = if guest_version >= 2 { 4 } else { 0 };
            assert_eq!(edx & 0x1F, fixed, "hardware {hardware_version}, guest {guest_version}");
            assert_eq!(ecx, if guest_version == 5 { 0xF } else { 0 });
        }
    }
}

/// A policy that says nothing gets the hardware's, cut to version 5, 8 and 4 counters.
#[test]
fn the_default_is_the_hardwares() {
    let mut raw = hardware(6, 10, 6);
    raw.leaf_a[2] = 0x3F;
    let vpmu = Vpmu::new(&raw, &policy(Mode::Emulated, Wanted::default(), allow_all())).unwrap();
    let geometry = vpmu.geometry();
    assert_eq!((geometry.version(), geometry.general_counters(), geometry.fixed_counters()), (5, 8, 0xF));
}

#[test]
fn more_counters_than_the_hardware_has_are_refused() {
    let raw = hardware(4, 4, 3);
    let wanted = |general, fixed| Wanted { general, fixed, ..Wanted::default() };
    for bad in [
        wanted(Some(5), None),
        wanted(None, Some(4)),
        wanted(Some(0), None),
        wanted(Some(9), None),
        wanted(None, Some(5)),
    ] {
        let result = Vpmu::new(&raw, &policy(Mode::Mediated, bad, allow_all()));
        assert_eq!(result.err(), Some(UnavailableReason::Geometry), "{bad:?}");
    }
    assert!(Vpmu::new(&raw, &policy(Mode::Mediated, wanted(Some(4), Some(3)), allow_all())).is_ok());
    let raw = hardware(5, 10, 4);
    assert!(Vpmu::new(&raw, &policy(Mode::Mediated, wanted(Some(8), None), allow_all())).is_ok());
    let nine = Vpmu::new(&raw, &policy(Mode::Mediated, wanted(Some(9), None), allow_all()));
    assert_eq!(nine.err(), Some(UnavailableReason::Geometry));
}

/// Hardware without a usable PMU; widths of 20.2.1 are 32 to 64 bits.
#[test]
fn unusable_hardware_is_refused_by_name() {
    for (bad, usable) in [
        (hardware(0, 8, 4), false),
        (hardware(4, 0, 4), false),
        (with_width(31, 48), false),
        (with_width(32, 48), true),
        (with_width(64, 48), true),
        (with_width(65, 48), false),
        (with_width(48, 31), false),
        (with_width(48, 65), false),
    ] {
        let result = Vpmu::new(&bad, &policy(Mode::Mediated, Wanted::default(), allow_all()));
        assert_eq!(result.is_ok(), usable, "{bad:x?}");
        if !usable {
            assert_eq!(result.err(), Some(UnavailableReason::Hardware));
        }
    }
    // Without fixed counters their width does not matter.
    let mut raw = hardware(4, 4, 0);
    raw.leaf_a[3] = 0;
    assert!(Vpmu::new(&raw, &policy(Mode::Mediated, Wanted::default(), allow_all())).is_ok());
    // Mode off asks nothing of the hardware.
    let off = Vpmu::new(&hardware(0, 0, 0), &policy(Mode::Off, Wanted::default(), allow_all())).unwrap();
    assert_eq!(off.configuration().leaf_a, [0; 4]);
}

/// What the kernel gives to no VM is no PMU, whatever CPUID says; mode off does not ask for one.
#[test]
fn hardware_that_the_kernel_keeps_is_refused_by_name() {
    let mut raw = ice_lake();
    raw.flags &= !RawGeometry::USABLE;
    for mode in [Mode::Mediated, Mode::Emulated, Mode::Passthrough] {
        let result = Vpmu::new(&raw, &policy(mode, Wanted::default(), allow_all()));
        assert_eq!(result.err(), Some(UnavailableReason::Hardware), "{mode:?}");
    }
    assert!(Vpmu::new(&raw, &policy(Mode::Off, Wanted::default(), allow_all())).is_ok());
}

/// IN_TX and IN_TXCP (20.3.6.5) are given only where the kernel takes them: the guest would get #GP for a valid value.
#[test]
fn transactions_need_selectors_that_take_them() {
    let mut raw = ice_lake();
    let wanted = Wanted { tsx: true, ..Wanted::default() };
    assert!(Vpmu::new(&raw, &policy(Mode::Mediated, wanted, allow_all())).is_ok());
    raw.flags &= !RawGeometry::SELECTS_TRANSACTIONS;
    let result = Vpmu::new(&raw, &policy(Mode::Mediated, wanted, allow_all()));
    assert_eq!(result.err(), Some(UnavailableReason::Geometry));
    assert!(Vpmu::new(&raw, &policy(Mode::Mediated, Wanted::default(), allow_all())).is_ok());
}

fn with_width(general: u32, fixed: u32) -> RawGeometry {
    let mut raw = hardware(4, 4, 3);
    raw.leaf_a[0] = raw.leaf_a[0] & !0xFF_0000 | general << 16;
    raw.leaf_a[3] = raw.leaf_a[3] & !0x1FE0 | fixed << 5;
    raw
}

/// Volume 2A, CPUID leaf 0xA, field by field.
#[test]
fn leaf_a_has_the_sdms_fields() {
    let mut raw = ice_lake();
    raw.leaf_a[0] = 5 | 8 << 8 | 48 << 16 | 9 << 24;
    raw.leaf_a[1] = 1 << 7;
    let wanted = Wanted { general: Some(6), fixed: Some(3), ..version(5) };
    let configuration =
        Vpmu::new(&raw, &policy(Mode::Mediated, wanted, allow_all())).unwrap().configuration();
    let expected = [5 | 6 << 8 | 48 << 16 | 8 << 24, 1 << 7, 0b111, 3 | 48 << 5 | 1 << 15];
    assert_eq!(configuration.leaf_a, expected);
    assert!(configuration.pdcm);
    assert_eq!(configuration.perf_capabilities, 1 << 13);
    // No counter, no width.
    let wanted = Wanted { fixed: Some(0), ..version(4) };
    let leaf = Vpmu::new(&raw, &policy(Mode::Mediated, wanted, allow_all())).unwrap().configuration().leaf_a;
    assert_eq!(leaf[3], 1 << 15);
    let leaf = Vpmu::new(&raw, &policy(Mode::Mediated, version(0), allow_all())).unwrap().configuration();
    assert_eq!((leaf.leaf_a, leaf.pdcm, leaf.perf_capabilities), ([0; 4], false, 0));
}

/// An architectural event that the filter denies is "not available" in EBX (volume 2A, CPUID).
#[test]
fn denied_architectural_events_are_not_available() {
    let no_llc = filter(|event, _| event != 0x2E, 0xF);
    let vpmu = Vpmu::new(&ice_lake(), &policy(Mode::Mediated, Wanted::default(), no_llc)).unwrap();
    assert_eq!(vpmu.configuration().leaf_a[1], 0b0001_1000);
    let mut lacking = ice_lake();
    lacking.leaf_a[1] = 0b0010_1000;
    let vpmu = Vpmu::new(&lacking, &policy(Mode::Mediated, Wanted::default(), no_llc)).unwrap();
    assert_eq!(vpmu.configuration().leaf_a[1], 0b0011_1000, "denied, lacking, or both");
    let nothing = filter(|_, _| false, 0);
    let vpmu = Vpmu::new(&ice_lake(), &policy(Mode::Mediated, Wanted::default(), nothing)).unwrap();
    assert_eq!(vpmu.configuration().leaf_a[1], 0xFF);
    let mut raw = ice_lake();
    raw.leaf_a[0] = raw.leaf_a[0] & 0xFF_FFFF | 7 << 24;
    let vpmu = Vpmu::new(&raw, &policy(Mode::Mediated, Wanted::default(), nothing)).unwrap();
    assert_eq!(vpmu.configuration().leaf_a[1], 0x7F, "bits past the vector's length are 0");
}

/// 20.2.5.2: a fixed counter exists if ECX has its bit or EDX[4:0] is above it; before version 5 only EDX counts.
#[test]
fn fixed_counters_with_a_gap() {
    let mut raw = hardware(5, 8, 2);
    raw.leaf_a[2] = 0b1000;
    let geometry = |wanted| Hardware::new(&raw).unwrap().geometry(wanted).map(|g| g.fixed_counters());
    assert_eq!(geometry(version(5)), Ok(0b1011));
    assert_eq!(geometry(version(4)), Ok(0b0011));
    assert_eq!(geometry(version(1)), Ok(0));
    let wanted = |fixed| Wanted { fixed: Some(fixed), ..version(5) };
    assert_eq!(geometry(wanted(2)), Ok(0b0011));
    assert_eq!(geometry(wanted(3)), Err(UnavailableReason::Geometry));
    assert_eq!(geometry(wanted(4)), Err(UnavailableReason::Geometry));
    let leaf =
        Vpmu::new(&raw, &policy(Mode::Mediated, version(5), allow_all())).unwrap().configuration().leaf_a;
    assert_eq!((leaf[2], leaf[3] & 0x1F), (0b1011, 2));
    // ECX means nothing before version 5.
    let mut raw = hardware(4, 8, 2);
    raw.leaf_a[2] = 0b1000;
    assert_eq!(Hardware::new(&raw).unwrap().fixed_counters(), 0b0011);
}

/// Direct only while the guest's geometry is the hardware's, fixed counter 3 included.
#[test]
fn direct_access_needs_the_hardwares_geometry() {
    let raw = ice_lake();
    let wanted = |version, general, fixed| Wanted { version, general, fixed, tsx: false };
    for (wanted, mode) in [
        (wanted(None, None, None), KernelMode::Direct),
        (wanted(Some(5), Some(8), Some(4)), KernelMode::Direct),
        (wanted(Some(4), None, None), KernelMode::Direct),
        (wanted(Some(3), None, None), KernelMode::Direct),
        (wanted(Some(2), None, None), KernelMode::Direct),
        (wanted(Some(1), None, None), KernelMode::Trapped),
        (wanted(Some(0), None, None), KernelMode::Off),
        (wanted(None, Some(7), None), KernelMode::Trapped),
        (wanted(None, None, Some(3)), KernelMode::Trapped),
    ] {
        assert_eq!(kernel_mode(raw, Mode::Mediated, wanted), mode, "{wanted:?}");
        let configuration =
            Vpmu::new(&raw, &policy(Mode::Mediated, wanted, allow_all())).unwrap().configuration();
        let direct = if mode == KernelMode::Direct { DATA } else { Direct::empty() };
        assert_eq!(configuration.direct, direct);
        assert_eq!(configuration.mode, Mode::Mediated);
    }
    assert_eq!(kernel_mode(hardware(3, 4, 3), Mode::Mediated, version(2)), KernelMode::Direct);
    assert_eq!(kernel_mode(hardware(2, 4, 3), Mode::Mediated, Wanted::default()), KernelMode::Direct);
    assert_eq!(kernel_mode(hardware(1, 4, 0), Mode::Mediated, Wanted::default()), KernelMode::Off);
    // More counters than a vPMU has.
    assert_eq!(kernel_mode(hardware(5, 10, 4), Mode::Mediated, Wanted::default()), KernelMode::Trapped);
    assert_eq!(kernel_mode(hardware(4, 8, 5), Mode::Mediated, Wanted::default()), KernelMode::Trapped);
    // 20.2.5.2: fixed counter 6 is in the bitmap alone.
    let mut raw = hardware(5, 8, 4);
    raw.leaf_a[2] |= 1 << 6;
    assert_eq!(kernel_mode(raw, Mode::Mediated, Wanted::default()), KernelMode::Trapped);
    raw.leaf_a[2] = 1 << 20 | 0xF;
    assert_eq!(kernel_mode(raw, Mode::Mediated, Wanted::default()), KernelMode::Trapped);
    // Without exit control 30, IA32_PERF_GLOBAL_CTRL cannot be direct.
    let mut raw = ice_lake();
    raw.flags &= !RawGeometry::SAVES_GLOBAL_CONTROL;
    assert_eq!(kernel_mode(raw, Mode::Mediated, Wanted::default()), KernelMode::Trapped);
}

#[test]
fn the_other_modes() {
    assert_eq!(kernel_mode(ice_lake(), Mode::Emulated, Wanted::default()), KernelMode::Trapped);
    assert_eq!(kernel_mode(ice_lake(), Mode::Off, Wanted::default()), KernelMode::Off);
    assert_eq!(kernel_mode(ice_lake(), Mode::Passthrough, Wanted::default()), KernelMode::Raw);
    let raw = Vpmu::new(&ice_lake(), &policy(Mode::Passthrough, Wanted::default(), allow_all())).unwrap();
    assert_eq!(raw.configuration().direct, DATA | Direct::CONTROL);
    let fewer = policy(Mode::Passthrough, Wanted { general: Some(4), ..Wanted::default() }, allow_all());
    assert_eq!(Vpmu::new(&ice_lake(), &fewer).err(), Some(UnavailableReason::Geometry));
    let mut narrow = ice_lake();
    narrow.perf_capabilities = 0;
    let vpmu = Vpmu::new(&narrow, &policy(Mode::Mediated, Wanted::default(), allow_all())).unwrap();
    assert_eq!(vpmu.configuration().direct, DATA - Direct::FULL_WIDTH_COUNTERS);
}

/// A reset clears every counter of the hardware, exposed or not, before anything may count.
#[test]
fn reset_clears_what_another_guest_left() {
    let wanted = Wanted { general: Some(2), fixed: Some(1), ..version(4) };
    let Bench { mut vpmu, mut port } = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    for i in 0..8 {
        port.set(0x4C1 + i, 7);
        port.set(0x186 + i, 0x43_00C0);
    }
    for i in 0..4 {
        port.set(0x309 + i, 7);
    }
    port.set(0x38D, 0xBBBB);
    port.set(0x38E, 0xF_0000_00FF);
    vpmu.write(&mut port, 0x186, 0x43_00C4).unwrap();
    vpmu.write(&mut port, 0x38D, 0xB).unwrap();
    vpmu.reset(&mut port).unwrap();
    for (&msr, &value) in &port.registers {
        assert_eq!(value, if msr == 0x38F { 0b11 } else { 0 }, "{msr:#x}");
    }
    assert_eq!(port.modes, [KernelMode::Off, KernelMode::Trapped]);
    assert_eq!(vpmu.read(&mut port, 0x186), Ok(0));
    assert_eq!(vpmu.read(&mut port, 0x38D), Ok(0));
}

/// Before version 2 the guest's counters obey EN alone: the hardware's IA32_PERF_GLOBAL_CTRL enables them all.
#[test]
fn version_1_guests_run_with_global_control_set() {
    let bench = Bench::with(ice_lake(), &policy(Mode::Mediated, version(1), allow_all()));
    assert_eq!(bench.port.get(0x38F), 0xFF);
}

/// On hardware of version 1 nothing can count in any mode, and the guest is told so by CPUID; its global registers,
/// which do not exist, are left alone.
#[test]
fn version_1_hardware_counts_for_nobody() {
    for mode in [Mode::Mediated, Mode::Emulated, Mode::Passthrough] {
        let Bench { vpmu, mut port } =
            Bench::with(hardware(1, 4, 0), &policy(mode, Wanted::default(), allow_all()));
        assert_eq!(vpmu.configuration().leaf_a, [0; 4], "{mode:?}");
        assert_eq!(port.mode, Some(KernelMode::Off));
        let written: Vec<u32> = port.registers.keys().copied().collect();
        assert!(
            written.iter().all(|msr| (0x186..0x18A).contains(msr) || (0x4C1..0x4C5).contains(msr)),
            "{written:x?}"
        );
        assert!(port.registers.values().all(|value| *value == 0));
        assert_eq!(vpmu.rdpmc(&mut port, 0, Privilege::new(0, true, true)), Err(Trouble::Fault));
    }
}
