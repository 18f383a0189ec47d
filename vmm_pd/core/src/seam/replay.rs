//! Replaying, up to the first difference.

use super::{Event, Kind};
use crate::arch::{Field, Interruption};
use crate::exit::{RawExit, reason};
use crate::pmu::PmuLink;
use crate::registers::{REGISTERS, Registers, low};
use crate::switched::Switched;
use crate::vcpu::{Entry, Memory, Return, Vcpu};
use core::cell::{Cell, RefCell};
use core::fmt;
use pmu_api::Message;

/// The first difference between what happened and the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Exits before it.
    pub exits: u64,
    /// What happened, with the words that the VMM or the policy domain chose; [`None`] if the VMM stopped.
    pub happened: Option<Event>,
    /// What was recorded; [`None`] if it is not an event.
    pub recorded: Option<Event>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} exits: recorded ", self.exits)?;
        match &self.recorded {
            Some(event) => write!(f, "`{event}`")?,
            None => f.write_str("nothing that is an event")?,
        }
        match &self.happened {
            Some(event) => write!(f, ", but now `{event}`"),
            None => f.write_str(", but now the guest is stopped"),
        }
    }
}

/// A recording in memory. As a virtual CPU (`&Tape`) it gives back what was recorded, and compares what it is told.
/// After its end, or a difference, it stops the guest by a triple fault.
#[derive(Debug)]
pub struct Tape<'a> {
    rest: Cell<&'a [u64]>,
    exits: Cell<u64>,
    ended: Cell<bool>,
    difference: RefCell<Option<Difference>>,
}

impl<'a> Tape<'a> {
    /// The tape of these events.
    pub const fn new(events: &'a [u64]) -> Self {
        Self {
            rest: Cell::new(events),
            exits: Cell::new(0),
            ended: Cell::new(false),
            difference: RefCell::new(None),
        }
    }

    /// Exits that were given back.
    pub const fn exits(&self) -> u64 {
        self.exits.get()
    }

    /// After the guest stopped: the first difference, if there is one.
    pub fn finish(self) -> Option<Difference> {
        if !self.rest.get().is_empty() {
            self.differ(None);
        }
        self.difference.into_inner()
    }

    fn differ(&self, happened: Option<Event>) {
        let recorded = Event::decode(self.rest.get()).map(|(event, _)| event);
        let exits = self.exits.get();
        self.difference.borrow_mut().get_or_insert(Difference { exits, happened, recorded });
    }

    /// The next event, if the tape goes on and nothing differed.
    fn peek(&self) -> Option<(Event, &'a [u64])> {
        if self.rest.get().is_empty() {
            self.ended.set(true);
        }
        if self.ended.get() || self.difference.borrow().is_some() {
            return None;
        }
        let next = Event::decode(self.rest.get());
        if next.is_none() {
            self.differ(None);
        }
        next
    }

    /// What happened must be recorded next, as an event that has `answers` words more; these.
    fn happened<const N: usize>(&self, happened: Event) -> Option<[u64; N]> {
        let (event, rest) = self.peek()?;
        let answers = event.words.strip_prefix(happened.words()).and_then(|words| words.try_into().ok());
        if event.kind != happened.kind || answers.is_none() {
            self.differ(Some(happened));
            return None;
        }
        self.rest.set(rest);
        answers
    }

    /// The return from VM entry that is recorded next.
    fn returned(&self) -> Option<Return> {
        let (event, rest) = self.peek()?;
        let result = match (event.kind, event.words()) {
            (Kind::Exit, words) => exit(words).map(Return::Exit),
            (Kind::Notified, [rip, injection, end]) => {
                let injection = Interruption(low(*injection));
                Some(Return::Notified { rip: *rip, injection, end: *end != 0 })
            }
            _ => None,
        };
        if result.is_none() {
            self.differ(None);
            return None;
        }
        self.rest.set(rest);
        self.exits.set(self.exits.get() + u64::from(event.kind == Kind::Exit));
        result
    }
}

fn exit(words: &[u64]) -> Option<RawExit> {
    let (fields, registers) = words.split_first_chunk::<9>()?;
    let registers: [u64; REGISTERS] = registers.try_into().ok()?;
    let [reason, qualification, length, physical, rip, rflags, interruptibility, cr3, injection] = *fields;
    Some(RawExit {
        reason: low(reason),
        qualification,
        instruction_length: length,
        guest_physical: physical,
        rip,
        rflags,
        interruptibility: low(interruptibility),
        cr3,
        injection: Interruption(low(injection)),
        registers: Registers(registers),
    })
}

impl Vcpu for &Tape<'_> {
    fn enter(&mut self, entry: &Entry) -> Return {
        let stop = Return::Exit(RawExit { reason: reason::TRIPLE_FAULT, ..RawExit::default() });
        self.happened::<0>(Event::entry(entry)).and_then(|[]| self.returned()).unwrap_or(stop)
    }

    fn read(&mut self, field: Field) -> u64 {
        self.happened(Event::new(Kind::Read, [field as u64])).map_or(0, |[value]| value)
    }

    fn write(&mut self, field: Field, value: u64) {
        let _: Option<[u64; 0]> = self.happened(Event::new(Kind::Write, [field as u64, value]));
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        self.happened(Event::new(Kind::Set, [register as u64, value])).is_some_and(|[taken]| taken != 0)
    }

    fn now(&self) -> u64 {
        self.happened(Event::new(Kind::Now, [])).map_or(0, |[value]| value)
    }
}

impl Memory for &Tape<'_> {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        let asked = Event::new(Kind::Memory, [address, bytes.len() as u64]);
        let Some((event, rest)) = self.peek() else { return false };
        let words = event.words.strip_prefix(asked.words()).filter(|_| event.kind == Kind::Memory);
        let Some(([found, data @ ..], true)) =
            words.map(|words| (words, words.len() == 1 + bytes.len().div_ceil(size_of::<u64>())))
        else {
            self.differ(Some(asked));
            return false;
        };
        self.rest.set(rest);
        if *found != 0 {
            for (chunk, word) in bytes.chunks_mut(size_of::<u64>()).zip(data) {
                let length = chunk.len();
                chunk.copy_from_slice(&word.to_le_bytes()[..length]);
            }
        }
        *found != 0
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.happened(Event::store(address, bytes, [])).is_some_and(|[found]| found != 0)
    }
}

/// The link to a policy domain whose replies must be those of the tape.
#[derive(Debug)]
pub struct ReplayLink<'t, 'a, L> {
    tape: &'t Tape<'a>,
    link: L,
}

impl<'t, 'a, L: PmuLink> ReplayLink<'t, 'a, L> {
    /// Compares requests and replies of `link`.
    pub const fn new(tape: &'t Tape<'a>, link: L) -> Self {
        Self { tape, link }
    }
}

impl<L: PmuLink> PmuLink for ReplayLink<'_, '_, L> {
    fn call(&mut self, request: &Message) -> Option<Message> {
        let [] = self.tape.happened(Event::message(Kind::Call, request))?;
        let reply = self.link.call(request);
        let [] = self.tape.happened(match &reply {
            Some(reply) => Event::message(Kind::Reply, reply),
            None => Event::new(Kind::Gone, []),
        })?;
        reply
    }
}
