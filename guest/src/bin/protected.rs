//! A Multiboot kernel that stays in 32-bit protected mode: exceptions, 32-bit and PAE paging, segments. All of it is in
//! assembly, for there is no 32-bit target here; it becomes a 32-bit ELF file.
#![no_std]
#![no_main]

core::arch::global_asm!(include_str!("protected.s"), options(att_syntax));

// The linker wants one; the program calls nothing that panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
