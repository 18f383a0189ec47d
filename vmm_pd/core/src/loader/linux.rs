//! Linux by its x86 boot protocol (The Linux/x86 Boot Protocol, version 2.12 and later, section "64-bit Boot Protocol"):
//! a bzImage, command line and initrd.
//!
//! The kernel is entered in 64-bit mode, so nothing of its real-mode code runs: what it would have asked the firmware stands
//! in the boot parameters. It loads its own descriptor table before it uses a selector, so that of [`crate::boot`] serves,
//! whose selectors are not those that the protocol names.

use super::ram::{HIGH, LOW_END, Ram};
use super::{LoadError, acpi, place_initrd};
use crate::boot::{LOWEST, Mode, Start};
use crate::registers::{Gpr, Registers};
use core::fmt;
use core::ops::Range;
use static_assertions::const_assert;

/// Why a kernel with Linux's header cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinuxError {
    /// The file ends before the kernel does.
    Truncated,
    /// The kernel is loaded below 1 MiB: a zImage.
    Low,
    /// The kernel has no 64-bit entry.
    No64BitEntry,
    /// The guest has less memory than [`LEAST_MEMORY`].
    Memory {
        /// Its memory in bytes.
        size: u64,
    },
    /// The kernel needs memory up to here.
    DoesNotFit {
        /// The end of what it uses to unpack itself.
        end: u64,
    },
    /// The kernel takes a shorter command line.
    CommandLine {
        /// The longest that it takes, in bytes.
        longest: u32,
    },
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated => f.write_str("the Linux kernel's file is cut off"),
            Self::Low => f.write_str("the Linux kernel is a zImage; build a bzImage"),
            Self::No64BitEntry => {
                f.write_str("the Linux kernel has no 64-bit entry; a kernel for x86-64 has one")
            }
            Self::Memory { size } => {
                let [have, need] = [size, LEAST_MEMORY].map(|bytes| bytes >> 20);
                write!(f, "Linux needs {need} MiB of memory and the guest has {have}; give more --memory")
            }
            Self::DoesNotFit { end } => {
                write!(f, "the Linux kernel uses memory up to {end:#x} to unpack itself; give more --memory")
            }
            Self::CommandLine { longest } => {
                write!(f, "the Linux kernel takes command lines of at most {longest} bytes; shorten it")
            }
        }
    }
}

/// The least memory for Linux in bytes.
pub const LEAST_MEMORY: u64 = 128 << 20;

/// Offsets of the setup header, in the file and in the boot parameters.
mod setup {
    pub const START: usize = 0x1f1;
    pub const SETUP_SECTS: usize = START;
    pub const SYSSIZE: usize = 0x1f4;
    /// The header's length after 0x202.
    pub const LENGTH: usize = 0x201;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    /// The end of what is read here.
    pub const END: usize = 0x264;
}

/// Offsets in the boot parameters alone.
mod params {
    pub const ACPI_RSDP_ADDR: usize = 0x70;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const E820_TABLE: usize = 0x2d0;
}

/// The word at [`setup::MAGIC`].
const MAGIC: &[u8] = b"HdrS";
/// The first version with xloadflags.
const VERSION: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
/// The 64-bit entry in the protected-mode kernel.
const ENTRY: u64 = 0x200;
const SECTOR: usize = 512;
/// Real-mode sectors where the header says 0.
const SECTORS: usize = 4;
const PARAGRAPH: usize = 16;
/// A boot loader without a number of its own.
const LOADER: u8 = 0xff;
/// Types of memory in the map.
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const E820_ENTRY: usize = 20;

/// Where the boot parameters and the command line are, below [`LOWEST`].
const PARAMETERS: usize = 0x8000;
const PARAMETERS_SIZE: usize = 0x1000;
const COMMAND_LINE: usize = PARAMETERS + PARAMETERS_SIZE;
const_assert!(COMMAND_LINE as u64 + super::LONGEST_COMMAND_LINE as u64 + 1 < LOWEST);

/// A kernel's file.
#[derive(Debug, Clone, Copy)]
pub struct BzImage<'a> {
    file: &'a [u8],
}

impl<'a> BzImage<'a> {
    /// The kernel, if the file has Linux's setup header.
    pub fn find(file: &'a [u8]) -> Option<Self> {
        let has = file.get(setup::MAGIC..)?.starts_with(MAGIC);
        (has && file.len() >= setup::END).then_some(Self { file })
    }

