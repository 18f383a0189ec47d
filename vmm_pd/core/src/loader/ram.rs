//! Where a guest's RAM is.

use super::LoadError;
/// RAM below here.
pub(super) const LOW_END: u64 = 0xa_0000;
/// RAM from here on. What lies between is where firmware has its tables.
pub(super) const HIGH: u64 = 0x10_0000;
/// The least memory of a guest in bytes.
pub const LEAST_MEMORY: u64 = 2 * HIGH;

/// The memory of a guest, from address 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ram {
    size: u64,
}

impl Ram {
    /// A memory of `size` bytes.
    ///
    /// # Errors
    /// It is smaller than [`LEAST_MEMORY`].
    pub fn new(size: usize) -> Result<Self, LoadError> {
        let size = size as u64;
        if size < LEAST_MEMORY { Err(LoadError::Memory { size }) } else { Ok(Self { size }) }
    }

    /// The size in bytes; it fits a `usize`.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Whether a kernel that may have RAM from `lowest` on may have these bytes.
    pub fn is_free(self, lowest: u64, start: u64, size: u64) -> bool {
        start
            .checked_add(size)
            .is_some_and(|end| lowest <= start && end <= LOW_END || HIGH <= start && end <= self.size)
    }
}
