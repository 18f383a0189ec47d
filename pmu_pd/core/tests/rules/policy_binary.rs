//! The binary policy: every way to be wrong is refused by name.

use pmu_api::{MAX_VMS, Mode};
use pmu_core::arch::OFFCORE_EVENTS;
use pmu_core::geometry::Wanted;
use pmu_core::pmi::PmiLimit;
use pmu_core::policy::{self, Policy, PolicyError, RECORD_WORDS, VmRecord};
use std::sync::atomic::AtomicU64;

const TABLE_WORDS: usize = 1024;
const LENGTH: usize = 2;
const RECORDS: usize = 8;

fn record(channel: u8, table: usize) -> VmRecord {
    VmRecord {
        channel,
        mode: Mode::Mediated,
        wanted: Wanted::default(),
        fixed_permitted: 0xF,
        pmi_limit: None,
        table: table as u64,
        name: *b"guest\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    }
}

/// A policy of `vms` VMs that share one table, laid out by the documentation.
fn valid(vms: usize) -> Vec<u64> {
    let table = RECORDS + vms * RECORD_WORDS;
    let mut words = vec![u64::from_le_bytes(*b"PMUPOLCY"), 1 | (vms as u64) << 32, 0, 0, u64::MAX, 0, 0, 0];
    (0..vms).for_each(|i| words.extend(record(u8::try_from(i).unwrap() + 1, table).words()));
    words.extend([0x5555_5555_5555_5555; TABLE_WORDS]);
    for key in OFFCORE_EVENTS {
        words[table + usize::from(key / 64)] &= !(1 << (key % 64));
    }
    words[LENGTH] = words.len() as u64;
    sealed(words)
}

fn sealed(mut words: Vec<u64>) -> Vec<u64> {
    words[3] = policy::policy_checksum(&words);
    words
}

fn region(words: &[u64]) -> &'static [AtomicU64] {
    words.iter().map(|&word| AtomicU64::new(word)).collect::<Vec<_>>().leak()
}

fn error(words: Vec<u64>) -> Option<PolicyError> {
    Policy::parse(region(&sealed(words))).err()
}

#[test]
fn a_valid_policy_is_read() {
    let mut words = valid(2);
    words[4] = 61;
    let mut second = record(7, RECORDS + 2 * RECORD_WORDS);
    second.mode = Mode::Emulated;
    second.wanted = Wanted { version: Some(2), general: Some(4), fixed: Some(3), tsx: true };
    second.fixed_permitted = 0b101;
    second.pmi_limit = Some(PmiLimit { count: 1000, cycles: 3_000_000 });
    words[RECORDS + RECORD_WORDS..][..RECORD_WORDS].copy_from_slice(&second.words());
    let policy = Policy::parse(region(&sealed(words))).unwrap();
    assert_eq!((policy.manager, policy.vms.len()), (Some(61), 2));
    let (first, vm) = (&policy.vms[0], &policy.vms[1]);
    assert_eq!(
        (first.channel, first.mode, first.wanted, first.pmi_limit),
        (1, Mode::Mediated, Wanted::default(), None)
    );
    assert_eq!(
        (vm.channel, vm.mode, vm.wanted, vm.pmi_limit),
        (7, second.mode, second.wanted, second.pmi_limit)
    );
    assert!(vm.filter.permits(pmu_core::registers::EventSelect(0xC0)));
    assert!(!vm.filter.permits(pmu_core::registers::EventSelect(0xC1)));
    assert_eq!(vm.filter.fixed_control(pmu_core::registers::FixedControl(0xBBBB)), 0x0B0B);
}

