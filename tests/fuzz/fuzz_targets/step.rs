//! Any sequence of requests and messages over the domain's channels: every answer is of the protocol, nothing
//! forbidden reaches the hardware (the context asserts it), what is not done changes nothing, and one VM's
//! requests never reach another's context.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pmu_api::{Chunk, Message, Privilege, Reply, Request};
use pmu_core::RegionCells;
use pmu_fuzz::{domain, policy, region};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

#[derive(Arbitrary, Debug)]
enum Action {
    Message(u8, Vec<u64>),
    Open,
    Write(u8, u64),
    /// A control write with an event and its enable bit.
    Count(u8, u16),
    Read(u8),
    Rdpmc(u32, u8, bool, bool),
    Overflow,
    Save(u8),
    Restore(u8),
    Statistics(u64),
    Replace(u32),
}

/// Numbers of PMU registers, their neighbours, and some that are denied.
fn msr(choice: u8) -> u32 {
    let near = [0x186, 0xC1, 0x4C1, 0x309, 0x38A];
    match choice {
        0xF0.. => [0x345, 0x1A6, 0x1D9, 0x3F1, 0x600, 0x329, 0, u32::MAX][usize::from(choice % 8)],
        _ => near[usize::from(choice % 5)] + u32::from(choice / 5) % 11,
    }
}

fn message(action: Action, saved: &[Option<Chunk>; 4]) -> Option<Message> {
    let request = match action {
        Action::Message(operation, words) => {
            return Some(Message::received(0x100 | u64::from(operation), &words));
        }
        Action::Open => Request::Open,
        Action::Write(choice, value) => Request::Write { msr: msr(choice), value },
        Action::Count(i, event) => {
            Request::Write { msr: 0x186 + u32::from(i % 8), value: 0x53_0000 | u64::from(event) }
        }
        Action::Read(choice) => Request::Read { msr: msr(choice) },
        Action::Rdpmc(index, cpl, pe, pce) => {
            Request::Rdpmc { index, privilege: Privilege::new(cpl, pe, pce) }
        }
        Action::Overflow => Request::Overflow,
        Action::Save(index) => Request::Save { index: u64::from(index % 5) },
        Action::Restore(index) => Request::Restore(saved[usize::from(index % 4)]?),
        Action::Statistics(first) => Request::Statistics { first },
        Action::Replace(vm) => Request::ReplaceFilter { vm },
    };
    Some(request.encode())
}

fuzz_target!(|actions: Vec<(u8, Action, u16)>| {
    static POLICY: OnceLock<&'static [AtomicU64]> = OnceLock::new();
    let policy = POLICY.get_or_init(|| region(policy()));
    let statistics = RegionCells::new();
    let mut domain = domain(policy, policy, &statistics);
    let mut saved = [None; 4];
    let mut now = 0;
    for (channel, action, later) in actions {
        let Some(message) = message(action, &saved) else { continue };
        let channel = [1, 1, 1, 2, 9, 61][usize::from(channel % 6)];
        now += u64::from(later);
        let before = domain.vms_mut().iter_mut().map(|vm| vm.port().clone()).collect::<Vec<_>>();
        let reply = domain.handle(channel, &message, now);
        let reply = Reply::decode(&reply).expect("the answer is of the protocol");
        let after = domain.vms_mut().iter_mut().map(|vm| vm.port().clone()).collect::<Vec<_>>();
        match reply {
            Reply::Fault | Reply::Malformed(_) | Reply::Refused(_) => assert_eq!(before, after),
            _ if channel == 1 => assert_eq!(before[1], after[1]),
            _ if channel == 2 => assert_eq!(before[0], after[0]),
            _ => {}
        }
        if let Reply::Saved(chunk) = reply {
            saved[usize::try_from(chunk.index()).expect("it is small")] = Some(chunk);
        }
    }
});
