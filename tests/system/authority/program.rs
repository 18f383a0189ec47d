// What the guest executes, and where it is in the guest's memory.

use core::arch::global_asm;

/// Guest-physical addresses, mapped one to one.
pub const PML4: usize = 0x1000;
pub const PDPT: usize = 0x2000;
pub const PAGE_DIRECTORY: usize = 0x3000;
pub const CODE: usize = 0x8000;

const ITERATIONS: u64 = 1000;
/// What retires in one round: one move, and two instructions an iteration. The VMCALL exits and does not retire.
pub const INSTRUCTIONS: u64 = 1 + 2 * ITERATIONS;

global_asm!(
    ".pushsection .rodata",
    ".global guest_start",
    "guest_start:",
    "mov ecx, {iterations}",
    "2: dec ecx",
    "jnz 2b",
    "vmcall",
    ".global guest_end",
    "guest_end:",
    ".popsection",
    iterations = const ITERATIONS,
);

unsafe extern "C" {
    static guest_start: u8;
    static guest_end: u8;
}

/// The program's bytes.
pub fn program() -> &'static [u8] {
    let first = &raw const guest_start;
    let length = (&raw const guest_end).addr() - first.addr();
    // SAFETY: the symbols delimit one piece of read-only data.
    unsafe { core::slice::from_raw_parts(first, length) }
}