/// The record's words are those of its documentation.
#[test]
fn the_record_is_as_documented() {
    let mut record = record(61, 40);
    record.mode = Mode::Passthrough;
    record.wanted = Wanted { version: Some(5), general: None, fixed: Some(4), tsx: true };
    record.fixed_permitted = 3;
    record.pmi_limit = Some(PmiLimit { count: 9, cycles: 10 });
    let first = u64::from_le_bytes([61, 4, 5, 0xFF, 4, 1, 0, 0]);
    assert_eq!(record.words(), [first, 3, 9, 10, 40, u64::from_le_bytes(*b"guest\0\0\0"), 0, 0]);
    assert_eq!(VmRecord::from_words(record.words()), Ok(record));
}

/// CRC-64/XZ's check value, by the catalogue of parametrised CRC algorithms, is that of "123456789".
#[test]
fn the_checksum_is_crc_64_xz() {
    // The same polynomial over whole words, bit by bit.
    let words = [0, 0, 0, 0, u64::from_le_bytes(*b"12345678"), 0x39];
    let bits = words[4..].iter().flat_map(|word| word.to_le_bytes()).fold(u64::MAX, |crc, byte| {
        (0..8)
            .fold(crc ^ u64::from(byte), |crc, _| crc >> 1 ^ (crc & 1).wrapping_neg() & 0xC96C_5795_D787_0F42)
    });
    assert_eq!(policy::policy_checksum(&words), !bits);
}

