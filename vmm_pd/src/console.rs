//! The serial line: COM1 where system.xml gives it to us, else the kernel's debug output.

use core::fmt::{self, Write};
use sel4_microkit::debug_print;
use sel4_microkit::ioport::IoPort;
use vmm_core::trace::Line;
use vmm_core::{Observer, Outcome, RawExit};

/// `<ioport id="0" addr="0x3f8" size="8"/>` of system.xml.
const COM1: IoPort = IoPort::new(0);
const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
/// Line status: the transmitter takes a byte.
const EMPTY: u8 = 1 << 5;
/// Longest line of the guest that is kept in one piece.
const LINE: usize = 240;

/// Where the guest's output and our report go. The guest's lines are marked, so that it cannot speak for us.
pub struct Console {
    line: heapless::Vec<u8, LINE>,
    com1: bool,
    trace: bool,
}

impl Console {
    pub fn new(trace: bool) -> Self {
        Self { line: heapless::Vec::new(), com1: COM1.exists(), trace }
    }

    /// Prints a line of our own.
    pub fn line(&mut self, arguments: fmt::Arguments<'_>) {
        self.text(format_args!("{arguments}\n"));
    }

    /// Prints lines of our own.
    pub fn text(&mut self, arguments: fmt::Arguments<'_>) {
        // Our writer never fails; an error of a value's own formatting is not worth a panic.
        let _ = self.write_fmt(arguments);
    }

    /// Prints what the guest has begun to say.
    pub fn flush(&mut self) {
        if self.line.is_empty() {
            return;
        }
        self.send(b"guest: ");
        let line = core::mem::take(&mut self.line);
        self.send(&line);
        self.send(b"\n");
    }

    fn send(&self, bytes: &[u8]) {
        for byte in bytes {
            if self.com1 {
                // The kernel refuses neither port: both are in the range.
                while COM1.in8(LINE_STATUS).is_ok_and(|status| status & EMPTY == 0) {}
                let _ = COM1.out8(DATA, *byte);
            } else {
                debug_print!("{}", char::from(*byte));
            }
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}

impl Observer for Console {
    fn output(&mut self, byte: u8) {
        match byte {
            b'\r' => {}
            b'\n' => self.flush(),
            _ => {
                if self.line.push(byte).is_err() {
                    self.flush();
                    // The line is empty now.
                    let _ = self.line.push(byte);
                }
            }
        }
    }

    fn exit(&mut self, exit: &RawExit, outcome: &Outcome) {
        if self.trace {
            self.line(format_args!("{}", Line { exit, outcome }));
        }
    }
}
