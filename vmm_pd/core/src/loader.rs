//! A guest's file into its memory: one loader, for the monitor when it starts and for the host before anything boots.
//! It is total: whatever the bytes are, it loads them or says in one sentence why not, and then memory is unchanged.

mod acpi;
pub mod container;
pub mod elf;
pub mod linux;
pub mod multiboot;
mod ram;
#[cfg(test)]
mod tests;

pub use self::elf::ElfError;
pub use container::Container;
pub use linux::LinuxError;
pub use ram::{LEAST_MEMORY, Ram};

use crate::arch::PAGE;
use crate::boot::{self, Start};
use ::elf::file::Class;
use core::fmt;
use core::ops::Range;
use linux::BzImage;
use multiboot::{Header, HeaderError};

/// The longest command line in bytes.
pub const LONGEST_COMMAND_LINE: usize = 2047;

/// Why a guest cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadError {
    /// The boot container is not as long as its header says, or says sizes that cannot be.
    Container,
    /// The guest has less memory than [`LEAST_MEMORY`].
    Memory {
        /// Its memory in bytes.
        size: u64,
    },
    /// The kernel's ELF file is not one that can be loaded.
    Elf(ElfError),
    /// The Multiboot header asks for what there is not.
    Multiboot(HeaderError),
    /// A Linux kernel that cannot be loaded.
    Linux(LinuxError),
    /// A 32-bit ELF file without a Multiboot header.
    NoMultibootHeader,
    /// A plain 64-bit ELF file finds no command line.
    NoCommandLine,
    /// A plain 64-bit ELF file finds no initrd.
    NoInitrd,
    /// The command line is longer than [`LONGEST_COMMAND_LINE`].
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
    /// The kernel leaves no room below 640 KiB for the Multiboot information.
    Information,
    /// A byte of the command line is 0, where the guest would end it.
    CommandLineZero,
    /// The initrd does not fit between kernel and end of memory.
    Initrd {
        /// Its size in bytes.
        size: u64,
        /// The bytes that are free.
        free: u64,
    },
}

impl From<ElfError> for LoadError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<HeaderError> for LoadError {
    fn from(error: HeaderError) -> Self {
        Self::Multiboot(error)
    }
}

impl From<LinuxError> for LoadError {
    fn from(error: LinuxError) -> Self {
        Self::Linux(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Container => f.write_str("the boot container is cut off or its header is damaged"),
            Self::Memory { size } => {
                write!(f, "the guest has {size:#x} bytes of memory, at least {LEAST_MEMORY:#x} are needed")
            }
            Self::Elf(error) => error.fmt(f),
            Self::Multiboot(error) => error.fmt(f),
            Self::Linux(error) => error.fmt(f),
            Self::NoMultibootHeader => {
                write!(
                    f,
                    "a 32-bit ELF file without a Multiboot header in its first {} bytes",
                    Header::WITHIN
                )
            }
            Self::NoCommandLine => f.write_str(
                "a 64-bit ELF file without a Multiboot header takes no command line; leave --append out",
            ),
            Self::NoInitrd => f.write_str(
                "a 64-bit ELF file without a Multiboot header takes no initrd; leave --initrd out",
            ),
            Self::CommandLine { length } => write!(
                f,
                "the command line has {length} bytes, at most {LONGEST_COMMAND_LINE} are possible; shorten it"
            ),
            Self::Information => f.write_str(
                "the kernel leaves no two free pages below 0xa0000 for the Multiboot information; link it higher",
            ),
            Self::CommandLineZero => f.write_str("the command line holds a byte 0"),
            Self::Initrd { size, free } => write!(
                f,
                "the initrd of {size:#x} bytes does not fit, {free:#x} are free after the kernel; give more --memory"
            ),
        }
    }
}

/// Loads what guest_image holds, a [`Container`] or a guest's file alone, into `memory`, which is the guest's from
/// address 0 on.
///
/// # Errors
/// [`LoadError`]; `memory` is then unchanged.
pub fn load(image: &[u8], memory: &mut [u8]) -> Result<Start, LoadError> {
    let Container { kernel, command_line, initrd } = Container::parse(image)?;
    let ram = Ram::new(memory.len())?;
    match command_line.len() {
        length if length > LONGEST_COMMAND_LINE => return Err(LoadError::CommandLine { length }),
        _ if command_line.contains(&0) => return Err(LoadError::CommandLineZero),
        _ => {}
    }
    if let Some(linux) = BzImage::find(kernel) {
        let start = linux.load(memory, ram, command_line, initrd)?;
        boot::write_tables(memory);
        return Ok(start);
    }
    let header = Header::find(kernel)?;
    let lowest = if header.is_some() { multiboot::LOWEST } else { boot::LOWEST };
    let program = elf::Program::parse(kernel, ram, lowest)?;
    let start = match (header, program.class()) {
        (Some(_), _) => {
            let place = place_initrd(initrd.len() as u64, program.end(), ram)?;
            let information = multiboot::place_information(&program).ok_or(LoadError::Information)?;
            // The kernel's segments may be where it is. Other low memory is as it was: kernels look for what they left there.
            boot::write_gdt(memory);
            program.copy(memory);
            memory[place.clone()].copy_from_slice(initrd);
            let module = (!initrd.is_empty()).then_some(place);
            multiboot::write_information(memory, information, ram, command_line, module);
            return Ok(multiboot::start(program.entry(), information, ram.size()));
        }
        (None, Class::ELF32) => return Err(LoadError::NoMultibootHeader),
        (None, Class::ELF64) if !command_line.is_empty() => return Err(LoadError::NoCommandLine),
        (None, Class::ELF64) if !initrd.is_empty() => return Err(LoadError::NoInitrd),
        (None, Class::ELF64) => {
            program.copy(memory);
            Start::long(program.entry(), ram.size())
        }
    };
    boot::write_tables(memory);
    Ok(start)
}

/// Where the initrd goes: pages at the end of memory, above the kernel, which ends at `end`.
fn place_initrd(size: u64, end: u64, ram: Ram) -> Result<Range<usize>, LoadError> {
    let free = ram.size() - end.max(ram::HIGH).next_multiple_of(PAGE).min(ram.size());
    let error = LoadError::Initrd { size, free };
    let start = ram.size().checked_sub(size.checked_next_multiple_of(PAGE).ok_or(error)?).ok_or(error)?;
    if size > free {
        return Err(error);
    }
    let start = usize::try_from(start).map_err(|_| error)?;
    let size = usize::try_from(size).map_err(|_| error)?;
    Ok(start..start + size)
}
