//! The boot module: the initialiser's program with a distribution after it, as one ELF file.

use crate::distribution::Distribution;
use crate::error::Error;
use crate::model::SMALL_PAGE;
use crate::program::Program;
use std::path::Path;

/// The initialiser's variable for the distribution's address.
const ADDRESS: &str = "distribution_address";
/// The initialiser's variable for the distribution's number of bytes.
const SIZE: &str = "distribution_size";
/// The initialiser's variable for how it prints.
const KERNEL_PRINTS: &str = "kernel_prints";

const HEADER_SIZE: u64 = 64;
const PROGRAM_HEADER_SIZE: u64 = 56;

/// Makes the boot module from the initialiser's ELF file, which is in `initialiser`, and a distribution: the
/// initialiser's segments and one more, page-aligned, with the distribution.
///
/// # Errors
/// The file is no program for x86-64, or has not the variables that say where the distribution is and how to print.
pub fn boot_module(initialiser: &Path, distribution: &Distribution) -> Result<Vec<u8>, Error> {
    let data = distribution.encode();
    let mut program = Program::read(initialiser, None)?;
    let end = program.segments.iter().map(|s| s.address + s.size).max().unwrap_or_default();
    let address = end.next_multiple_of(SMALL_PAGE);
    program.set_word(ADDRESS, address)?;
    program.set_word(SIZE, data.len() as u64)?;
    program.set_word(KERNEL_PRINTS, distribution.kernel_prints.into())?;
    let size = data.len() as u64;
    program.segments.push(crate::program::Segment { address, size, data, write: false });
    Ok(elf(&program))
}

/// An ELF file with this program's segments and no sections (System V ABI, object files).
fn elf(program: &Program) -> Vec<u8> {
    let count = program.segments.len() as u64;
    let mut offset = HEADER_SIZE + count * PROGRAM_HEADER_SIZE;
    let mut out = Vec::new();
    // Class 64, little-endian, version 1; then type EXEC, machine x86-64, version 1.
    out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(object::elf::ET_EXEC.0.to_le_bytes());
    out.extend(object::elf::EM_X86_64.0.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    words(&mut out, &[program.entry, HEADER_SIZE, 0]);
    out.extend([0; 4]);
    let small = |value: u64| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    for half in [HEADER_SIZE, PROGRAM_HEADER_SIZE, count, 0, 0, 0] {
        out.extend(small(half));
    }
    for segment in &program.segments {
        // A page's address and its place in the file agree in the low bits.
        offset += (segment.address % SMALL_PAGE + SMALL_PAGE - offset % SMALL_PAGE) % SMALL_PAGE;
        let write = if segment.write { object::elf::PF_W.0 } else { 0 };
        out.extend(object::elf::PT_LOAD.0.to_le_bytes());
        out.extend((object::elf::PF_R.0 | object::elf::PF_X.0 | write).to_le_bytes());
        let file_size = segment.data.len() as u64;
        words(&mut out, &[offset, segment.address, segment.address, file_size, segment.size, SMALL_PAGE]);
        offset += file_size;
    }
    for segment in &program.segments {
        let gap = (segment.address % SMALL_PAGE + SMALL_PAGE - out.len() as u64 % SMALL_PAGE) % SMALL_PAGE;
        out.extend((0..gap).map(|_| 0));
        out.extend(&segment.data);
    }
    out
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| out.extend(word.to_le_bytes()));
}
