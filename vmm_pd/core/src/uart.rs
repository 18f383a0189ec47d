//! COM1: an 8250 that is always ready to send. It raises no interrupt; software polls.

use heapless::Deque;

/// Bytes that wait for the guest to read them.
const RECEIVE: usize = 16;
/// Line control: the divisor is at offsets 0 and 1.
const LCR_DIVISOR: u8 = 1 << 7;
/// Line status: a byte is there to be read.
const LSR_DATA: u8 = 1 << 0;
/// Line status: transmitter empty.
const LSR_EMPTY: u8 = 1 << 5 | 1 << 6;
/// Interrupt identification: no interrupt pends.
const IIR_NONE: u8 = 1;
/// Modem status: clear to send, data set ready, carrier.
const MSR_READY: u8 = 0xb0;

/// The registers of the UART.
#[derive(Debug, Clone, Default)]
pub struct Uart {
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    received: Deque<u8, RECEIVE>,
}

impl Uart {
    /// A byte for the guest to read; false if the guest has not read the earlier ones.
    pub fn receive(&mut self, byte: u8) -> bool {
        self.received.push_back(byte).is_ok()
    }

    /// Reads the register at `offset` 0 to 7.
    pub fn read(&mut self, offset: u16) -> u8 {
        match offset {
            0 | 1 if self.line_control & LCR_DIVISOR != 0 => self.divisor[usize::from(offset)],
            0 => self.received.pop_front().unwrap_or(0),
            1 => self.interrupt_enable,
            2 => IIR_NONE,
            3 => self.line_control,
            4 => self.modem_control,
            5 => LSR_EMPTY | if self.received.is_empty() { 0 } else { LSR_DATA },
            6 => MSR_READY,
            _ => self.scratch,
        }
    }

    /// Writes the register at `offset` 0 to 7; the byte if it is one to send.
    pub fn write(&mut self, offset: u16, value: u8) -> Option<u8> {
        match offset {
            0 | 1 if self.line_control & LCR_DIVISOR != 0 => self.divisor[usize::from(offset)] = value,
            0 => return Some(value),
            1 => self.interrupt_enable = value & 0xf,
            3 => self.line_control = value,
            4 => self.modem_control = value & 0x1f,
            7 => self.scratch = value,
            // FIFO control, and the status registers, which are read-only.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divisor_hides_the_data_register() {
        let mut uart = Uart::default();
        uart.write(3, LCR_DIVISOR);
        assert_eq!(uart.write(0, 1), None);
        assert_eq!(uart.read(0), 1);
        uart.write(3, 3);
        assert_eq!(uart.write(0, b'x'), Some(b'x'));
    }

    #[test]
    fn received_bytes_come_in_order_until_the_buffer_is_full() {
        let mut uart = Uart::default();
        assert_eq!(uart.read(5) & LSR_DATA, 0);
        for byte in 0..16 {
            assert!(uart.receive(byte));
        }
        assert!(!uart.receive(16));
        assert_eq!((uart.read(5) & LSR_DATA, uart.read(0), uart.read(0)), (LSR_DATA, 0, 1));
    }

    #[test]
    fn a_probe_finds_the_scratch_register_and_no_interrupt() {
        let mut uart = Uart::default();
        uart.write(7, 0x5a);
        assert_eq!((uart.read(7), uart.read(2)), (0x5a, IIR_NONE));
    }
}
