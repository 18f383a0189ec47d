//! All memory that the map names can be written and read, each page apart from every other.

use crate::Checks;
use core::ops::Range;
use guest::multiboot::{Information, end_of_program, word_at, write_word};
use guest::println;

const PAGE: u64 = 4096;
/// Below is what the boot loader left, and the interrupt vectors of real mode.
const LOW: u64 = 0x1_0000;

/// Makes an address a word that no other page has.
fn mark(address: u64) -> u32 {
    u32::try_from(address & 0xffff_ffff).unwrap_or(0) ^ 0x5a5a_a5a5
}

pub fn check(checks: &mut Checks, information: &Information) {
    let module = information.modules.1.clone();
    let free = |region: Range<u64>| {
        let start = if region.start == 0 { LOW } else { end_of_program().next_multiple_of(PAGE) };
        let end = if module.start > start { region.end.min(module.start) } else { region.end };
        (start..end).step_by(4096)
    };
    let mut pages = 0;
    for address in information.available().flat_map(free) {
        // SAFETY: the boot loader says that this is memory; it is not this program's, nor the module's.
        unsafe { write_word(address, mark(address)) };
        // SAFETY: as above.
        unsafe { write_word(address + PAGE - 4, mark(address + 1)) };
        pages += 1;
    }
    let wrong = |address: &u64| {
        word_at(*address) != mark(*address) || word_at(address + PAGE - 4) != mark(address + 1)
    };
    let wrong = information.available().flat_map(free).filter(wrong).count();
    checks.equal("pages-kept", wrong as u64, 0);
    let bytes: u64 = information.available().map(|region| region.end - region.start).sum();
    println!("@memory available={bytes}");
    println!("@pages tried={pages}");
    // All but the low 64 KiB and a program of less than 2 MiB.
    let module = (module.end - module.start).next_multiple_of(PAGE);
    checks.is("pages-tried", (pages * PAGE + module + LOW + (2 << 20)) >= bytes);
}
