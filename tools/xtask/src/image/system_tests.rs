//! The system tests: images of tests/system, booted and judged by what they print.

use super::{Image, Request, build, ran_to_end};
use crate::machine::Finished;
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use kernel::Config;
use std::path::Path;
use std::time::{Duration, Instant};

/// One image of tests/system.
struct Test {
    /// The folder in tests/system.
    name: &'static str,
    config: Config,
    /// Whether it needs VT-x, which QEMU has not.
    virtual_machine: bool,
    /// Patterns of lines that must be printed, in any order; `*` stands for any text.
    prints: &'static [&'static str],
    /// Whether protection domains are to crash.
    crashes: bool,
}

const TESTS: &[Test] = &[
    Test { name: "ipc", config: Config::Debug, virtual_machine: false, prints: &[], crashes: false },
    Test { name: "passive", config: Config::Debug, virtual_machine: false, prints: &[], crashes: false },
    Test { name: "priority", config: Config::Debug, virtual_machine: false, prints: &[], crashes: false },
    Test { name: "crash", config: Config::Debug, virtual_machine: false, prints: CRASHES, crashes: true },
    Test { name: "devices", config: Config::Debug, virtual_machine: false, prints: &[], crashes: false },
    Test { name: "release", config: Config::Release, virtual_machine: false, prints: &[], crashes: false },
    Test { name: "authority", config: Config::Release, virtual_machine: true, prints: &[], crashes: false },
    Test { name: "vcpu", config: Config::Debug, virtual_machine: true, prints: &[], crashes: false },
];

/// What the monitor and the panic handler say about those that crash.
const CRASHES: &[&str] = &[
    "monitor: reader: page fault: read at 0xdeadb000, instruction 0x",
    "writer: to 0x",
    "monitor: writer: page fault: write at 0x*, instruction 0x",
    "panicker: panicked at tests/system/crash/panicker.rs:19:",
    "notified by {2}",
    "monitor: panicker: panicked at tests/system/crash/panicker.rs:19:*: notified by {2}",
    "server: terminated with error: asked to end",
    "monitor: server: terminated with error: asked to end",
    "witness: the server is gone",
    "monitor: null: page fault: write at 0x8, instruction 0x",
    "monitor: opcode: exception 6 (invalid opcode), error code 0x0, instruction 0x",
    "monitor: protection: exception 13 (general protection), error code 0x0, instruction 0x",
    "monitor: overflow: page fault: write at 0x*, instruction 0x",
    "monitor: capability: cap fault: no capability at 0x1234, instruction 0x",
    "monitor: call: unknown system call -1000, instruction 0x",
    "witness: 6 that faulted are gone",
    // Where it was led to, it faulted again, which is not told and not answered.
    "monitor: twice: exception 6 (invalid opcode), error code 0x0, instruction 0x",
];

/// What the initialiser says when it has given up everything and looked at every slot that it had.
const INITIALISER: &str =
    "initialiser: * threads of * objects started; * capability slots checked, every one is empty";

/// The line that a test prints last: its name and this.
const PASSED: &str = ": passed";
/// What a failed assertion prints on the debug kernel.
const PANICKED: &str = "panicked at";
/// What the debug kernel prints when it stops at an assertion.
const KERNEL_STOPPED: &str = "seL4 failed assertion";
/// How the monitor's lines begin.
const FAULTED: &str = "monitor: ";
/// What the tests print first.
const FIRST_LINE: &str = "first line";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Machine {
    Qemu,
    Bochs,
}

/// The limits that a boot must keep, to the first line of a protection domain.
fn boot_limit(machine: Machine) -> Duration {
    Duration::from_secs(if machine == Machine::Qemu { 2 } else { 15 })
}

/// The limit for an image of which everything is built.
const WARM_BUILD_LIMIT: Duration = Duration::from_secs(10);

/// Runs in QEMU every test that needs no VT-x.
pub fn in_qemu() -> Outcome {
    each(Machine::Qemu)
}

/// Runs every test in Bochs.
pub fn in_bochs() -> Outcome {
    each(Machine::Bochs)
}

