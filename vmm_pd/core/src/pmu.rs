//! The way to the policy domain: requests and replies of `pmu_api` over a link.

use core::fmt;
use pmu_api::{
    Completion, Configuration, Malformed, Message, OverflowDecision, Privilege, Refusal, Reply, Request,
};

/// The seam between the VMM's logic and the protected procedure call.
pub trait PmuLink {
    /// Sends a request and returns the reply. [`None`] if the policy domain cannot be called any more.
    fn call(&mut self, request: &Message) -> Option<Message>;
}

/// The policy domain did not do its part. The guest gets #GP(0) for its PMU accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PmuError {
    /// It cannot be called any more.
    Gone,
    /// Its reply is not of the protocol.
    Malformed(Malformed),
    /// It says that our request is not of the protocol.
    Misunderstood(Malformed),
    /// It refused the request.
    Refused(Refusal),
    /// Its reply belongs to another request.
    Unexpected(Reply),
}

impl fmt::Display for PmuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the policy domain does not answer any more"),
            Self::Malformed(error) => write!(f, "the policy domain's reply is malformed ({error:?})"),
            Self::Misunderstood(error) => {
                write!(f, "the policy domain calls the request malformed ({error:?})")
            }
            Self::Refused(refusal) => write!(f, "the policy domain refused ({refusal:?})"),
            Self::Unexpected(reply) => write!(f, "the policy domain answered something else ({reply:?})"),
        }
    }
}

/// What the guest gets from a PMU access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<T> {
    /// The instruction is done.
    Done(T),
    /// #GP(0).
    Fault,
}

/// The policy domain as the VMM sees it.
#[derive(Debug)]
pub struct Pmu<L> {
    link: L,
    calls: u64,
}

impl<L: PmuLink> Pmu<L> {
    /// The policy domain at the other end of `link`.
    pub const fn new(link: L) -> Self {
        Self { link, calls: 0 }
    }

    /// Protected procedure calls made.
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// Resets the VM's vPMU and asks what the guest gets.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn open(&mut self) -> Result<Configuration, PmuError> {
        match self.ask(Request::Open)? {
            Reply::Opened(configuration) => Ok(configuration),
            other => Err(PmuError::Unexpected(other)),
        }
    }

    /// RDMSR of a PMU register.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn read(&mut self, msr: u32) -> Result<Access<u64>, PmuError> {
        self.value(Request::Read { msr })
    }

    /// RDPMC.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn rdpmc(&mut self, index: u32, privilege: Privilege) -> Result<Access<u64>, PmuError> {
        self.value(Request::Rdpmc { index, privilege })
    }

    /// WRMSR to a PMU register.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn write(&mut self, msr: u32, value: u64) -> Result<Access<()>, PmuError> {
        match self.ask(Request::Write { msr, value })? {
            Reply::Done => Ok(Access::Done(())),
            Reply::Fault => Ok(Access::Fault),
            other => Err(PmuError::Unexpected(other)),
        }
    }

    /// A PMI came: what to do with it.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn overflow(&mut self) -> Result<OverflowDecision, PmuError> {
        match self.ask(Request::Overflow)? {
            Reply::Overflow(decision) => Ok(decision),
            other => Err(PmuError::Unexpected(other)),
        }
    }

    /// On a kernel without the PMU extension: accounts for what the VMM completed, and says whether a PMI is due.
    ///
    /// # Errors
    /// [`PmuError`]
    pub fn account(&mut self, completed: Option<Completion>) -> Result<bool, PmuError> {
        match self.ask(Request::Account { completed })? {
            Reply::Done => Ok(false),
            Reply::DoneWithPmi => Ok(true),
            other => Err(PmuError::Unexpected(other)),
        }
    }

    fn value(&mut self, request: Request) -> Result<Access<u64>, PmuError> {
        match self.ask(request)? {
            Reply::Value { value } => Ok(Access::Done(value)),
            Reply::Fault => Ok(Access::Fault),
            other => Err(PmuError::Unexpected(other)),
        }
    }

    #[inline(always)]
    fn ask(&mut self, request: Request) -> Result<Reply, PmuError> {
        self.calls += 1;
        let message = self.link.call(&request.encode()).ok_or(PmuError::Gone)?;
        match Reply::decode(&message).map_err(PmuError::Malformed)? {
            Reply::Refused(refusal) => Err(PmuError::Refused(refusal)),
            Reply::Malformed(error) => Err(PmuError::Misunderstood(error)),
            reply => Ok(reply),
        }
    }
}
