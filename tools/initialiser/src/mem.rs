//! The functions that compiled code calls and that the freestanding `core` leaves to the program. They are in
//! assembly, so that the compiler cannot turn one into a call of itself.

use core::arch::naked_asm;

/// # Safety
/// As C's `memcpy`.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// # Safety
/// As C's `memmove`.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "mov rdx, rdi",
        "sub rdx, rsi",
        "cmp rdx, rcx",
        "jb 2f",
        "rep movsb",
        "ret",
        // The destination begins inside the source: from the last byte down.
        "2:",
        "lea rdi, [rdi + rcx - 1]",
        "lea rsi, [rsi + rcx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
    )
}

/// # Safety
/// As C's `memset`.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8 {
    naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

/// # Safety
/// As C's `memcmp`.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    naked_asm!(
        "mov rcx, rdx",
        // For no bytes, equal.
        "cmp rcx, rcx",
        // Compares [rsi], which is `b`, with [rdi], which is `a`.
        "repe cmpsb",
        "setb al",
        "seta cl",
        "movzx eax, al",
        "movzx ecx, cl",
        "sub eax, ecx",
        "ret",
    )
}

/// # Safety
/// As POSIX's `bcmp`.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

#[cfg(test)]
mod tests {
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
