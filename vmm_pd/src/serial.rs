//! The serial line: COM1, and the call that brings a line to the PD that owns COM1.

use crate::console::LONGEST_LINE;
use sel4_microkit::ioport::IoPort;
use sel4_microkit::{Channel, MessageInfo, with_msg_regs, with_msg_regs_mut};

/// `<ioport id="0" addr="0x3f8" size="8"/>` of system.xml.
pub const COM1: IoPort = IoPort::new(0);
const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
/// Line status: the transmitter takes a byte.
const EMPTY: u8 = 1 << 5;

/// Set up a line as 115,200 baud, eight bits, no parity, without interrupts and FIFO (16550 data sheet, 8.3 and 8.6): offset
/// from its first port, value. Kernels that print do it with COM1; the others leave it as it was before them.
const SET_UP: [(u16, u8); 6] = [
    (1, 0),
    // The divisor latch: 1.
    (3, 0x80),
    (0, 1),
    (1, 0),
    (3, 3),
    (2, 0),
];

/// Sets COM1 up.
pub fn set_up(port: IoPort) {
    set_up_at(port, DATA);
}

/// Sets the line up whose first port is `base`.
pub fn set_up_at(port: IoPort, base: u16) {
    for (offset, value) in SET_UP {
        // The kernel refuses none: all are in the range.
        let _ = port.out8(base + offset, value);
    }
}

/// Bytes in a message register.
const WORD: usize = size_of::<u64>();
/// Words of the longest line.
const WORDS: usize = LONGEST_LINE / WORD;

/// Writes bytes to COM1.
pub fn write(port: IoPort, bytes: &[u8]) {
    for byte in bytes {
        // The kernel refuses neither port: both are in the range.
        while port.in8(LINE_STATUS).is_ok_and(|status| status & EMPTY == 0) {}
        let _ = port.out8(DATA, *byte);
    }
}

/// Calls the PD of the serial line: the label is the line's length, the words its bytes.
pub fn call(channel: Channel, line: &[u8]) {
    let line = &line[..line.len().min(LONGEST_LINE)];
    with_msg_regs_mut(|registers| {
        for (register, bytes) in registers.iter_mut().zip(line.chunks(WORD)) {
            let mut word = [0; WORD];
            word[..bytes.len()].copy_from_slice(bytes);
            *register = u64::from_le_bytes(word);
        }
    });
    channel.pp_call(MessageInfo::new(line.len() as u64, line.len().div_ceil(WORD)));
}

/// Writes the line of a call to COM1. What is longer than it may be is cut.
pub fn answer(message: &MessageInfo) -> MessageInfo {
    let mut line = [0; LONGEST_LINE];
    with_msg_regs(|registers| {
        for (bytes, register) in line.chunks_mut(WORD).zip(registers.iter().take(message.count().min(WORDS)))
        {
            bytes.copy_from_slice(&register.to_le_bytes());
        }
    });
    let length = usize::try_from(message.label()).unwrap_or(LONGEST_LINE).min(LONGEST_LINE);
    write(COM1, &line[..length]);
    MessageInfo::new(1, 0)
}
