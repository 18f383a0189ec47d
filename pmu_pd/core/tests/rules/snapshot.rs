//! Save and restore.

use crate::common::{Bench, EVENTSEL, allow_all, filter, hardware, ice_lake, policy, version};
use pmu_api::{CHUNK_WORDS, Chunk, Mode, SnapshotReason};
use pmu_core::KernelMode;
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::snapshot::{self, Buffer, Collected, Collector, SNAPSHOT_CHUNKS, SNAPSHOT_WORDS};
use pmu_core::vpmu::SnapshotError;

const CHECKSUM: usize = SNAPSHOT_WORDS - 1;

fn busy() -> Bench {
    let mut guest = Bench::guest(4);
    for i in 0..8 {
        guest.accepts(EVENTSEL + i, 0x53_00C0 + u64::from(i));
        guest.accepts(IA32_A_PMC0 + i, 0xFFFF_0000_0000 + u64::from(i));
    }
    for i in 0..4 {
        guest.accepts(IA32_FIXED_CTR0 + i, 0x1000 + u64::from(i));
    }
    guest.accepts(IA32_FIXED_CTR_CTRL, 0xB83B);
    guest.accepts(IA32_PERF_GLOBAL_CTRL, 0x7_0000_0055);
    guest.port.set(IA32_PERF_GLOBAL_STATUS, 0x2_0000_0004);
    guest
}

fn save(guest: &mut Bench) -> Buffer {
    guest.vpmu.save(&mut guest.port).unwrap()
}

/// Every register that the guest can read.
fn visible(guest: &mut Bench) -> Vec<u64> {
    let counters = (0..8).flat_map(|i| [EVENTSEL + i, IA32_A_PMC0 + i]).chain((0..4).map(|i| 0x309 + i));
    counters.chain([0x345, 0x38D, 0x38E, 0x38F, 0x392]).map(|msr| guest.read(msr).unwrap()).collect()
}

/// CRC-64/XZ bit by bit, from its definition.
fn crc(words: &[u64]) -> u64 {
    !words.iter().flat_map(|word| word.to_le_bytes()).fold(u64::MAX, |crc, byte| {
        (0..8)
            .fold(crc ^ u64::from(byte), |crc, _| crc >> 1 ^ (crc & 1).wrapping_neg() & 0xC96C_5795_D787_0F42)
    })
}

fn restored(buffer: &Buffer) -> (Bench, Result<(), SnapshotError>) {
    let mut target = Bench::guest(4);
    let result = target.vpmu.restore(&mut target.port, buffer);
    (target, result)
}

#[test]
fn the_format_is_as_documented() {
    let buffer = save(&mut busy());
    assert_eq!(SNAPSHOT_WORDS, 27);
    assert_eq!(buffer[0].to_le_bytes(), *b"PMUSNAP\x01");
    assert_eq!(buffer[1].to_le_bytes(), [4, 8, 0xF, 48, 48, 1, 0, 0]);
    assert_eq!(buffer[2..10], [0, 1, 2, 3, 4, 5, 6, 7].map(|i| 0x53_00C0 + i));
    assert_eq!(buffer[10..13], [0xB83B, 0x7_0000_0055, 0x2_0000_0004]);
    assert_eq!(buffer[13..21], [0, 1, 2, 3, 4, 5, 6, 7].map(|i| 0xFFFF_0000_0000 + i));
    assert_eq!(buffer[21..25], [0x1000, 0x1001, 0x1002, 0x1003]);
    assert_eq!(buffer[25], 1 << 13);
    assert_eq!(buffer[26], crc(&buffer[..26]));
    assert_eq!(buffer[27], 0);
}

#[test]
fn restore_brings_back_all_that_the_guest_sees() {
    let mut source = busy();
    let before = visible(&mut source);
    let buffer = save(&mut source);
    assert_eq!(visible(&mut source), before, "saving changes nothing");
    let (mut target, result) = restored(&buffer);
    assert_eq!(result, Ok(()));
    assert_eq!(visible(&mut target), before);
    assert_eq!(target.port.registers, source.port.registers);
    assert_eq!(save(&mut target), buffer);
    assert!(target.port.modes.is_empty());
}

