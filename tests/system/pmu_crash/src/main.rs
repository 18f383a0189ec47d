//! Panics.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, protection_domain};

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    pmu_crash::server(|| panic!("on purpose"))
}
