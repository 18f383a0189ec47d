//! The kernel's tests: that its build is reproducible, that user level has its numbers, and the root task
//! of tests/system/kernel on the simulated machine.

use crate::image::freestanding::Build;
use crate::image::ran_to_end;
use crate::kernel::{build, failure, numbers};
use crate::machine::iso::{self, Payload};
use crate::machine::{Finished, bochs};
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root, target};
use kernel::{Config, Variant};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Both kernels, from nothing. Printed beside what was measured and not judged: other work on the machine counts in it.
const BUILD_GOAL: Duration = Duration::from_secs(30);
/// What mends and extension may add to the published release kernel's text, in bytes.
const GROWTH_LIMIT: u64 = 12 << 10;

/// Functions that take memory from a guest must execute INVEPT (SDM 29.4.3.4). The simulated machine caches nothing across VM
/// entries, so that no guest there can tell.
const UNMAPPING: [&str; 5] =
    ["deleteEPTASID", "unmapEPTPDPT", "unmapEPTPageDirectory", "unmapEPTPageTable", "unmapEPTPage"];

/// Builds both kernels once more in another folder and compares; compares the committed numbers with the kernel's.
pub fn kernel_build() -> Outcome {
    let configs = [Config::Debug, Config::Release];
    let first: Vec<_> = configs.into_iter().map(build).collect::<Outcome<_>>()?;
    let again = target().join("kernel-again");
    if again.exists() {
        fs::remove_dir_all(&again).map_err(|e| unreadable(&again, &e))?;
    }
    let start = Instant::now();
    let mut second = Vec::new();
    for config in configs {
        second.push(kernel::build(&again, config, Variant::Extended, &mut |_| ()).map_err(failure)?);
    }
    let taken = start.elapsed();
    let mut steps = 0;
    kernel::build(&again, Config::Debug, Variant::Extended, &mut |_| steps += 1).map_err(failure)?;
    if steps != 0 {
        return Err(Failure::Check("a kernel was built again although nothing had changed".into()));
    }
    for (one, other) in first.iter().zip(&second) {
        if read(&one.elf32)? != read(&other.elf32)? {
            let (one, other) = (one.elf32.display(), other.elf32.display());
            return Err(Failure::Check(format!("{one} and {other} differ: the build is not reproducible")));
        }
    }
    same_numbers(&first[0].abi, &first[1].abi)?;
    for kernel in &first {
        for function in UNMAPPING {
            if !kernel.function_has(function, "invept").map_err(failure)? {
                let elf = kernel.elf.display();
                return Err(Failure::Check(format!("{elf}: {function} leaves the guest what it has cached")));
            }
        }
    }
    let published =
        kernel::build(&target(), Config::Release, Variant::Published, &mut |_| ()).map_err(failure)?;
    let (with, without) = (first[1].text_size().map_err(failure)?, published.text_size().map_err(failure)?);
    let growth = with.saturating_sub(without);
    println!("      kernel-build-seconds {:.1} (goal {})", taken.as_secs_f64(), BUILD_GOAL.as_secs());
    println!("      kernel-text-growth {growth} bytes, from {without} (limit {GROWTH_LIMIT})");
    if growth >= GROWTH_LIMIT {
        return Err(Failure::Check(format!("the kernel's text grows by {growth} bytes")));
    }
    Ok(())
}

/// The committed numbers are the debug kernel's; the release kernel has the same but for the debug system calls.
fn same_numbers(debug: &Path, release: &Path) -> Outcome {
    let committed = numbers();
    if read(&committed)? != read(debug)? {
        return Err(Failure::Check(format!(
            "{} is not what the kernel's headers say; run `cargo xtask kernel --abi` and review the difference",
            committed.display()
        )));
    }
    let text = |file: &Path| read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (debug, release) = (text(debug)?, text(release)?);
    let shared = debug.lines().filter(|line| !line.contains("const DEBUG_"));
    if shared.eq(release.lines()) {
        return Ok(());
    }
    Err(Failure::Check("the debug and the release kernel have different numbers".into()))
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    fs::read(file).map_err(|e| unreadable(file, &e))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("{}: {error}", file.display()))
}

/// A boot of the test's root task.
struct Run {
    config: Config,
    model: &'static str,
    /// Instructions between an overflow and its PMI.
    skid: u32,
    /// Whether the cost model charges what costs time (tools/bochs_pmu/costs.toml): figures are then cycles.
    costs: bool,
    /// Whether VM exits can save IA32_PERF_GLOBAL_CTRL.
    exit_save: bool,
}

const fn run(config: Config, model: &'static str, skid: u32) -> Run {
    Run { config, model, skid, costs: false, exit_save: true }
}

/// The debug kernel checks its assertions; the release kernel is quick.
const RUNS: &[Run] = &[
    run(Config::Release, "icelake_u", 0),
    Run { costs: true, ..run(Config::Release, "icelake_u", 3) },
    run(Config::Release, "icelake_u", 300),
    run(Config::Release, "icelake_u", 1_500),
    run(Config::Debug, "icelake_u", 1_500),
    run(Config::Debug, "skylake_x", 0),
    Run { exit_save: false, ..run(Config::Debug, "icelake_u", 300) },
];

