//! `machine linux`: stock Debian packages, unmodified, on the simulated machine.

use super::checks::{Check, verdict};
use super::iso::{self, Payload};
use super::{Finished, bochs, linux_files};
use crate::process::{Failure, Outcome};
use crate::workspace::output;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const INIT: &str = include_str!("linux_init.sh");
/// What the program executes in user mode (tests/machine/src/known.rs).
pub const INSTRUCTIONS: u64 = 10_000_004;
pub const BRANCHES: u64 = 5_000_001;
/// Attempts at an instruction that fault there: the first, since the page of its code is mapped when it is first used.
pub const FAULTS: u64 = 1;
/// What the program of tests/machine/src/rdpmc.rs executes from one RDPMC to the next.
pub const RDPMC_INSTRUCTIONS: u64 = 200_004;
pub const RDPMC_BRANCHES: u64 = 100_000;
/// Instructions a sample, in linux_init.sh.
pub const PERIOD: u64 = 100_000;
const ARGUMENTS: &str = "console=ttyS0,115200 quiet nmi_watchdog=0 panic=-1 rdinit=/init";
/// Fast enough that the kernel's timer interrupts are rare, slow enough that the firmware's waits are short.
pub const IPS: u32 = 200_000_000;
/// Seconds until the shell that should not be exceeded. A measurement: other work on the host is no failure.
const SHELL_GOAL: u32 = 150;
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// What `cargo xtask machine linux` takes.
#[derive(Default, clap::Args)]
pub struct Arguments {
    /// Compare the time to the shell, and nothing else: here, and as a guest on seL4
    #[arg(long)]
    shell: bool,
}

/// Runs the command.
pub fn command(arguments: &Arguments) -> Outcome {
    if arguments.shell { crate::run::linux::steps::shell() } else { linux() }
}

/// Boots it to its shell; the seconds that passed then, as Linux says them.
pub fn to_shell(initrd: &Path, arguments: &str, memory_mib: u32) -> Outcome<String> {
    const SHELL: &str = "linux | shell | ";
    let folder = output("machine/linux-shell")?;
    let kernel = linux_files::kernel()?;
    let image = Payload::Linux { kernel: &kernel, arguments, initrd };
    let iso = iso::make(&folder.join("linux.iso"), &image)?;
    let mut machine = bochs::Machine::new(&folder.join("run"), &iso);
    machine.memory_mib = memory_mib;
    machine.ips = IPS;
    machine.sentinels = [SHELL, "Kernel panic"].map(str::to_owned).to_vec();
    machine.time_limit = TIME_LIMIT;
    let finished = machine.run(|line| println!("  {line}"))?;
    let seconds = finished.serial.lines().find_map(|line| line.strip_prefix(SHELL));
    seconds.map(|seconds| seconds.trim().to_owned()).ok_or_else(|| Failure::Check(finished.summary()))
}

/// Boots it and compares what `perf` counts with what ran.
pub fn linux() -> Outcome {
    let folder = output("machine/linux")?;
    let kernel = linux_files::kernel()?;
    let initrd = linux_files::initial_files(&folder, &[("init", INIT)])?;
    let image = Payload::Linux { kernel: &kernel, arguments: ARGUMENTS, initrd: &initrd };
    let iso = iso::make(&folder.join("linux.iso"), &image)?;
    let mut machine = bochs::Machine::new(&folder.join("run"), &iso);
    machine.memory_mib = 512;
    machine.ips = IPS;
    machine.sentinels = ["linux | end", "Kernel panic"].map(str::to_owned).to_vec();
    machine.time_limit = TIME_LIMIT;
    let start = Instant::now();
    let mut shell = None;
    let finished = machine.run_timed(|line, cpu| {
        println!("  {line}");
        if line.starts_with("linux | shell") {
            shell = Some((start.elapsed().as_secs_f64(), cpu.as_secs_f64()));
        }
    })?;
    let mut checks = examine(&finished.serial);
    checks.extend(interrupts(&finished)?);
    checks.iter().for_each(|check| println!("{check}"));
    let Some((wall, cpu)) = shell else { return Err(Failure::Check(finished.summary())) };
    println!(
        "to the shell: {wall:.0} s, {cpu:.0} s of processor time (goal: {SHELL_GOAL} s on two idle cores)"
    );
    println!("in all: {:.0} s", finished.wall.as_secs_f64());
    super::expected_end(&finished)?;
    verdict(&checks)
}

