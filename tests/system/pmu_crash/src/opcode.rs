//! Executes an instruction that is none.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, protection_domain};

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    pmu_crash::server(undefined)
}

fn undefined() {
    // SAFETY: the instruction raises #UD.
    unsafe { core::arch::asm!("ud2") };
}
