//! A set of interrupt vectors: IRR and ISR.

/// The lowest vector that a fixed interrupt may have (SDM vol. 3A, 11.5.2).
pub const FIRST: u8 = 16;

/// A 256-bit register (SDM vol. 3A, 11.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectors([u32; 8]);

impl Vectors {
    pub const NONE: Self = Self([0; 8]);

    /// Adds a vector; whether it was absent.
    pub const fn insert(&mut self, vector: u8) -> bool {
        let word = &mut self.0[vector as usize / 32];
        let absent = *word & 1 << (vector % 32) == 0;
        *word |= 1 << (vector % 32);
        absent
    }

    pub const fn remove(&mut self, vector: u8) {
        self.0[vector as usize / 32] &= !(1 << (vector % 32));
    }

    /// The largest vector of the set.
    pub fn highest(&self) -> Option<u8> {
        (0u8..8)
            .rev()
            .find_map(|i| self.0[usize::from(i)].checked_ilog2().map(|bit| i * 32 + bit.to_le_bytes()[0]))
    }

    /// Bits 32i to 32i + 31.
    pub const fn word(&self, i: usize) -> u32 {
        self.0[i % 8]
    }
}
