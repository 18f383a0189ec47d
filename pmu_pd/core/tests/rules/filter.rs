//! What reaches the hardware.

use crate::common::{Bench, EVENTSEL, filter, ice_lake, policy, table, version};
use pmu_api::Mode;
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::registers::EventSelect;
use pmu_core::vpmu::Written;
use pmu_core::{Filter, KernelMode, PortError};

const COUNTING: u64 = 0x43 << 16;

fn mediated(filter: Filter<'static>) -> Bench {
    Bench::with(ice_lake(), &policy(Mode::Mediated, version(4), filter))
}

/// The filter clears EN (bit 22) alone; the guest reads back what it wrote.
#[test]
fn a_denied_selector_keeps_everything_but_enable() {
    let mut guest = mediated(filter(|event, _| event != 0xC4, 0xF));
    let value = 0xA5DF_00C4;
    assert_eq!(value & selector::ENABLE, selector::ENABLE);
    assert_eq!(guest.write(EVENTSEL + 3, value), Ok(Written::Control { denied: true }));
    assert_eq!(guest.port.get(EVENTSEL + 3), value & !selector::ENABLE);
    assert_eq!(guest.read(EVENTSEL + 3), Ok(value));
    assert_eq!(guest.write(EVENTSEL + 3, COUNTING | 0xC0), Ok(Written::Control { denied: false }));
    assert_eq!(guest.port.get(EVENTSEL + 3), COUNTING | 0xC0);
    // A denied event without EN loses nothing.
    assert_eq!(guest.write(EVENTSEL + 3, 0xC4), Ok(Written::Control { denied: false }));
}

/// KVM's selftest: a value such as 0xdead reads back.
#[test]
fn guests_read_back_what_they_wrote() {
    let mut guest = mediated(filter(|_, _| false, 0));
    for i in 0..8 {
        guest.accepts(EVENTSEL + i, 0xdead + u64::from(i));
        guest.accepts(IA32_PMC0 + i, 0xdead);
        assert_eq!(guest.read(EVENTSEL + i), Ok(0xdead + u64::from(i)));
        assert_eq!(guest.read(IA32_PMC0 + i), Ok(0xdead));
    }
}

/// The hole of KVM 6.20: a write to IA32_FIXED_CTR_CTRL that changed another field enabled a denied counter again.
#[test]
fn kvm_6_20_fixed_ctr_ctrl_hole_is_closed() {
    let mut guest = mediated(filter(|_, _| true, 0b1011));
    guest.accepts(IA32_FIXED_CTR_CTRL, 0x0B0B);
    assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), 0x000B, "counter 2 is denied");
    // Now only field 1 changes, and field 2 stays as the guest wrote it.
    guest.accepts(IA32_FIXED_CTR_CTRL, 0x0BBB);
    assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), 0x00BB, "counter 2 is still denied");
    guest.accepts(IA32_FIXED_CTR_CTRL, 0xBBBB);
    assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), 0xB0BB);
    assert_eq!(guest.read(IA32_FIXED_CTR_CTRL), Ok(0xBBBB));
}

/// Every denied set of fixed counters, every written value: no denied field ever reaches the hardware.
#[test]
fn no_denied_fixed_field_reaches_the_hardware() {
    for permitted in 0..16_u64 {
        let mut guest = mediated(filter(|_, _| true, permitted));
        for combination in 0..256_u64 {
            // Each field one of 0x0, 0x3, 0x8, 0xB.
            let value = (0..4).fold(0, |value, i| {
                value | [0x0, 0x3, 0x8, 0xB][(combination >> (2 * i) & 3) as usize] << (4 * i)
            });
            let written = guest.write(IA32_FIXED_CTR_CTRL, value).unwrap();
            let expected = (0..4)
                .filter(|i| permitted >> i & 1 != 0)
                .fold(0, |expected, i| expected | value & (0xF << (4 * i)));
            assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), expected);
            assert_eq!(written, Written::Control { denied: expected != value });
        }
    }
}

