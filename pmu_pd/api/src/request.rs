//! Requests.

use crate::chunk::{Chunk, MAX_CHUNKS};
use crate::codes::codes;
use crate::malformed::Malformed;
use crate::message::{Message, flag, word32};

codes! {
    /// The operation in bits 7:0 of a request's label.
    Operation {
        /// [`Request::Open`].
        Open = 0x01,
        /// [`Request::Read`].
        Read = 0x02,
        /// [`Request::Write`].
        Write = 0x03,
        /// [`Request::Rdpmc`].
        Rdpmc = 0x04,
        /// [`Request::Overflow`].
        Overflow = 0x05,
        /// [`Request::Save`].
        Save = 0x06,
        /// [`Request::Restore`].
        Restore = 0x07,
        /// [`Request::Statistics`].
        Statistics = 0x08,
        /// [`Request::Account`].
        Account = 0x09,
        /// [`Request::ReplaceFilter`].
        ReplaceFilter = 0x20,
    }
}

/// The guest state that decides whether RDPMC is allowed (SDM volume 2B, RDPMC: #GP(0) if CR4.PCE = 0, CPL is
/// not 0 and CR0.PE = 1). The VM exit comes before these checks (SDM 26.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Privilege {
    cpl: u8,
    /// CR0.PE.
    pub protection_enabled: bool,
    /// CR4.PCE.
    pub counters_enabled: bool,
}

const CPL_MASK: u64 = 3;
const PE: u64 = 1 << 2;
const PCE: u64 = 1 << 3;

impl Privilege {
    /// The guest's CPL (its bits 1:0 count), CR0.PE and CR4.PCE.
    pub const fn new(cpl: u8, protection_enabled: bool, counters_enabled: bool) -> Self {
        Self { cpl: cpl & 3, protection_enabled, counters_enabled }
    }

    /// The current privilege level, 0 to 3.
    pub const fn cpl(self) -> u8 {
        self.cpl
    }

    fn word(self) -> u64 {
        u64::from(self.cpl) | flag(self.protection_enabled, PE) | flag(self.counters_enabled, PCE)
    }

    fn from_word(word: u64, index: u64) -> Result<Self, Malformed> {
        if word & !(CPL_MASK | PE | PCE) != 0 {
            return Err(Malformed::Word { index });
        }
        let cpl = u8::try_from(word & CPL_MASK).map_err(|_| Malformed::Word { index })?;
        Ok(Self { cpl, protection_enabled: word & PE != 0, counters_enabled: word & PCE != 0 })
    }
}

/// An instruction that the VMM completed for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Completion {
    /// It was a branch.
    pub branch: bool,
    /// It was at CPL 1, 2 or 3.
    pub user: bool,
}

const INSTRUCTION: u64 = 1;
const BRANCH: u64 = 1 << 1;
const USER: u64 = 1 << 2;

impl Completion {
    fn word(self) -> u64 {
        INSTRUCTION | flag(self.branch, BRANCH) | flag(self.user, USER)
    }

    /// 0 is none.
    fn from_word(word: u64, index: u64) -> Result<Option<Self>, Malformed> {
        let completion = Self { branch: word & BRANCH != 0, user: word & USER != 0 };
        match word {
            0 => Ok(None),
            _ if completion.word() == word => Ok(Some(completion)),
            _ => Err(Malformed::Word { index }),
        }
    }
}

