//! Writes where nothing is mapped.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, protection_domain};

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    pmu_crash::server(write_nowhere)
}

fn write_nowhere() {
    // SAFETY: nothing is mapped there: the write faults.
    unsafe { core::ptr::without_provenance_mut::<u64>(8).write_volatile(1) };
}
