//! The domain: channels, the manager, statistics, refusals.

use crate::common::{FakePort, ice_lake, table};
use pmu_api::*;
use pmu_core::geometry::Wanted;
use pmu_core::pmi::PmiLimit;
use pmu_core::policy::{self, PolicyError, RECORD_WORDS, VmRecord};
use pmu_core::{Domain, KernelMode, RegionCells};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub type TestDomain = Domain<'static, FakePort>;

pub struct Entry {
    pub channel: u8,
    pub mode: Mode,
    pub wanted: Wanted,
    pub fixed: u64,
    pub limit: Option<PmiLimit>,
    pub table: &'static [AtomicU64; 1024],
}

pub fn vm(channel: u8) -> Entry {
    let table = table(|_, _| true);
    Entry { channel, mode: Mode::Mediated, wanted: Wanted::default(), fixed: 0xF, limit: None, table }
}

pub fn binary(manager: Option<u8>, vms: &[Entry]) -> Vec<u64> {
    let manager = manager.map_or(u64::MAX, u64::from);
    let mut words = vec![policy::MAGIC, policy::FORMAT | (vms.len() as u64) << 32, 0, 0, manager, 0, 0, 0];
    for (i, vm) in vms.iter().enumerate() {
        let table = (policy::HEADER_WORDS + vms.len() * RECORD_WORDS + i * vm.table.len()) as u64;
        let &Entry { channel, mode, wanted, fixed: fixed_permitted, limit: pmi_limit, .. } = vm;
        words.extend(
            VmRecord { channel, mode, wanted, fixed_permitted, pmi_limit, table, name: [0; 24] }.words(),
        );
    }
    words.extend(vms.iter().flat_map(|vm| vm.table.iter()).map(|word| word.load(Relaxed)));
    words[2] = words.len() as u64;
    words[policy::CHECKSUM_WORD] = policy::policy_checksum(&words);
    words
}

pub fn region(words: Vec<u64>) -> &'static [AtomicU64] {
    words.into_iter().map(AtomicU64::new).collect::<Vec<_>>().leak()
}

pub fn cells() -> &'static RegionCells {
    Box::leak(Box::new(RegionCells::new()))
}

fn domain(vms: &[Entry]) -> (TestDomain, &'static RegionCells) {
    let statistics = cells();
    (Domain::new(region(binary(None, vms)), &[], statistics, |_| FakePort::new(ice_lake())), statistics)
}

pub fn ask(domain: &mut TestDomain, channel: u8, request: Request) -> Reply {
    Reply::decode(&domain.handle(channel, &request.encode(), 0)).unwrap()
}

pub fn count(cells: &RegionCells, vm: usize, statistic: Statistic) -> u64 {
    cells.read().vms[vm].counters[statistic as usize]
}

pub const SELECTOR: Request = Request::Write { msr: 0x186, value: 0x43_00C0 };

#[test]
fn a_guest_is_served_from_open_to_statistics() {
    let (mut domain, statistics) = domain(&[vm(1)]);
    let Reply::Opened(configuration) = ask(&mut domain, 1, Request::Open) else { panic!() };
    assert_eq!((configuration.mode, configuration.leaf_a[0]), (Mode::Mediated, 0x0830_0805));
    assert_eq!(ask(&mut domain, 1, SELECTOR), Reply::Done);
    assert_eq!(ask(&mut domain, 1, Request::Read { msr: 0x186 }), Reply::Value { value: 0x43_00C0 });
    assert_eq!(ask(&mut domain, 1, Request::Write { msr: 0x4C1, value: 9 }), Reply::Done);
    let privilege = Privilege::new(0, true, false);
    assert_eq!(ask(&mut domain, 1, Request::Rdpmc { index: 0, privilege }), Reply::Value { value: 9 });
    assert_eq!(ask(&mut domain, 1, Request::Read { msr: 0x600 }), Reply::Fault);
    assert_eq!(ask(&mut domain, 1, Request::Write { msr: 0x186, value: 1 << 21 }), Reply::Fault);
    let expected = [
        (Statistic::Opens, 1),
        (Statistic::ControlWrites, 1),
        (Statistic::DataWrites, 1),
        (Statistic::Reads, 1),
        (Statistic::Rdpmcs, 1),
        (Statistic::Faults, 2),
    ];
    for statistic in Statistic::ALL {
        let expected = expected.iter().find(|(s, _)| s == statistic).map_or(0, |(_, n)| *n);
        assert_eq!(count(statistics, 0, *statistic), expected, "{statistic:?}");
    }
    // The same by message; `Opens` is counter 0.
    let values = [1, 1, 1, 1, 1, 2, 0];
    assert_eq!(ask(&mut domain, 1, Request::Statistics { first: 0 }), Reply::Statistics { values });
    let values = [2, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(&mut domain, 1, Request::Statistics { first: 5 }), Reply::Statistics { values });
    for first in [STATISTICS as u64, u64::MAX] {
        let reply = ask(&mut domain, 1, Request::Statistics { first });
        assert_eq!(reply, Reply::Refused(Refusal::Statistic));
    }
    assert_eq!(
        ask(&mut domain, 1, Request::Statistics { first: 13 }),
        Reply::Statistics { values: [2, 0, 0, 0, 0, 0, 0] }
    );
}

