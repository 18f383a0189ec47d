//! perf's sampling of six events that all have a counter.
#![no_std]
#![no_main]

use guest::sampler::{self, Scheme};
use guest::workload;

guest::guest!(main);

/// Iterations of the work, about 20 instructions each.
const WORK: u64 = 220_000;
/// Far more often than perf does, so that a short run has many: a sample of an event every 20,000 instructions, a tick
/// every 200,000 TSC cycles.
const SCHEME: Scheme = Scheme { events: 6, counters: 6, period: 20_000, tick: 200_000 };

fn main() -> bool {
    sampler::run(&SCHEME, || workload::mix(WORK)).right
}
