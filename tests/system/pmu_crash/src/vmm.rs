//! The virtual machine monitor that dies at the first PMI, while its guest counts.

#![no_std]
#![no_main]

use sel4_microkit::{Handler, NullHandler, protection_domain};
use vmm_core::seam::{Event, Kind};

/// External interrupt (SDM vol. 3D, appendix C), which is how the kernel says PMI.
const EXTERNAL_INTERRUPT: u64 = 1;

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    vmm_pd::run_watched(|event| {
        if is_pmi(event) {
            // SAFETY: nothing is mapped there: the write faults.
            unsafe { core::ptr::without_provenance_mut::<u64>(8).write_volatile(1) };
        }
    });
    NullHandler::new()
}

fn is_pmi(event: &Event) -> bool {
    event.kind == Kind::Exit && event.words().first() == Some(&EXTERNAL_INTERRUPT)
}
