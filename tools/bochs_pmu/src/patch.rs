//! Changes to Bochs's code and tables, each checked to be what it is expected to be.

use crate::elf::{Executable, Symbol, symbol};
use crate::stop::stop;

const PAGE: usize = 4096;
/// The distance between Bochs's instrumentation stubs.
const STUB: usize = 16;

/// A function's address, as tables hold it.
pub type Address = usize;

fn protect(start: usize, end: usize, protection: i32, what: &str) {
    let from = start & !(PAGE - 1);
    // SAFETY: changes the protection of pages that belong to the executable; the contents stay.
    let result = unsafe { libc::mprotect(from as *mut libc::c_void, end - from, protection) };
    if result != 0 {
        stop(format!("the pages of {what} cannot be made writable: {}", std::io::Error::last_os_error()));
    }
}

/// The bytes that an unpatched stub has: RET and multi-byte NOPs up to the next stub.
const EMPTY_STUBS: [[u8; STUB]; 2] = [
    [0xC3, 0x66, 0x66, 0x2E, 0x0F, 0x1F, 0x84, 0, 0, 0, 0, 0, 0x0F, 0x1F, 0x40, 0],
    [0xC3, 0x66, 0x2E, 0x0F, 0x1F, 0x84, 0, 0, 0, 0, 0, 0x0F, 0x1F, 0x44, 0, 0],
];

/// Replaces an empty instrumentation stub by the code that `code` makes for its address.
pub fn replace_stub(name: &str, code: impl FnOnce(Address) -> [u8; 14]) {
    let Symbol { address, size } = symbol(name);
    // SAFETY: code of the executable is readable, and the stub has STUB bytes up to the next function.
    let found = unsafe { std::slice::from_raw_parts(address, STUB) };
    let start = address as usize;
    if size != 1 || !start.is_multiple_of(STUB) || !EMPTY_STUBS.iter().any(|stub| stub == found) {
        stop(format!("{name} is not the empty stub that it should be ({size} bytes: {found:02x?})"));
    }
    let code = code(start);
    protect(start, start + STUB, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, name);
    // SAFETY: the pages are writable, the 14 bytes lie in the stub, and no thread executes it yet.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), address, code.len()) };
    protect(start, start + STUB, libc::PROT_READ | libc::PROT_EXEC, name);
}

/// Replaces every `from` in the words between `start` and `end`; the caller made them writable.
///
/// # Safety
/// The range is mapped, writable data.
unsafe fn replace_words(start: usize, end: usize, from: Address, to: Address) -> usize {
    let mut count = 0;
    let mut at = start.next_multiple_of(size_of::<Address>());
    while at + size_of::<Address>() <= end {
        let word = at as *mut Address;
        // SAFETY: the caller's promise; `at` is aligned.
        unsafe {
            if *word == from {
                *word = to;
                count += 1;
            }
        }
        at += size_of::<Address>();
    }
    count
}

/// Points the entries for one instruction handler in Bochs's opcode table elsewhere; returns the handler.
pub fn replace_handler(name: &str, to: Address, expected: usize) -> Address {
    let table = symbol("BxOpcodesTable");
    let from = symbol(name).address as usize;
    let start = table.address as usize;
    // SAFETY: the table is writable data of the executable, of the size that its symbol says.
    let count = unsafe { replace_words(start, start + table.size, from, to) };
    if count != expected {
        stop(format!("the opcode table names {name} {count} times instead of {expected}"));
    }
    from
}

/// Points a virtual function elsewhere in every virtual table of the executable.
pub fn replace_virtual(executable: &Executable, name: &str, to: Address, expected: usize) {
    let from = symbol(name).address as usize;
    let (start, end) = executable.relro;
    protect(start, end, libc::PROT_READ | libc::PROT_WRITE, "the virtual tables");
    // SAFETY: the range was made writable just now.
    let count = unsafe { replace_words(start, end, from, to) };
    protect(start, end, libc::PROT_READ, "the virtual tables");
    if count != expected {
        stop(format!("the virtual tables name {name} {count} times instead of {expected}"));
    }
}
