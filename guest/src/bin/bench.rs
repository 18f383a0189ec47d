//! The benchmark's guest: work of a fixed length, alone or sampled.
#![no_std]
#![no_main]

use guest::parameters::parameters;
use guest::sampler::{self, Sampled, Scheme};
use guest::{println, workload};

guest::guest!(main);

/// Samples of an event in a second.
const SAMPLES_PER_SECOND: u64 = 1000;
/// Ticks in a second: CONFIG_HZ of Debian's kernel. perf rotates as often.
const TICKS_PER_SECOND: u64 = 250;

fn main() -> bool {
    let [scheme, iterations, frequency] = parameters();
    let Ok(tick) = u32::try_from(frequency / TICKS_PER_SECOND) else {
        println!("@panic a TSC of {frequency} Hz");
        return false;
    };
    let period = frequency / SAMPLES_PER_SECOND;
    let work = || workload::mix(iterations);
    let Sampled { right, cycles, checksum } = match scheme {
        0 => sampler::without(tick, work),
        1 => sampler::run(&Scheme { events: 6, counters: 6, period, tick }, work),
        2 => sampler::run(&Scheme { events: 10, counters: 8, period, tick }, work),
        _ => {
            println!("@panic there is no scheme {scheme}");
            return false;
        }
    };
    println!("@bench cycles={cycles} checksum={checksum}");
    right
}
