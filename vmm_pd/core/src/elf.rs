//! The guest's ELF file into its memory.

use core::fmt;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

/// Guest memory below this address holds what the guest starts with (see [`crate::boot`]).
pub const LOWEST: u64 = 0x10000;

/// Why a file is not a guest that can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfError {
    /// Not an ELF file, or cut off in its headers.
    NotElf,
    /// Not a 64-bit little-endian x86-64 file.
    OtherMachine,
    /// Not an executable with fixed addresses (ET_EXEC).
    NotExecutable,
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
    /// A segment is not between [`LOWEST`] and the end of memory.
    OutsideMemory {
        /// Its physical address.
        address: u64,
        /// Its size in memory in bytes.
        size: u64,
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
            Self::NotElf => f.write_str("not an ELF file, or its headers are cut off"),
            Self::OtherMachine => f.write_str("not a 64-bit x86-64 ELF file"),
            Self::NotExecutable => f.write_str("not an executable with fixed addresses (ET_EXEC)"),
            Self::Empty => f.write_str("no segment to load"),
            Self::Truncated { address } => write!(f, "the file ends inside the segment at {address:#x}"),
            Self::Oversized { address } => {
                write!(f, "the segment at {address:#x} is larger in the file than in memory")
            }
            Self::OutsideMemory { address, size, end } => write!(
                f,
                "the segment at {address:#x} of {size:#x} bytes is not between {LOWEST:#x} and {end:#x}"
            ),
            Self::Overlap { address } => write!(f, "the segment at {address:#x} overlaps another"),
            Self::Entry { address } => write!(f, "the entry point {address:#x} is in no segment"),
        }
    }
}

/// Loads the ELF64 file at the start of `file` into `memory`, which is the guest's from address 0 on, and
/// returns the entry point. Segments go to their physical addresses.
///
/// # Errors
/// [`ElfError`]; `memory` is then unchanged.
pub fn load(file: &[u8], memory: &mut [u8]) -> Result<u64, ElfError> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| match error {
        elf::ParseError::UnsupportedElfEndianness(_) => ElfError::OtherMachine,
        _ => ElfError::NotElf,
    })?;
    if elf.ehdr.class != elf::file::Class::ELF64 || elf.ehdr.e_machine != EM_X86_64 {
        return Err(ElfError::OtherMachine);
    }
    if elf.ehdr.e_type != ET_EXEC {
        return Err(ElfError::NotExecutable);
    }
    let headers = elf.segments().ok_or(ElfError::Empty)?;
    let segments = || headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
    if segments().next().is_none() {
        return Err(ElfError::Empty);
    }
    for (i, segment) in segments().enumerate() {
        check(&segment, file, memory)?;
        if segments().take(i).any(|other| overlap(&other, &segment)) {
            return Err(ElfError::Overlap { address: segment.p_paddr });
        }
    }
    let entry = elf.ehdr.e_entry;
    if !segments().any(|s| (s.p_paddr..s.p_paddr + s.p_memsz).contains(&entry)) {
        return Err(ElfError::Entry { address: entry });
    }
    for segment in segments() {
        let (from, to) = check(&segment, file, memory)?;
        let (data, zeros) = memory[to].split_at_mut(from.len());
        data.copy_from_slice(&file[from]);
        zeros.fill(0);
    }
    Ok(entry)
}

type Range = core::ops::Range<usize>;

/// The bytes of a segment in the file and in memory.
fn check(segment: &ProgramHeader, file: &[u8], memory: &[u8]) -> Result<(Range, Range), ElfError> {
    let (address, size) = (segment.p_paddr, segment.p_memsz);
    let range = |start: u64, length: u64, limit: usize| -> Option<Range> {
        let end = usize::try_from(start.checked_add(length)?).ok().filter(|end| *end <= limit)?;
        Some(usize::try_from(start).ok()?..end)
    };
    let from =
        range(segment.p_offset, segment.p_filesz, file.len()).ok_or(ElfError::Truncated { address })?;
    if segment.p_filesz > size {
        return Err(ElfError::Oversized { address });
    }
    let outside = ElfError::OutsideMemory { address, size, end: memory.len() as u64 };
    let to = range(address, size, memory.len()).ok_or(outside)?;
    if address < LOWEST { Err(outside) } else { Ok((from, to)) }
}

fn overlap(a: &ProgramHeader, b: &ProgramHeader) -> bool {
    a.p_paddr < b.p_paddr + b.p_memsz && b.p_paddr < a.p_paddr + a.p_memsz
}

#[cfg(test)]
mod tests;
