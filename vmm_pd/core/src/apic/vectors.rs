//! A set of interrupt vectors: IRR and ISR.

use crate::registers::low;

/// The lowest vector that a fixed interrupt may have (SDM vol. 3A, 11.5.2).
pub const FIRST: u8 = 16;

/// Bits of a word of the set.
const WORD: u8 = 64;

/// A 256-bit register (SDM vol. 3A, 11.8.4), in few words: every exit looks for the highest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectors([u64; 4]);

impl Vectors {
    pub const NONE: Self = Self([0; 4]);

    /// Adds a vector; whether it was absent.
    pub const fn insert(&mut self, vector: u8) -> bool {
        let word = &mut self.0[(vector / WORD) as usize];
        let absent = *word & 1 << (vector % WORD) == 0;
        *word |= 1 << (vector % WORD);
        absent
    }

    pub const fn remove(&mut self, vector: u8) {
        self.0[(vector / WORD) as usize] &= !(1 << (vector % WORD));
    }

    pub const fn contains(&self, vector: u8) -> bool {
        self.0[(vector / WORD) as usize] & 1 << (vector % WORD) != 0
    }

    /// The largest vector of the set.
    pub fn highest(&self) -> Option<u8> {
        let [w0, w1, w2, w3] = self.0;
        if w0 | w1 | w2 | w3 == 0 {
            return None;
        }
        (0u8..4)
            .rev()
            .find_map(|i| self.0[usize::from(i)].checked_ilog2().map(|bit| i * WORD + bit.to_le_bytes()[0]))
    }

    /// Bits 32i to 32i + 31.
    pub const fn word(&self, i: usize) -> u32 {
        low(self.0[i / 2 % 4] >> (32 * (i % 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::Vectors;

    #[test]
    fn every_vector_has_its_bit() {
        for vector in 0..=u8::MAX {
            let mut set = Vectors::NONE;
            assert!(set.insert(vector) && !set.insert(vector));
            assert_eq!(set.highest(), Some(vector));
            let words: [u32; 8] = core::array::from_fn(|i| set.word(i));
            let expected =
                core::array::from_fn(|i| if i == usize::from(vector / 32) { 1 << (vector % 32) } else { 0 });
            assert_eq!(words, expected);
            assert!(set.insert(vector ^ 1));
            assert_eq!(set.highest(), Some(vector | 1));
            set.remove(vector | 1);
            assert_eq!(set.highest(), Some(vector & !1));
        }
        assert_eq!(Vectors::NONE.highest(), None);
    }
}
