//! Writes into its own read-only data.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, debug_println, protection_domain};

static CONSTANT: u64 = 7;

#[protection_domain]
fn init() -> impl Handler {
    let constant = &raw const CONSTANT;
    debug_println!("writer: to {:#x}", constant.addr());
    // SAFETY: the page is mapped for reading only, and that is the point: the write faults.
    unsafe { constant.cast_mut().write_volatile(8) };
    panic!("a constant was changed");
    #[allow(unreachable_code)]
    NullHandler::new()
}
