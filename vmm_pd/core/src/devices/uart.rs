//! COM1: a 16550A (National Semiconductor PC16550D data sheet) that is always ready to send.

use heapless::Deque;

/// Bytes that wait for the guest to read them.
const RECEIVE: usize = 16;
/// Registers, by their offset.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const INTERRUPT_IDENTIFICATION: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const MODEM_STATUS: u16 = 6;
/// Interrupt enable: received data; transmitter empty; line status. Modem status does not interrupt.
const IER_RECEIVED: u8 = 1 << 0;
const IER_EMPTY: u8 = 1 << 1;
const IER_LINE_STATUS: u8 = 1 << 2;
/// Line control: the divisor is at offsets 0 and 1.
const LCR_DIVISOR: u8 = 1 << 7;
/// Line status: a byte is there to be read.
const LSR_DATA: u8 = 1 << 0;
/// Line status: a received byte was lost.
const LSR_OVERRUN: u8 = 1 << 1;
/// Line status: transmitter empty.
const LSR_EMPTY: u8 = 1 << 5 | 1 << 6;
/// Interrupt identification: no interrupt pends; the transmitter is empty; data was received; line status; FIFOs are on.
const IIR_NONE: u8 = 1;
const IIR_EMPTY: u8 = 2;
const IIR_RECEIVED: u8 = 4;
const IIR_LINE_STATUS: u8 = 6;
const IIR_FIFOS: u8 = 0xc0;
/// FIFO control: FIFOs are on; the receiver's is emptied.
const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVED: u8 = 1 << 1;
/// Modem control: OUT2 lets the interrupt out on a PC; loopback.
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOPBACK: u8 = 1 << 4;
/// Modem status: clear to send, data set ready, carrier.
const MSR_READY: u8 = 0xb0;

/// The registers of the UART.
#[derive(Debug, Clone, Default)]
pub struct Uart {
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    fifos: bool,
    overrun: bool,
    /// The transmitter has become empty, and nobody has been told yet.
    empty: bool,
    divisor: [u8; 2],
    received: Deque<u8, RECEIVE>,
}

impl Uart {
    /// A byte for the guest to read; false if a byte is lost, since the guest has not read the earlier ones.
    pub fn receive(&mut self, byte: u8) -> bool {
        // "Line status register", bit 1: without FIFOs it is the earlier byte.
        let destroyed = !self.fifos && self.received.pop_front().is_some();
        let lost = self.received.push_back(byte).is_err() || destroyed;
        self.overrun |= lost;
        !lost
    }

    /// Whether the interrupt line is high.
    pub fn interrupt(&self) -> bool {
        self.modem_control & MCR_OUT2 != 0 && self.pending() != IIR_NONE
    }

    /// The interrupt with the highest priority ("Interrupt control functions").
    fn pending(&self) -> u8 {
        if self.interrupt_enable & IER_LINE_STATUS != 0 && self.overrun {
            IIR_LINE_STATUS
        } else if self.interrupt_enable & IER_RECEIVED != 0 && !self.received.is_empty() {
            IIR_RECEIVED
        } else if self.interrupt_enable & IER_EMPTY != 0 && self.empty {
            IIR_EMPTY
        } else {
            IIR_NONE
        }
    }

    /// Reads the register at `offset` 0 to 7.
    pub fn read(&mut self, offset: u16) -> u8 {
        match offset {
            DATA | INTERRUPT_ENABLE if self.line_control & LCR_DIVISOR != 0 => {
                self.divisor[usize::from(offset)]
            }
            DATA => self.received.pop_front().unwrap_or(0),
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_IDENTIFICATION => {
                let pending = self.pending();
                // "Reading the IIR (if source of interrupt)" resets it.
                if pending == IIR_EMPTY {
                    self.empty = false;
                }
                pending | if self.fifos { IIR_FIFOS } else { 0 }
            }
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            LINE_STATUS => {
                let overrun = if core::mem::take(&mut self.overrun) { LSR_OVERRUN } else { 0 };
                overrun | LSR_EMPTY | if self.received.is_empty() { 0 } else { LSR_DATA }
            }
            MODEM_STATUS => self.modem_status(),
            _ => self.scratch,
        }
    }

    /// "Loopback": the outputs RTS, DTR, OUT1, OUT2 are the inputs CTS, DSR, RI, DCD.
    const fn modem_status(&self) -> u8 {
        if self.modem_control & MCR_LOOPBACK == 0 {
            return MSR_READY;
        }
        let [dtr, rts] = [self.modem_control & 1, self.modem_control >> 1 & 1];
        rts << 4 | dtr << 5 | (self.modem_control & 0xc) << 4
    }

