//! perf's sampling of ten events that share eight counters, rotated every 4 ms.
#![no_std]
#![no_main]

use guest::sampler;

guest::guest!(main);

/// Iterations of the work, about 11 instructions each.
const WORK: u64 = 400_000;
/// 4 ms of a simulated machine of 50,000,000 TSC cycles a second.
const ROTATE: u32 = 200_000;

fn main() -> bool {
    sampler::run(10, 8, ROTATE, || sampler::work(WORK))
}