    fn field<const N: usize>(self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.file[offset..offset + N]);
        bytes
    }

    fn half(self, offset: usize) -> u16 {
        u16::from_le_bytes(self.field(offset))
    }

    fn word(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.field(offset))
    }

    /// The protected-mode kernel.
    fn kernel(self) -> Result<&'a [u8], LinuxError> {
        let sectors = match usize::from(self.file[setup::SETUP_SECTS]) {
            0 => SECTORS,
            sectors => sectors,
        };
        let size = (self.word(setup::SYSSIZE) as usize) * PARAGRAPH;
        let rest = self.file.get((sectors + 1) * SECTOR..).ok_or(LinuxError::Truncated)?;
        // The size is rounded up to paragraphs, the file need not be.
        if rest.len() + PARAGRAPH <= size || rest.len() < SECTOR {
            return Err(LinuxError::Truncated);
        }
        Ok(rest)
    }

    /// Loads kernel, command line and initrd into memory.
    ///
    /// # Errors
    /// [`LoadError`]; memory is then unchanged.
    pub(super) fn load(
        self,
        memory: &mut [u8],
        ram: Ram,
        command_line: &[u8],
        initrd: &[u8],
    ) -> Result<Start, LoadError> {
        if self.half(setup::VERSION) < VERSION || self.half(setup::XLOADFLAGS) & XLF_KERNEL_64 == 0 {
            return Err(LinuxError::No64BitEntry.into());
        }
        if self.file[setup::LOADFLAGS] & LOADED_HIGH == 0 {
            return Err(LinuxError::Low.into());
        }
        let kernel = self.kernel()?;
        if ram.size() < LEAST_MEMORY {
            return Err(LinuxError::Memory { size: ram.size() }.into());
        }
        let longest = self.word(setup::CMDLINE_SIZE);
        if command_line.len() as u64 > longest.into() {
            return Err(LinuxError::CommandLine { longest }.into());
        }
        let base = u64::from_le_bytes(self.field(setup::PREF_ADDRESS));
        let needs = u64::from(self.word(setup::INIT_SIZE)).max(kernel.len() as u64);
        if !ram.is_free(LOWEST, base, needs) || base < HIGH {
            return Err(LinuxError::DoesNotFit { end: base.saturating_add(needs) }.into());
        }
        let last = u64::from(self.word(setup::INITRD_ADDR_MAX)).saturating_add(1).min(ram.size());
        let below = Ram::new(usize::try_from(last).unwrap_or(usize::MAX))?;
        let place = place_initrd(initrd.len() as u64, base + needs, below)?;
        let start = usize::try_from(base).map_err(|_| LinuxError::DoesNotFit { end: base + needs })?;
        memory[start..start + kernel.len()].copy_from_slice(kernel);
        memory[place.clone()].copy_from_slice(initrd);
        memory[COMMAND_LINE..][..command_line.len()].copy_from_slice(command_line);
        memory[COMMAND_LINE + command_line.len()] = 0;
        acpi::write(memory);
        self.write_parameters(memory, ram, place);
        let mut registers = Registers::default();
        registers.set(Gpr::Rsi, PARAMETERS as u64);
        Ok(Start { mode: Mode::Long, rip: base + ENTRY, registers, memory: ram.size(), tsc_hz: None })
    }

    fn write_parameters(self, memory: &mut [u8], ram: Ram, initrd: Range<usize>) {
        let parameters = &mut memory[PARAMETERS..COMMAND_LINE];
        parameters.fill(0);
        let end = (setup::MAGIC + usize::from(self.file[setup::LENGTH]))
            .min(params::E820_TABLE)
            .min(self.file.len());
        if let Some(header) = self.file.get(setup::START..end) {
            parameters[setup::START..end].copy_from_slice(header);
        }
        let mut put =
            |offset: usize, bytes: &[u8]| parameters[offset..offset + bytes.len()].copy_from_slice(bytes);
        let low = |value: usize| crate::registers::low(value as u64).to_le_bytes();
        put(setup::TYPE_OF_LOADER, &[LOADER]);
        put(setup::RAMDISK_IMAGE, &low(if initrd.is_empty() { 0 } else { initrd.start }));
        put(setup::RAMDISK_SIZE, &low(initrd.len()));
        put(setup::CMD_LINE_PTR, &low(COMMAND_LINE));
        put(params::ACPI_RSDP_ADDR, &acpi::RSDP.to_le_bytes());
        let map = [(0, LOW_END, E820_RAM), (LOW_END, HIGH, E820_RESERVED), (HIGH, ram.size(), E820_RAM)];
        put(params::E820_ENTRIES, &[3]);
        for (i, (start, end, kind)) in map.into_iter().enumerate() {
            let at = params::E820_TABLE + i * E820_ENTRY;
            put(at, &start.to_le_bytes());
            put(at + 8, &(end - start).to_le_bytes());
            put(at + 16, &kind.to_le_bytes());
        }
    }
}
