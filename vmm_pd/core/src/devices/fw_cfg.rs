//! The firmware configuration device of QEMU's machines (docs/specs/fw_cfg of QEMU), by ports: an item's number is
//! written to the selector, then its bytes are read one after another.

/// Selector port, 16 bits.
pub const SELECTOR: u16 = 0x510;
/// Data port, 8 bits.
pub const DATA: u16 = 0x511;
/// Items.
const SIGNATURE: u16 = 0;
const ID: u16 = 1;
const RAM_SIZE: u16 = 3;
const PROCESSORS: u16 = 5;
const MAXIMUM_PROCESSORS: u16 = 15;
/// The directory of files: their number, big-endian.
const FILES: u16 = 0x19;
/// The selector's bit that asks to write the item, which is not offered any more.
const WRITE: u16 = 1 << 14;
/// Features: the interface by ports alone, no DMA.
const TRADITIONAL: u64 = 1;

/// The device.
#[derive(Debug, Clone, Default)]
pub struct FirmwareConfiguration {
    memory: u64,
    selected: u16,
    position: u8,
}

impl FirmwareConfiguration {
    /// Notes the size of memory in bytes.
    pub const fn set_memory(&mut self, size: u64) {
        self.memory = size;
    }

    /// Selects an item, to be read from its first byte on.
    pub const fn select(&mut self, item: u16) {
        self.selected = item & !WRITE;
        self.position = 0;
    }

    /// The next byte of the item; 0 past its end and for an item that there is not.
    pub fn read(&mut self) -> u8 {
        let (value, length) = match self.selected {
            SIGNATURE => (u64::from(u32::from_le_bytes(*b"QEMU")), 4),
            ID => (TRADITIONAL, 4),
            RAM_SIZE => (self.memory, 8),
            PROCESSORS | MAXIMUM_PROCESSORS => (1, 2),
            FILES => (0, 4),
            _ => (0, 0),
        };
        if self.position >= length {
            return 0;
        }
        let byte = value.to_le_bytes()[usize::from(self.position)];
        self.position += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<const N: usize>(device: &mut FirmwareConfiguration, item: u16) -> [u8; N] {
        device.select(item);
        core::array::from_fn(|_| device.read())
    }

    #[test]
    fn items_are_read_byte_by_byte() {
        let mut device = FirmwareConfiguration::default();
        device.set_memory(0x12_3456_789a);
        assert_eq!(item(&mut device, 0), *b"QEMU");
        assert_eq!(item(&mut device, 1), 1u32.to_le_bytes());
        assert_eq!(item(&mut device, 3), 0x12_3456_789a_u64.to_le_bytes());
        assert_eq!(item(&mut device, 5), 1u16.to_le_bytes());
        assert_eq!(item(&mut device, 15), 1u16.to_le_bytes());
        assert_eq!(item(&mut device, 0x19), 0u32.to_be_bytes());
    }

    #[test]
    fn past_the_end_and_in_unknown_items_there_are_zeros() {
        let mut device = FirmwareConfiguration::default();
        assert_eq!(item(&mut device, 0x4000), *b"QEMU\0\0");
        assert_eq!(item(&mut device, 0x1234), [0; 300]);
    }
}