#[test]
fn a_region_may_be_longer_than_its_policy() {
    let mut words = valid(1);
    words.extend([0xDEAD; 100]);
    assert!(Policy::parse(region(&words)).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let words = valid(2);
    for length in 0..words.len() {
        assert_eq!(Policy::parse(region(&words[..length])).err(), Some(PolicyError::Length), "{length}");
    }
}

#[test]
fn every_changed_word_is_refused() {
    let words = valid(1);
    for i in 0..words.len() {
        for bit in [0, 31, 63] {
            let mut bad = words.clone();
            bad[i] ^= 1 << bit;
            let error = Policy::parse(region(&bad)).err();
            let expected = match (i, bit) {
                (0, _) => PolicyError::Magic,
                (1, 0 | 31) => PolicyError::Format,
                (1, _) => PolicyError::VmCount,
                (2, 0) => PolicyError::Checksum,
                (2, _) => PolicyError::Length,
                _ => PolicyError::Checksum,
            };
            // One word shorter: the checksum is of fewer words; one longer: the region is too short.
            let short = i == 2 && bit == 0 && bad[2] > words[2];
            assert_eq!(error, Some(if short { PolicyError::Length } else { expected }), "word {i} bit {bit}");
        }
    }
}

#[test]
fn the_number_of_vms_is_bounded() {
    assert!(Policy::parse(region(&valid(MAX_VMS))).is_ok());
    assert_eq!(error(valid(MAX_VMS + 1)), Some(PolicyError::VmCount));
    let mut none = valid(1);
    none[1] = 1;
    assert_eq!(error(none), Some(PolicyError::VmCount));
    let mut many = valid(1);
    many[1] = 1 | 0xFFFF_FFFF << 32;
    assert_eq!(error(many), Some(PolicyError::VmCount));
}

#[test]
fn a_count_beyond_the_region_is_refused() {
    let mut words = valid(1);
    words.truncate(RECORDS + RECORD_WORDS);
    words[1] = 1 | 2 << 32;
    words[LENGTH] = words.len() as u64;
    words[RECORDS + 4] = 0;
    let error = error(words);
    assert!(matches!(error, Some(PolicyError::Table { vm: 0 })), "{error:?}");
    let mut words = valid(1);
    words[1] = 1 | 2 << 32;
    assert!(matches!(self::error(words), Some(PolicyError::Record { vm: 1, word: 0 })));
}

#[test]
fn the_header_is_checked() {
    for (word, value) in [(4, 62), (4, u64::MAX - 1), (4, 256), (5, 1), (6, 1), (7, 1 << 63)] {
        let mut bad = valid(1);
        bad[word] = value;
        assert_eq!(error(bad), Some(PolicyError::Header), "word {word} = {value:#x}");
    }
    let mut words = valid(1);
    words[4] = 61;
    assert_eq!(Policy::parse(region(&sealed(words))).unwrap().manager, Some(61));
}

#[test]
fn channels_are_each_ones_own() {
    let mut same = valid(3);
    same[RECORDS + 2 * RECORD_WORDS] = same[RECORDS + RECORD_WORDS];
    assert_eq!(error(same), Some(PolicyError::Channel { vm: 2 }));
    let mut manager = valid(3);
    manager[4] = 2;
    assert_eq!(error(manager), Some(PolicyError::Channel { vm: 1 }));
}

#[test]
fn every_field_of_a_record_is_checked() {
    let good = record(1, 16).words();
    let byte = |i: u32, value: u64| good[0] & !(0xFF << (8 * i)) | value << (8 * i);
    for (i, value, valid) in [
        (0, 61, true),
        (0, 62, false),
        (0, 255, false),
        (1, 0, false),
        (1, 1, true),
        (1, 4, true),
        (1, 5, false),
        (2, 0, true),
        (2, 5, true),
        (2, 6, false),
        (2, 254, false),
        (3, 0, false),
        (3, 1, true),
        (3, 8, true),
        (3, 9, false),
        (4, 0, true),
        (4, 4, true),
        (4, 5, false),
        (5, 1, true),
        (5, 2, false),
        (5, 0x80, false),
        (6, 1, false),
        (7, 1, false),
    ] {
        let mut words = good;
        words[0] = byte(i, value);
        let record = VmRecord::from_words(words);
        assert_eq!(record.is_ok(), valid, "byte {i} = {value}");
        match record {
            Ok(record) => assert_eq!(record.words(), words),
            Err(word) => assert_eq!(word, 0),
        }
    }
    for (word, value, bad) in
        [(1, 0x10, Some(1)), (1, 0, None), (2, 1, Some(3)), (3, 1, Some(2)), (4, u64::MAX, None)]
    {
        let mut words = good;
        words[word] = value;
        assert_eq!(VmRecord::from_words(words).err(), bad, "word {word} = {value:#x}");
    }
    let mut words = good;
    (words[2], words[3]) = (1 << 32, 1);
    assert_eq!(VmRecord::from_words(words), Err(2));
    (words[2], words[3]) = (u64::from(u32::MAX), 1);
    assert!(VmRecord::from_words(words).is_ok());
    let mut in_policy = valid(2);
    in_policy[RECORDS + RECORD_WORDS + 1] = 0x1F;
    assert_eq!(error(in_policy), Some(PolicyError::Record { vm: 1, word: 1 }));
}

#[test]
fn a_table_lies_in_the_policy_and_permits_no_off_core_event() {
    for (at, valid_place) in [(16, true), (17, false), (u64::MAX, false), (1 << 32, false), (0, false)] {
        let mut words = valid(1);
        words[RECORDS + 4] = at;
        let error = error(words);
        if valid_place {
            assert_eq!(error, None);
        } else if at == 0 {
            // The header and the record are no table worth having, but they are in the policy.
            assert!(matches!(error, None | Some(PolicyError::Table { vm: 0 })));
        } else {
            assert_eq!(error, Some(PolicyError::Table { vm: 0 }), "{at:#x}");
        }
    }
    for key in OFFCORE_EVENTS {
        let mut words = valid(1);
        words[16 + usize::from(key / 64)] |= 1 << (key % 64);
        assert_eq!(error(words), Some(PolicyError::Table { vm: 0 }), "{key:#x}");
    }
    // A table past the policy's length, though in the region.
    let mut words = valid(1);
    words[LENGTH] -= 1;
    let length = words.len() - 1;
    words[3] = policy::policy_checksum(&words[..length]);
    assert_eq!(Policy::parse(region(&words)).err(), Some(PolicyError::Table { vm: 0 }));
}
