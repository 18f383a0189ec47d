//! Variables whose values `sdf` writes into the finished program.

use core::ptr;

/// A variable that the compiler must not assume to have the value in the source.
#[repr(transparent)]
pub struct Patched<T>(T);

impl<T: Copy> Patched<T> {
    /// A variable with the value that holds where nothing patches it.
    #[must_use]
    pub const fn new(value: T) -> Patched<T> {
        Patched(value)
    }

    /// The value in the finished program.
    #[must_use]
    pub fn get(&self) -> T {
        // SAFETY: a reference is valid for reads, and every patched value is a plain number.
        unsafe { ptr::read_volatile(&raw const self.0) }
    }
}