#[test]
fn open_resets() {
    let (mut domain, _) = domain(&[vm(1)]);
    ask(&mut domain, 1, SELECTOR);
    ask(&mut domain, 1, Request::Open);
    assert_eq!(ask(&mut domain, 1, Request::Read { msr: 0x186 }), Reply::Value { value: 0 });
}

#[test]
fn denied_writes_are_counted() {
    let mut entry = vm(1);
    entry.table = table(|event, _| event != 0xC0);
    let (mut domain, statistics) = domain(&[entry]);
    assert_eq!(ask(&mut domain, 1, SELECTOR), Reply::Done);
    assert_eq!(count(statistics, 0, Statistic::Denied), 1);
    assert_eq!(ask(&mut domain, 1, Request::Write { msr: 0x186, value: 0x43_00C4 }), Reply::Done);
    assert_eq!(count(statistics, 0, Statistic::Denied), 1);
    assert_eq!(count(statistics, 0, Statistic::ControlWrites), 2);
}

/// One VM's requests, whatever they are, change nothing of another.
#[test]
fn vms_are_isolated() {
    let (mut domain, statistics) = domain(&[vm(1), vm(2), vm(3)]);
    for channel in 1..=3 {
        ask(&mut domain, channel, Request::Write { msr: 0x187, value: 0x41_00C0 + u64::from(channel) });
    }
    let before: Vec<String> = domain.vms().iter().map(|vm| format!("{vm:?}")).collect();
    let other_counts = [statistics.read().vms[0], statistics.read().vms[2]];
    for msr in (0..0x800).chain(0x309..0x30D) {
        ask(&mut domain, 2, Request::Write { msr, value: 0x1 });
        ask(&mut domain, 2, Request::Read { msr });
    }
    ask(&mut domain, 2, Request::Overflow);
    ask(&mut domain, 2, Request::Save { index: 0 });
    ask(&mut domain, 2, Request::Open);
    let after: Vec<String> = domain.vms().iter().map(|vm| format!("{vm:?}")).collect();
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    assert_eq!(other_counts, [statistics.read().vms[0], statistics.read().vms[2]]);
}

#[test]
fn malformed_messages_are_counted_by_kind() {
    let (mut domain, statistics) = domain(&[vm(1)]);
    for (label, words, malformed, statistic) in [
        (0, &[][..], Malformed::Version { label: 0 }, Statistic::MalformedVersion),
        (0x201, &[], Malformed::Version { label: 0x201 }, Statistic::MalformedVersion),
        (0x1FF, &[], Malformed::Operation { code: 0xFF }, Statistic::MalformedOperation),
        (0x103, &[1], Malformed::Length { expected: 2, found: 1 }, Statistic::MalformedLength),
        (0x102, &[1 << 32], Malformed::Word { index: 0 }, Statistic::MalformedWord),
    ] {
        let before = count(statistics, 0, statistic);
        let reply = domain.handle(1, &Message::received(label, words), 0);
        assert_eq!(Reply::decode(&reply), Ok(Reply::Malformed(malformed)));
        assert_eq!(count(statistics, 0, statistic), before + 1);
    }
    assert_eq!(count(statistics, 0, Statistic::Refusals), 0);
}

#[test]
fn strangers_are_refused_and_counted() {
    let (mut domain, statistics) = domain(&[vm(1)]);
    let no_vm = Reply::Refused(Refusal::Unavailable(UnavailableReason::NoVm));
    for channel in [0, 2, 61, 255] {
        assert_eq!(ask(&mut domain, channel, Request::Open), no_vm);
    }
    let region = statistics.read();
    assert_eq!((region.magic, region.vm_count, region.strangers), (STATISTICS_MAGIC, 1, 4));
    assert_eq!(region.vms[0].channel, 1);
}

