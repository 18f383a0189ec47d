//! A guest as a Multiboot 1 kernel (The Multiboot Specification, version 0.6.96): it starts in 32-bit protected mode
//! and goes to 64-bit mode by itself, by page tables of its own.

use core::ffi::{CStr, c_char};
use core::ops::Range;

/// Makes `main` the program of a Multiboot kernel: `fn main(&Information) -> bool`, whether all that it found is
/// right. The exit code is 0 or 1, 2 after a panic, and 3 if no Multiboot loader started it.
#[macro_export]
macro_rules! multiboot_guest {
    ($main:path) => {
        ::core::arch::global_asm!(include_str!("../../multiboot.s"), options(att_syntax));

        #[unsafe(no_mangle)]
        extern "C" fn multiboot_main(information: u64) -> ! {
            let right: bool = $main(&$crate::multiboot::Information::at(information));
            $crate::exit(if right { 0 } else { 1 })
        }

        $crate::panic_handler!();
    };
}

unsafe extern "C" {
    /// The end of the program in memory, by the linker.
    static _end: u8;
}

/// Address of the first byte after this program.
pub fn end_of_program() -> u64 {
    (&raw const _end).addr() as u64
}

/// The words of the information that are read (3.3), in units of 4 bytes.
mod word {
    pub const FLAGS: usize = 0;
    pub const MEM_LOWER: usize = 1;
    pub const MEM_UPPER: usize = 2;
    pub const CMDLINE: usize = 4;
    pub const MODS_COUNT: usize = 5;
    pub const MODS_ADDR: usize = 6;
    pub const MMAP_LENGTH: usize = 11;
    pub const MMAP_ADDR: usize = 12;
}

/// Flags: memory sizes, command line, modules, and memory map are there.
const FLAGS: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 6;
/// Type of memory that a kernel may use.
const AVAILABLE: u32 = 1;
/// Bytes of an entry of the memory map that are read.
const MAP_ENTRY: u32 = 24;

/// What the boot loader says.
#[derive(Debug, Clone)]
pub struct Information {
    /// KiB of memory from address 0 on.
    pub lower: u32,
    /// KiB of memory from 1 MiB on.
    pub upper: u32,
    /// The command line.
    pub command_line: &'static str,
    /// The modules' number, and where the first one is.
    pub modules: (u32, Range<u64>),
    map: Range<u32>,
}

impl Information {
    /// The information at this address.
    ///
    /// # Panics
    /// It lacks memory sizes, command line, modules or memory map, or the command line is not UTF-8.
    pub fn at(address: u64) -> Self {
        let read = |word: usize| word_at(address + 4 * word as u64);
        assert!(read(word::FLAGS) & FLAGS == FLAGS, "the Multiboot information lacks something");
        let line: *const c_char = core::ptr::with_exposed_provenance(read(word::CMDLINE) as usize);
        // SAFETY: the flags say that there is a string, which ends with 0 and which nobody writes.
        let line = unsafe { CStr::from_ptr(line) };
        let count = read(word::MODS_COUNT);
        let module = u64::from(read(word::MODS_ADDR));
        let place = if count == 0 { 0..0 } else { word_at(module).into()..word_at(module + 4).into() };
        let map = read(word::MMAP_ADDR);
        Self {
            lower: read(word::MEM_LOWER),
            upper: read(word::MEM_UPPER),
            command_line: line.to_str().unwrap_or_else(|_| panic!("the command line is not UTF-8")),
            modules: (count, place),
            map: map..map + read(word::MMAP_LENGTH),
        }
    }

    /// The memory that a kernel may use.
    pub fn available(&self) -> impl Iterator<Item = Range<u64>> {
        let entries = self.map.clone().step_by(MAP_ENTRY as usize);
        entries.map(u64::from).filter(|at| word_at(at + 20) == AVAILABLE).map(|at| {
            let long = |at| u64::from(word_at(at)) | u64::from(word_at(at + 4)) << 32;
            long(at + 4)..long(at + 4) + long(at + 12)
        })
    }

    /// The value of `key=value` among the command line's words.
    pub fn value(&self, key: &str) -> Option<&'static str> {
        self.command_line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

/// Reads a word of memory below 4 GiB.
pub fn word_at(address: u64) -> u32 {
    let at: *const u32 = core::ptr::with_exposed_provenance(usize::try_from(address).unwrap_or_default());
    // SAFETY: memory below 4 GiB is mapped one to one; where there is none, the read ends the guest with a report.
    unsafe { at.read_volatile() }
}

/// Writes a word of memory below 4 GiB.
///
/// # Safety
/// Nothing of this program is there.
pub unsafe fn write_word(address: u64, value: u32) {
    let at: *mut u32 = core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or_default());
    // SAFETY: as in `word_at`, and the caller's promise.
    unsafe { at.write_volatile(value) }
}
