//! Multiboot 1 (The Multiboot Specification, version 0.6.96): the header of a kernel, and what the kernel finds.

use super::elf::Program;
use super::ram::{HIGH, LOW_END, Ram};
use crate::arch::PAGE;
use crate::boot::{Mode, Start};
use crate::registers::{Gpr, Registers};
use core::fmt;
use core::ops::Range;
use static_assertions::const_assert;

/// Words of the Multiboot header and of EAX at the start (3.1.1, 3.2).
const HEADER_MAGIC: u32 = 0x1bad_b002;
const LOADER_MAGIC: u64 = 0x2bad_b002;

/// Bits of the header's flags that a boot loader must know or refuse are 15:0 (3.1.1); bit 16 is known too.
const REQUIRED: u32 = 0x1_ffff;
/// Modules begin at pages, and memory sizes are passed: so it is always here.
const PROVIDED: u32 = 1 | 1 << 1;
/// Bits of the header's flags that are refused by name.
const VIDEO: u32 = 2;
const ADDRESSES: u32 = 16;

/// Why the header's requests cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// This bit of its flags asks for what there is not.
    Flag(u32),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Flag(bit) = *self;
        let what = match bit {
            VIDEO => "a video mode, and there is no screen",
            ADDRESSES => "to be loaded at addresses of its header, and only ELF files are loaded",
            _ => "what this loader does not know",
        };
        write!(f, "the Multiboot header asks by flag {bit} for {what}")
    }
}

/// A Multiboot header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header;

impl Header {
    /// The header is within the first bytes of the file (3.1).
    pub const WITHIN: usize = 8192;

    /// The header of a kernel, if it has one: the magic, the flags, and what makes their sum 0, at a multiple of 4.
    ///
    /// # Errors
    /// [`HeaderError`]
    pub fn find(kernel: &[u8]) -> Result<Option<Self>, HeaderError> {
        let within = &kernel[..kernel.len().min(Self::WITHIN)];
        let (words, _) = within.as_chunks();
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let is_header = |three: &&[[u8; 4]]| {
            word(&three[0]) == HEADER_MAGIC
                && three.iter().fold(0u32, |sum, bytes| sum.wrapping_add(word(bytes))) == 0
        };
        let Some(header) = words.windows(3).find(is_header) else { return Ok(None) };
        match word(&header[1]) & REQUIRED & !PROVIDED {
            0 => Ok(Some(Self)),
            unknown => Err(HeaderError::Flag(unknown.trailing_zeros())),
        }
    }
}

/// A kernel's segments are in memory from here on: below are the interrupt vectors of real mode.
pub const LOWEST: u64 = PAGE;

/// Where the information for the kernel is, if no segment is there; else it is as high below 640 KiB as it can be.
const INFORMATION: u32 = 0x8000;
const PAGE_BYTES: u32 = 0x1000;
const LAST_INFORMATION: u32 = 0xa_0000 - INFORMATION_BYTES;
/// Its parts, as offsets, and the whole.
const MEMORY_MAP: u32 = 0x100;
const MODULES: u32 = 0x200;
const MODULE_NAME: u32 = 0x300;
const LOADER_NAME: u32 = 0x400;
const COMMAND_LINE: u32 = 0x1000;
const INFORMATION_BYTES: u32 = 2 * PAGE_BYTES;
const_assert!(PAGE_BYTES as u64 == PAGE && LAST_INFORMATION as u64 + INFORMATION_BYTES as u64 == LOW_END);
const_assert!(
    COMMAND_LINE as usize + KERNEL_NAME.len() + super::LONGEST_COMMAND_LINE < INFORMATION_BYTES as usize
);

/// Where the information goes beside this kernel.
pub(super) fn place_information(program: &Program<'_>) -> Option<u32> {
    let high = (PAGE_BYTES..=LAST_INFORMATION).rev().step_by(PAGE_BYTES as usize);
    [INFORMATION]
        .into_iter()
        .chain(high)
        .find(|at| !program.has(&(u64::from(*at)..u64::from(*at) + u64::from(INFORMATION_BYTES))))
}

