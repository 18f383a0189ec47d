//! What crosses the two seams of the VMM, [`Vcpu`](crate::Vcpu) and [`PmuLink`](crate::PmuLink), recorded and replayed.
//!
//! An event is a kind and words. As a line it is `@seam KIND WORD ...`, the words in hexadecimal; in memory it is a
//! header word (kind in bits 7:0, number of words in bits 15:8) and its words. The words of each kind:
//!
//! | kind | words |
//! |---|---|
//! | start | mode (0: 32-bit protected, 1: 64-bit), RIP, bytes of memory, 15 registers; the first event of a recording |
//! | enter | RIP, primary controls, injection, flags (bit 0: completed, bit 1: registers), 15 registers if bit 1 |
//! | exit | reason, qualification, instruction length, guest-physical address, RIP, RFLAGS, interruptibility, CR3, injection, 15 registers |
//! | notified | RIP, injection, 1 if the end is asked for |
//! | read, write | VMCS field, value |
//! | now | cycles |
//! | set | number of the register, value, 1 if it takes it |
//! | memory | address, length in bytes, 1 if it is RAM, then the bytes in words |
//! | store | address, length in bytes, the bytes in words, 1 if it is RAM |
//! | call, reply | label, words of the message |
//! | gone | - |

mod record;
mod replay;
#[cfg(test)]
mod tests;

pub use record::Recorder;
pub use replay::{Difference, ReplayLink, Tape};

use crate::boot::{Mode, Start};
use crate::registers::{REGISTERS, Registers};
use crate::vcpu::Entry;
use core::fmt;
use heapless::Vec;
use pmu_api::Message;

/// The most words of an event: those of an exit.
pub const LONGEST: usize = 9 + REGISTERS;

/// How the line of an event begins.
pub const PREFIX: &str = "@seam ";

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// VM entry.
    Enter = 1,
    /// VM exit.
    Exit,
    /// VM entry returned for a notification.
    Notified,
    /// A VMCS field is read.
    Read,
    /// A VMCS field is written.
    Write,
    /// The time is read.
    Now,
    /// Guest memory is read.
    Memory,
    /// A request to the policy domain.
    Call,
    /// Its reply.
    Reply,
    /// It cannot be called any more.
    Gone,
    /// Guest memory is written.
    Store,
    /// A register that the kernel switches is set.
    Set,
    /// How the guest starts.
    Start,
}

impl Kind {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Enter, "enter"),
        (Self::Exit, "exit"),
        (Self::Notified, "notified"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Now, "now"),
        (Self::Memory, "memory"),
        (Self::Call, "call"),
        (Self::Reply, "reply"),
        (Self::Gone, "gone"),
        (Self::Store, "store"),
        (Self::Set, "set"),
        (Self::Start, "start"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// Something that crossed a seam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    words: Vec<u64, LONGEST>,
}

impl Event {
    /// An event; words beyond [`LONGEST`] are left out.
    pub fn new(kind: Kind, words: impl IntoIterator<Item = u64>) -> Self {
        Self { kind, words: words.into_iter().take(LONGEST).collect() }
    }

    /// Its words.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The event of a line that begins with [`PREFIX`]; [`None`] if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix(PREFIX)?.split(' ');
        let name = parts.next()?;
        let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == name)?;
        let mut words = Vec::new();
        for part in parts {
            words.push(u64::from_str_radix(part, 16).ok()?).ok()?;
        }
        Some(Self { kind, words })
    }

    /// The header word of its form in memory.
    pub fn header(&self) -> u64 {
        self.kind as u64 | (self.words.len() as u64) << 8
    }

    /// The first event in `memory`, and what follows it.
    pub fn decode(memory: &[u64]) -> Option<(Self, &[u64])> {
        let (header, rest) = memory.split_first()?;
        let (kind, _) = Kind::ALL.into_iter().find(|(kind, _)| *kind as u64 == header & 0xff)?;
        let (words, rest) = rest.split_at_checked(usize::try_from(header >> 8).ok()?)?;
        Some((Self { kind, words: Vec::from_slice(words).ok()? }, rest))
    }

    /// How a guest starts, whose time-stamp counter's rate is not known.
    pub fn start(start: &Start) -> Self {
        let mode = u64::from(start.mode == Mode::Long);
        Self::new(Kind::Start, [mode, start.rip, start.memory].into_iter().chain(start.registers.0))
    }

    /// What [`Event::start`] has made an event of.
    pub fn as_start(&self) -> Option<Start> {
        let (&[mode, rip, memory], registers) = self.words.split_first_chunk()?;
        let mode = match mode {
            0 => Mode::Protected,
            1 => Mode::Long,
            _ => return None,
        };
        let registers = Registers(registers.try_into().ok()?);
        (self.kind == Kind::Start).then_some(Start { mode, rip, registers, memory, tsc_hz: None })
    }

    fn entry(entry: &Entry) -> Self {
        let flags = u64::from(entry.completed) | u64::from(entry.registers.is_some()) << 1;
        let words = [entry.rip, entry.primary_controls, u64::from(entry.injection.0), flags];
        let registers = entry.registers.into_iter().flat_map(|registers| registers.0);
        Self::new(Kind::Enter, words.into_iter().chain(registers))
    }

    fn store<const N: usize>(address: u64, bytes: &[u8], answer: [u64; N]) -> Self {
        let head = [address, bytes.len() as u64];
        Self::new(Kind::Store, head.into_iter().chain(words(bytes)).chain(answer))
    }

    fn message(kind: Kind, message: &Message) -> Self {
        Self::new(kind, [message.label()].into_iter().chain(message.words().iter().copied()))
    }
}

/// Bytes as words, the last one filled up with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(size_of::<u64>()).map(|chunk| {
        let mut word = [0; size_of::<u64>()];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.kind.name())?;
        self.words.iter().try_for_each(|word| write!(f, " {word:x}"))
    }
}
