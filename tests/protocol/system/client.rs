//! Asks the policy domain everything there is to ask, over real protected procedure calls and on the kernel's PMU
//! context, and compares every answer.

#![no_std]
#![no_main]

use pmu_api::{
    Chunk, Direct, Malformed, Message, Mode, OverflowDecision, Privilege, Refusal, Reply, Request,
    STATISTICS_MAGIC, SnapshotReason, Statistic, StatisticsRegion, UnavailableReason,
};
use sel4_microkit::{
    Channel, Handler, MessageInfo, NullHandler, debug_println, memory_region_symbol, protection_domain,
    with_msg_regs, with_msg_regs_mut,
};

const VM: Channel = Channel::new(1);
const STRANGER: Channel = Channel::new(2);
const MANAGER: Channel = Channel::new(9);

const SELECTOR: u32 = 0x186;
const COUNTER: u32 = 0x4C1;
const LEGACY_COUNTER: u32 = 0xC1;
const FIXED_COUNTER: u32 = 0x309;
const FIXED_CONTROL: u32 = 0x38D;
const GLOBAL_STATUS: u32 = 0x38E;
const GLOBAL_CONTROL: u32 = 0x38F;
const STATUS_RESET: u32 = 0x390;
const STATUS_SET: u32 = 0x391;
const INSTRUCTIONS: u64 = 0x53_00C0;
const BRANCHES: u64 = 0x53_00C4;

#[protection_domain]
fn init() -> impl Handler {
    open();
    // Where the description lets it notify, a peer can: that is its affair, and nobody else's.
    STRANGER.notify();
    registers();
    refusals();
    snapshots();
    manager();
    malformed();
    statistics();
    debug_println!("protocol: passed");
    NullHandler::new()
}

fn exchange(channel: Channel, message: &Message) -> Reply {
    let words = message.words();
    with_msg_regs_mut(|registers| registers[..words.len()].copy_from_slice(words));
    let info = channel.pp_call(MessageInfo::new(message.label(), words.len()));
    let reply = with_msg_regs(|registers| Message::received(info.label(), &registers[..info.count()]));
    Reply::decode(&reply).unwrap_or_else(|error| panic!("{message:?} is answered by {error:?}"))
}

#[track_caller]
fn expect(request: Request, reply: Reply) {
    assert_eq!(exchange(VM, &request.encode()), reply, "{request:?}");
}

#[track_caller]
fn write(msr: u32, value: u64) {
    expect(Request::Write { msr, value }, Reply::Done);
}

#[track_caller]
fn reads(msr: u32, value: u64) {
    expect(Request::Read { msr }, Reply::Value { value });
}

fn open() {
    let reply = exchange(VM, &Request::Open.encode());
    let Reply::Opened(configuration) = reply else { panic!("{reply:?}") };
    assert_eq!(configuration.mode, Mode::Mediated);
    assert!(configuration.direct.contains(Direct::RDPMC | Direct::GLOBAL | Direct::FIXED_COUNTERS));
    let [eax, ebx, _, edx] = configuration.leaf_a;
    assert!(eax & 0xFF >= 4 && eax >> 8 & 0xFF == 8, "{eax:#x}");
    assert_eq!(ebx, 1 << 5, "the filter denies branches");
    assert!(edx & 0x1F >= 3, "{edx:#x}");
    assert_eq!(configuration.perf_capabilities, 1 << 13);
    assert!(!configuration.report_overflow);
}

fn registers() {
    for i in 0..8 {
        let value = 0x41_00C0 + u64::from(i);
        write(SELECTOR + i, value);
        reads(SELECTOR + i, value);
        write(COUNTER + i, 0x8000_0000_0000 + u64::from(i));
        reads(LEGACY_COUNTER + i, 0x8000_0000_0000 + u64::from(i));
    }
    // Pin control is the guest's to set and not the kernel's to take.
    write(SELECTOR, INSTRUCTIONS | 1 << 19);
    reads(SELECTOR, INSTRUCTIONS | 1 << 19);
    write(SELECTOR + 1, BRANCHES);
    reads(SELECTOR + 1, BRANCHES);
    write(LEGACY_COUNTER, 0xFFFF_FFFE);
    let rdpmc = Request::Rdpmc { index: 0, privilege: Privilege::new(3, true, true) };
    expect(rdpmc, Reply::Value { value: 0xFFFF_FFFF_FFFE });
    write(FIXED_COUNTER + 2, 77);
    reads(FIXED_COUNTER + 2, 77);
    write(FIXED_CONTROL, 0xBBB);
    reads(FIXED_CONTROL, 0xBBB);
    reads(GLOBAL_CONTROL, 0xFF);
    write(GLOBAL_CONTROL, 0x7_0000_000F);
    reads(GLOBAL_CONTROL, 0x7_0000_000F);
    reads(GLOBAL_STATUS, 0);
    write(STATUS_SET, 0x4_0000_0003);
    reads(GLOBAL_STATUS, 0x4_0000_0003);
    expect(Request::Overflow, Reply::Overflow(OverflowDecision::Deliver));
    write(STATUS_RESET, 0x4_0000_0001);
    reads(GLOBAL_STATUS, 2);
    write(STATUS_RESET, 2);
    expect(Request::Overflow, Reply::Overflow(OverflowDecision::Deliver));
}

