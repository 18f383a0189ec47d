//! The memory type range registers (SDM vol. 3A, 12.11): they keep what is written. The memory types that count are
//! those of the extended page tables and of the guest's PAT.

use crate::apic::GeneralProtection;
use crate::cpuid::PHYSICAL_ADDRESSES;

/// Numbers of the registers (SDM vol. 4, table 2-2).
const CAPABILITIES: u32 = 0xfe;
const VARIABLE_FIRST: u32 = 0x200;
const VARIABLE_LAST: u32 = 0x20f;
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const DEFAULT_TYPE: u32 = 0x2ff;

/// Pairs of base and mask.
const RANGES: usize = 8;
/// IA32_MTRRCAP: the number of pairs, fixed ranges, write-combining.
const CAPABILITIES_VALUE: u64 = RANGES as u64 | 1 << 8 | 1 << 10;
/// IA32_MTRR_DEF_TYPE: the type, fixed ranges enabled, enabled.
const DEFAULT_TYPE_BITS: u64 = 0xff | 1 << 10 | 1 << 11;
/// A base has its type in bits 7:0, a mask its valid bit in bit 11; addresses begin with bit 12.
const BASE_BITS: u64 = (PHYSICAL_ADDRESSES - 0x1000) | 0xff;
const MASK_BITS: u64 = (PHYSICAL_ADDRESSES - 0x1000) | 1 << 11;
/// Memory types (SDM vol. 3A, table 12-2): write-protected, write-back; uncacheable is 0.
const WRITE_PROTECTED: u64 = 0x0505_0505_0505_0505;
const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
/// As firmware leaves them: all is write-back but the display's memory, the ROM's place, and the upper 2 GiB below 4 GiB,
/// where devices are.
const DEVICES: [u64; 2] = [0x8000_0000, (PHYSICAL_ADDRESSES - 0x8000_0000) | 1 << 11];
const DEFAULT_TYPE_START: u64 = 6 | 1 << 10 | 1 << 11;

/// The registers.
#[derive(Debug, Clone)]
pub struct Mtrrs {
    default_type: u64,
    variable: [u64; 2 * RANGES],
    fixed: [u64; FIXED.len()],
}

impl Default for Mtrrs {
    fn default() -> Self {
        let mut variable = [0; 2 * RANGES];
        variable[..2].copy_from_slice(&DEVICES);
        let mut fixed = [WRITE_PROTECTED; FIXED.len()];
        fixed[..3].copy_from_slice(&[WRITE_BACK, WRITE_BACK, 0]);
        Self { default_type: DEFAULT_TYPE_START, variable, fixed }
    }
}

/// Whether the register is one of these.
pub fn has(number: u32) -> bool {
    matches!(number, CAPABILITIES | VARIABLE_FIRST..=VARIABLE_LAST | DEFAULT_TYPE) || FIXED.contains(&number)
}

impl Mtrrs {
    /// RDMSR of a register that [`has`] knows.
    ///
    /// # Errors
    /// It is none.
    pub fn read(&self, number: u32) -> Result<u64, GeneralProtection> {
        match number {
            CAPABILITIES => Ok(CAPABILITIES_VALUE),
            DEFAULT_TYPE => Ok(self.default_type),
            VARIABLE_FIRST..=VARIABLE_LAST => Ok(self.variable[(number - VARIABLE_FIRST) as usize]),
            _ => fixed(number).map(|i| self.fixed[i]),
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// It is read-only, or a bit or memory type is reserved.
    pub fn write(&mut self, number: u32, value: u64) -> Result<(), GeneralProtection> {
        let [low, ..] = value.to_le_bytes();
        let good = match number {
            DEFAULT_TYPE => value & !DEFAULT_TYPE_BITS == 0 && is_type(low),
            VARIABLE_FIRST..=VARIABLE_LAST if number.is_multiple_of(2) => {
                value & !BASE_BITS == 0 && is_type(low)
            }
            VARIABLE_FIRST..=VARIABLE_LAST => value & !MASK_BITS == 0,
            _ => value.to_le_bytes().into_iter().all(is_type),
        };
        if !good {
            return Err(GeneralProtection);
        }
        match number {
            DEFAULT_TYPE => self.default_type = value,
            VARIABLE_FIRST..=VARIABLE_LAST => self.variable[(number - VARIABLE_FIRST) as usize] = value,
            _ => self.fixed[fixed(number)?] = value,
        }
        Ok(())
    }
}

/// The place of a fixed-range register.
fn fixed(number: u32) -> Result<usize, GeneralProtection> {
    FIXED.iter().position(|fixed| *fixed == number).ok_or(GeneralProtection)
}

/// SDM vol. 3A, table 12-2.
const fn is_type(byte: u8) -> bool {
    matches!(byte, 0 | 1 | 4 | 5 | 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_keeps_what_is_written() {
        let mut mtrrs = Mtrrs::default();
        let mut registers = 0;
        for number in (0..0x400).filter(|number| has(*number) && *number != CAPABILITIES) {
            let value = if number % 2 == 0 || number >= 0x250 { 6 } else { 1 << 11 };
            assert_eq!((mtrrs.write(number, value), mtrrs.read(number)), (Ok(()), Ok(value)), "{number:#x}");
            registers += 1;
        }
        assert_eq!(registers, 16 + 11 + 1);
    }

    /// SDM vol. 3A, 12.11.1 to 12.11.2.3.
    #[test]
    fn reserved_bits_and_types_fault() {
        let mut mtrrs = Mtrrs::default();
        for (number, value) in [
            (CAPABILITIES, 0),
            (DEFAULT_TYPE, 2),
            (DEFAULT_TYPE, 1 << 9 | 6),
            (0x200, 7),
            (0x200, 1 << 8),
            (0x200, 1 << 36),
            (0x201, 1 << 10),
            (0x201, 1 << 36),
            (0x250, 3 << 56),
        ] {
            assert_eq!(mtrrs.write(number, value), Err(GeneralProtection), "{number:#x} {value:#x}");
        }
        assert_eq!(mtrrs.read(CAPABILITIES), Ok(0x508));
    }

    #[test]
    fn memory_starts_write_back_and_devices_uncacheable() {
        let mtrrs = Mtrrs::default();
        assert_eq!(mtrrs.read(DEFAULT_TYPE), Ok(0xc06));
        assert_eq!((mtrrs.read(0x200), mtrrs.read(0x201)), (Ok(0x8000_0000), Ok(0xf_8000_0800)));
        assert_eq!((mtrrs.read(0x250), mtrrs.read(0x259)), (Ok(WRITE_BACK), Ok(0)));
    }
}
