//! The I/O APIC as far as a kernel that sets it up needs it: registers that keep what is written. No device is
//! connected.

/// Redirection entries.
const ENTRIES: usize = 24;
/// Offsets in the page.
const SELECT: u32 = 0x00;
const WINDOW: u32 = 0x10;
/// Register numbers.
const ID: u8 = 0;
const VERSION: u8 = 1;
const TABLE: u8 = 0x10;
const VERSION_VALUE: u32 = 0x11 | 0x17 << 16;
const MASKED: u32 = 1 << 16;

/// The registers of the I/O APIC.
#[derive(Debug, Clone)]
pub struct IoApic {
    select: u8,
    id: u32,
    table: [u32; 2 * ENTRIES],
}

impl Default for IoApic {
    fn default() -> Self {
        Self { select: 0, id: 0, table: core::array::from_fn(|i| if i % 2 == 0 { MASKED } else { 0 }) }
    }
}

impl IoApic {
    /// A 32-bit read at `offset` of the page.
    pub fn read(&self, offset: u32) -> u32 {
        match (offset, self.select) {
            (SELECT, select) => u32::from(select),
            (WINDOW, ID) => self.id,
            (WINDOW, VERSION) => VERSION_VALUE,
            (WINDOW, number) => {
                number.checked_sub(TABLE).and_then(|i| self.table.get(usize::from(i))).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// A 32-bit write at `offset` of the page.
    pub fn write(&mut self, offset: u32, value: u32) {
        match (offset, self.select) {
            (SELECT, _) => self.select = value.to_le_bytes()[0],
            (WINDOW, ID) => self.id = value & 0x0f00_0000,
            (WINDOW, number) => {
                let entry = number.checked_sub(TABLE).and_then(|i| self.table.get_mut(usize::from(i)));
                if let Some(entry) = entry {
                    *entry = value;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_start_masked_and_keep_what_is_written() {
        let mut ioapic = IoApic::default();
        ioapic.write(SELECT, 1);
        assert_eq!(ioapic.read(WINDOW), 0x17_0011);
        ioapic.write(SELECT, 0x3e);
        assert_eq!(ioapic.read(WINDOW), MASKED);
        ioapic.write(WINDOW, 0x31);
        assert_eq!(ioapic.read(WINDOW), 0x31);
        ioapic.write(SELECT, 0x40);
        ioapic.write(WINDOW, 1);
        assert_eq!(ioapic.read(WINDOW), 0);
    }
}
