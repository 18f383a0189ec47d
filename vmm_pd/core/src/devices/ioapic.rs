//! The I/O APIC (Intel 82093AA data sheet, order number 290566).

use crate::apic::Message;

/// Redirection entries.
const ENTRIES: usize = 24;
/// Offsets in the page.
const SELECT: u32 = 0x00;
const WINDOW: u32 = 0x10;
/// Register numbers.
const ID: u8 = 0;
const VERSION: u8 = 1;
const ARBITRATION: u8 = 2;
const TABLE: u8 = 0x10;
const VERSION_VALUE: u32 = 0x11 | 0x17 << 16;
const ID_BITS: u32 = 0x0f00_0000;
/// Redirection entry: vector, delivery mode, destination mode and polarity, trigger mode and mask can be written; the
/// delivery status and the remote IRR cannot.
const WRITABLE: u64 = 0xff00_0000_0001_afff;
/// Delivery mode: as NMI.
const MODE: u64 = 7 << 8;
const NMI: u64 = 4 << 8;
const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;

/// The registers of the I/O APIC and its pins. Pins are high when their device asks; the polarity is kept only.
#[derive(Debug, Clone)]
pub struct IoApic {
    select: u8,
    id: u32,
    table: [u64; ENTRIES],
    pins: u32,
    /// Entries that have something to deliver.
    pending: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self { select: 0, id: 0, table: [MASKED; ENTRIES], pins: 0, pending: 0 }
    }
}

impl IoApic {
    /// A read at `offset` of the page.
    pub fn read(&self, offset: u32) -> u32 {
        match (offset, self.select) {
            (SELECT, select) => u32::from(select),
            (WINDOW, ID | ARBITRATION) => self.id,
            (WINDOW, VERSION) => VERSION_VALUE,
            (WINDOW, number) => {
                let Some((entry, high)) = entry(number) else { return 0 };
                let [a, b, c, d, e, f, g, h] = self.table[entry].to_le_bytes();
                u32::from_le_bytes(if high { [e, f, g, h] } else { [a, b, c, d] })
            }
            _ => 0,
        }
    }

    /// A write at `offset` of the page.
    pub fn write(&mut self, offset: u32, value: u32) {
        match (offset, self.select) {
            (SELECT, _) => self.select = value.to_le_bytes()[0],
            (WINDOW, ID) => self.id = value & ID_BITS,
            (WINDOW, number) => {
                if let Some((entry, high)) = entry(number) {
                    self.write_entry(entry, high, value);
                }
            }
            _ => {}
        }
    }

    fn write_entry(&mut self, i: usize, high: bool, value: u32) {
        let entry = &mut self.table[i];
        let (shift, half) = if high { (32, u64::from(u32::MAX) << 32) } else { (0, u64::from(u32::MAX)) };
        let writable = WRITABLE & half;
        *entry = *entry & !writable | u64::from(value) << shift & writable;
        if *entry & LEVEL == 0 {
            // An edge-triggered interrupt has no remote IRR.
            *entry &= !REMOTE_IRR;
        }
        self.request_level(i);
    }

    /// A pin becomes high or low.
    pub fn set_pin(&mut self, pin: u8, high: bool) {
        let i = usize::from(pin) % ENTRIES;
        let bit = 1 << i;
        let rises = high && self.pins & bit == 0;
        self.pins = if high { self.pins | bit } else { self.pins & !bit };
        let entry = self.table[i];
        // "Edge-sensitive interrupts signaled on a masked interrupt pin are ignored."
        if rises && entry & (LEVEL | MASKED) == 0 {
            self.pending |= bit;
        }
        self.request_level(i);
    }

    /// A level-triggered pin that is high asks unless it is masked or still in service.
    fn request_level(&mut self, i: usize) {
        let entry = self.table[i];
        if entry & LEVEL != 0 {
            let asks = self.pins & 1 << i != 0 && entry & (MASKED | REMOTE_IRR) == 0;
            self.pending = self.pending & !(1 << i) | u32::from(asks) << i;
        }
    }

    /// Whether a pin that is not masked sends NMIs.
    pub fn sends_nmis(&self) -> bool {
        self.table.iter().any(|entry| entry & (MASKED | MODE) == NMI)
    }

    /// Whether [`IoApic::deliver`] has something to do.
    pub const fn has_message(&self) -> bool {
        self.pending != 0
    }

    /// Sends what there is, the lowest pin first; `accept` says whether the local APIC takes a message. One that it
    /// does not take is lost, and a level asks again when something changes.
    pub fn deliver(&mut self, mut accept: impl FnMut(Message) -> bool) {
        let pending = core::mem::take(&mut self.pending);
        for (_, entry) in self.table.iter_mut().enumerate().filter(|(i, _)| pending & 1 << i != 0) {
            let level = *entry & LEVEL != 0;
            let [vector, mode, .., destination] = entry.to_le_bytes();
            let logical = *entry & LOGICAL != 0;
            let taken = accept(Message { vector, mode: mode & 7, level, logical, destination });
            if level && taken {
                *entry |= REMOTE_IRR;
            }
        }
    }