/// The decision is on event select and unit mask, 16 bits; bits 35:32 are no part of the key (AMD's are).
#[test]
fn the_key_is_event_select_and_unit_mask() {
    let one = filter(|event, umask| (event, umask) == (0x2E, 0x41), 0);
    for key in 0..=u16::MAX {
        assert_eq!(one.permits(EventSelect(u64::from(key))), key == 0x412E, "{key:#x}");
    }
    for other_bits in [1_u64 << 16, 1 << 32, 1 << 35, u64::MAX << 16] {
        assert!(one.permits(EventSelect(other_bits | 0x412E)));
        assert!(!one.permits(EventSelect(other_bits | 0x4F2E)));
    }
}

/// 20.3.1.1.3: off-core responses need MSRs that no guest has; no table may permit them.
#[test]
fn off_core_events_are_refused() {
    for key in OFFCORE_EVENTS {
        let bad = table(|_, _| false);
        assert!(Filter::new(bad, 0xF).is_some());
        bad[usize::from(key / 64)].fetch_or(1 << (key % 64), std::sync::atomic::Ordering::Relaxed);
        assert!(Filter::new(bad, 0xF).is_none(), "{key:#x}");
    }
    assert!(Filter::new(table(|_, _| true), 0x10).is_none(), "there are four fixed counters");
}

/// A new filter is in force at once, for counters that run.
#[test]
fn a_filter_change_recomputes_running_counters() {
    let mut guest = mediated(filter(|event, _| event == 0xC0, 0b0001));
    guest.accepts(EVENTSEL, COUNTING | 0xC0);
    guest.accepts(EVENTSEL + 1, COUNTING | 0xC4);
    guest.accepts(IA32_FIXED_CTR_CTRL, 0xBB);
    guest.accepts(IA32_PERF_GLOBAL_CTRL, 0xF_0000_00FF);
    assert_eq!(guest.port.get(EVENTSEL + 1), 0x03 << 16 | 0xC4);
    guest.vpmu.replace_filter(&mut guest.port, filter(|event, _| event == 0xC4, 0b0010)).unwrap();
    assert_eq!(guest.port.get(EVENTSEL), 0x03 << 16 | 0xC0);
    assert_eq!(guest.port.get(EVENTSEL + 1), COUNTING | 0xC4);
    assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), 0xB0);
    assert_eq!(guest.port.get(IA32_PERF_GLOBAL_CTRL), 0xF_0000_00FF);
    assert_eq!(guest.read(EVENTSEL), Ok(COUNTING | 0xC0));
    assert_eq!(guest.read(IA32_FIXED_CTR_CTRL), Ok(0xBB));
    assert!(guest.port.modes.is_empty(), "counting never stopped");
}

/// If the kernel refuses a value midway, nothing counts any more.
#[test]
fn a_filter_change_that_fails_switches_counting_off() {
    let mut guest = mediated(filter(|_, _| true, 0xF));
    for refused_at in 0..9 {
        guest.port.budget = Some(refused_at);
        guest.port.modes.clear();
        let result = guest.vpmu.replace_filter(&mut guest.port, filter(|_, _| false, 0));
        assert_eq!(result, Err(PortError(4)));
        assert_eq!(guest.port.modes, [KernelMode::Off]);
    }
}

/// A system without fixed counters has no IA32_FIXED_CTR_CTRL to program.
#[test]
fn hardware_without_fixed_counters() {
    let raw = crate::common::hardware(4, 4, 0);
    let bench = Bench::with(raw, &policy(Mode::Mediated, Wanted::default(), crate::common::allow_all()));
    assert!(!bench.port.registers.contains_key(&IA32_FIXED_CTR_CTRL));
}

/// 65,536 bits are not for people; what is left says which fixed counters may count.
#[test]
fn a_filter_as_text_names_its_fixed_counters() {
    assert_eq!(format!("{:?}", filter(|_, _| true, 0b101)), "Filter { fixed_fields: 3855, .. }");
}
