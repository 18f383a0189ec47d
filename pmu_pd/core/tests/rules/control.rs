//! The validity rules of control and status registers, by the guest's accesses. SDM volume 3B, chapter 20.

use crate::common::{Bench, EVENTSEL, allow_all, ice_lake, policy, version};
use pmu_api::Mode;
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::vpmu::{Trouble, Written};

const COUNTING: u64 = selector::ENABLE | selector::OS | selector::USR;

/// 20.2.1.1, figure 20-1: bits 63:35 are reserved; 20.9.1: bit 34 needs PEBS; 20.2.5.1: bit 21 is AnyThread.
#[test]
fn selector_reserved_bits_fault_and_all_others_do_not() {
    let mut guest = Bench::guest(5);
    for bit in 0..64 {
        if bit == 21 || bit >= 32 {
            guest.faults(EVENTSEL + 2, 1 << bit);
        } else {
            guest.accepts(EVENTSEL + 2, 1 << bit);
            assert_eq!(guest.read(EVENTSEL + 2), Ok(1 << bit));
        }
    }
}

/// 20.2.3: AnyThread counts the SMT sibling.
#[test]
fn any_thread_is_denied_in_every_version() {
    for version in 1..=5 {
        let mut guest = Bench::guest(version);
        guest.faults(EVENTSEL, COUNTING | selector::ANY_THREAD);
        if version >= 2 {
            guest.faults(IA32_FIXED_CTR_CTRL, 0x4);
            guest.faults(IA32_FIXED_CTR_CTRL, 0x47);
        }
    }
}

/// 20.2.1.1: pin control has no effect, and is accepted.
#[test]
fn pin_control_is_accepted() {
    let mut guest = Bench::guest(4);
    let written = guest.write(EVENTSEL, COUNTING | selector::PIN_CONTROL);
    assert_eq!(written, Ok(Written::Control { denied: false }));
    assert_eq!(guest.read(EVENTSEL), Ok(COUNTING | selector::PIN_CONTROL));
}

/// 20.3.6.5: IN_TX exists with TSX, IN_TXCP on counter 2 only.
#[test]
fn transaction_bits_follow_tsx_and_counter_2() {
    let wanted = Wanted { tsx: true, ..Wanted::default() };
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    for i in 0..8 {
        guest.accepts(EVENTSEL + i, selector::IN_TX);
        if i == 2 {
            guest.accepts(EVENTSEL + i, selector::IN_TXCP | selector::IN_TX);
        } else {
            guest.faults(EVENTSEL + i, selector::IN_TXCP);
        }
        guest.faults(EVENTSEL + i, selector::ADAPTIVE_RECORD);
        guest.faults(EVENTSEL + i, 1 << 35);
    }
    let mut guest = Bench::guest(5);
    guest.faults(EVENTSEL, selector::IN_TX);
    guest.faults(EVENTSEL + 2, selector::IN_TXCP);
}

/// 20.2.2, figure 20-2: fields of four bits; bits 0, 1 and 3 of present counters only.
#[test]
fn fixed_control_takes_0xb_in_the_fields_of_present_counters() {
    for count in 0..=4_u8 {
        let wanted = Wanted { fixed: Some(count), ..version(4) };
        let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
        for bit in 0..64 {
            let allowed = bit / 4 < u32::from(count) && bit % 4 != 2;
            if allowed {
                guest.accepts(IA32_FIXED_CTR_CTRL, 1 << bit);
                assert_eq!(guest.read(IA32_FIXED_CTR_CTRL), Ok(1 << bit));
                assert_eq!(guest.port.get(IA32_FIXED_CTR_CTRL), 1 << bit);
            } else {
                guest.faults(IA32_FIXED_CTR_CTRL, 1 << bit);
            }
        }
    }
}

/// 20.2.2, figure 20-3: a bit for each counter, others fault (also EN_PERF_METRICS, bit 48).
#[test]
fn global_control_takes_the_counters_bits() {
    let wanted = Wanted { general: Some(3), fixed: Some(2), ..version(4) };
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    for bit in 0..64 {
        if bit < 3 || bit == 32 || bit == 33 {
            guest.accepts(IA32_PERF_GLOBAL_CTRL, 1 << bit);
            assert_eq!(guest.read(IA32_PERF_GLOBAL_CTRL), Ok(1 << bit));
        } else {
            guest.faults(IA32_PERF_GLOBAL_CTRL, 1 << bit);
        }
    }
}

/// Volume 3A, table 10-1: after reset one bit for each general-purpose counter.
#[test]
fn global_control_resets_to_the_general_counters() {
    for general in 1..=8 {
        let wanted = Wanted { general: Some(general), ..version(2) };
        let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
        assert_eq!(guest.read(IA32_PERF_GLOBAL_CTRL), Ok((1 << general) - 1));
    }
}

/// 20.2.2: IA32_PERF_GLOBAL_STATUS is read-only.
#[test]
fn status_writes_fault() {
    let mut guest = Bench::guest(4);
    guest.faults(IA32_PERF_GLOBAL_STATUS, 0);
    guest.faults(IA32_PERF_GLOBAL_STATUS, 1);
}

