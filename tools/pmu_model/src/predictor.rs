//! A branch predictor: what a branch miss means on this machine.
//!
//! Conditional branches are predicted by 4096 two-bit saturating counters, indexed by the instruction's
//! linear address (bits 11:0 exclusive-or bits 23:12), which start at "weakly not taken". Every other branch
//! is predicted right.

const ENTRIES: usize = 4096;
const STRONGLY_TAKEN: u8 = 3;
const WEAKLY_TAKEN: u8 = 2;
const WEAKLY_NOT_TAKEN: u8 = 1;

/// The predictor's counters.
#[derive(Clone)]
pub struct Predictor {
    counters: [u8; ENTRIES],
}

impl Predictor {
    /// A predictor that has seen no branch.
    #[must_use]
    pub const fn new() -> Self {
        Self { counters: [WEAKLY_NOT_TAKEN; ENTRIES] }
    }

    /// A conditional branch at linear address `address` retires; says whether it was mispredicted.
    #[inline]
    pub fn conditional(&mut self, address: u64, taken: bool) -> bool {
        let index = usize::try_from((address ^ (address >> 12)) % ENTRIES as u64).unwrap_or(0);
        let counter = &mut self.counters[index];
        let predicted = *counter >= WEAKLY_TAKEN;
        *counter = if taken { (*counter + 1).min(STRONGLY_TAKEN) } else { counter.saturating_sub(1) };
        predicted != taken
    }
}

impl Default for Predictor {
    fn default() -> Self {
        Self::new()
    }
}