/// Figures of the release kernel without skid, and the most that each may be, in simulated instructions.
const LIMITS: &[(&str, u64)] = &[("exit-pmu-idle", 640), ("switch-unchanged", 300), ("approved-write", 300)];
/// Figures of the run with costs, and the most that each may be, in cycles by the cost model.
const CYCLE_LIMITS: &[(&str, u64)] = &[("switch-unchanged", 2_500), ("switch-four-counters", 2_500)];
/// What a PMU that is granted and idle may add to an exit, in percent of one without.
const IDLE_PERCENT: u64 = 2;

/// What the root task says first where exits do not save IA32_PERF_GLOBAL_CTRL.
const NO_EXIT_SAVE: &str = ", exits do not save GLOBAL_CTRL";
/// What ends a run.
const PASSED: &str = "kernel tests: all passed";
const PANICKED: &str = "panicked at";
/// What the kernel says when an assertion fails, and when it faults.
const HALTED: &str = "halting...";

/// Runs the root task on the simulated machine, with early and late PMIs.
pub fn in_bochs() -> Outcome {
    let mut failures = Vec::new();
    for run in RUNS {
        let unit = if run.costs { ", figures in cycles" } else { "" };
        let control = if run.exit_save { "" } else { NO_EXIT_SAVE };
        let name = format!("{} {} skid {}{unit}{control}", run.config.name(), run.model, run.skid);
        match boot(run) {
            Ok(finished) => report(&name, &finished),
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

fn report(name: &str, finished: &Finished) {
    println!("      {name}: passed after {:.1} s", finished.wall.as_secs_f64());
    finished
        .serial
        .lines()
        .filter(|line| line.starts_with("number "))
        .for_each(|line| println!("        {line}"));
}

fn boot(run: &Run) -> Outcome<Finished> {
    let kernel = build(run.config)?;
    let programs = Build::user_level(run.config).programs(&["kernel_tests"])?;
    let folder = output(&format!("kernel-tests/{}-{}-{}", run.config.name(), run.model, run.skid))?;
    let modules = [programs[0].as_path()];
    let payload = Payload::Multiboot { kernel: &kernel.elf32, arguments: "", modules: &modules };
    let iso = iso::make(&folder.join("kernel-tests.iso"), &payload)?;
    let mut machine = bochs::Machine::new(&folder, &iso);
    machine.cpu_model = run.model.to_owned();
    machine.exit_save = run.exit_save;
    let costs = run.costs.then(|| root().join("tools/bochs_pmu/costs.toml"));
    machine.pmu = Some(bochs::Pmu { skid: run.skid, costs });
    machine.sentinels = [PASSED, PANICKED, HALTED].map(str::to_owned).to_vec();
    machine.time_limit = Duration::from_secs(180);
    let finished = machine.run(|_| ())?;
    ran_to_end(&finished)?;
    if !finished.serial.lines().any(|line| line.starts_with(PASSED)) {
        return Err(Failure::Check(finished.summary()));
    }
    if finished.serial.contains(NO_EXIT_SAVE) == run.exit_save {
        return Err(Failure::Check("the kernel has not seen the VM-exit control as it is".to_owned()));
    }
    if run.costs {
        at_most(&finished.serial, CYCLE_LIMITS, "cycles")?;
    } else if run.config == Config::Release && run.skid == 0 {
        within_limits(&finished.serial)?;
    }
    Ok(finished)
}

/// The figure `name` that the root task printed.
///
/// # Errors
/// It was not printed.
pub fn figure(serial: &str, name: &str) -> Outcome<u64> {
    let line =
        serial.lines().find_map(|line| line.strip_prefix("number ")?.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| Failure::Check(format!("the figure {name} was not printed")))
}

fn at_most(serial: &str, limits: &[(&str, u64)], unit: &str) -> Outcome {
    for (name, limit) in limits {
        let value = figure(serial, name)?;
        if value > *limit {
            return Err(Failure::Check(format!("{name} is {value} {unit}, and at most {limit} are allowed")));
        }
    }
    Ok(())
}

fn within_limits(serial: &str) -> Outcome {
    at_most(serial, LIMITS, "instructions")?;
    let (plain, idle) = (figure(serial, "exit-without-pmu")?, figure(serial, "exit-pmu-idle")?);
    if idle * 100 > plain * (100 + IDLE_PERCENT) {
        return Err(Failure::Check(format!(
            "an exit takes {idle} instructions with an idle PMU and {plain} without, more than {IDLE_PERCENT} % more"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::within_limits;

    #[test]
    fn figures_are_judged() {
        let judged = |idle: u64, without: u64, switch: u64, write: &str| {
            within_limits(&format!(
                "number exit-without-pmu {without}\nnumber exit-pmu-idle {idle}\nnumber switch-unchanged {switch}\n{write}"
            ))
        };
        let write = "number approved-write-same-value 1\nnumber approved-write 300\n";
        assert!(judged(640, 628, 300, write).is_ok());
        assert!(judged(640, 627, 300, write).is_err());
        assert!(judged(641, 640, 300, write).is_err());
        assert!(judged(640, 640, 301, write).is_err());
        assert!(judged(640, 640, 300, "number approved-write 301\n").is_err());
        assert!(judged(640, 640, 300, "number approved-write-same-value 1\n").is_err());
    }
}