fn refusals() {
    for (msr, value) in [
        (SELECTOR, 1 << 21),
        (SELECTOR, 1 << 34),
        (SELECTOR + 8, 0),
        (COUNTER, 1 << 63),
        (FIXED_CONTROL, 4),
        (GLOBAL_CONTROL, 1 << 8),
        (GLOBAL_STATUS, 0),
        (0x1A6, 1),
        (0x1D9, 1),
        (0x3F1, 1),
        (0x600, 0),
    ] {
        expect(Request::Write { msr, value }, Reply::Fault);
    }
    let refused = Privilege::new(3, true, false);
    expect(Request::Rdpmc { index: 0, privilege: refused }, Reply::Fault);
    let unavailable = Reply::Refused(Refusal::Unavailable(UnavailableReason::NoVm));
    assert_eq!(exchange(STRANGER, &Request::Open.encode()), unavailable);
}

fn snapshots() {
    let saved: [Chunk; 4] = [0, 1, 2, 3].map(|index| match exchange(VM, &Request::Save { index }.encode()) {
        Reply::Saved(chunk) => chunk,
        other => panic!("{other:?}"),
    });
    assert!(matches!(exchange(VM, &Request::Open.encode()), Reply::Opened(_)));
    reads(SELECTOR + 7, 0);
    reads(COUNTER + 7, 0);
    let mut bad = saved;
    bad[1].data[0] ^= 1;
    let checksum = Reply::Refused(Refusal::Snapshot(SnapshotReason::Checksum));
    for (chunks, last) in [(bad, checksum), (saved, Reply::Restored)] {
        for (chunk, next) in chunks[..3].iter().zip(1..) {
            expect(Request::Restore(*chunk), Reply::Restoring { next });
        }
        reads(SELECTOR + 7, 0);
        expect(Request::Restore(chunks[3]), last);
    }
    reads(SELECTOR + 7, 0x41_00C7);
    reads(COUNTER + 7, 0x8000_0000_0007);
    reads(FIXED_CONTROL, 0xBBB);
    reads(GLOBAL_CONTROL, 0x7_0000_000F);
}

fn manager() {
    expect(Request::ReplaceFilter { vm: 0 }, Reply::Refused(Refusal::NotManager));
    let ask = |request: Request| exchange(MANAGER, &request.encode());
    assert_eq!(ask(Request::Open), Reply::Refused(Refusal::NotVmm));
    assert!(matches!(ask(Request::ReplaceFilter { vm: 1 }), Reply::Refused(Refusal::Filter(_))));
    assert_eq!(ask(Request::ReplaceFilter { vm: 0 }), Reply::Replaced);
    reads(SELECTOR + 7, 0x41_00C7);
    let reply = exchange(VM, &Request::Open.encode());
    let Reply::Opened(configuration) = reply else { panic!("{reply:?}") };
    assert_eq!(configuration.leaf_a[1], 0xFF & !(1 << 5), "now only branches may count");
}

fn malformed() {
    let length = Malformed::Length { expected: 2, found: 120 };
    with_msg_regs_mut(|registers| registers.fill(u64::MAX));
    let info = VM.pp_call(MessageInfo::new(0x103, 120));
    let reply = with_msg_regs(|registers| Message::received(info.label(), &registers[..info.count()]));
    assert_eq!(Reply::decode(&reply), Ok(Reply::Malformed(length)));
    let version = Malformed::Version { label: 0 };
    assert_eq!(exchange(VM, &Message::received(0, &[])), Reply::Malformed(version));
}

fn statistics() {
    let region = memory_region_symbol!(statistics_vaddr: *mut StatisticsRegion);
    // SAFETY: the region is mapped, and has the policy domain's words, any of which are valid; this domain runs only
    // while the policy domain does not.
    let region = unsafe { region.as_ptr().read_volatile() };
    assert_eq!((region.magic, region.vm_count, region.strangers), (STATISTICS_MAGIC, 1, 1));
    let vm = region.vms[0];
    let count = |statistic: Statistic| vm.counters[statistic as usize];
    assert_eq!(vm.channel, 1);
    assert_eq!(count(Statistic::Opens), 3);
    assert_eq!((count(Statistic::Saves), count(Statistic::Restores)), (1, 1));
    assert_eq!((count(Statistic::MalformedLength), count(Statistic::MalformedVersion)), (1, 1));
    assert_eq!(count(Statistic::Faults), 12);
    assert_eq!(count(Statistic::Denied), 3, "branches on counters 4 and 1, fixed counter 2");
    let asked = exchange(VM, &Request::Statistics { first: 0 }.encode());
    let Reply::Statistics { values } = asked else { panic!("{asked:?}") };
    assert_eq!(values[..], vm.counters[..7]);
}