#[test]
fn without_a_policy_nobody_is_served() {
    for words in [vec![], vec![0; 100], {
        let mut w = binary(None, &[vm(1)]);
        w[20] ^= 1;
        w
    }] {
        let mut domain: TestDomain = Domain::new(region(words), &[], cells(), |_| FakePort::new(ice_lake()));
        assert!(domain.policy_error().is_some());
        let reply = ask(&mut domain, 1, Request::Open);
        assert_eq!(reply, Reply::Refused(Refusal::Unavailable(UnavailableReason::PolicyInvalid)));
    }
    let (domain, _) = domain(&[vm(1)]);
    assert_eq!(domain.policy_error(), None);
    let empty: TestDomain = Domain::new(&[], &[], cells(), |_| FakePort::new(ice_lake()));
    assert_eq!(empty.policy_error(), Some(PolicyError::Length));
}

#[test]
fn a_vm_without_authority_or_hardware_is_told_why() {
    let unavailable = |reason| Reply::Refused(Refusal::Unavailable(reason));
    let words = region(binary(None, &[vm(1)]));
    let mut no_cap: TestDomain = Domain::new(words, &[], cells(), |_| {
        let mut port = FakePort::new(ice_lake());
        port.no_authority = true;
        port
    });
    assert_eq!(ask(&mut no_cap, 1, Request::Open), unavailable(UnavailableReason::Authority));
    let no_pmu = |_| FakePort::new(crate::common::hardware(0, 0, 0));
    let mut no_pmu: TestDomain = Domain::new(words, &[], cells(), no_pmu);
    assert_eq!(ask(&mut no_pmu, 1, Request::Open), unavailable(UnavailableReason::Hardware));
    assert_eq!(ask(&mut no_pmu, 1, SELECTOR), unavailable(UnavailableReason::Hardware));
    assert!(matches!(ask(&mut no_pmu, 1, Request::Statistics { first: 0 }), Reply::Statistics { .. }));
    let mut entry = vm(1);
    entry.wanted.general = Some(8);
    let small = |_| FakePort::new(crate::common::hardware(4, 4, 3));
    let mut small: TestDomain = Domain::new(region(binary(None, &[entry])), &[], cells(), small);
    assert_eq!(ask(&mut small, 1, Request::Open), unavailable(UnavailableReason::Geometry));
}

/// The kernel refuses everything from some point on: named, counted, and Open is the way back.
#[test]
fn port_failures_are_refusals() {
    let (mut domain, statistics) = domain(&[vm(1)]);
    let port_refusal = Reply::Refused(Refusal::Port { error: 4 });
    let set_budget = |domain: &mut TestDomain, budget| domain.vms_mut()[0].port().budget = budget;
    set_budget(&mut domain, Some(0));
    for request in [
        SELECTOR,
        Request::Write { msr: 0x4C1, value: 1 },
        Request::Read { msr: 0x4C1 },
        Request::Rdpmc { index: 0, privilege: Privilege::new(0, true, true) },
        Request::Save { index: 0 },
    ] {
        assert_eq!(ask(&mut domain, 1, request), port_refusal, "{request:?}");
    }
    assert_eq!(count(statistics, 0, Statistic::Refusals), 5);
    // Nothing of these stops the VM.
    set_budget(&mut domain, None);
    assert_eq!(ask(&mut domain, 1, SELECTOR), Reply::Done);
    // An Open that fails midway does, until one succeeds.
    set_budget(&mut domain, Some(5));
    assert_eq!(ask(&mut domain, 1, Request::Open), port_refusal);
    set_budget(&mut domain, None);
    let stopped = Reply::Refused(Refusal::Unavailable(UnavailableReason::Authority));
    assert_eq!(ask(&mut domain, 1, SELECTOR), stopped);
    assert!(matches!(ask(&mut domain, 1, Request::Open), Reply::Opened(_)));
    assert_eq!(ask(&mut domain, 1, SELECTOR), Reply::Done);
}