/// The target's filter decides, not the source's.
#[test]
fn restore_filters_anew() {
    let buffer = save(&mut busy());
    let strict = policy(Mode::Mediated, version(4), filter(|event, _| event == 0xC1, 0b0001));
    let mut target = Bench::with(ice_lake(), &strict);
    target.vpmu.restore(&mut target.port, &buffer).unwrap();
    for i in 0..8_u32 {
        let value = 0x53_00C0 + u64::from(i);
        let hardware = if i == 1 { value } else { value & !selector::ENABLE };
        assert_eq!(target.port.get(EVENTSEL + i), hardware);
        assert_eq!(target.read(EVENTSEL + i), Ok(value));
    }
    assert_eq!(target.port.get(IA32_FIXED_CTR_CTRL), 0xB);
    assert_eq!(target.read(IA32_FIXED_CTR_CTRL), Ok(0xB83B));
}

/// Every single-bit error is refused, whole.
#[test]
fn every_flipped_bit_is_refused_and_changes_nothing() {
    let buffer = save(&mut busy());
    for bit in 0..64 * buffer.len() {
        let mut bad = buffer;
        bad[bit / 64] ^= 1 << (bit % 64);
        let reason = match bit / 64 {
            0 => SnapshotReason::Version,
            27.. => SnapshotReason::Length,
            _ => SnapshotReason::Checksum,
        };
        let (target, result) = restored(&bad);
        assert_eq!(result, Err(SnapshotError::Reason(reason)), "bit {bit}");
        assert!(target.port.writes.is_empty());
    }
}

/// Values that the guest could not have written, with a right checksum.
#[test]
fn reserved_bits_are_refused() {
    let buffer = save(&mut busy());
    for (word, value) in [
        (2, selector::ANY_THREAD),
        (9, selector::IN_TX),
        (4, selector::IN_TXCP),
        (10, 0x4),
        (10, 0x1_0000),
        (11, 1 << 8),
        (11, 1 << 36),
        (12, 1 << 31),
        (12, 1 << 63),
        (13, 1 << 48),
        (20, u64::MAX),
        (21, 1 << 48),
        (24, 1 << 63),
    ] {
        let mut bad = buffer;
        bad[word] = value;
        bad[CHECKSUM] = crc(&bad[..CHECKSUM]);
        let (target, result) = restored(&bad);
        assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Reserved)), "word {word} = {value:#x}");
        assert!(target.port.writes.is_empty());
    }
    for (word, value) in [(1, 0), (1, buffer[1] ^ 1 << 48), (25, 0), (25, u64::MAX)] {
        let mut bad = buffer;
        bad[word] = value;
        bad[CHECKSUM] = crc(&bad[..CHECKSUM]);
        assert_eq!(restored(&bad).1, Err(SnapshotError::Reason(SnapshotReason::Geometry)));
    }
}

/// Registers that the geometry lacks are 0, and must be.
#[test]
fn absent_registers_must_be_zero() {
    let wanted = Wanted { general: Some(4), fixed: Some(2), ..version(3) };
    let guest = || Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    let buffer = save(&mut guest());
    for word in (2 + 4..10).chain(13 + 4..21).chain(21 + 2..25) {
        assert_eq!(buffer[word], 0);
        let mut bad = buffer;
        bad[word] = 1;
        bad[CHECKSUM] = crc(&bad[..CHECKSUM]);
        let mut target = guest();
        let result = target.vpmu.restore(&mut target.port, &bad);
        assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Reserved)), "word {word}");
    }
    for (word, value, valid) in
        [(5, 0xC0, true), (16, 1, true), (22, 1, true), (11, 0xF, true), (11, 0x10, false)]
    {
        let mut changed = buffer;
        changed[word] = value;
        changed[CHECKSUM] = crc(&changed[..CHECKSUM]);
        let mut target = guest();
        assert_eq!(target.vpmu.restore(&mut target.port, &changed).is_ok(), valid, "word {word}");
    }
}

