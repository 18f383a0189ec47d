//! The ACPI tables of a machine with the devices of [`crate::devices`] (ACPI specification 6.5, chapter 5): RSDP, XSDT,
//! FADT, FACS, MADT and a DSDT that says how to power off.

use super::ram::{HIGH, LOW_END};
use crate::devices::power;
use static_assertions::const_assert;

/// Where the RSDP is; the other tables follow.
pub const RSDP: u64 = 0xe_0000;
const XSDT: u64 = RSDP + 0x40;
const FADT: u64 = RSDP + 0x100;
const MADT: u64 = RSDP + 0x300;
const DSDT: u64 = RSDP + 0x400;
const FACS: u64 = RSDP + 0x480;
const END: u64 = FACS + 0x40;
const_assert!(LOW_END <= RSDP && END <= HIGH);

/// The local APIC, and the I/O APIC of `crate::devices`.
const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;
/// The line of ACPI's own interrupt, which nothing raises, and the flags of a level-triggered, high-active line (5.2.12.5).
const SCI: u8 = 9;
const LEVEL_HIGH: u8 = 0xd;
/// The timer's line and its pin at the I/O APIC.
const TIMER: u8 = 0;
const TIMER_PIN: u8 = 2;

/// A table's header and what follows it (5.2.6).
const HEADER: usize = 36;

/// A table that is being written.
struct Table<'a>(&'a mut [u8]);