    /// Writes the register at `offset` 0 to 7; the byte if it is one to send.
    pub fn write(&mut self, offset: u16, value: u8) -> Option<u8> {
        match offset {
            DATA | INTERRUPT_ENABLE if self.line_control & LCR_DIVISOR != 0 => {
                self.divisor[usize::from(offset)] = value;
            }
            DATA => {
                self.empty = true;
                if self.modem_control & MCR_LOOPBACK == 0 {
                    return Some(value);
                }
                self.receive(value);
            }
            INTERRUPT_ENABLE => {
                // The transmitter is empty when the interrupt is enabled: it comes at once.
                self.empty |= value & !self.interrupt_enable & IER_EMPTY != 0;
                self.interrupt_enable = value & 0xf;
            }
            INTERRUPT_IDENTIFICATION => {
                // "FIFO control register", bit 0: its change empties them, and without it no other bit counts.
                let fifos = value & FCR_ENABLE != 0;
                if fifos != self.fifos || fifos && value & FCR_CLEAR_RECEIVED != 0 {
                    self.received.clear();
                }
                self.fifos = fifos;
            }
            LINE_CONTROL => self.line_control = value,
            MODEM_CONTROL => self.modem_control = value & 0x1f,
            LINE_STATUS | MODEM_STATUS => {}
            _ => self.scratch = value,
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
        uart.write(2, FCR_ENABLE);
        assert_eq!(uart.read(5) & LSR_DATA, 0);
        for byte in 0..16 {
            assert!(uart.receive(byte));
        }
        assert!(!uart.receive(16));
        assert_eq!(uart.read(5) & LSR_OVERRUN, LSR_OVERRUN);
        assert_eq!(uart.read(5) & LSR_OVERRUN, 0, "told once");
        assert_eq!((uart.read(5) & LSR_DATA, uart.read(0), uart.read(0)), (LSR_DATA, 0, 1));
    }

    /// "Line status register", bit 1: without FIFOs the next byte destroys the one that nobody has read.
    #[test]
    fn without_fifos_there_is_room_for_one_byte() {
        let mut uart = Uart::default();
        assert!(uart.receive(1) && !uart.receive(2));
        assert_eq!([uart.read(5), uart.read(5)].map(|status| status & 3), [LSR_DATA | LSR_OVERRUN, LSR_DATA]);
        assert_eq!((uart.read(0), uart.read(5) & LSR_DATA), (2, 0));
    }

    /// "FIFO control register", bit 0: a change of it empties the FIFOs, and without it no other bit is programmed.
    #[test]
    fn a_change_of_mode_empties_the_fifo() {
        let mut uart = Uart::default();
        for (control, left) in [
            (FCR_CLEAR_RECEIVED, true),
            (FCR_ENABLE, false),
            (FCR_ENABLE, true),
            (FCR_ENABLE | FCR_CLEAR_RECEIVED, false),
            (0, false),
        ] {
            uart.receive(1);
            uart.write(2, control);
            assert_eq!(uart.read(5) & LSR_DATA != 0, left, "{control}");
        }
    }

    /// "Interrupt control functions": the receiver's line status comes first, until it is read.
    #[test]
    fn an_overrun_interrupts_until_the_line_status_is_read() {
        let mut uart = Uart::default();
        uart.write(4, MCR_OUT2);
        uart.write(1, 7);
        uart.receive(1);
        uart.receive(2);
        assert_eq!((uart.read(2), uart.read(2), uart.interrupt()), (6, 6, true));
        uart.read(5);
        assert_eq!(uart.read(2), IIR_RECEIVED);
    }

    #[test]
    fn a_probe_finds_the_scratch_register_and_no_interrupt() {
        let mut uart = Uart::default();
        uart.write(7, 0x5a);
        assert_eq!((uart.read(7), uart.read(2)), (0x5a, IIR_NONE));
        uart.write(2, 1);
        assert_eq!(uart.read(2), IIR_FIFOS | IIR_NONE);
    }

    /// "Interrupt control functions": transmitter holding register empty.
    #[test]
    fn the_empty_transmitter_interrupts_until_the_guest_is_told() {
        let mut uart = Uart::default();
        uart.write(4, MCR_OUT2);
        assert!(!uart.interrupt());
        uart.write(1, 2);
        assert!(uart.interrupt());
        assert_eq!((uart.read(2), uart.read(2), uart.interrupt()), (IIR_EMPTY, IIR_NONE, false));
        uart.write(0, b'x');
        assert!(uart.interrupt());
        uart.write(4, 0);
        assert!(!uart.interrupt(), "OUT2 holds it back");
    }

    #[test]
    fn received_data_interrupts_before_the_transmitter_until_it_is_read() {
        let mut uart = Uart::default();
        uart.write(4, MCR_OUT2);
        uart.write(1, 3);
        uart.receive(1);
        assert_eq!((uart.read(2), uart.read(2)), (IIR_RECEIVED, IIR_RECEIVED));
        uart.read(0);
        assert_eq!(uart.read(2), IIR_EMPTY);
        uart.receive(1);
        uart.write(2, FCR_ENABLE | FCR_CLEAR_RECEIVED);
        assert!(!uart.interrupt());
    }

    #[test]
    fn loopback_connects_outputs_to_inputs() {
        let mut uart = Uart::default();
        assert_eq!(uart.read(6), MSR_READY);
        uart.write(4, MCR_LOOPBACK | 0xa);
        assert_eq!(uart.read(6), 0x90, "RTS and OUT2 are CTS and DCD");
        assert_eq!(uart.write(0, b'x'), None);
        assert_eq!(uart.read(0), b'x');
    }
}
