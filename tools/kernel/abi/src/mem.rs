//! The functions that compiled code calls and that the freestanding `core` leaves to its user. They are in
//! assembly, so that the compiler cannot turn one into a call of itself.

use core::arch::asm;

/// Bytes of a word.
const WORD: usize = 8;

/// # Safety
/// As C's `memcpy`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    // Words, then the rest: what is copied most are messages and register sets.
    // SAFETY: the caller's promise; the direction flag is clear, as the ABI says.
    unsafe {
        asm!("rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) bytes % WORD,
            inout("rcx") bytes / WORD => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's `memset`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's promise; the direction flag is clear, as the ABI says.
    unsafe {
        asm!("rep stosq", "mov rcx, {rest}", "rep stosb", rest = in(reg) bytes % WORD,
            inout("rcx") bytes / WORD => _, inout("rdi") to => _,
            in("rax") u64::from_le_bytes([value.to_le_bytes()[0]; WORD]),
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's `memmove`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= bytes {
        // SAFETY: the caller's promise; going up never reads a byte that it has already overwritten.
        return unsafe { memcpy(to, from, bytes) };
    }
    // SAFETY: the caller's promise; `to` is inside the source, so that going down reads each byte in time.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") bytes => _,
            inout("rdi") to.wrapping_add(bytes).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(bytes).wrapping_sub(1) => _, options(nostack));
    }
    to
}

/// # Safety
/// As C's `memcmp`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    let above: u8;
    let below: u8;
    // SAFETY: the caller's promise; the comparison of a register with itself sets the flags for zero bytes.
    unsafe {
        asm!("cmp ecx, ecx", "repe cmpsb", "seta {above}", "setb {below}", above = out(reg_byte) above,
            below = out(reg_byte) below, inout("rcx") bytes => _, inout("rsi") a => _, inout("rdi") b => _,
            options(nostack, readonly));
    }
    i32::from(above) - i32::from(below)
}

/// # Safety
/// As BSD's `bcmp`: `memcmp` of which only the comparison with 0 counts.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(a, b, bytes) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{bcmp, memcmp, memcpy, memmove, memset};
    use std::vec::Vec;

    #[test]
    fn moves_of_overlapping_bytes_equal_copy_within() {
        for (from, to, bytes) in [(0, 3, 10), (3, 0, 10), (4, 4, 8), (0, 9, 0), (0, 8, 8), (8, 0, 8)] {
            let mut ours: Vec<u8> = (0..16).collect();
            let mut expected = ours.clone();
            expected.copy_within(from..from + bytes, to);
            let base = ours.as_mut_ptr();
            // SAFETY: both ranges are inside the vector.
            let returned = unsafe { memmove(base.add(to), base.add(from), bytes) };
            assert_eq!(returned, base.wrapping_add(to));
            assert_eq!(ours, expected, "{bytes} bytes from {from} to {to}");
        }
    }

    #[test]
    fn copies_and_sets_only_the_bytes_named() {
        let mut bytes = [1_u8; 8];
        let base = bytes.as_mut_ptr();
        // SAFETY: the ranges are inside the arrays.
        let returned = unsafe { [memset(base.add(2), 0x1ff, 3), memcpy(base.add(6), [7, 8].as_ptr(), 1)] };
        assert_eq!(returned, [base.wrapping_add(2), base.wrapping_add(6)]);
        assert_eq!(bytes, [1, 1, 0xff, 0xff, 0xff, 1, 7, 1]);
    }

    #[test]
    fn compares_as_unsigned_bytes() {
        let compare = |a: &[u8], b: &[u8]| {
            let bytes = a.len().min(b.len());
            // SAFETY: both slices have at least that many bytes.
            let (result, equal) =
                unsafe { (memcmp(a.as_ptr(), b.as_ptr(), bytes), bcmp(a.as_ptr(), b.as_ptr(), bytes)) };
            assert_eq!(result, equal);
            result
        };
        assert_eq!(compare(b"same", b"same"), 0);
        assert_eq!(compare(b"ab\xff", b"ab\x01"), 1);
        assert_eq!(compare(b"ab\x01", b"ab\xff"), -1);
        assert_eq!(compare(b"", b"b"), 0);
    }
}