impl<'a> Table<'a> {
    fn new(memory: &'a mut [u8], address: u64, length: usize) -> Self {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let bytes = &mut memory[start..start + length];
        bytes.fill(0);
        Self(bytes)
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The header of a system description table.
    fn head(&mut self, signature: &[u8; 4], revision: u8) -> &mut Self {
        let length = crate::registers::low(self.0.len() as u64);
        self.put(0, signature).put(4, &length.to_le_bytes()).put(8, &[revision]);
        // OEM, its table, its revision; the compiler's name and revision.
        self.put(10, b"VPMU  ")
            .put(16, b"sel4vpmu")
            .put(24, &[1, 0, 0, 0])
            .put(28, b"VPMU")
            .put(32, &[1, 0, 0, 0])
    }

    /// Makes the sum of the first `length` bytes 0.
    fn seal(&mut self, at: usize, length: usize) {
        let sum = self.0[..length].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.0[at] = self.0[at].wrapping_sub(sum);
    }
}

/// A generic address in I/O space (5.2.3.2): system I/O, width in bits, offset 0, access of bytes.
fn io(port: u16, bits: u8) -> [u8; 12] {
    let [low, high] = port.to_le_bytes();
    [1, bits, 0, 1, low, high, 0, 0, 0, 0, 0, 0]
}

/// Writes the tables; memory reaches to [`HIGH`] at least.
pub(super) fn write(memory: &mut [u8]) {
    let mut rsdp = Table::new(memory, RSDP, 36);
    rsdp.put(0, b"RSD PTR ").put(9, b"VPMU  ").put(15, &[2]).put(20, &[36]).put(24, &XSDT.to_le_bytes());
    // 5.2.5.3: one sum for the bytes of version 1, one for all.
    rsdp.seal(8, 20);
    rsdp.seal(32, 36);

    let mut xsdt = Table::new(memory, XSDT, HEADER + 16);
    xsdt.head(b"XSDT", 1)
        .put(HEADER, &FADT.to_le_bytes())
        .put(HEADER + 8, &MADT.to_le_bytes())
        .seal(9, HEADER + 16);

    write_fadt(memory);
    write_madt(memory);

    // Name (\_S5, Package () {off, off, 0, 0}) (7.4.2, 20.2.5).
    let off = power::SLEEP_TYPE_OFF;
    let code = [0x08, b'_', b'S', b'5', b'_', 0x12, 8, 4, 0x0a, off, 0x0a, off, 0, 0];
    let length = HEADER + code.len();
    Table::new(memory, DSDT, length).head(b"DSDT", 2).put(HEADER, &code).seal(9, length);

    // 5.2.10: no checksum.
    Table::new(memory, FACS, 64).put(0, b"FACS").put(4, &[64]).put(32, &[2]);
}

/// The fixed hardware (5.2.9).
fn write_fadt(memory: &mut [u8]) {
    /// Revision 6, without minor version.
    const LENGTH: usize = 276;
    /// WBINVD works, C1 is there, power and sleep buttons and the clock's wake-up are not fixed hardware, the timer has 32 bits,
    /// there is a reset register.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10;
    /// There are devices of an old PC, and no VGA.
    const BOOT: u16 = 1 | 1 << 2;
    /// Latencies above which C2 and C3 do not exist.
    const NO_C_STATE: [u8; 4] = [0xff, 0xff, 0xff, 0xff];
    let word = |port: u16| u32::from(port).to_le_bytes();
    let low = |address: u64| crate::registers::low(address).to_le_bytes();
    let mut table = Table::new(memory, FADT, LENGTH);
    table.head(b"FACP", 6);
    table.put(36, &low(FACS)).put(40, &low(DSDT)).put(46, &[SCI, 0]);
    table
        .put(56, &word(power::PM1A_EVENT))
        .put(64, &word(power::PM1A_CONTROL))
        .put(76, &word(power::PM_TIMER));
    // Lengths of the blocks.
    table.put(88, &[4, 2]).put(91, &[4]).put(96, &NO_C_STATE);
    table.put(109, &BOOT.to_le_bytes()).put(112, &FLAGS.to_le_bytes());
    table.put(116, &io(power::RESET, 8)).put(128, &[power::RESET_VALUE]).put(140, &DSDT.to_le_bytes());
    table.put(148, &io(power::PM1A_EVENT, 32)).put(172, &io(power::PM1A_CONTROL, 16));
    table.put(208, &io(power::PM_TIMER, 32)).seal(9, LENGTH);
}

/// The interrupt controllers (5.2.12).
fn write_madt(memory: &mut [u8]) {
    const LENGTH: usize = HEADER + 8 + 8 + 12 + 10 + 10 + 6;
    let mut table = Table::new(memory, MADT, LENGTH);
    table.head(b"APIC", 5).put(36, &LOCAL_APIC.to_le_bytes());
    // There are two 8259A, too.
    table.put(40, &[1]);
    // The processor, enabled; the I/O APIC with interrupts from 0 on; lines that are not their own pin, or not edges of
    // ISA; LINT1 as NMI of all processors.
    table.put(44, &[0, 8, 0, 0, 1]);
    table.put(52, &[1, 12]).put(56, &IO_APIC.to_le_bytes());
    table.put(64, &[2, 10, 0, TIMER, TIMER_PIN]).put(74, &[2, 10, 0, SCI, SCI, 0, 0, 0, LEVEL_HIGH]);
    table.put(84, &[4, 6, 0xff, 0, 0, 1]).seal(9, LENGTH);
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
        let xsdt = word(&memory, RSDP + 24).into();
        let tables = [xsdt, word(&memory, xsdt + 36).into(), word(&memory, xsdt + 44).into()];
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
        let at = |offset| word(&memory, FADT + offset);
        for (block, extended, port) in [(56, 148, 0x600), (64, 172, 0x604), (76, 208, 0x608)] {
            assert_eq!((at(block), at(extended + 4)), (port, port));
        }
        assert_eq!((at(116 + 4), memory[usize::try_from(FADT).expect("small") + 128]), (0xcf9, 6));
    }

    /// ACPI 5.2.12: the entries end where the table does.
    #[test]
    fn the_interrupt_controllers_entries_fill_their_table() {
        let memory = memory();
        let length = word(&memory, MADT + 4);
        let mut at = 44;
        let mut kinds = Vec::new();
        while at < length {
            let [kind, size] =
                [0, 1].map(|i| memory[usize::try_from(MADT).expect("small") + at as usize + i]);
            assert!(size >= 2);
            kinds.push(kind);
            at += u32::from(size);
        }
        assert_eq!((at, kinds), (length, vec![0, 1, 2, 2, 4]));
    }
}
