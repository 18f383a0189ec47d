//! A Linux program of known length: 10,000,004 instructions, of which 5,000,001 are branches (SYSCALL is one).

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
core::arch::global_asm!(
    ".globl _start",
    "_start: mov ecx, 5000000",
    "30: dec ecx",
    "jnz 30b",
    "mov eax, 60", // exit
    "xor edi, edi",
    "syscall",
);

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