fn each(machine: Machine) -> Outcome {
    let mut failures = Vec::new();
    for test in TESTS.iter().filter(|t| machine == Machine::Bochs || !t.virtual_machine) {
        match run(test, machine) {
            Ok(report) => println!("      {:10} {report}", test.name),
            Err(failure) => failures.push(format!("{}: {failure}", test.name)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

fn run(test: &Test, machine: Machine) -> Outcome<String> {
    let folder = output("system-tests")?.join(test.name);
    let system = root().join("tests/system").join(test.name).join("system.xml");
    let request = Request::new(test.config, &system, &folder);
    build(&request)?;
    let start = Instant::now();
    let image = build(&request)?;
    let warm = start.elapsed();
    let (finished, first) = boot(test, machine, &image, &folder)?;
    judge(test, &finished)?;
    let first = first.ok_or_else(|| Failure::Check(finished.summary()))?;
    within("first line", first, boot_limit(machine))?;
    within("image build from warm caches", warm, WARM_BUILD_LIMIT)?;
    Ok(format!(
        "first line after {:.1} s, passed after {:.1} s; image from warm caches in {:.1} s",
        first.as_secs_f64(),
        finished.wall.as_secs_f64(),
        warm.as_secs_f64()
    ))
}

fn within(what: &str, taken: Duration, limit: Duration) -> Outcome {
    if taken <= limit {
        return Ok(());
    }
    let (taken, limit) = (taken.as_secs_f64(), limit.as_secs_f64());
    Err(Failure::Check(format!("{what}: {taken:.1} s, and at most {limit:.0} s are allowed")))
}

/// Boots; also the emulator's processor time to the first line of a protection domain, which says the same on a busy
/// host.
fn boot(
    test: &Test,
    machine: Machine,
    image: &Image,
    folder: &Path,
) -> Outcome<(Finished, Option<Duration>)> {
    let mut sentinels = vec![format!("{}{PASSED}", test.name), KERNEL_STOPPED.to_owned()];
    if !test.crashes {
        sentinels.extend([PANICKED, FAULTED].map(str::to_owned));
    }
    let mut first = None;
    let on_line = |line: &str, used: Duration| {
        if line.contains(FIRST_LINE) {
            first = Some(used);
        }
    };
    match machine {
        Machine::Qemu => {
            let mut qemu = image.in_qemu(&folder.join("qemu"));
            qemu.sentinels = sentinels;
            qemu.time_limit = Duration::from_secs(30);
            let finished = qemu.run_timed(on_line)?;
            Ok((finished, first))
        }
        Machine::Bochs => {
            let mut bochs = image.in_bochs(&folder.join("bochs"));
            bochs.sentinels = sentinels;
            bochs.time_limit = Duration::from_secs(90);
            let finished = bochs.run_timed(on_line)?;
            Ok((finished, first))
        }
    }
}

fn judge(test: &Test, finished: &Finished) -> Outcome {
    ran_to_end(finished)?;
    if !finished.serial.lines().any(|line| line.ends_with(&format!("{}{PASSED}", test.name))) {
        return Err(Failure::Check(finished.summary()));
    }
    for pattern in test.prints.iter().chain([&INITIALISER]) {
        if !finished.serial.lines().any(|line| matches(line, pattern)) {
            return Err(Failure::Check(format!("no line like `{pattern}`; {}", finished.summary())));
        }
    }
    match unreported(&finished.serial) {
        None => Ok(()),
        Some(line) => Err(Failure::Check(format!("no line `{line}`; {}", finished.summary()))),
    }
}

/// The first report that the monitor owes: for `NAME: to ADDRESS`, with which a program announces a write that
/// faults.
fn unreported(serial: &str) -> Option<String> {
    let owed = |line: &str| {
        let (name, address) = line.split_once(": to 0x")?;
        Some(format!("monitor: {name}: page fault: write at 0x{address},"))
    };
    serial.lines().filter_map(owed).find(|report| !serial.contains(report))
}

/// Whether `line` contains the parts of `pattern` between `*`, in order.
fn matches(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split('*').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{matches, unreported};

    #[test]
    fn a_pattern_names_parts_of_a_line_in_order() {
        assert!(matches("monitor: a: fault at 0x1, instruction 0x2", "monitor: a: *, instruction 0x"));
        assert!(!matches("monitor: b: fault at 0x1, instruction 0x2", "monitor: a: *, instruction 0x"));
        assert!(!matches("instruction, monitor: a: ", "monitor: a: *instruction"));
    }

    #[test]
    fn the_monitor_must_name_the_address() {
        let announced = "writer: to 0x200280\n";
        let right = "monitor: writer: page fault: write at 0x200280, instruction 0x1\n";
        let wrong = "monitor: writer: page fault: write at 0x20028, instruction 0x1\n";
        assert_eq!(unreported(&format!("{announced}{right}")), None);
        assert!(unreported(&format!("{announced}{wrong}")).is_some());
    }
}
