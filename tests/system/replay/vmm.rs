//! Replays a recording through the VMM's logic, with real calls to the policy domain, until at least 100,000 exits
//! are replayed.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, debug_println, protection_domain, var};
use vmm_core::boot::Start;
use vmm_core::seam::{Difference, Event, ReplayLink, Tape};
use vmm_core::{Observer, Vm};
use vmm_pd::link::PolicyDomain;

/// Exits to replay.
const EXITS: u64 = 100_000;

struct Silent;

impl Observer for Silent {
    fn output(&mut self, _: u8) {}
}

#[protection_domain(stack_size = 0x10000)]
fn init() -> impl Handler {
    // The region's first word is how many words of events follow.
    let Some((length, rest)) = recording().split_first() else {
        panic!("system.xml maps no recording (setvar_vaddr recording_vaddr)");
    };
    let length = usize::try_from(*length).unwrap_or(usize::MAX);
    let Some(events) = rest.get(..length) else { panic!("the recording is longer than its region") };
    let first = Event::decode(events).and_then(|(event, events)| Some((event.as_start()?, events)));
    let Some((start, events)) = first else { panic!("the recording does not begin with a guest's start") };
    let (mut exits, mut rounds, mut calls) = (0, 0, 0);
    while exits < EXITS {
        let round = replay(events, &start);
        if let Some(difference) = round.difference {
            debug_println!("replay: round {}, {difference}: differs", rounds + 1);
            return NullHandler::new();
        }
        assert!(round.exits > 0, "the recording has no exit");
        exits += round.exits;
        calls += round.calls;
        rounds += 1;
    }
    debug_println!("replay: {exits} exits and {calls} calls in {rounds} rounds, no difference: passed");
    NullHandler::new()
}

/// What came of one guest, from the start of the recording to its end.
struct Round {
    exits: u64,
    /// Calls to the policy domain.
    calls: u64,
    difference: Option<Difference>,
}

fn replay(events: &[u64], start: &Start) -> Round {
    let tape = Tape::new(events);
    let mut calls = 0;
    // A link that fails has left its difference on the tape.
    if let Ok(mut vm) = Vm::new(ReplayLink::new(&tape, PolicyDomain)) {
        vm.run(&mut &tape, &mut Silent, start);
        calls = vm.calls();
    }
    Round { exits: tape.exits(), calls, difference: tape.finish() }
}

/// The recording's region.
fn recording() -> &'static [u64] {
    let start: *const u64 = core::ptr::with_exposed_provenance(*var!(recording_vaddr: usize = 0));
    let size = *var!(recording_size: usize = 0);
    if start.is_null() || !start.is_aligned() {
        return &[];
    }
    // SAFETY: the image build patched both values for a region that is mapped readable for as long as this domain
    // lives, and that nobody writes; any bits are a word.
    unsafe { core::slice::from_raw_parts(start, size / size_of::<u64>()) }
}