/// What the log says, against what must be.
fn examine(serial: &str) -> Vec<Check> {
    let lines: Vec<Vec<&str>> = serial
        .lines()
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|fields| fields.first() == Some(&"linux"))
        .collect();
    let value = |name: &str| lines.iter().find(|f| f.get(1) == Some(&name)).and_then(|f| f.get(2)).copied();
    let kernel_says = |text: &str| {
        lines
            .iter()
            .filter(|f| f.get(1) == Some(&"kernel"))
            .any(|f| f.get(2).is_some_and(|l| l.contains(text)))
    };
    let check = |name: &str, got: Option<&str>, want: &str| Check {
        name: name.to_owned(),
        section: String::new(),
        got: got.unwrap_or("nothing").to_owned(),
        want: want.to_owned(),
    };
    let yes = |name: &str, is: bool| Check::new(name, "", u64::from(is), 1);
    let mut checks = vec![
        yes("Linux: its Intel PMU driver", kernel_says("Intel PMU driver")),
        yes("Linux: full-width counters", kernel_says("full-width counters")),
        yes("Linux: version 5", kernel_says("... version:                5")),
        yes("Linux: 8 general-purpose counters", kernel_says("... generic registers:      8")),
        yes(
            "Linux: the time-stamp counter's frequency",
            kernel_says(&format!("tsc: Detected {}.000 MHz", IPS / 1_000_000)),
        ),
        check("Linux: the time-stamp counter is the clock", value("clocksource"), "tsc"),
    ];
    for clock in ["tsc", "hpet"] {
        let name = format!("four seconds of {clock}");
        checks.push(check(&format!("the real-time clock and {clock}: seconds"), value(&name), "4 4"));
    }
    for turn in 1..=3 {
        for (event, want) in [("instructions:u", INSTRUCTIONS), ("branches:u", BRANCHES)] {
            let name = format!("stat {turn} {event}");
            checks.push(check(&format!("perf stat, run {turn}: {event}"), value(&name), &want.to_string()));
        }
    }
    let samples = (INSTRUCTIONS / PERIOD).to_string();
    checks.push(check("perf record: samples", value("samples"), &samples));
    checks.push(check("perf record: interrupts taken", value("interrupts"), &samples));
    checks
}

/// Every PMI that the PMU asked for was delivered, and Linux took as many.
fn interrupts(finished: &Finished) -> Outcome<[Check; 3]> {
    let broken = |why: &str| Failure::Check(format!("{why}: {}", finished.summary()));
    let report = finished.report.as_ref().ok_or_else(|| broken("the PMU library left no report"))?;
    let report: Value = fs::read(report)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| broken("the PMU library's report cannot be read"))?;
    let of = |name: &str| report["processors"][0]["pmis"][name].as_u64();
    let (Some(requested), Some(delivered)) = (of("requested"), of("delivered")) else {
        return Err(broken("the PMU library's report has no PMIs"));
    };
    let taken = finished.serial.lines().find_map(|line| line.strip_prefix("linux | pmis | ")?.parse().ok());
    Ok([
        Check::new("PMIs: requested by the PMU", "", requested, INSTRUCTIONS / PERIOD),
        Check::new("PMIs: delivered, of those requested", "", delivered, requested),
        Check::new("PMIs: taken by Linux, of those delivered", "", taken.unwrap_or(0), delivered),
    ])
}

#[cfg(test)]
mod tests {
    use super::examine;

    #[test]
    fn a_silent_log_passes_nothing() {
        let checks = examine("");
        assert!(checks.len() > 10 && checks.iter().all(|check| !check.ok()));
    }

    #[test]
    fn a_wrong_count_is_found() {
        let good = "linux | stat 1 instructions:u | 10000004\n";
        let ok = |log: &str| examine(log).iter().filter(|check| check.ok()).count();
        assert_eq!(ok(good), 1);
        assert_eq!(ok(&good.replace("04", "05")), 0);
    }
}
