// Printing by COM1, for the release kernel.

use core::fmt::{self, Write};
use sel4_microkit::Error;
use sel4_microkit::ioport::IoPort;

/// COM1's registers.
pub const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
/// Line status: a byte may be written.
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// COM1 by these ports.
pub struct Console(pub IoPort);

impl Console {
    fn put(&self, byte: u8) -> Result<(), Error> {
        while self.0.in8(LINE_STATUS)? & TRANSMITTER_EMPTY == 0 {}
        self.0.out8(DATA, byte)
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| self.put(byte)).map_err(|_| fmt::Error)
    }
}
