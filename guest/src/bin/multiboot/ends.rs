//! Ends that are not good.

use core::arch::asm;
use guest::multiboot::write_word;
use guest::println;

/// Where a PC has its firmware, and here nothing.
const ROM: u64 = 0xffff_fff0;
/// Where no memory is.
const NOWHERE: u64 = 0xc000_0000;
/// One second of a slow processor's instructions is far less.
const LONG: u64 = 200_000_000;

/// Ends the guest so, or returns if there is no such end.
pub fn end(name: &str) {
    println!("@end {name}");
    match name {
        "spin" => loop {
            core::hint::spin_loop();
        },
        // SAFETY: an empty IDT, so that the exception that follows becomes a triple fault; nothing goes on.
        "triple" => unsafe {
            asm!("push 0", "push 0", "lidt [rsp]", "ud2", options(noreturn));
        },
        // SAFETY: no memory is there.
        "rom" => unsafe { write_word(ROM, 0) },
        // SAFETY: nothing goes on.
        "nowhere" => unsafe {
            asm!("jmp {}", in(reg) NOWHERE, options(noreturn));
        },
        "code" => guest::exit(42),
        "shutdown" => b"Shutdown".iter().for_each(|letter| guest::cpu::outb(0x8900, *letter)),
        "long" => long(),
        "storm" => crate::debug::storm(),
        _ => {}
    }
}

/// Code without an exit, for its speed.
fn long() -> ! {
    // SAFETY: counts a register down.
    unsafe { asm!("2: dec {n}", "jnz 2b", n = inout(reg) LONG / 2 => _, options(nomem, nostack)) };
    guest::exit(0)
}
