//! The memory functions that compiled code calls; a C library usually has them.

use core::arch::asm;

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's ranges are valid and do not overlap (C 7.24.2.1); the direction flag is clear.
    unsafe { asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count => _) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: a forward copy never overwrites what it still has to read.
        return unsafe { memcpy(to, from, count) };
    }
    let (last_to, last_from) =
        (to.wrapping_add(count.wrapping_sub(1)), from.wrapping_add(count.wrapping_sub(1)));
    // SAFETY: as in `memcpy`, from the end, because `to` lies within the source; the flag is cleared again.
    unsafe {
        asm!("std", "rep movsb", "cld",
            inout("rdi") last_to => _, inout("rsi") last_from => _, inout("rcx") count => _);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's range is valid; the direction flag is clear.
    unsafe { asm!("rep stosb", inout("rdi") to => _, in("eax") value, inout("rcx") count => _) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for i in 0..count {
        // SAFETY: the caller's ranges have `count` bytes.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// What compilers call where only equality matters.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same demands on the caller.
    unsafe { memcmp(a, b, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut end = text;
    // SAFETY: the caller's string ends with 0.
    while unsafe { end.read_volatile() } != 0 {
        end = end.wrapping_add(1);
    }
    end as usize - text as usize
}
