//! System calls, invocations and boot information of the bundled kernel.
//!
//! [`Ipc`] is a thread's access to the kernel: system calls are its methods, and [`invocations`] adds a method
//! for each operation on a capability. All numbers come from [`numbers`], which is generated from the kernel's
//! own headers. Programs that use this crate get `memcpy` and its like from it.

#![no_std]

mod boot_info;
pub mod ending;
mod error;
pub mod invocations;
mod ipc_buffer;
#[cfg_attr(test, allow(dead_code))] // only compiled code calls memcpy
mod mem;
mod message;
pub mod numbers;
mod rights;
mod syscalls;

pub use boot_info::{BootInfo, SlotRegion, UntypedDescriptor};
pub use error::Error;
pub use ipc_buffer::IpcBuffer;
pub use message::{MESSAGE_REGISTERS, MessageInfo};
pub use rights::Rights;
pub use syscalls::{Ipc, Received, VmEnter, debug_halt, debug_put_char, yield_now};

/// An address in a capability space.
pub type CPtr = u64;

/// The depth that resolves a whole capability address.
pub const WORD_DEPTH: u64 = 64;
