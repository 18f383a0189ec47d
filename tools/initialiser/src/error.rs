//! Why a system cannot be started.

use core::fmt;
use sel4_abi::Error as Refusal;

/// One sentence about the object that could not be made or set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error<'a> {
    /// The bytes after the program are no distribution.
    Distribution(capdist::Error),
    /// No untyped memory is left for this object of 2^bits bytes.
    Memory {
        /// The object.
        object: &'a str,
        /// Its size as a power of two.
        bits: u8,
    },
    /// No untyped memory is at the physical address that this frame must have.
    Physical {
        /// The frame.
        object: &'a str,
        /// Its address.
        address: u64,
    },
    /// The root task's CNode is full.
    Slots,
    /// The processor has no VT-x, which this object needs.
    NoVtx {
        /// The object.
        object: &'a str,
    },
    /// The thread has no CSpace, VSpace or IPC buffer.
    Thread {
        /// The thread.
        object: &'a str,
    },
    /// The kernel refused an operation.
    Refused {
        /// The object.
        object: &'a str,
        /// What was tried.
        operation: &'static str,
        /// The kernel's reason.
        reason: Refusal,
    },
    /// A capability is still there after all were given up.
    Left {
        /// Its slot.
        slot: u64,
    },
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Distribution(error) => error.fmt(f),
            Error::Memory { object, bits } => {
                write!(f, "{object}: no untyped memory is left for its 2^{bits} bytes; give the machine more")
            }
            Error::Physical { object, address } => {
                write!(f, "{object}: the kernel has no untyped memory at {address:#x}")
            }
            Error::Slots => f.write_str("the root task has no free capability slot left"),
            Error::NoVtx { object } => write!(f, "{object}: the processor has no VT-x"),
            Error::Thread { object } => write!(f, "{object}: CSpace, VSpace or IPC buffer is missing"),
            Error::Refused { object, operation, reason } => {
                write!(f, "{object}: {operation} was refused: {reason}")
            }
            Error::Left { slot } => write!(f, "capability slot {slot} is not empty after all was given up"),
        }
    }
}
