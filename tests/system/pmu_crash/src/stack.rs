//! Runs out of stack.

#![no_std]
#![no_main]

use core::hint::black_box;
use sel4_microkit::{Handler, protection_domain};

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    pmu_crash::server(|| {
        black_box(deeper(0));
    })
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let here = black_box([depth; 16]);
    if black_box(depth) == u64::MAX { 0 } else { deeper(depth + 1) + black_box(here)[0] }
}