fn save(domain: &mut TestDomain, channel: u8) -> Vec<Chunk> {
    (0..4)
        .map(|index| match ask(domain, channel, Request::Save { index }) {
            Reply::Saved(chunk) => chunk,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn snapshots_travel_by_messages() {
    let (mut domain, statistics) = domain(&[vm(1), vm(2)]);
    let chunk_refused = Reply::Refused(Refusal::Chunk);
    assert_eq!(ask(&mut domain, 1, Request::Save { index: 1 }), chunk_refused, "none was taken");
    ask(&mut domain, 1, SELECTOR);
    let chunks = save(&mut domain, 1);
    assert_eq!(ask(&mut domain, 1, Request::Save { index: 4 }), chunk_refused);
    // A write after chunk 0 is not in the snapshot.
    ask(&mut domain, 1, Request::Write { msr: 0x186, value: 0 });
    let Reply::Saved(first) = ask(&mut domain, 1, Request::Save { index: 1 }) else { panic!() };
    assert_eq!(first, chunks[1]);
    for (chunk, next) in chunks[..3].iter().zip(1..) {
        assert_eq!(ask(&mut domain, 2, Request::Restore(*chunk)), Reply::Restoring { next });
    }
    assert_eq!(ask(&mut domain, 2, Request::Read { msr: 0x186 }), Reply::Value { value: 0 });
    assert_eq!(ask(&mut domain, 2, Request::Restore(chunks[3])), Reply::Restored);
    assert_eq!(ask(&mut domain, 2, Request::Read { msr: 0x186 }), Reply::Value { value: 0x43_00C0 });
    assert_eq!(ask(&mut domain, 2, Request::Restore(chunks[3])), chunk_refused);
    let saves = [count(statistics, 0, Statistic::Saves), count(statistics, 1, Statistic::Restores)];
    assert_eq!(saves, [1, 1]);
    let long = Chunk::new(0, 5, [0; 7]).unwrap();
    let length = Reply::Refused(Refusal::Snapshot(SnapshotReason::Length));
    assert_eq!(ask(&mut domain, 2, Request::Restore(long)), length);
    let mut bad = chunks.clone();
    bad[0].data[0] ^= 1;
    bad[..3].iter().for_each(|chunk| {
        ask(&mut domain, 2, Request::Restore(*chunk));
    });
    let version = Reply::Refused(Refusal::Snapshot(SnapshotReason::Version));
    assert_eq!(ask(&mut domain, 2, Request::Restore(bad[3])), version);
    assert_eq!(ask(&mut domain, 2, Request::Read { msr: 0x186 }), Reply::Value { value: 0x43_00C0 });
}

/// A restore that the kernel refuses midway stops the VM until it is opened again.
#[test]
fn a_restore_refused_by_the_kernel_stops_the_vm() {
    let (mut domain, _) = domain(&[vm(1)]);
    let chunks = save(&mut domain, 1);
    chunks[..3].iter().for_each(|chunk| {
        ask(&mut domain, 1, Request::Restore(*chunk));
    });
    domain.vms_mut()[0].port().budget = Some(3);
    assert_eq!(ask(&mut domain, 1, Request::Restore(chunks[3])), Reply::Refused(Refusal::Port { error: 4 }));
    domain.vms_mut()[0].port().budget = None;
    assert_eq!(domain.vms_mut()[0].port().mode, Some(KernelMode::Off));
    let stopped = Reply::Refused(Refusal::Unavailable(UnavailableReason::Authority));
    assert_eq!(ask(&mut domain, 1, SELECTOR), stopped);
    assert!(matches!(ask(&mut domain, 1, Request::Open), Reply::Opened(_)));
}

#[test]
fn pmis_are_decided_and_counted() {
    let mut entry = vm(1);
    entry.limit = Some(PmiLimit { count: 1, cycles: 1000 });
    let (mut domain, statistics) = domain(&[entry]);
    let overflow = |domain: &mut TestDomain, now| {
        Reply::decode(&domain.handle(1, &Request::Overflow.encode(), now)).unwrap()
    };
    assert_eq!(overflow(&mut domain, 5000), Reply::Overflow(OverflowDecision::Deliver));
    assert_eq!(overflow(&mut domain, 5001), Reply::Overflow(OverflowDecision::Delay { cycles: 999 }));
    let counts = [Statistic::PmisSpurious, Statistic::PmisDelivered, Statistic::PmisDelayed];
    assert_eq!(counts.map(|s| count(statistics, 0, s)), [0, 1, 1]);
}

/// What a VM takes in the domain's memory: at most 4 KiB.
#[test]
fn a_vms_state_is_small() {
    let size = size_of::<pmu_core::Vm<'static, u64>>();
    println!("a VM's state: {size} bytes");
    assert!(size <= 4096, "{size}");
}
