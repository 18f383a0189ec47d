//! Replies.

use crate::chunk::{CHUNK_WORDS, Chunk};
use crate::codes::codes;
use crate::configuration::Configuration;
use crate::malformed::Malformed;
use crate::message::{MAX_WORDS, Message};
use crate::refusal::Refusal;
use crate::statistics::STATISTICS;

/// What the VMM passes to VMEnter (MR3) after [`Reply::Value`] and [`Reply::Done`]: it completed one
/// instruction for the guest. Word 0 of those replies.
pub const COMPLETED: u64 = 1;

codes! {
    /// The code in bits 7:0 of a reply's label.
    ReplyCode {
        /// [`Reply::Opened`].
        Opened = 0x81,
        /// [`Reply::Value`].
        Value = 0x82,
        /// [`Reply::Done`].
        Done = 0x83,
        /// [`Reply::Overflow`].
        Overflow = 0x85,
        /// [`Reply::Saved`].
        Saved = 0x86,
        /// [`Reply::Restoring`].
        Restoring = 0x87,
        /// [`Reply::Statistics`].
        Statistics = 0x88,
        /// [`Reply::Restored`].
        Restored = 0x89,
        /// [`Reply::ValueWithPmi`].
        ValueWithPmi = 0x8A,
        /// [`Reply::DoneWithPmi`].
        DoneWithPmi = 0x8B,
        /// [`Reply::Replaced`].
        Replaced = 0xA0,
        /// [`Reply::Fault`].
        Fault = 0xC0,
        /// [`Reply::Refused`].
        Refused = 0xC1,
        /// [`Reply::Malformed`].
        Malformed = 0xC2,
    }
}

/// What to do with a PMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverflowDecision {
    /// Deliver it to the guest now, as its LVTPC says.
    Deliver,
    /// The policy's rate limit is reached: keep it pending and deliver it after this many TSC cycles. PMIs
    /// that come meanwhile merge with it, as they do in a local APIC.
    Delay {
        /// TSC cycles from now.
        cycles: u64,
    },
    /// The guest has no counters: drop it.
    Spurious,
}

const DELIVER: u64 = 1;
const DELAY: u64 = 2;
const SPURIOUS: u64 = 3;

/// The answer to a request. No reply has all its words zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The vPMU was reset. Words 0 to 3: see [`Configuration`].
    Opened(Configuration),
    /// The instruction is done and read this value. Word 0: [`COMPLETED`], word 1: the value.
    Value {
        /// What goes to the guest's EDX:EAX.
        value: u64,
    },
    /// The instruction is done. Word 0: [`COMPLETED`].
    Done,
    /// As [`Reply::Value`], and a PMI is due: on a kernel without the PMU extension.
    ValueWithPmi {
        /// What goes to the guest's EDX:EAX.
        value: u64,
    },
    /// As [`Reply::Done`], and a PMI is due: on a kernel without the PMU extension.
    DoneWithPmi,
    /// The instruction raises #GP(0) in the guest; nothing changed. Word 0: the vector, 13.
    Fault,
    /// What to do with the PMI. Word 0: 1 deliver, 2 delay, 3 spurious; word 1: cycles of the delay or 0.
    Overflow(OverflowDecision),
    /// A chunk of the snapshot. Words as in [`Request::Restore`](crate::Request::Restore).
    Saved(Chunk),
    /// The chunk was taken; the next one is awaited. Word 0: its index, at least 1.
    Restoring {
        /// Index of the chunk to send next.
        next: u64,
    },
    /// The snapshot was restored, whole. Word 0: 1.
    Restored,
    /// Counters. Word 0: how many there are in all; words 1 to 7: those asked for, 0 past the end.
    Statistics {
        /// The counters from the index asked for on.
        values: [u64; CHUNK_WORDS],
    },
    /// The filter was replaced and every running counter recomputed. Word 0: 1.
    Replaced,
    /// Understood and refused. Word 0: the kind, word 1: the detail.
    Refused(Refusal),
    /// Not a request. Word 0: the kind, words 1 and 2: details.
    Malformed(Malformed),
}

/// The vector of #GP (SDM volume 3A, table 6-1).
const GENERAL_PROTECTION: u64 = 13;
const SUCCESS: u64 = 1;

