//! `machine speed`: what the PMU costs the simulation, as a ratio to the stock Bochs.

use super::{Ended, bochs, kernels};
use crate::process::{Failure, Outcome};
use crate::workspace::output;
use std::path::Path;
use std::time::Duration;

/// Turns of the kernel's loop, of ten instructions.
const TURNS: u32 = 15_000_000;
const INSTRUCTIONS: f64 = 10.0 * TURNS as f64;
/// Interleaved; of each configuration the fastest counts, because only disturbances make a run slower.
const ROUNDS: u32 = 3;
/// The ratios that should be reached: counters off, all counting.
const GOALS: [f64; 2] = [0.85, 0.8];

/// A configuration: what it is called, its PMU, and what the kernel is told.
const CONFIGURATIONS: [(&str, bool, &str); 3] =
    [("stock Bochs", false, ""), ("PMU, counters off", true, ""), ("PMU, all counting", true, "counting")];

/// Runs the same work three ways and prints the ratios. A measurement: it fails only if a run fails.
pub fn speed() -> Outcome {
    let mut best = [f64::INFINITY; 3];
    let mut images = Vec::new();
    for (i, (_, _, option)) in CONFIGURATIONS.iter().enumerate() {
        let arguments = format!("turns={TURNS} {option}");
        images.push(kernels::image("machine-speed", &format!("speed-{i}"), &arguments)?);
    }
    for round in 1..=ROUNDS {
        for (i, (name, pmu, _)) in CONFIGURATIONS.iter().enumerate() {
            let seconds = cpu_time(&images[i], *pmu)?.as_secs_f64();
            println!("round {round}: {name:18} {:6.1} M instructions/s", INSTRUCTIONS / seconds / 1e6);
            best[i] = best[i].min(seconds);
        }
    }
    for (i, goal) in (1..).zip(GOALS) {
        println!("{}: {:.2} of stock Bochs's speed (goal {goal})", CONFIGURATIONS[i].0, best[0] / best[i]);
    }
    Ok(())
}

/// The emulator's processor time between the kernel's two lines.
fn cpu_time(iso: &Path, pmu: bool) -> Outcome<Duration> {
    let mut machine = bochs::Machine::new(&output("machine/speed")?, iso);
    machine.pmu = pmu.then(bochs::Pmu::default);
    machine.sentinels = vec!["speed | end".into()];
    let mut times = Vec::new();
    let finished = machine.run_timed(|_, cpu| times.push(cpu))?;
    match (&finished.ended, &times[..]) {
        (Ended::Sentinel(_), [start, end]) if end > start => Ok(*end - *start),
        _ => Err(Failure::Check(finished.summary())),
    }
}
