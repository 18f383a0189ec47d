//! Printing: by the kernel's debug system call, or on COM1.

use core::fmt;
use sel4_abi::{CPtr, Ipc, debug_put_char};

/// COM1's data port.
const DATA: u16 = 0x3f8;
/// COM1's interrupt enable port; while the divisor latch is open, the divisor's high byte.
const INTERRUPT_ENABLE: u16 = DATA + 1;
/// COM1's line control port.
const LINE_CONTROL: u16 = DATA + 3;
/// Line control: the data port is the divisor's low byte.
const DIVISOR_LATCH: u8 = 1 << 7;
/// Line control: eight bits, no parity, one stop bit.
const EIGHT_BITS: u8 = 3;
/// COM1's line status port.
const LINE_STATUS: u16 = DATA + 5;
/// Line status: the transmitter takes a byte.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// How often the line status is read before a byte is sent anyway.
const PATIENCE: u32 = 10_000;

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Console {
    /// The kernel's debug system call.
    Kernel,
    /// COM1, through this I/O port capability.
    Serial(CPtr),
}

impl Console {
    /// Sets COM1 to 115,200 baud, eight bits and no interrupts, as the debug kernel does for itself. Done once,
    /// before anybody prints.
    pub fn open(self, ipc: &mut Ipc) {
        let Console::Serial(port) = self else { return };
        let settings = [
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, DIVISOR_LATCH),
            (DATA, 1),
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, EIGHT_BITS),
        ];
        for (address, value) in settings {
            // A port that is refused leaves nobody to tell.
            let _ = ipc.io_port_out8(port, address, value);
        }
    }

    /// Prints one line.
    pub fn line(self, ipc: &mut Ipc, text: fmt::Arguments<'_>) {
        let mut writer = Writer { console: self, ipc };
        // The writer never fails.
        let _ = fmt::write(&mut writer, format_args!("{text}\n"));
    }
}

struct Writer<'a> {
    console: Console,
    ipc: &'a mut Ipc,
}

impl Writer<'_> {
    fn byte(&mut self, byte: u8) {
        match self.console {
            Console::Kernel => debug_put_char(byte),
            Console::Serial(port) => {
                let mut tries = 0..PATIENCE;
                let ready = |ipc: &mut Ipc| {
                    ipc.io_port_in8(port, LINE_STATUS).is_ok_and(|status| status & TRANSMITTER_EMPTY != 0)
                };
                while tries.next().is_some() && !ready(self.ipc) {}
                // A port that is refused leaves nobody to tell.
                let _ = self.ipc.io_port_out8(port, DATA, byte);
            }
        }
    }
}

/// Prints by the kernel's debug system call, where there is no IPC buffer to be had.
pub struct DebugWriter;

impl fmt::Write for DebugWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(debug_put_char);
        Ok(())
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.byte(b'\r');
            }
            self.byte(byte);
        }
        Ok(())
    }
}
