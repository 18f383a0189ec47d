//! Upstream's `sel4-microkit` for the Microkit SDK, with the modules that our own runtime has and upstream lacks, so that
//! the sources of the protection domains are the same: [`vcpu`], [`ioport`], [`msr`], [`short`].

#![no_std]

mod entry;
pub mod ioport;
// What compiled code calls and this target's prebuilt `core` leaves to its user: the same as in our own runtime.
#[path = "../../../kernel/abi/src/mem.rs"]
mod mem;
pub mod msr;
mod printing;
pub mod short;
mod slots;
pub mod vcpu;

pub use sel4::Error;
pub use sel4_microkit::*;

/// The label of the answer for a protection domain that is gone. Upstream's runtime sends none, and this kernel leaves the
/// caller waiting: no message has this label.
pub const GONE_LABEL: MessageLabel = MessageLabel::MAX;

#[doc(hidden)]
pub mod _sdk {
    pub use crate::entry::{MARK, Stack};
    pub use crate::printing::print;
}

/// The value, unless the invocation's error number says otherwise.
pub(crate) fn checked<T>(error: sel4::sys::seL4_Error::Type, value: T) -> Result<T, Error> {
    Error::from_sys(error).map_or(Ok(value), Err)
}
