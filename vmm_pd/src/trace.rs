//! The virtual machine monitor that prints every exit.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, protection_domain};

/// Runs the guest, then waits for ever: a guest does not run twice.
#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    vmm_pd::run(vmm_pd::Trace::Exits);
    NullHandler::new()
}
