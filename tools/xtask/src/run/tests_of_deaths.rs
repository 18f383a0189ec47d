//! The step of `cargo xtask test` in which a protection domain dies, on the simulated machine.

use super::tests_of_guests::{COUNT, LIMIT, NEIGHBOUR, lines_of, prepare, put_guest, report};
use super::{SENTINEL, unwritable};
use crate::machine::Finished;
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use std::fs;

/// A policy domain that dies: its program, and how the monitor's line begins and ends.
const POLICY_DOMAINS: [(&str, &str, &str); 4] = [
    ("pmu_crash", "monitor: pmu: panicked at ", ": on purpose"),
    ("pmu_crash_null", "monitor: pmu: page fault: write at 0x8, instruction 0x", ""),
    ("pmu_crash_opcode", "monitor: pmu: exception 6 (invalid opcode), error code 0x0, instruction 0x", ""),
    ("pmu_crash_stack", "monitor: pmu: page fault: write at 0x", ""),
];

/// Each way in which a domain dies; all are tried even when one goes wrong.
pub fn deaths() -> Outcome {
    let deaths = POLICY_DOMAINS.iter().map(|(program, begins, ends)| policy_domain(program, begins, ends));
    let failures: Vec<String> =
        deaths.chain([monitor_of_a_guest()]).filter_map(|died| died.err().map(|e| e.to_string())).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

/// The policy domain dies while the guest `orphan` counts: the monitor says why, every PMU access of that guest faults from
/// then on, which it checks, and its VMM reports the reason; the neighbour, which does not call, notices nothing.
fn policy_domain(program: &str, begins: &str, ends: &str) -> Outcome {
    let finished = run(program, ["orphan", "idle"], |system| {
        system.replace("\"pmu_pd.elf\"", &format!("\"{program}.elf\""))
    })?;
    report(&lines_of(&finished, NEIGHBOUR), "idle", &finished)?.verdict().map_err(Failure::Check)?;
    let orphan = report(&lines_of(&finished, COUNT), "orphan", &finished)?;
    match (said(&finished, begins, ends), &orphan.pmu_error, orphan.checks) {
        (Some(line), Some(error), Some((right, 0))) if right > 0 && orphan.stop.0 == 0 => {
            println!("      {line}; orphan: {error}, {right} checks; its neighbour ends well");
            Ok(())
        }
        _ => Err(Failure::Check(format!(
            "{program}: the death is not reported, or its guest still has a PMU; {}",
            finished.summary()
        ))),
    }
}

/// A virtual machine monitor faults while its guest counts: the monitor says so, the guest stops, and what the neighbour
/// counts stays exact.
fn monitor_of_a_guest() -> Outcome {
    let finished = run("vmm_crash", ["sample", "multiplex"], |system| {
        system.replacen("\"vmm_pd.elf\"", "\"vmm_crash.elf\"", 1)
    })?;
    let neighbour = report(&lines_of(&finished, NEIGHBOUR), "multiplex", &finished)?;
    let verdict = neighbour.verdict().map_err(Failure::Check)?;
    let stopped = !lines_of(&finished, COUNT).contains(SENTINEL);
    match said(&finished, "monitor: count: page fault: write at 0x8, instruction 0x", "") {
        Some(line) if stopped => {
            println!("      {line}; its guest stops; its neighbour: {verdict}");
            Ok(())
        }
        _ => Err(Failure::Check(format!("the monitor of a guest did not die; {}", finished.summary()))),
    }
}

/// Runs tests/system/two_vms, changed so, with these guests, until the second has ended.
fn run(name: &str, guests: [&str; 2], change: impl FnOnce(String) -> String) -> Outcome<Finished> {
    let folder = output("deaths")?.join(name);
    fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
    put_guest(guests[0], &folder.join("guest.elf"))?;
    put_guest(guests[1], &folder.join("neighbour.elf"))?;
    let source = root().join("tests/system/two_vms");
    let unreadable = |e| Failure::Environment(format!("{} cannot be read: {e}", source.display()));
    let text = fs::read_to_string(source.join("system.xml")).map_err(unreadable)?;
    let system = folder.join("system.xml");
    fs::write(&system, change(text)).map_err(|e| unwritable(&system, &e))?;
    let image = prepare(&system, &source.join("policy.toml"), &folder)?;
    let mut machine = image.in_bochs(&folder.join("bochs"));
    machine.time_limit = LIMIT;
    machine.sentinels = vec![format!("{NEIGHBOUR}{SENTINEL}")];
    machine.run(|_| ())
}

/// The line that begins and ends so.
fn said<'a>(finished: &'a Finished, begins: &str, ends: &str) -> Option<&'a str> {
    finished.serial.lines().map(str::trim_end).find(|line| line.starts_with(begins) && line.ends_with(ends))
}
