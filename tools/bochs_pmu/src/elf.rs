//! The symbols and segments of the running executable.

use crate::stop::stop;
use std::ffi::{CString, c_int, c_void};

/// A dynamic symbol of the executable.
#[derive(Clone, Copy)]
pub struct Symbol {
    /// Where it is.
    pub address: *mut u8,
    /// Its size in bytes.
    pub size: usize,
}

/// The address of a dynamic symbol, if any loaded object has it.
pub fn find(name: &str) -> Option<*mut u8> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string; RTLD_DEFAULT is a valid handle.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address.cast())
}

/// A symbol that must exist, with its size.
pub fn symbol(name: &str) -> Symbol {
    let Some(address) = find(name) else { stop(format!("bochs-bin exports no symbol {name}")) };
    let mut entry: *mut libc::Elf64_Sym = std::ptr::null_mut();
    // SAFETY: Dl_info is plain data, for which zeros are valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to live locals of the types that dladdr1 writes for RTLD_DL_SYMENT.
    let found = unsafe {
        dladdr1(address.cast(), &raw mut info, (&raw mut entry).cast::<*mut c_void>(), RTLD_DL_SYMENT)
    };
    if found == 0 || entry.is_null() {
        stop(format!("bochs-bin has no symbol table entry for {name}"));
    }
    // SAFETY: dladdr1 returned a symbol table entry, which stays mapped.
    let size = unsafe { (*entry).st_size };
    Symbol { address, size: usize::try_from(size).unwrap_or(0) }
}

/// What dladdr1 is asked to return besides the file's name (dlfcn.h).
const RTLD_DL_SYMENT: c_int = 1;

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}

/// What the program headers of the executable say.
#[derive(Clone, Debug, Default)]
pub struct Executable {
    /// The build identity, in hexadecimal.
    pub build_id: String,
    /// Its lowest address.
    pub base: usize,
    /// First address and end of the segment that becomes read-only after relocation.
    pub relro: (usize, usize),
}

/// Reads the executable's program headers.
pub fn executable() -> Executable {
    let mut executable = Executable::default();
    // SAFETY: the callback has the required type, and `executable` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut executable).cast()) };
    executable
}

/// Called for each loaded object; the first is the executable.
extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid description and our own pointer to an Executable.
    let (info, executable) = unsafe { (&*info, &mut *data.cast::<Executable>()) };
    // SAFETY: the description has dlpi_phnum headers at dlpi_phdr.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    executable.base = usize::MAX;
    for header in headers {
        let address = |offset: u64| usize::try_from(info.dlpi_addr + offset).unwrap_or(0);
        let start = address(header.p_vaddr);
        let size = usize::try_from(header.p_memsz).unwrap_or(0);
        match header.p_type {
            libc::PT_LOAD => executable.base = executable.base.min(start),
            libc::PT_GNU_RELRO => executable.relro = (start, start + size),
            // SAFETY: a note segment of a loaded executable is mapped and readable.
            libc::PT_NOTE => unsafe { read_notes(start as *const u8, size, &mut executable.build_id) },
            _ => {}
        }
    }
    1
}

/// Looks for NT_GNU_BUILD_ID in a note segment.
///
/// # Safety
/// `size` bytes at `start` are readable.
unsafe fn read_notes(start: *const u8, size: usize, build_id: &mut String) {
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(start, size) };
    let word = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let mut at = 0;
    while let (Some(name), Some(description), Some(kind)) = (word(at), word(at + 4), word(at + 8)) {
        let from = at + 12 + name.next_multiple_of(4);
        let text = bytes.get(at + 12..at + 12 + name);
        if kind == 3 && text == Some(b"GNU\0") {
            let id = bytes.get(from..from + description).unwrap_or_default();
            *build_id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        at = from + description.next_multiple_of(4);
    }
}

/// The file name of the running executable.
pub fn program() -> Option<String> {
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Allocated size of a heap block.
///
/// # Safety
/// `block` was returned by malloc.
pub unsafe fn heap_size(block: *mut u8) -> usize {
    // SAFETY: the caller's promise.
    unsafe { libc::malloc_usable_size(block.cast()) }
}

/// A C string for calls into Bochs.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| stop(format!("{text:?} has a NUL inside")))
}
