//! What is recorded is replayed; whatever is changed in between is noticed.

use super::{Event, Kind, Recorder, ReplayLink, Tape};
use crate::boot::{Mode, Start};
use crate::vm::tests::double::{
    Playback, Policy, RIP, Seen, apic_with_lvtpc, exit, pmi, rdmsr, usual, wrmsr,
};
use crate::{RawExit, Return, Vm};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

const SIZE: u64 = 0x20_0000;

fn policy() -> Policy {
    Policy { asked: Rc::default(), answer: usual }
}

/// A run with PMU accesses that complete and fault, an interrupt, and times.
fn recording() -> Vec<Event> {
    let mut exits: Vec<RawExit> = apic_with_lvtpc(0xee).into();
    exits.extend([
        wrmsr(0x186, 0x53_00c0),
        wrmsr(0x187, 1),
        rdmsr(0x186),
        rdmsr(0x10),
        exit(15),
        pmi(1 << 9 | 2),
    ]);
    let events = RefCell::new(Vec::new());
    let sink = |event: &Event| events.borrow_mut().push(event.clone());
    let vcpu = Playback {
        exits: exits.into_iter().map(Return::Exit).collect(),
        fields: HashMap::new(),
        entries: Vec::new(),
        memory: vec![0; 0x1000],
        now: 0,
        ..Playback::default()
    };
    let mut vm = Vm::new(Recorder::new(policy(), sink)).expect("it opens");
    vm.run(&mut Recorder::new(vcpu, sink), &mut Seen::default(), &Start::long(RIP, SIZE));
    events.into_inner()
}

fn words(events: &[Event]) -> Vec<u64> {
    events.iter().flat_map(|event| [event.header()].into_iter().chain(event.words().to_vec())).collect()
}

fn replay(events: &[u64]) -> Result<u64, String> {
    let tape = Tape::new(events);
    if let Ok(mut vm) = Vm::new(ReplayLink::new(&tape, policy())) {
        vm.run(&mut &tape, &mut Seen::default(), &Start::long(RIP, SIZE));
    }
    let exits = tape.exits();
    tape.finish().map_or(Ok(exits), |difference| Err(difference.to_string()))
}

#[test]
fn a_recording_replays() {
    let events = recording();
    assert_eq!(replay(&words(&events)), Ok(10));
    for kind in [Kind::Enter, Kind::Exit, Kind::Read, Kind::Write, Kind::Now, Kind::Call, Kind::Reply] {
        assert!(events.iter().any(|event| event.kind == kind), "{kind:?}");
    }
}

#[test]
fn a_line_is_the_event() {
    for event in recording() {
        assert_eq!(Event::parse(&event.to_string()), Some(event));
    }
    for line in ["@seam", "@seam nothing 1", "@seam now x", "@trace now 1", "@seam now 1 "] {
        assert_eq!(Event::parse(line), None, "{line}");
    }
}

/// What the VMM and the policy domain decide: entries, writes, requests, replies.
#[test]
fn every_changed_outcome_differs() {
    let events = recording();
    let decided = [Kind::Enter, Kind::Write, Kind::Call, Kind::Reply];
    let mut tried = 0;
    for (i, event) in events.iter().enumerate().filter(|(_, event)| decided.contains(&event.kind)) {
        for word in 0..event.words().len() {
            let mut changed = events.clone();
            changed[i].words[word] ^= 1;
            assert!(replay(&words(&changed)).is_err(), "{event}, word {word}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn a_missing_event_differs_and_an_early_end_does_not() {
    let events = recording();
    for i in 0..events.len() - 1 {
        let mut fewer = events.clone();
        fewer.remove(i);
        assert!(replay(&words(&fewer)).is_err() || fewer == events[..i], "{}", events[i]);
    }
    let mut more = events.clone();
    more.push(Event::new(Kind::Now, [0]));
    assert!(replay(&words(&more)).is_err());
    let enter = events.iter().rposition(|event| event.kind == Kind::Enter).expect("an entry");
    assert_eq!(replay(&words(&events[..enter])), Ok(9));
    assert!(replay(&[0]).is_err());
}

#[test]
fn a_start_comes_back_from_its_line() {
    let mut start = Start::long(RIP, SIZE);
    for mode in [Mode::Protected, Mode::Long] {
        start.mode = mode;
        let event = Event::parse(&Event::start(&start).to_string()).expect("a line of ours");
        assert_eq!(event.as_start(), Some(start));
    }
    assert_eq!(Event::new(Kind::Start, [2; 18]).as_start(), None);
    assert_eq!(Event::new(Kind::Start, [1; 17]).as_start(), None);
    assert_eq!(Event::new(Kind::Exit, [1; 18]).as_start(), None);
}
