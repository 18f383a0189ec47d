//! COM1 and the exit port.

use crate::cpu::{outb, outl};
use core::fmt::{self, Write};

const COM1: u16 = 0x3f8;
const EXIT_PORT: u16 = 0xf4;

struct Com1;

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The VMM's UART is always ready to send.
        text.bytes().for_each(|byte| outb(COM1, byte));
        Ok(())
    }
}

/// Prints on COM1.
pub fn print(arguments: fmt::Arguments<'_>) {
    // Our writer never fails; an error of a value's own formatting is not worth a panic.
    let _ = Com1.write_fmt(arguments);
}

/// Ends the guest.
pub fn exit(code: u32) -> ! {
    outl(EXIT_PORT, code);
    loop {
        crate::cpu::halt();
    }
}
