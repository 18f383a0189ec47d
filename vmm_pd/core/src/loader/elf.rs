//! A kernel's ELF file: its segments into memory.

use super::ram::{HIGH, LOW_END, Ram};
use core::fmt;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::{EM_386, EM_X86_64, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

/// The most program headers of a kernel; each segment is compared with each, so that a file of many would load for ever.
pub const MOST_HEADERS: usize = 128;

/// Why a file is not a guest that can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfError {
    /// Not an ELF file, or cut off in its headers.
    NotElf,
    /// Not a little-endian file for x86: 32 bits for i386, or 64 bits for x86-64.
    OtherMachine,
    /// Not an executable with fixed addresses (ET_EXEC).
    NotExecutable,
    /// More program headers than [`MOST_HEADERS`].
    Headers {
        /// Their number.
        count: usize,
    },
    /// No segment to load.
    Empty,
    /// A segment's bytes are not all in the file.
    Truncated {
        /// Its physical address.
        address: u64,
    },
    /// A segment is larger in the file than in memory.
    Oversized {
        /// Its physical address.
        address: u64,
    },
    /// A segment is not in RAM that a kernel may have.
    OutsideMemory {
        /// Its physical address.
        address: u64,
        /// Its size in memory in bytes.
        size: u64,
        /// Where RAM that it may have begins.
        lowest: u64,
        /// The end of memory.
        end: u64,
    },
    /// Two segments overlap.
    Overlap {
        /// The physical address of the second one.
        address: u64,
    },
    /// The entry point is in no segment.
    Entry {
        /// The entry point.
        address: u64,
    },
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => f.write_str("no Linux bzImage and not an ELF file, or its headers are cut off"),
            Self::OtherMachine => f.write_str("not an ELF file for x86 of 32 bits or 64"),
            Self::NotExecutable => f.write_str("not an executable with fixed addresses (ET_EXEC)"),
            Self::Headers { count } => write!(f, "{count} program headers, at most {MOST_HEADERS} are read"),
            Self::Empty => f.write_str("no segment to load"),
            Self::Truncated { address } => write!(f, "the file ends inside the segment at {address:#x}"),
            Self::Oversized { address } => {
                write!(f, "the segment at {address:#x} is larger in the file than in memory")
            }
            Self::OutsideMemory { address, size, lowest, end } => write!(
                f,
                "the segment at {address:#x} of {size:#x} bytes is not in RAM that a kernel may have, {lowest:#x} to \
                 {LOW_END:#x} or {HIGH:#x} to {end:#x}"
            ),
            Self::Overlap { address } => write!(f, "the segment at {address:#x} overlaps another"),
            Self::Entry { address } => write!(f, "the entry point {address:#x} is in no segment"),
        }
    }
}

/// A kernel's program, whose segments are whole, in RAM and apart.
#[derive(Debug)]
pub struct Program<'a> {
    file: &'a [u8],
    elf: ElfBytes<'a, LittleEndian>,
}

impl<'a> Program<'a> {
    /// The program in the ELF file at the start of `file`. Segments go to their physical addresses, from `lowest` on.
    ///
    /// # Errors
    /// [`ElfError`]
    pub fn parse(file: &'a [u8], ram: Ram, lowest: u64) -> Result<Self, ElfError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| match error {
            elf::ParseError::UnsupportedElfEndianness(_) => ElfError::OtherMachine,
            _ => ElfError::NotElf,
        })?;
        if !matches!((elf.ehdr.class, elf.ehdr.e_machine), (Class::ELF32, EM_386) | (Class::ELF64, EM_X86_64))
        {
            return Err(ElfError::OtherMachine);
        }
        if elf.ehdr.e_type != ET_EXEC {
            return Err(ElfError::NotExecutable);
        }
        let count = elf.segments().map_or(0, |table| table.len());
        if count > MOST_HEADERS {
            return Err(ElfError::Headers { count });
        }
        let program = Self { file, elf };
        if program.segments().next().is_none() {
            return Err(ElfError::Empty);
        }
        for (i, segment) in program.segments().enumerate() {
            check(&segment, file, ram, lowest)?;
            if program.segments().take(i).any(|other| overlap(&other, &segment)) {
                return Err(ElfError::Overlap { address: segment.p_paddr });
            }
        }
        let entry = program.entry();
        if !program.segments().any(|s| (s.p_paddr..s.p_paddr + s.p_memsz).contains(&entry)) {
            return Err(ElfError::Entry { address: entry });
        }
        Ok(program)
    }

    /// Whether the file is of 32 bits or 64.
    pub const fn class(&self) -> Class {
        self.elf.ehdr.class
    }

    /// The physical address of the first instruction, which is in a segment.
    pub const fn entry(&self) -> u64 {
        self.elf.ehdr.e_entry
    }

    /// The end of the highest segment.
    pub fn end(&self) -> u64 {
        self.segments().map(|segment| segment.p_paddr + segment.p_memsz).max().unwrap_or_default()
    }

    /// Whether a segment has one of these bytes.
    pub fn has(&self, bytes: &Range<u64>) -> bool {
        self.segments().any(|s| s.p_paddr < bytes.end && bytes.start < s.p_paddr + s.p_memsz)
    }

    /// Copies the segments into the memory that they were checked against.
    pub fn copy(&self, memory: &mut [u8]) {
        for segment in self.segments() {
            let (Some(from), Some(to)) = (
                range(segment.p_offset, segment.p_filesz, self.file.len()),
                range(segment.p_paddr, segment.p_memsz, memory.len()),
            ) else {
                unreachable!("the segments are checked");
            };
            let (data, zeros) = memory[to].split_at_mut(from.len());
            data.copy_from_slice(&self.file[from]);
            zeros.fill(0);
        }
    }

    /// The segments to load.
    fn segments(&self) -> impl Iterator<Item = ProgramHeader> {
        let headers = self.elf.segments().into_iter().flat_map(|table| table.iter());
        headers.filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
    }
}

/// `length` bytes from `start` on, if they end by `limit`.
fn range(start: u64, length: u64, limit: usize) -> Option<Range<usize>> {
    let end = usize::try_from(start.checked_add(length)?).ok().filter(|end| *end <= limit)?;
    Some(usize::try_from(start).ok()?..end)
}

/// A segment is whole in the file, and in RAM.
fn check(segment: &ProgramHeader, file: &[u8], ram: Ram, lowest: u64) -> Result<(), ElfError> {
    let (address, size) = (segment.p_paddr, segment.p_memsz);
    if range(segment.p_offset, segment.p_filesz, file.len()).is_none() {
        return Err(ElfError::Truncated { address });
    }
    if segment.p_filesz > size {
        return Err(ElfError::Oversized { address });
    }
    if !ram.is_free(lowest, address, size) {
        return Err(ElfError::OutsideMemory { address, size, lowest, end: ram.size() });
    }
    Ok(())
}

fn overlap(a: &ProgramHeader, b: &ProgramHeader) -> bool {
    a.p_paddr < b.p_paddr + b.p_memsz && b.p_paddr < a.p_paddr + a.p_memsz
}

#[cfg(test)]
pub(super) mod tests;
