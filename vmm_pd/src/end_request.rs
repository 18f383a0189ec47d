//! A request to end the guest: a byte that arrives on COM2, where system.xml gives it to us.

use crate::serial;
use sel4_microkit::ioport::IoPort;
use sel4_microkit::vcpu::Channels;
use sel4_microkit::{Channel, var};

/// `<ioport id="1" addr="0x2f8" size="8"/>` of system.xml.
const COM2: IoPort = IoPort::new(1);
const DATA: u16 = 0x2f8;
const INTERRUPT_ENABLE: u16 = DATA + 1;
const MODEM_CONTROL: u16 = DATA + 4;
const LINE_STATUS: u16 = DATA + 5;
/// Interrupt enable: a byte has arrived. Modem control: OUT2, which lets interrupts out of the chip on a PC. Line status: a
/// byte has arrived (16550 data sheet, 8.2, 8.4, 8.5).
const RECEIVED: u8 = 1;
const OUT2: u8 = 1 << 3;
const READY: u8 = 1;
/// What a port reads where nothing is.
const ABSENT: u8 = 0xff;
/// The request (ASCII: end of text).
const END: u8 = 3;
/// No interrupt.
const NONE: usize = usize::MAX;

/// The line.
#[derive(Debug)]
pub struct EndRequest {
    interrupt: Option<Channel>,
}

impl EndRequest {
    /// Listens, if there is a line.
    pub fn listen() -> Self {
        let id = *var!(end_request_irq: usize = NONE);
        let there = id != NONE && COM2.in8(LINE_STATUS).is_ok_and(|status| status != ABSENT);
        if !there {
            return Self { interrupt: None };
        }
        serial::set_up_at(COM2, DATA);
        // The kernel refuses none of these ports: all are in the range.
        let _ = COM2.out8(INTERRUPT_ENABLE, RECEIVED);
        let _ = COM2.out8(MODEM_CONTROL, OUT2);
        Self { interrupt: Some(Channel::new(id)) }
    }

    /// Whether the request is among what has arrived, given the channels that were notified.
    pub fn has_come(&self, notified: Channels) -> bool {
        let Some(interrupt) = self.interrupt.filter(|interrupt| notified.contains(*interrupt)) else {
            return false;
        };
        let mut come = false;
        while COM2.in8(LINE_STATUS).is_ok_and(|status| status & READY != 0) {
            come |= COM2.in8(DATA) == Ok(END);
        }
        // It is ours to acknowledge: the channel is that of the interrupt.
        let _ = interrupt.irq_ack();
        come
    }
}
