//! The symbols that the image build patches, and access to them.

use crate::slots::PD_NAME_LENGTH;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::str::{self, Utf8Error};

/// A value that the image build may replace in the finished ELF file, so that the compiler must not know it.
#[repr(transparent)]
pub struct ImmutableCell<T>(UnsafeCell<T>);

// SAFETY: nothing writes the value while the program runs, so that sharing references to it is sound for every
// T that may be shared.
unsafe impl<T: Sync> Sync for ImmutableCell<T> {}

impl<T> ImmutableCell<T> {
    /// A cell with the value that holds when the image build does not replace it.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value that the finished image has.
    pub fn get(&self) -> &T {
        let mut pointer: *const T = self.0.get();
        // SAFETY: the assembly does nothing; for the compiler the pointer and what is behind it come from there.
        unsafe { asm!("/* {0} */", inout(reg) pointer, options(nostack, preserves_flags)) };
        // SAFETY: the pointer is that of our own cell, which nothing writes.
        unsafe { &*pointer }
    }
}

/// Declares a symbol that the image build patches (`setvar_vaddr`, `setvar_id`, `setvar_size`), and is the
/// value that it has then: `var!(name: TYPE = DEFAULT)` is a `&'static TYPE`.
#[macro_export]
macro_rules! var {
    ($(#[$attrs:meta])* $symbol:ident: $ty:ty = $default:expr) => {{
        $(#[$attrs])*
        #[allow(non_upper_case_globals)]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".data")]
        static $symbol: $crate::_private::ImmutableCell<$ty> =
            $crate::_private::ImmutableCell::new($default);

        $symbol.get()
    }};
}

/// Declares a symbol that the image build patches with a memory region's address, and is the region as a
/// `NonNull` pointer: `memory_region_symbol!(name: *mut TYPE)` or
/// `memory_region_symbol!(name: *mut [TYPE], n = COUNT)`, each optionally followed by `bytes = SIZE`, which must
/// be the size. Panics if nothing patched the symbol.
#[macro_export]
macro_rules! memory_region_symbol {
    ($(#[$attrs:meta])* $symbol:ident: *mut [$ty:ty], n = $n:expr, bytes = $bytes:expr $(,)?) => {{
        assert!($bytes == $n * ::core::mem::size_of::<$ty>());
        $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut [$ty], n = $n)
    }};
    ($(#[$attrs:meta])* $symbol:ident: *mut $ty:ty, bytes = $bytes:expr $(,)?) => {{
        assert!($bytes == ::core::mem::size_of::<$ty>());
        $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut $ty)
    }};
    ($(#[$attrs:meta])* $symbol:ident: *mut [$ty:ty], n = $n:expr $(,)?) => {
        ::core::ptr::NonNull::slice_from_raw_parts(
            $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut $ty),
            $n,
        )
    };
    ($(#[$attrs:meta])* $symbol:ident: *mut $ty:ty $(,)?) => {
        ::core::ptr::NonNull::new(*$crate::var!($(#[$attrs])* $symbol: usize = 0) as *mut $ty)
            .unwrap_or_else(|| panic!("{} is null", stringify!($symbol)))
    };
}

/// Whether system.xml calls this protection domain passive.
pub fn pd_is_passive() -> bool {
    *var!(microkit_passive: bool = false)
}

/// The channels that are interrupts, as a bit set.
pub(crate) fn pd_irqs() -> usize {
    *var!(microkit_irqs: usize = 0)
}

/// The channels that this protection domain may notify, as a bit set.
pub(crate) fn pd_notifications() -> usize {
    *var!(microkit_notifications: usize = 0)
}

/// The channels that this protection domain may call, as a bit set.
pub(crate) fn pd_pps() -> usize {
    *var!(microkit_pps: usize = 0)
}

/// The identifiers of this protection domain's I/O ports, as a bit set.
pub(crate) fn pd_ioports() -> usize {
    *var!(microkit_ioports: usize = 0)
}

/// The channels to the VMMs of the virtual machines whose PMU this protection domain has, as a bit set.
pub(crate) fn pd_pmu_channels() -> u64 {
    *var!(pmu_channels: u64 = 0)
}

/// This protection domain's name, as it is in the image.
pub fn pd_name_bytes() -> &'static [u8] {
    let all = var!(microkit_name: [u8; PD_NAME_LENGTH] = [0; PD_NAME_LENGTH]);
    let length = all.iter().position(|&byte| byte == 0).unwrap_or(PD_NAME_LENGTH);
    &all[..length]
}

/// This protection domain's name.
pub fn pd_name() -> Result<&'static str, Utf8Error> {
    str::from_utf8(pd_name_bytes())
}

#[cfg(test)]
mod tests {
    use super::pd_name;

    #[test]
    fn an_unpatched_name_is_empty_and_a_default_is_the_value() {
        assert_eq!(pd_name(), Ok(""));
        assert_eq!(*var!(a_variable_of_this_test: u32 = 7), 7);
    }

    #[test]
    #[should_panic(expected = "a_region_of_this_test is null")]
    fn an_unpatched_region_is_refused() {
        memory_region_symbol!(a_region_of_this_test: *mut u64);
    }
}
