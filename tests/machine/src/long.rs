//! A Linux program of known length that takes seconds: 400,000,014 instructions. It prints `linux | long | begins` before
//! and `linux | long | ends` after its loop.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
core::arch::global_asm!(
    ".globl _start",
    "_start: mov eax, 1", // write
    "mov edi, 1",
    "lea rsi, [rip + 40f]",
    "mov edx, 22",
    "syscall",
    "mov ecx, 200000000",
    "30: dec ecx",
    "jnz 30b",
    "mov eax, 1",
    "mov edi, 1",
    "lea rsi, [rip + 50f]",
    "mov edx, 20",
    "syscall",
    "mov eax, 60", // exit
    "xor edi, edi",
    "syscall",
    "40: .ascii \"linux | long | begins\\n\"",
    "50: .ascii \"linux | long | ends\\n\"",
);

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
