//! Faults, and faults again where the monitor lets it go on. It is built on no runtime.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::panic::PanicInfo;

#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("lea rax, [rip + {ending}]", "ud2", ending = sym pd_ending)
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn pd_ending() -> ! {
    naked_asm!("ud2")
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
