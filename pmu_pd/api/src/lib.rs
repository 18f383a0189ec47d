//! The protocol between a VMM and the PMU policy domain, over a protected procedure call.
//!
//! A message is a label and at most [`MAX_WORDS`] words, no pointers. The label holds the operation (bits 7:0)
//! and the protocol's version (bits 15:8). Decoding is total: a message is a [`Request`] (or a [`Reply`]) or a
//! named [`Malformed`]. A malformed message and a request refused by policy are different answers, and no
//! answer has all its words zero.
//!
//! # The exchange
//!
//! 1. [`Request::Open`] resets the VM's vPMU and returns its [`Configuration`].
//! 2. Each PMU access that exits goes to [`Request::Read`], [`Request::Write`] or [`Request::Rdpmc`]. After
//!    [`Reply::Value`] or [`Reply::Done`] the VMM advances the guest's RIP and passes [`COMPLETED`] to VMEnter
//!    (MR3): the kernel then credits the instruction to the counters. After [`Reply::Fault`] it injects #GP(0)
//!    and passes 0: an instruction that faults does not retire. A kernel without the PMU extension takes no such
//!    word: there the policy domain has accounted for the access when it answers, and the VMM sends [`Request::Account`]
//!    after the other exits of a guest that counts. Either is answered with [`Reply::ValueWithPmi`] or
//!    [`Reply::DoneWithPmi`] when a PMI is due.
//! 3. When [`Configuration::report_overflow`] is set, each PMI goes to [`Request::Overflow`] first.
//! 4. A snapshot travels in [`Chunk`]s: [`Request::Save`] of chunk 0 takes it, the others follow in order;
//!    [`Request::Restore`] of the last chunk applies it whole or not at all. It holds no PMI: one that VMEnter has reported,
//!    or that [`OverflowDecision::Delay`] put off, is the VMM's to carry over, and one that the kernel still has is
//!    reported by the next VMEnter, before which no snapshot is to be taken.
#![no_std]
#![forbid(unsafe_code)]

mod chunk;
mod codes;
mod configuration;
mod malformed;
mod message;
mod refusal;
mod reply;
mod request;
mod statistics;

pub use chunk::{CHUNK_WORDS, Chunk, MAX_CHUNKS};
pub use configuration::{Configuration, Direct, Mode};
pub use malformed::Malformed;
pub use message::{MAX_WORDS, Message, VERSION};
pub use refusal::{FilterReason, Refusal, SnapshotReason, UnavailableReason};
pub use reply::{COMPLETED, OverflowDecision, Reply, ReplyCode};
pub use request::{Completion, Operation, Privilege, Request};
pub use statistics::{
    MAX_VMS, STATISTICS, STATISTICS_BYTES, STATISTICS_MAGIC, Statistic, StatisticsPage, StatisticsRegion,
    VmStatistics,
};
