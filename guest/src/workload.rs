//! Work of a fixed length: integer arithmetic, memory, branches that depend on data.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words of the table, 256 KiB: more than a first-level cache holds.
const WORDS: usize = 1 << 15;

static TABLE: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Does `iterations` turns of about twenty instructions; returns a checksum of all that it did.
///
/// A linear congruential generator chooses a word of the table, which is read, changed and written; whether
/// another one is changed too depends on what was read.
pub fn mix(iterations: u64) -> u64 {
    let mut value = 1u64;
    for _ in 0..iterations {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = place(value >> 49);
        let old = word.load(Relaxed);
        word.store(old.rotate_left(5) ^ value, Relaxed);
        if old & 1 != 0 {
            let other = place(old >> 17);
            other.store(other.load(Relaxed).wrapping_add(value), Relaxed);
            value ^= old >> 7;
        }
        core::hint::black_box(value);
    }
    value
}

/// A word of the table.
fn place(number: u64) -> &'static AtomicU64 {
    // The remainder fits: it is below the table's length.
    &TABLE[usize::try_from(number % WORDS as u64).unwrap_or(0)]
}
