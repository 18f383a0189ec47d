//! What the tests share.
#![allow(dead_code)]

/// A reproducible stream of random words (PCG multiplier, xor-shift output).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = self.0 ^ self.0 >> 29;
        word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ word >> 32
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("the bound was a usize")
    }
}