/// The first word of the command line, where boot loaders have the kernel's name.
const KERNEL_NAME: &[u8] = b"kernel ";

/// Offsets in the information, and the bits of its flags that say they hold something (3.3).
mod information {
    pub const FLAGS: u32 = 0;
    pub const MEM_LOWER: u32 = 4;
    pub const MEM_UPPER: u32 = 8;
    pub const MEMORY: u32 = 1;
    pub const CMDLINE: u32 = 16;
    pub const HAS_CMDLINE: u32 = 1 << 2;
    pub const MODS_COUNT: u32 = 20;
    pub const MODS_ADDR: u32 = 24;
    pub const HAS_MODS: u32 = 1 << 3;
    pub const MMAP_LENGTH: u32 = 44;
    pub const MMAP_ADDR: u32 = 48;
    pub const HAS_MMAP: u32 = 1 << 6;
    pub const BOOT_LOADER_NAME: u32 = 64;
    pub const HAS_NAME: u32 = 1 << 9;
}

/// An entry of the memory map: bytes after its first word (3.3).
const MAP_ENTRY: u32 = 20;
/// Types of memory.
const AVAILABLE: u32 = 1;
const RESERVED: u32 = 2;

/// Writes the Multiboot information, with the module at these bytes, into memory at `base`.
pub(super) fn write_information(
    memory: &mut [u8],
    base: u32,
    ram: Ram,
    command_line: &[u8],
    module: Option<Range<usize>>,
) {
    let mut put = |address: u32, bytes: &[u8]| {
        let start = address as usize;
        memory[start..start + bytes.len()].copy_from_slice(bytes);
    };
    let low = |value: u64| crate::registers::low(value).to_le_bytes();
    let map = [(0, LOW_END, AVAILABLE), (LOW_END, HIGH, RESERVED), (HIGH, ram.size(), AVAILABLE)];
    let [memory_map, modules, module_name, loader_name, line] =
        [MEMORY_MAP, MODULES, MODULE_NAME, LOADER_NAME, COMMAND_LINE].map(|offset| base + offset);
    let mut at = memory_map;
    for (start, end, kind) in map {
        put(at, &MAP_ENTRY.to_le_bytes());
        put(at + 4, &start.to_le_bytes());
        put(at + 12, &(end - start).to_le_bytes());
        put(at + 20, &kind.to_le_bytes());
        at += 4 + MAP_ENTRY;
    }
    put(line, KERNEL_NAME);
    let name = low(KERNEL_NAME.len() as u64);
    let after_name = line + u32::from_le_bytes(name);
    put(after_name, command_line);
    put(after_name + u32::from_le_bytes(low(command_line.len() as u64)), &[0]);
    put(loader_name, b"sel4-vpmu\0");
    put(module_name, b"initrd\0");
    let count: u32 = module.is_some().into();
    let place = module.unwrap_or_default();
    put(modules, &low(place.start as u64));
    put(modules + 4, &low(place.end as u64));
    put(modules + 8, &module_name.to_le_bytes());
    put(modules + 12, &[0; 4]);
    use information::*;
    let flags = MEMORY | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_NAME;
    for (offset, value) in [
        (FLAGS, flags),
        (MEM_LOWER, kib(LOW_END)),
        (MEM_UPPER, kib(ram.size() - HIGH)),
        (CMDLINE, line),
        (MODS_COUNT, count),
        (MODS_ADDR, modules),
        (MMAP_LENGTH, at - memory_map),
        (MMAP_ADDR, memory_map),
        (BOOT_LOADER_NAME, loader_name),
    ] {
        put(base + offset, &value.to_le_bytes());
    }
}

fn kib(bytes: u64) -> u32 {
    crate::registers::low(bytes >> 10)
}

/// How a Multiboot kernel starts (3.2).
pub(super) fn start(entry: u64, information: u32, memory: u64) -> Start {
    let mut registers = Registers::default();
    registers.set(Gpr::Rax, LOADER_MAGIC);
    registers.set(Gpr::Rbx, information.into());
    Start { mode: Mode::Protected, rip: entry, registers, memory, tsc_hz: None }
}
