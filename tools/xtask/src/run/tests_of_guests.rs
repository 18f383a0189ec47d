//! The steps of `cargo xtask test` that run guests on the simulated machine.

use super::guest::Guest;
use super::lines::{GUEST, Line};
use super::report::Report;
use super::{BROKEN, SENTINEL, unwritable, write_trace};
use crate::image::{self, Image, Request};
use crate::machine::{Ended, Finished, bochs};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use kernel::Config;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Bochs needs about 15 s for a guest; a machine with much else to do needs longer.
pub(super) const LIMIT: Duration = Duration::from_secs(180);
/// What the VMMs of tests/system/two_vms put before their lines.
pub(crate) const COUNT: &str = "count | ";
pub(crate) const NEIGHBOUR: &str = "neighbour | ";

/// A run of a guest with the default policy, and what its report must say besides its verdict.
struct Expectation {
    guest: &'static str,
    skid: u32,
    holds: fn(&Report) -> Result<(), String>,
}

const GUESTS: &[Expectation] = &[
    Expectation { guest: "count", skid: 0, holds: every_counter_and_cheap_writes },
    Expectation { guest: "sample", skid: 0, holds: every_sample_is_taken },
    Expectation { guest: "multiplex", skid: 30, holds: |report| at_least(report.pmi["raised"], 500, "PMIs") },
    Expectation {
        guest: "hostile",
        skid: 300,
        holds: |report| at_least(report.faults["gp"], 1000, "faults"),
    },
    Expectation { guest: "idle", skid: 0, holds: |report| at_least(report.by_reason["hlt"], 20, "HLTs") },
];

fn at_least<T: PartialOrd + std::fmt::Display>(found: T, least: T, what: &str) -> Result<(), String> {
    if found >= least { Ok(()) } else { Err(format!("{found} {what}, at least {least} were to be")) }
}

/// Instructions that the guest may see pass, on the release kernel, and what is wanted where that is less: a control write
/// that both domains decide, one that the kernel completes because its value was approved, a PMI from the overflow to the
/// handler's first instruction.
const PATHS: &[(&str, u64, u64)] =
    &[("control_write", 1800, 1600), ("approved_write", 300, 300), ("pmi", 1000, 1000)];

/// Without costs, a TSC cycle is an instruction.
fn every_counter_and_cheap_writes(report: &Report) -> Result<(), String> {
    at_least(report.counters.len(), 300, "counters")?;
    overflows_interrupt(report, 100)?;
    let cost = |name| report.round_trips.get(name).copied().ok_or_else(|| format!("no cost of {name}"));
    println!("      cpuid: {} instructions", cost("cpuid")?);
    for &(name, most, wanted) in PATHS {
        let found = cost(name)?;
        println!("      {name}: {found} instructions (at most {most}, wanted {wanted})");
        if found > most {
            return Err(format!("{name} takes {found} instructions, more than {most}"));
        }
    }
    Ok(())
}

/// Every period ends with a sample. Two periods that end at the same time share an interrupt.
fn every_sample_is_taken(report: &Report) -> Result<(), String> {
    let number = |key| report.samples.as_ref().and_then(|samples| samples.get(key)).copied();
    at_least(report.pmi["raised"], 1000, "PMIs")?;
    match (number("taken"), number("expected")) {
        (Some(taken), Some(expected)) if taken == expected => Ok(()),
        (taken, expected) => Err(format!("{taken:?} samples taken, {expected:?} expected")),
    }
}

/// One PMI for each overflow that the guest saw, and at least so many.
fn overflows_interrupt(report: &Report, least: u64) -> Result<(), String> {
    let taken = report.samples.as_ref().and_then(|samples| samples.get("taken")).copied().unwrap_or(0);
    let raised = report.pmi["raised"];
    if taken == raised && raised >= least {
        Ok(())
    } else {
        Err(format!("{taken} overflows with interrupt, {raised} PMIs"))
    }
}