    /// The processor has ended the level-triggered interrupt with this vector.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for i in 0..ENTRIES {
            let entry = &mut self.table[i];
            if *entry & REMOTE_IRR != 0 && entry.to_le_bytes()[0] == vector {
                *entry &= !REMOTE_IRR;
                self.request_level(i);
            }
        }
    }
}

/// The redirection entry of a register number, and whether it is the entry's high half.
fn entry(number: u8) -> Option<(usize, bool)> {
    let number = number.checked_sub(TABLE)?;
    let i = usize::from(number / 2);
    (i < ENTRIES).then_some((i, number % 2 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(ioapic: &mut IoApic, number: u32) -> u32 {
        ioapic.write(SELECT, number);
        ioapic.read(WINDOW)
    }

    fn set(ioapic: &mut IoApic, number: u32, value: u32) {
        ioapic.write(SELECT, number);
        ioapic.write(WINDOW, value);
    }

    fn messages(ioapic: &mut IoApic) -> Vec<Message> {
        let mut messages = Vec::new();
        ioapic.deliver(|message| {
            messages.push(message);
            true
        });
        messages
    }

    #[test]
    fn entries_start_masked_and_keep_what_is_written() {
        let mut ioapic = IoApic::default();
        assert_eq!(register(&mut ioapic, 1), 0x17_0011);
        assert_eq!(register(&mut ioapic, 0x3e), 0x1_0000);
        set(&mut ioapic, 0x3e, 0x31);
        assert_eq!(register(&mut ioapic, 0x3e), 0x31);
        set(&mut ioapic, 0x3f, u32::MAX);
        assert_eq!(register(&mut ioapic, 0x3f), 0xff00_0000);
        set(&mut ioapic, 0x10, u32::MAX);
        assert_eq!(register(&mut ioapic, 0x10), 0x1_afff, "delivery status and remote IRR are read-only");
        set(&mut ioapic, 0x40, 1);
        assert_eq!(register(&mut ioapic, 0x40), 0);
        set(&mut ioapic, 0, u32::MAX);
        assert_eq!((register(&mut ioapic, 0), register(&mut ioapic, 2)), (0x0f00_0000, 0x0f00_0000));
    }

    /// 82093AA, 3.2.4, bits 15 and 16.
    #[test]
    fn an_edge_is_one_message_and_none_while_masked() {
        let mut ioapic = IoApic::default();
        ioapic.set_pin(4, true);
        set(&mut ioapic, 0x18, 0x34);
        assert_eq!(messages(&mut ioapic), [], "the edge came while the pin was masked");
        ioapic.set_pin(4, false);
        ioapic.set_pin(4, true);
        assert!(ioapic.has_message());
        let message = Message { vector: 0x34, mode: 0, level: false, logical: false, destination: 0 };
        assert_eq!(messages(&mut ioapic), [message]);
        assert_eq!(messages(&mut ioapic), []);
    }

    /// 82093AA, 3.2.4, bit 14.
    #[test]
    fn a_level_repeats_after_each_end_of_interrupt() {
        let mut ioapic = IoApic::default();
        set(&mut ioapic, 0x20, 0x1_8045);
        set(&mut ioapic, 0x21, 0x0100_0000);
        ioapic.set_pin(8, true);
        assert_eq!(messages(&mut ioapic), [], "masked");
        set(&mut ioapic, 0x20, 0x8045);
        let message = Message { vector: 0x45, mode: 0, level: true, logical: false, destination: 1 };
        assert_eq!(messages(&mut ioapic), [message]);
        assert_eq!(messages(&mut ioapic), []);
        assert_eq!(register(&mut ioapic, 0x20), 0xc045, "remote IRR");
        ioapic.end_of_interrupt(0x44);
        assert_eq!(messages(&mut ioapic), []);
        ioapic.end_of_interrupt(0x45);
        assert_eq!(messages(&mut ioapic), [message]);
        ioapic.set_pin(8, false);
        ioapic.end_of_interrupt(0x45);
        assert_eq!(messages(&mut ioapic), []);
    }

    #[test]
    fn a_level_that_nobody_takes_is_not_in_service() {
        let mut ioapic = IoApic::default();
        set(&mut ioapic, 0x20, 0x8045);
        ioapic.set_pin(8, true);
        ioapic.deliver(|_| false);
        assert_eq!(register(&mut ioapic, 0x20), 0x8045);
        assert!(!ioapic.has_message());
        set(&mut ioapic, 0x21, 0);
        assert!(ioapic.has_message(), "a write of the entry asks again");
    }

    #[test]
    fn a_level_that_goes_before_it_is_sent_sends_nothing() {
        let mut ioapic = IoApic::default();
        set(&mut ioapic, 0x20, 0x8045);
        ioapic.set_pin(8, true);
        ioapic.set_pin(8, false);
        assert_eq!(messages(&mut ioapic), []);
    }
}
