// The page that all four share. Each word has one writer.

use core::ptr::NonNull;

/// Words of the page, and their writers.
#[derive(Clone, Copy)]
#[repr(usize)]
#[allow(dead_code)] // each program uses some
pub enum Word {
    /// The notifications that high has handled.
    High,
    /// The turns of left that are over.
    Left,
    /// The turns of right that are over.
    Right,
    /// Counted by low for ever.
    Low,
    /// Whether low has ever run before the others were done: written by low.
    LowStarted,
}

#[derive(Clone, Copy)]
pub struct Log(NonNull<u64>);

impl Log {
    pub fn new() -> Self {
        Self(sel4_microkit::memory_region_symbol!(log_vaddr: *mut u64))
    }

    pub fn get(self, word: Word) -> u64 {
        // SAFETY: the page is mapped and has more words than `Word`.
        unsafe { self.0.add(word as usize).read_volatile() }
    }

    #[allow(dead_code)] // each program uses some
    pub fn set(self, word: Word, value: u64) {
        // SAFETY: as above; the word has one writer.
        unsafe { self.0.add(word as usize).write_volatile(value) }
    }
}
