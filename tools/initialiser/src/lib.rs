//! The root task of the bundled kernel, and the monitor that it starts.
//!
//! The *initialiser* (binary `initialiser`) realises a capability distribution from the kernel's untyped memory,
//! starts its threads, gives up all its authority, checks that nothing is left, and ends. It trusts the
//! distribution to be well-formed only after `capdist::View` has checked it; whatever the kernel refuses ends
//! the boot with one sentence that names the object.
//!
//! The *monitor* (binary `monitor`) is the protection domain that receives the faults of the others, and what they say
//! when they panic. It prints who faulted, how and where, once for each, and never resumes anybody.
//!
//! Variables that `sdf` sets: `distribution_address` and `distribution_size` (initialiser), `pd_names` and
//! `pd_names_len` (monitor), `kernel_prints` (both: whether the kernel has the debug print system call; without
//! it they print on COM1).

#![no_std]

#[cfg(test)]
extern crate std;

pub mod console;
mod cpu;
mod debug;
pub mod error;
pub mod fault;
mod fill;
pub mod give_up;
mod kernel;
mod objects;
pub mod patched;
mod realise;
mod slots;
mod threads;
pub mod untyped;

pub use realise::{Realised, realise};
