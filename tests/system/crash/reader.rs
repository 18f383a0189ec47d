//! Reads an address that is not mapped.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, debug_println, protection_domain};

const NOWHERE: usize = 0xdead_b000;

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("first line");
    // SAFETY: nothing is mapped there, and that is the point: the read faults.
    let value = unsafe { core::ptr::with_exposed_provenance::<u64>(NOWHERE).read_volatile() };
    panic!("read {value}");
    #[allow(unreachable_code)]
    NullHandler::new()
}
