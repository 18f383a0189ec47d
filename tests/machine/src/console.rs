//! COM1, polled.

use core::fmt::{self, Write};
use x86::io::{inb, outb};

const COM1: u16 = 0x3F8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

struct Com1;

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: these ports are the serial line's; they touch no memory.
            unsafe {
                while inb(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {}
                outb(COM1, byte);
            }
        }
        Ok(())
    }
}

/// Prints on COM1; the machine has its registers right after reset (the launcher logs bytes, whatever the speed).
pub fn print(arguments: fmt::Arguments) {
    // `Com1` never fails.
    let _ = Com1.write_fmt(arguments);
}

/// Prints a line on COM1.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// 115,200 baud, eight bits.
pub fn initialise() {
    for (offset, value) in [(3, 0x83), (0, 1), (1, 0), (3, 0x03), (1, 0), (2, 0)] {
        // SAFETY: as in `write_str`.
        unsafe { outb(COM1 + offset, value) };
    }
}

/// Ends the simulated machine: it takes "Shutdown" on this port.
pub fn shut_down() -> ! {
    const BOCHS_CONTROL: u16 = 0x8900;
    const TRANSMITTER_IDLE: u8 = 1 << 6;
    // SAFETY: as in `write_str`.
    while unsafe { inb(LINE_STATUS) } & TRANSMITTER_IDLE == 0 {}
    for byte in b"Shutdown" {
        // SAFETY: the port touches no memory.
        unsafe { outb(BOCHS_CONTROL, *byte) };
    }
    crate::cpu::halt_forever()
}
