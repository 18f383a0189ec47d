//! Writes to an address that is not mapped.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, protection_domain};

const NOWHERE: usize = 0xc0_ffe0;

#[protection_domain]
fn init() -> impl Handler {
    // SAFETY: nothing is mapped there, and that is the point: the write faults.
    unsafe { core::ptr::with_exposed_provenance_mut::<u64>(NOWHERE).write_volatile(1) };
    NullHandler::new()
}
