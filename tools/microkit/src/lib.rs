//! Runtime of protection domains on the bundled kernel, with the names and signatures of upstream's
//! `sel4-microkit` 5.0.0, so that the same source builds on both, and with [`vcpu`] and [`short`], which upstream lacks.
//!
//! A protection domain declares its initialisation function by [`protection_domain`]; what that returns
//! implements [`Handler`] and runs for ever:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use sel4_microkit::{Channel, Handler, Infallible, MessageInfo, debug_println, protection_domain};
//!
//! struct Server;
//!
//! #[protection_domain]
//! fn init() -> impl Handler {
//!     debug_println!("server is up");
//!     Server
//! }
//!
//! impl Handler for Server {
//!     type Error = Infallible;
//!
//!     fn protected(&mut self, _: Channel, _: MessageInfo) -> Result<MessageInfo, Infallible> {
//!         Ok(MessageInfo::new(0, 0))
//!     }
//! }
//! ```
//!
//! This crate brings the panic handler and the symbols that the image build patches
//! (docs/architecture.md, "The PD's capability space"). A protection domain has one thread.
//!
//! Of upstream's interface it lacks heaps, panic hooks and `catch_unwind`, deferred actions, views of the message
//! as bytes, and `MessageInfo::fault`. A label has 20 bits on this kernel instead of 52.

#![no_std]

#[cfg(test)]
extern crate std;

mod channel;
#[cfg_attr(test, allow(dead_code))] // there is no entry point in a test
mod entry;
mod handler;
pub mod ioport;
#[doc(hidden)]
pub mod ipc;
mod kernel;
mod message;
pub mod msr;
#[cfg(not(test))]
mod panicking;
mod printing;
pub mod short;
mod slots;
mod symbols;
pub mod vcpu;

pub use channel::{Channel, Child, IrqAckError};
pub use handler::{Handler, Infallible, Never, NullHandler};
pub use ipc::{ChannelSet, DisplayChannelSet};
pub use message::{
    MessageInfo, MessageLabel, MessageRegisterValue, get_mr, set_mr, with_msg_regs, with_msg_regs_mut,
};
pub use sel4_abi::Error;
/// Label of the empty answer to a protected procedure call where the called protection domain has panicked or ended.
/// Upstream has no such answer: the caller waits for ever.
pub use sel4_abi::ending::GONE as GONE_LABEL;
pub use sel4_microkit_macros::protection_domain;
pub use symbols::{pd_is_passive, pd_name};

#[doc(hidden)]
pub mod _private {
    pub use crate::entry::{Stack, run_main};
    pub use crate::printing::debug_print;
    pub use crate::symbols::ImmutableCell;
}
