//! perf's sampling of six events that all have a counter.
#![no_std]
#![no_main]

use guest::sampler;

guest::guest!(main);

/// Iterations of the work, about 11 instructions each.
const WORK: u64 = 400_000;

fn main() -> bool {
    sampler::run(6, 6, 0, || sampler::work(WORK))
}
