//! From GRUB's 32-bit protected mode (Multiboot 1) to long mode, and on to the kernel's main function.

use crate::{console, traps};
use core::ffi::CStr;
use core::panic::PanicInfo;

core::arch::global_asm!(include_str!("boot.s"), options(att_syntax));

/// Multiboot information: flags at 0, of which bit 2 says that the word at 16 is the command line's address.
const FLAG_COMMAND_LINE: u32 = 1 << 2;

/// Called by the start code on its stack, with the address of the Multiboot information.
pub fn start(information: u64, main: fn(&str)) -> ! {
    console::initialise();
    traps::initialise();
    let information = information as *const u32;
    // SAFETY: GRUB hands over the structure below 4 GiB, where memory is mapped one to one, and its strings
    // end with 0 and are never written again.
    let line = unsafe {
        if information.read() & FLAG_COMMAND_LINE == 0 {
            c""
        } else {
            CStr::from_ptr(information.add(4).read() as usize as *const core::ffi::c_char)
        }
    };
    main(line.to_str().unwrap_or(""));
    console::shut_down()
}

/// What the panic handler of [`crate::kernel!`] does.
pub fn panicked(information: &PanicInfo) -> ! {
    crate::println!("{information}");
    console::shut_down()
}