/// What a VMM (or, for the last one, the manager) asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reset the vPMU (registers as after power-up) and return its configuration. No words.
    /// Answer: [`Reply::Opened`](crate::Reply::Opened).
    Open,
    /// RDMSR of a PMU register. Word 0: the MSR's number.
    /// Answer: [`Reply::Value`](crate::Reply::Value) or [`Reply::Fault`](crate::Reply::Fault).
    Read {
        /// The MSR's number (the guest's ECX).
        msr: u32,
    },
    /// WRMSR to a PMU register. Word 0: the MSR's number, word 1: the value (the guest's EDX:EAX).
    /// Answer: [`Reply::Done`](crate::Reply::Done) or [`Reply::Fault`](crate::Reply::Fault).
    Write {
        /// The MSR's number (the guest's ECX).
        msr: u32,
        /// The guest's EDX:EAX.
        value: u64,
    },
    /// RDPMC. Word 0: the guest's ECX; word 1: CPL in bits 1:0, CR0.PE in bit 2, CR4.PCE in bit 3.
    /// Answer: [`Reply::Value`](crate::Reply::Value) or [`Reply::Fault`](crate::Reply::Fault).
    Rdpmc {
        /// The guest's ECX.
        index: u32,
        /// The guest's CPL, CR0.PE and CR4.PCE.
        privilege: Privilege,
    },
    /// A PMI of this VM left VMEnter: what to do with it? No words.
    /// Answer: [`Reply::Overflow`](crate::Reply::Overflow).
    Overflow,
    /// A chunk of a snapshot. Word 0: the chunk's index; index 0 takes a new snapshot.
    /// Answer: [`Reply::Saved`](crate::Reply::Saved).
    Save {
        /// The chunk's index, below [`MAX_CHUNKS`].
        index: u64,
    },
    /// A chunk of a snapshot to restore, in order from index 0. Word 0: index in bits 7:0, total in bits 15:8;
    /// words 1 to 7: data. Answer: [`Reply::Restoring`](crate::Reply::Restoring), at the last chunk
    /// [`Reply::Restored`](crate::Reply::Restored).
    Restore(Chunk),
    /// This VM's counters of events in the policy domain, seven from `first` on. Word 0: `first`.
    /// Answer: [`Reply::Statistics`](crate::Reply::Statistics).
    Statistics {
        /// Index of the first one wanted, in the order of [`Statistic`](crate::Statistic).
        first: u64,
    },
    /// On a kernel without the PMU extension, after an exit of a guest that counts, and without a request for an access:
    /// account for the instruction that the VMM completed, if it did, and say whether a PMI is due. Word 0: 0, or bit 0
    /// with bit 1 for a branch and bit 2 for a CPL above 0. Answer: [`Reply::Done`](crate::Reply::Done) or
    /// [`Reply::DoneWithPmi`](crate::Reply::DoneWithPmi). Refused where the kernel does both.
    Account {
        /// The completed instruction.
        completed: Option<Completion>,
    },
    /// From the manager's channel only: take the filter of VM `vm` (its place in the policy, from 0) from the
    /// update region. Word 0: `vm`. Answer: [`Reply::Replaced`](crate::Reply::Replaced).
    ReplaceFilter {
        /// The VM's place in the policy, from 0.
        vm: u32,
    },
}

impl Request {
    /// The message that carries this request.
    pub fn encode(&self) -> Message {
        use Operation as Op;
        match *self {
            Request::Open => Message::new(Op::Open.code(), []),
            Request::Read { msr } => Message::new(Op::Read.code(), [u64::from(msr)]),
            Request::Write { msr, value } => Message::new(Op::Write.code(), [u64::from(msr), value]),
            Request::Rdpmc { index, privilege } => {
                Message::new(Op::Rdpmc.code(), [u64::from(index), privilege.word()])
            }
            Request::Overflow => Message::new(Op::Overflow.code(), []),
            Request::Save { index } => Message::new(Op::Save.code(), [index]),
            Request::Restore(chunk) => Message::new(Op::Restore.code(), chunk.words()),
            Request::Statistics { first } => Message::new(Op::Statistics.code(), [first]),
            Request::Account { completed } => {
                Message::new(Op::Account.code(), [completed.map_or(0, Completion::word)])
            }
            Request::ReplaceFilter { vm } => Message::new(Op::ReplaceFilter.code(), [u64::from(vm)]),
        }
    }

    /// The request in `message`.
    ///
    /// # Errors
    /// [`Malformed`] for every message that no request encodes to.
    pub fn decode(message: &Message) -> Result<Self, Malformed> {
        let code = message.code()?;
        match Operation::from_code(code).ok_or(Malformed::Operation { code })? {
            Operation::Open => message.exactly::<0>().map(|_| Request::Open),
            Operation::Read => Ok(Request::Read { msr: word32(&message.exactly::<1>()?, 0)? }),
            Operation::Write => {
                let words = message.exactly::<2>()?;
                Ok(Request::Write { msr: word32(&words, 0)?, value: words[1] })
            }
            Operation::Rdpmc => {
                let words = message.exactly::<2>()?;
                let privilege = Privilege::from_word(words[1], 1)?;
                Ok(Request::Rdpmc { index: word32(&words, 0)?, privilege })
            }
            Operation::Overflow => message.exactly::<0>().map(|_| Request::Overflow),
            Operation::Save => match message.exactly::<1>()? {
                [index] if index < MAX_CHUNKS => Ok(Request::Save { index }),
                _ => Err(Malformed::Word { index: 0 }),
            },
            Operation::Restore => Ok(Request::Restore(Chunk::from_words(message.exactly()?)?)),
            Operation::Statistics => message.exactly().map(|[first]| Request::Statistics { first }),
            Operation::Account => {
                let [word] = message.exactly()?;
                Ok(Request::Account { completed: Completion::from_word(word, 0)? })
            }
            Operation::ReplaceFilter => {
                Ok(Request::ReplaceFilter { vm: word32(&message.exactly::<1>()?, 0)? })
            }
        }
    }
}