/// The same absent counter in IA32_PERF_GLOBAL_CTRL and _STATUS is no less wrong than in one of them.
#[test]
fn reserved_bits_in_two_registers_do_not_cancel() {
    let guest = || Bench::with(ice_lake(), &policy(Mode::Mediated, version(4), allow_all()));
    let mut bad = save(&mut guest());
    bad[11..13].fill(1 << 8);
    bad[CHECKSUM] = crc(&bad[..CHECKSUM]);
    let mut target = guest();
    let result = target.vpmu.restore(&mut target.port, &bad);
    assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Reserved)));
}

/// Other hardware is fine as long as the guest sees the same PMU; else the reason is the geometry.
#[test]
fn another_geometry_preserves_the_guest_or_is_refused() {
    let wanted = Wanted { general: Some(4), fixed: Some(3), ..version(4) };
    let mut source = Bench::with(ice_lake(), &policy(Mode::Mediated, wanted, allow_all()));
    source.accepts(EVENTSEL + 3, 0x43_00C0);
    source.accepts(IA32_A_PMC0 + 3, 77);
    let buffer = save(&mut source);
    let mut target = Bench::with(hardware(4, 4, 3), &policy(Mode::Mediated, Wanted::default(), allow_all()));
    assert_eq!(target.vpmu.restore(&mut target.port, &buffer), Ok(()));
    assert_eq!(target.read(EVENTSEL + 3), Ok(0x43_00C0));
    assert_eq!(target.read(IA32_A_PMC0 + 3), Ok(77));
    for other in [
        Wanted { general: Some(5), fixed: Some(3), ..version(4) },
        Wanted { general: Some(4), fixed: Some(2), ..version(4) },
        Wanted { general: Some(4), fixed: Some(3), ..version(5) },
        Wanted { general: Some(4), fixed: Some(3), ..version(3) },
        Wanted { tsx: true, ..wanted },
    ] {
        let mut target = Bench::with(ice_lake(), &policy(Mode::Mediated, other, allow_all()));
        let result = target.vpmu.restore(&mut target.port, &buffer);
        assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Geometry)), "{other:?}");
        assert!(target.port.writes.is_empty());
    }
    let mut wider = ice_lake();
    wider.leaf_a[0] = wider.leaf_a[0] & !0xFF_0000 | 52 << 16;
    let mut target = Bench::with(wider, &policy(Mode::Mediated, wanted, allow_all()));
    let result = target.vpmu.restore(&mut target.port, &buffer);
    assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Geometry)));
    let mut narrow = ice_lake();
    narrow.perf_capabilities = 0;
    let mut target = Bench::with(narrow, &policy(Mode::Mediated, wanted, allow_all()));
    let result = target.vpmu.restore(&mut target.port, &buffer);
    assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Geometry)));
}

/// A version 1 guest has no global registers: nothing of the context's leaks into its snapshot, and its counters stay
/// enabled by EN alone.
#[test]
fn version_1_has_no_global_state() {
    let guest = || Bench::with(ice_lake(), &policy(Mode::Mediated, version(1), allow_all()));
    let mut source = guest();
    source.port.set(IA32_PERF_GLOBAL_STATUS, 1);
    let buffer = save(&mut source);
    assert_eq!(buffer[11..13], [0xFF, 0]);
    let mut target = guest();
    assert_eq!(target.vpmu.restore(&mut target.port, &buffer), Ok(()));
    assert_eq!(target.port.get(IA32_PERF_GLOBAL_CTRL), 0xFF);
    for (word, value) in [(11, 0), (11, 0x7F), (11, 0x1FF), (12, 5)] {
        let mut bad = buffer;
        bad[word] = value;
        bad[CHECKSUM] = crc(&bad[..CHECKSUM]);
        let result = target.vpmu.restore(&mut target.port, &bad);
        assert_eq!(result, Err(SnapshotError::Reason(SnapshotReason::Reserved)));
    }
}