/// Every guest, alone, on the release kernel.
pub fn guests() -> Outcome {
    let mut failures = Vec::new();
    for expectation in GUESTS {
        match alone(expectation) {
            Ok(line) => println!("      {:10} {line}", expectation.guest),
            Err(failure) => failures.push(format!("{}: {failure}", expectation.guest)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

fn alone(expectation: &Expectation) -> Outcome<String> {
    let folder = output("guest-tests")?.join(expectation.guest);
    fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
    Guest::new(expectation.guest).put(&folder)?;
    let policy = root().join("pmu_pd/policy/examples/single_tenant.toml");
    let finished = boot(&root().join("system.xml"), &policy, &folder, expectation.skid, SENTINEL)?;
    let report = report(&finished.serial, expectation.guest, &finished)?;
    let verdict = report.verdict().map_err(Failure::Check)?;
    (expectation.holds)(&report).map_err(Failure::Check)?;
    Ok(format!("{verdict}; {} exits, {:.0} s", report.exits, finished.wall.as_secs_f64()))
}

/// Writes the exits of the guest `hostile` to `file` as `run --trace` does, until it has read every PMU register and
/// written every bit of it. (All of that guest would take minutes, since the VMM prints each exit.)
pub fn every_bit_traced(file: &Path) -> Outcome {
    let folder = output("traced")?;
    Guest::new("hostile").put(&folder)?;
    let source = root().join("system.xml");
    let text = fs::read_to_string(&source)
        .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", source.display())))?;
    let system = folder.join("system.xml");
    fs::write(&system, text.replace("\"vmm_pd.elf\"", "\"vmm_pd_trace.elf\""))
        .map_err(|e| unwritable(&system, &e))?;
    let policy = root().join("pmu_pd/policy/examples/single_tenant.toml");
    let last = format!("{GUEST}@hostile what=every-bit");
    write_trace(&boot(&system, &policy, &folder, 0, &last)?, file, None)
}

/// `count` beside `hostile`: `count` stays exact, and both come to their ends, `count` last: it prints three times as much.
pub fn two_vms() -> Outcome {
    let folder = output("two-vms")?;
    put_guest("count", &folder.join("guest.elf"))?;
    put_guest("hostile", &folder.join("neighbour.elf"))?;
    let system = root().join("tests/system/two_vms");
    let last = format!("{COUNT}{SENTINEL}");
    let finished = boot(&system.join("system.xml"), &system.join("policy.toml"), &folder, 0, &last)?;
    let count = report(&lines_of(&finished, COUNT), "count", &finished)?;
    let neighbour = report(&lines_of(&finished, NEIGHBOUR), "hostile", &finished)?;
    let verdict = count.verdict().map_err(|e| Failure::Check(format!("count beside hostile: {e}")))?;
    neighbour.verdict().map_err(|e| Failure::Check(format!("hostile: {e}")))?;
    println!("      count beside hostile: {verdict}; {} and {} exits", count.exits, neighbour.exits);
    Ok(())
}

/// Puts a guest for one of the two VMMs at `to`.
pub(crate) fn put_guest(name: &str, to: &Path) -> Outcome {
    let image = Guest { memory: 4, ..Guest::new(name) }.image()?;
    fs::write(to, image).map_err(|e| unwritable(to, &e))
}

/// The lines of one VMM.
pub(crate) fn lines_of(finished: &Finished, mark: &str) -> String {
    finished
        .serial
        .lines()
        .filter_map(|line| line.strip_prefix(mark))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Builds the image of a system whose prefill files are in `folder`, and runs it to the line `last`.
pub(super) fn boot(system: &Path, policy: &Path, folder: &Path, skid: u32, last: &str) -> Outcome<Finished> {
    let image = prepare(system, policy, folder)?;
    let mut machine = image.in_bochs(&folder.join("bochs"));
    machine.pmu = Some(bochs::Pmu { skid, costs: None });
    machine.time_limit = LIMIT;
    machine.sentinels = BROKEN.iter().map(|text| (*text).to_owned()).chain([last.to_owned()]).collect();
    let finished = machine.run(|_| ())?;
    match &finished.ended {
        Ended::Sentinel(line) if line.contains(last) => Ok(finished),
        _ => Err(Failure::Check(finished.summary())),
    }
}

/// Builds the image of a system whose prefill files are in `folder`.
pub(super) fn prepare(system: &Path, policy: &Path, folder: &Path) -> Outcome<Image> {
    policy::compile_to(policy, &folder.join("policy.bin"))?;
    let out = folder.join("image");
    let mut request = Request::new(Config::Release, system, &out);
    request.search.push(folder.to_owned());
    image::build(&request)
}

pub(super) fn report(log: &str, guest: &str, finished: &Finished) -> Outcome<Report> {
    let lines: Vec<Line<'_>> = log.lines().filter_map(Line::parse).collect();
    Report::from_lines(&lines, "bochs".to_owned(), "release".to_owned(), guest.to_owned())
        .ok_or_else(|| Failure::Check(format!("the VMM of {guest} has not reported; {}", finished.summary())))
}