/// 20.2.2, figure 20-5, 20.2.4.2; volume 4, table 2-2: the counters' bits, 62 and 63 clear; reads 0. That bit 62 needs no DS
/// matters: FreeBSD's hwpmc sets it in each of its interrupts.
#[test]
fn status_reset_clears_what_it_names() {
    let mut guest = Bench::guest(4);
    guest.port.set(IA32_PERF_GLOBAL_STATUS, 0xF_0000_00FF);
    for bit in 0..64 {
        if bit < 8 || (32..36).contains(&bit) || bit >= 62 {
            guest.accepts(IA32_PERF_GLOBAL_STATUS_RESET, 1 << bit);
            assert_eq!(guest.read(IA32_PERF_GLOBAL_STATUS).unwrap() >> bit & 1, 0);
        } else {
            guest.faults(IA32_PERF_GLOBAL_STATUS_RESET, 1 << bit);
        }
    }
    assert_eq!(guest.port.get(IA32_PERF_GLOBAL_STATUS), 0);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_STATUS_RESET), Ok(0));
    guest.port.set(IA32_PERF_GLOBAL_STATUS, 0b101);
    guest.accepts(IA32_PERF_GLOBAL_STATUS_RESET, 0b001);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_STATUS), Ok(0b100));
}

/// 20.2.4.2: sets status bits, from version 4 on; the same mask.
#[test]
fn status_set_exists_from_version_4_on() {
    let mut guest = Bench::guest(4);
    guest.accepts(IA32_PERF_GLOBAL_STATUS_SET, 1 << 1);
    guest.accepts(IA32_PERF_GLOBAL_STATUS_SET, 1 << 34 | 1 << 63 | 1 << 62 | 1 << 1);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_STATUS), Ok(1 << 34 | 1 << 1));
    assert_eq!(guest.read(IA32_PERF_GLOBAL_STATUS_SET), Ok(0));
    for bit in [8, 31, 36, 55, 58, 59, 60, 61] {
        guest.faults(IA32_PERF_GLOBAL_STATUS_SET, 1 << bit);
    }
    let mut guest = Bench::guest(3);
    guest.faults(IA32_PERF_GLOBAL_STATUS_SET, 1);
    assert!(guest.is_absent(IA32_PERF_GLOBAL_STATUS_SET));
}

/// 20.2.4.3: IA32_PERF_GLOBAL_INUSE shows the guest's own control registers, denied or not.
#[test]
fn in_use_follows_the_guests_values() {
    let nothing = crate::common::filter(|_, _| false, 0);
    let mut guest = Bench::with(ice_lake(), &policy(Mode::Mediated, version(4), nothing));
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(0));
    guest.accepts(EVENTSEL + 5, 0xC0);
    guest.accepts(EVENTSEL + 6, selector::ENABLE | 0x4100);
    guest.accepts(IA32_FIXED_CTR_CTRL, 0x0210);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(1 << 5 | 1 << 33 | 1 << 34));
    guest.accepts(EVENTSEL, selector::INT);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(1 << 63 | 1 << 5 | 1 << 33 | 1 << 34));
    guest.accepts(EVENTSEL, 0);
    guest.accepts(IA32_FIXED_CTR_CTRL, 0x8000);
    assert_eq!(guest.read(IA32_PERF_GLOBAL_INUSE), Ok(1 << 63 | 1 << 5));
    guest.faults(IA32_PERF_GLOBAL_INUSE, 0);
}

/// A refusal by the kernel changes nothing that the guest sees.
#[test]
fn a_refused_hardware_write_leaves_the_guests_value() {
    let mut guest = Bench::guest(4);
    guest.accepts(EVENTSEL, 0xC0);
    guest.accepts(IA32_FIXED_CTR_CTRL, 0xB);
    guest.port.budget = Some(0);
    assert_eq!(guest.write(EVENTSEL, 0xC4), Err(Trouble::Port(crate::common::RANGE_ERROR)));
    assert_eq!(guest.write(IA32_FIXED_CTR_CTRL, 0), Err(Trouble::Port(crate::common::RANGE_ERROR)));
    guest.port.budget = None;
    assert_eq!(guest.read(EVENTSEL), Ok(0xC0));
    assert_eq!(guest.read(IA32_FIXED_CTR_CTRL), Ok(0xB));
}

/// 20.2.1.1, figure 20-1, and 20.2.2, figure 20-2: where each bit is.
#[test]
fn bits_are_where_the_manual_has_them() {
    use selector::*;
    let bits = [USR, OS, EDGE, PIN_CONTROL, INT, ANY_THREAD, ENABLE, INVERT, IN_TX, IN_TXCP, ADAPTIVE_RECORD];
    let places = [16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34];
    assert_eq!(bits, places.map(|place: u32| 2_u64.pow(place)));
    assert_eq!(COUNTER_MASK, 0xFF00_0000);
    assert_eq!(
        [fixed_control::OS, fixed_control::USR, fixed_control::ANY_THREAD, fixed_control::PMI],
        [1, 2, 4, 8]
    );
    assert_eq!(global::CONDITION_CHANGED, 0x8000_0000_0000_0000);
    assert_eq!(leaf_a::ANY_THREAD_DEPRECATED, 0x8000);
    assert_eq!(capabilities::FW_WRITES, 0x2000);
}