#[test]
fn modes_without_a_vpmu_of_ours_have_no_snapshot() {
    let mode_reason = SnapshotError::Reason(SnapshotReason::Mode);
    let buffer = save(&mut busy());
    for (mode, wanted) in
        [(Mode::Off, Wanted::default()), (Mode::Passthrough, Wanted::default()), (Mode::Mediated, version(0))]
    {
        let mut guest = Bench::with(ice_lake(), &policy(mode, wanted, allow_all()));
        assert_eq!(guest.vpmu.save(&mut guest.port), Err(mode_reason));
        assert_eq!(guest.vpmu.restore(&mut guest.port, &buffer), Err(mode_reason));
    }
}

/// If the kernel refuses a value midway, nothing counts.
#[test]
fn a_restore_that_the_kernel_refuses_switches_counting_off() {
    let buffer = save(&mut busy());
    for refused_at in 0..22 {
        let mut target = Bench::guest(4);
        target.port.budget = Some(refused_at);
        let result = target.vpmu.restore(&mut target.port, &buffer);
        assert_eq!(result, Err(SnapshotError::Port(crate::common::RANGE_ERROR)), "{refused_at}");
        assert_eq!(target.port.modes, [KernelMode::Off]);
    }
    let mut target = Bench::guest(4);
    target.port.budget = Some(0);
    assert_eq!(target.vpmu.save(&mut target.port), Err(SnapshotError::Port(crate::common::RANGE_ERROR)));
}

/// The last write of a restore is IA32_PERF_GLOBAL_CTRL: nothing counts before everything is there.
#[test]
fn global_control_is_restored_last() {
    let (target, _) = restored(&save(&mut busy()));
    assert_eq!(target.port.writes.last(), Some(&(IA32_PERF_GLOBAL_CTRL, 0x7_0000_0055)));
}

#[test]
fn chunks_travel_in_order() {
    let buffer = save(&mut busy());
    let chunk = |i| snapshot::chunk(&buffer, i).unwrap();
    assert_eq!(SNAPSHOT_CHUNKS, 4);
    assert_eq!(snapshot::chunk(&buffer, 4), None);
    assert_eq!(snapshot::chunk(&buffer, u64::MAX), None);
    let mut collector = Collector::new();
    for i in 0..3 {
        assert_eq!(chunk(i).data, buffer[usize::try_from(i).unwrap() * CHUNK_WORDS..][..CHUNK_WORDS]);
        assert_eq!(collector.take(&chunk(i)), Ok(Some(Collected::Awaiting(i + 1))));
    }
    assert_eq!(collector.take(&chunk(3)), Ok(Some(Collected::Complete)));
    assert_eq!(*collector.buffer(), buffer);
    // The next one starts anew.
    assert_eq!(collector.take(&chunk(3)), Ok(None));
    assert_eq!(collector.take(&chunk(0)), Ok(Some(Collected::Awaiting(1))));
    // Out of order, twice the same, then even the right one is late.
    assert_eq!(collector.take(&chunk(2)), Ok(None));
    assert_eq!(collector.take(&chunk(1)), Ok(None));
    // Chunk 0 in the middle starts anew.
    assert_eq!(collector.take(&chunk(0)), Ok(Some(Collected::Awaiting(1))));
    assert_eq!(collector.take(&chunk(1)), Ok(Some(Collected::Awaiting(2))));
    assert_eq!(collector.take(&chunk(0)), Ok(Some(Collected::Awaiting(1))));
    assert_eq!(collector.take(&chunk(1)), Ok(Some(Collected::Awaiting(2))));
    for total in (1..=10).filter(|&total| total != 4) {
        let other = Chunk::new(0, total, [0; CHUNK_WORDS]).unwrap();
        assert_eq!(collector.take(&other), Err(SnapshotReason::Length));
    }
    // Such a chunk 0 began another snapshot: the one before it does not go on.
    assert_eq!(collector.take(&chunk(2)), Ok(None));
}