impl Reply {
    /// The message that carries this reply.
    pub fn encode(&self) -> Message {
        use ReplyCode as Code;
        match *self {
            Reply::Opened(configuration) => Message::new(Code::Opened.code(), configuration.words()),
            Reply::Value { value } => Message::new(Code::Value.code(), [COMPLETED, value]),
            Reply::Done => Message::new(Code::Done.code(), [COMPLETED]),
            Reply::ValueWithPmi { value } => Message::new(Code::ValueWithPmi.code(), [COMPLETED, value]),
            Reply::DoneWithPmi => Message::new(Code::DoneWithPmi.code(), [COMPLETED]),
            Reply::Fault => Message::new(Code::Fault.code(), [GENERAL_PROTECTION]),
            Reply::Overflow(decision) => {
                let words = match decision {
                    OverflowDecision::Deliver => [DELIVER, 0],
                    OverflowDecision::Delay { cycles } => [DELAY, cycles],
                    OverflowDecision::Spurious => [SPURIOUS, 0],
                };
                Message::new(Code::Overflow.code(), words)
            }
            Reply::Saved(chunk) => Message::new(Code::Saved.code(), chunk.words()),
            Reply::Restoring { next } => Message::new(Code::Restoring.code(), [next]),
            Reply::Restored => Message::new(Code::Restored.code(), [SUCCESS]),
            Reply::Statistics { values } => {
                let [a, b, c, d, e, f, g] = values;
                Message::new(Code::Statistics.code(), [STATISTICS as u64, a, b, c, d, e, f, g])
            }
            Reply::Replaced => Message::new(Code::Replaced.code(), [SUCCESS]),
            Reply::Refused(refusal) => Message::new(Code::Refused.code(), refusal.words()),
            Reply::Malformed(malformed) => Message::new(Code::Malformed.code(), malformed.words()),
        }
    }

    /// The reply in `message`.
    ///
    /// # Errors
    /// [`Malformed`] for every message that no reply encodes to.
    #[inline]
    pub fn decode(message: &Message) -> Result<Self, Malformed> {
        // The answer to a guest's write.
        if message.is(ReplyCode::Done.code(), [COMPLETED]) {
            Ok(Reply::Done)
        } else {
            Self::decode_any(*message)
        }
    }

    fn decode_any(message: Message) -> Result<Self, Malformed> {
        let message = &message;
        let code = message.code()?;
        match ReplyCode::from_code(code).ok_or(Malformed::Operation { code })? {
            ReplyCode::Opened => Ok(Reply::Opened(Configuration::from_words(message.exactly()?)?)),
            ReplyCode::Value => match message.exactly()? {
                [COMPLETED, value] => Ok(Reply::Value { value }),
                _ => Err(Malformed::Word { index: 0 }),
            },
            ReplyCode::Done => only(message, COMPLETED, Reply::Done),
            ReplyCode::ValueWithPmi => match message.exactly()? {
                [COMPLETED, value] => Ok(Reply::ValueWithPmi { value }),
                _ => Err(Malformed::Word { index: 0 }),
            },
            ReplyCode::DoneWithPmi => only(message, COMPLETED, Reply::DoneWithPmi),
            ReplyCode::Fault => only(message, GENERAL_PROTECTION, Reply::Fault),
            ReplyCode::Overflow => match message.exactly()? {
                [DELIVER, 0] => Ok(Reply::Overflow(OverflowDecision::Deliver)),
                [DELAY, cycles] => Ok(Reply::Overflow(OverflowDecision::Delay { cycles })),
                [SPURIOUS, 0] => Ok(Reply::Overflow(OverflowDecision::Spurious)),
                [DELIVER | SPURIOUS, _] => Err(Malformed::Word { index: 1 }),
                _ => Err(Malformed::Word { index: 0 }),
            },
            ReplyCode::Saved => Ok(Reply::Saved(Chunk::from_words(message.exactly()?)?)),
            ReplyCode::Restoring => match message.exactly()? {
                [0] => Err(Malformed::Word { index: 0 }),
                [next] => Ok(Reply::Restoring { next }),
            },
            ReplyCode::Restored => only(message, SUCCESS, Reply::Restored),
            ReplyCode::Statistics => {
                let [total, values @ ..] = message.exactly::<MAX_WORDS>()?;
                if total == STATISTICS as u64 {
                    Ok(Reply::Statistics { values })
                } else {
                    Err(Malformed::Word { index: 0 })
                }
            }
            ReplyCode::Replaced => only(message, SUCCESS, Reply::Replaced),
            ReplyCode::Refused => Ok(Reply::Refused(Refusal::from_words(message.exactly()?)?)),
            ReplyCode::Malformed => Ok(Reply::Malformed(Malformed::from_words(message.exactly()?)?)),
        }
    }
}

/// A reply of one word that has one value.
fn only(message: &Message, value: u64, reply: Reply) -> Result<Reply, Malformed> {
    if message.exactly()? == [value] { Ok(reply) } else { Err(Malformed::Word { index: 0 }) }
}
