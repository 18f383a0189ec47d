//! The ACPI tables of a machine with the devices of [`crate::devices`] (ACPI specification 6.5, chapter 5), which the build
//! script makes.

use super::ram::{HIGH, LOW_END};
pub use crate::devices::described::RSDP;
use static_assertions::const_assert;

/// From [`RSDP`] on.
static TABLES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/acpi.bin"));
const_assert!(
    LOW_END <= RSDP && RSDP + include_bytes!(concat!(env!("OUT_DIR"), "/acpi.bin")).len() as u64 <= HIGH
);

/// Writes the tables; memory reaches to [`HIGH`] at least.
pub(super) fn write(memory: &mut [u8]) {
    let start = usize::try_from(RSDP).unwrap_or(usize::MAX);
    memory[start..start + TABLES.len()].copy_from_slice(TABLES);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Vec<u8> {
        let mut memory = vec![0xaa; 0x10_0000];
        write(&mut memory);
        memory
    }

    fn word(memory: &[u8], address: u64) -> u32 {
        let at = usize::try_from(address).expect("small");
        u32::from_le_bytes(memory[at..at + 4].try_into().expect("four bytes"))
    }

    /// The addresses of the XSDT and of the tables that it names.
    fn tables(memory: &[u8]) -> [u64; 3] {
        let xsdt = word(memory, RSDP + 24).into();
        [xsdt, word(memory, xsdt + 36).into(), word(memory, xsdt + 44).into()]
    }

    fn sum(memory: &[u8], address: u64, length: usize) -> u8 {
        let at = usize::try_from(address).expect("small");
        memory[at..at + length].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
    }

    /// ACPI 5.2.5.3, 5.2.6: an operating system finds each table from the one before and its bytes add up to 0.
    #[test]
    fn every_table_is_found_and_adds_up() {
        let memory = memory();
        assert_eq!(&memory[0xe_0000..0xe_0008], b"RSD PTR ");
        assert_eq!((sum(&memory, RSDP, 20), sum(&memory, RSDP, 36)), (0, 0));
        let tables = tables(&memory);
        let fadt = tables[1];
        let dsdt = word(&memory, fadt + 40).into();
        let names = [*b"XSDT", *b"FACP", *b"APIC", *b"DSDT"];
        for (address, name) in tables.into_iter().chain([dsdt]).zip(names) {
            assert_eq!(word(&memory, address), u32::from_le_bytes(name));
            let length = word(&memory, address + 4) as usize;
            assert_eq!(sum(&memory, address, length), 0, "{name:?}");
        }
        let facs = word(&memory, fadt + 36);
        assert_eq!((facs % 64, word(&memory, facs.into())), (0, u32::from_le_bytes(*b"FACS")));
    }

    /// ACPI 5.2.9: 32-bit and extended addresses of a block agree.
    #[test]
    fn the_fixed_hardware_is_that_of_the_devices() {
        let memory = memory();
        let [_, fadt, _] = tables(&memory);
        let at = |offset| word(&memory, fadt + offset);
        for (block, extended, port) in [(56, 148, 0x600), (64, 172, 0x604), (76, 208, 0x608)] {
            assert_eq!((at(block), at(extended + 4)), (port, port));
        }
        assert_eq!((at(116 + 4), memory[usize::try_from(fadt).expect("small") + 128]), (0xcf9, 6));
    }

    /// ACPI 5.2.12: the entries end where the table does.
    #[test]
    fn the_interrupt_controllers_entries_fill_their_table() {
        let memory = memory();
        let [_, _, madt] = tables(&memory);
        let length = word(&memory, madt + 4);
        let mut at = 44;
        let mut kinds = Vec::new();
        while at < length {
            let [kind, size] =
                [0, 1].map(|i| memory[usize::try_from(madt).expect("small") + at as usize + i]);
            assert!(size >= 2);
            kinds.push(kind);
            at += u32::from(size);
        }
        assert_eq!((at, kinds), (length, vec![0, 1, 2, 2, 4]));
    }
}
