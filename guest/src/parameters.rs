//! Parameters that the benchmark writes into the program's file, after a mark by which it finds them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[repr(C)]
struct Parameters {
    mark: [AtomicU64; 2],
    values: [AtomicU64; 3],
}

/// The same as in tools/xtask/src/bench.
const MARK: [u8; 16] = *b"bench-parameters";

const fn half(first: usize) -> u64 {
    let mut bytes = [0; 8];
    let mut i = 0;
    while i < 8 {
        bytes[i] = MARK[first + i];
        i += 1;
    }
    u64::from_le_bytes(bytes)
}

/// What the values are if nobody writes any: a short run without sampling.
const DEFAULT: [u64; 3] = [0, 100_000, 50_000_000];

/// In the data segment, because it begins with the mark, and read at run time, because it is atomic.
#[used]
static PARAMETERS: Parameters = Parameters {
    mark: [AtomicU64::new(half(0)), AtomicU64::new(half(8))],
    values: [AtomicU64::new(DEFAULT[0]), AtomicU64::new(DEFAULT[1]), AtomicU64::new(DEFAULT[2])],
};

/// What was written: the scheme, iterations of the work, TSC cycles in a second.
pub fn parameters() -> [u64; 3] {
    // The mark is not read; it is there to be found.
    let Parameters { mark: _, values: [scheme, iterations, frequency] } = &PARAMETERS;
    [scheme, iterations, frequency].map(|value| value.load(Relaxed))
}
