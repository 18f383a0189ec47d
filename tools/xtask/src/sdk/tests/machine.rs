//! On the SDK that the variable names, in Bochs.

use crate::image::Image;
use crate::machine::{Ended, Finished, bochs};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::run::guest::Guest;
use crate::run::lines::Line;
use crate::run::report::Report;
use crate::run::tests_of_guests::{COUNT, NEIGHBOUR, lines_of, put_guest};
use crate::run::{BROKEN, Mode, SENTINEL};
use crate::sdk::{Kernel, Name, Sdk, VARIABLE};
use crate::workspace::{output, root, unwritable};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest guest needs 100 s on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_secs(600);

/// Memory of the machine, in MiB, for two small guests.
const MEMORY_MIB: u32 = 256;

/// A guest alone with configuration benchmark, and what its report must say besides its verdict.
struct Expectation {
    guest: &'static str,
    holds: fn(&Report) -> Result<String, String>,
}

const GUESTS: &[Expectation] = &[
    Expectation { guest: "sample", holds: every_sample_is_taken },
    Expectation { guest: "multiplex", holds: every_sample_is_taken },
    Expectation { guest: "hostile", holds: |report| at_least(report.faults["gp"], 1000, "faults") },
    Expectation { guest: "idle", holds: |report| at_least(report.by_reason["hlt"], 20, "HLTs") },
];

fn at_least(found: u64, least: u64, what: &str) -> Result<String, String> {
    let said = format!("{found} {what}");
    if found >= least { Ok(said) } else { Err(format!("{said}, at least {least} were to be")) }
}

/// Every period ends with a sample, by a PMI or, where that is later than the tick, by the tick.
fn every_sample_is_taken(report: &Report) -> Result<String, String> {
    let samples = report.samples.clone().unwrap_or_default();
    let [taken, late, expected] = ["taken", "late", "expected"].map(|key| samples.get(key).copied());
    at_least(report.pmi["raised"], 500, "PMIs")?;
    match (taken, late, expected) {
        (Some(taken), Some(late), Some(expected)) if taken + late == expected => {
            Ok(format!("{taken} samples by PMIs, {late} by ticks"))
        }
        _ => Err(format!("{samples:?}: periods without a sample")),
    }
}

fn kernel(config: Name) -> Outcome<Kernel> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    Sdk::find(folder.as_deref(), config).map(Kernel::Sdk)
}

/// The guest counts exactly with configuration benchmark, and has no PMU with the others.
pub fn configurations() -> Outcome {
    for (config, mode) in [(Name::Benchmark, "mediated"), (Name::Debug, "off"), (Name::Release, "off")] {
        let kernel = kernel(config)?;
        let report = alone(&kernel, "count")?;
        let description = kernel.description();
        let wrong = |why: String| Err(Failure::Check(format!("{description}: {why}")));
        if report.mode != mode {
            return wrong(format!("the guest is in mode {}, not {mode}", report.mode));
        }
        let counters = report.counters.len();
        if counters < if mode == "off" { 0 } else { 300 } {
            return wrong(format!("the guest reports {counters} counters"));
        }
        println!("      {description}: mode {mode}, {counters} counters exact");
        if mode != "off" {
            println!("      instructions: {:?}; {} calls of accesses", report.round_trips, report.ppc);
        }
    }
    Ok(())
}

/// The other guests, each alone, with configuration benchmark.
pub fn guests() -> Outcome {
    let kernel = kernel(Name::Benchmark)?;
    let mut failures = Vec::new();
    for Expectation { guest, holds } in GUESTS {
        let result = alone(&kernel, guest).and_then(|report| {
            let said = holds(&report).map_err(Failure::Check)?;
            Ok(format!("{}; {said}", report.verdict().map_err(Failure::Check)?))
        });
        match result {
            Ok(line) => println!("      {guest:10} {line}"),
            Err(failure) => failures.push(format!("{guest}: {failure}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

/// The report of a guest that ended well.
fn alone(kernel: &Kernel, guest: &str) -> Outcome<Report> {
    let (folder, inputs) = folders(kernel, guest)?;
    let toml = inputs.join("policy.toml");
    fs::write(&toml, Mode::Mediated.policy()).map_err(|e| unwritable(&toml, &e))?;
    let memory = Guest::new(guest).put(&inputs)?;
    let image = image(kernel, &root().join("system.xml"), &toml, &folder, inputs)?;
    let finished = boot(&image, &folder, memory, SENTINEL, true)?;
    let report = report(kernel, &finished.serial, guest, &finished)?;
    report.verdict().map_err(|why| Failure::Check(format!("{}: {why}", kernel.description())))?;
    Ok(report)
}

/// `count`, the first VM of the policy, beside `hostile`, which is in mode off: there is one PMU.
pub fn two_vms() -> Outcome {
    let kernel = kernel(Name::Benchmark)?;
    let finished = side_by_side(&kernel, "two-vms", ["count", "hostile"], str::to_owned, COUNT)?;
    let count = report(&kernel, &lines_of(&finished, COUNT), "count", &finished)?;
    let neighbour = report(&kernel, &lines_of(&finished, NEIGHBOUR), "hostile", &finished)?;
    let verdict = count.verdict().map_err(|e| Failure::Check(format!("count beside hostile: {e}")))?;
    neighbour.verdict().map_err(|e| Failure::Check(format!("hostile: {e}")))?;
    if (count.mode.as_str(), neighbour.mode.as_str()) != ("mediated", "off") {
        let modes = format!("the modes are {} and {}", count.mode, neighbour.mode);
        return Err(Failure::Check(modes));
    }
    println!("      count beside hostile: {verdict}; {} and {} exits", count.exits, neighbour.exits);
    let wants_none = |text: &str| text.replace("name = \"count\"", "name = \"count\"\nversion = 0");
    let finished = side_by_side(&kernel, "second-vm", ["idle", "count"], wants_none, NEIGHBOUR)?;
    let second = report(&kernel, &lines_of(&finished, NEIGHBOUR), "count", &finished)?;
    let verdict = second.verdict().map_err(|e| Failure::Check(format!("count, the second VM: {e}")))?;
    if second.mode.as_str() != "mediated" {
        return Err(Failure::Check(format!(
            "the second VM's mode is {}, though the first wants no PMU",
            second.mode
        )));
    }
    println!("      count as the second VM, where the first wants no PMU: {verdict}");
    Ok(())
}

/// The policy domain dies while `orphan` counts. This kernel leaves the VMM that calls it waiting, so that its guest runs
/// no further; the neighbour, which does not call, notices nothing.
pub fn policy_domain_dies() -> Outcome {
    let kernel = kernel(Name::Benchmark)?;
    let deadly = |text: &str| text.replace("\"pmu_pd.elf\"", "\"pmu_crash.elf\"");
    let finished = side_by_side(&kernel, "policy-dies", ["orphan", "idle"], deadly, NEIGHBOUR)?;
    report(&kernel, &lines_of(&finished, NEIGHBOUR), "idle", &finished)?.verdict().map_err(Failure::Check)?;
    let orphan = lines_of(&finished, COUNT);
    if orphan.lines().any(|line| line.starts_with(SENTINEL)) {
        return Err(Failure::Check(format!("the guest whose policy domain died came to an end:\n{orphan}")));
    }
    println!("      the neighbour of a guest whose policy domain died ends well; that guest waits");
    Ok(())
}

/// Runs tests/system/two_vms, its description and policy changed, until the VMM with this mark has reported.
fn side_by_side(
    kernel: &Kernel,
    name: &str,
    [first, second]: [&str; 2],
    change: impl Fn(&str) -> String,
    last: &str,
) -> Outcome<Finished> {
    let (folder, inputs) = folders(kernel, name)?;
    put_guest(first, &inputs.join("guest.elf"))?;
    put_guest(second, &inputs.join("neighbour.elf"))?;
    let source = root().join("tests/system/two_vms");
    for file in ["system.xml", "policy.toml"] {
        let text = fs::read_to_string(source.join(file)).map_err(|e| unwritable(&source, &e))?;
        let changed = inputs.join(file);
        fs::write(&changed, change(&text)).map_err(|e| unwritable(&changed, &e))?;
    }
    let (system, toml) = (inputs.join("system.xml"), inputs.join("policy.toml"));
    let image = image(kernel, &system, &toml, &folder, inputs)?;
    boot(&image, &folder, MEMORY_MIB, &format!("{last}{SENTINEL}"), name != "policy-dies")
}

/// The folder of one test, and in it the one of files that its description names.
fn folders(kernel: &Kernel, name: &str) -> Outcome<(PathBuf, PathBuf)> {
    let folder = output("sdk-tests")?.join(format!("{}-{name}", kernel.name()));
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs).map_err(|e| unwritable(&inputs, &e))?;
    Ok((folder, inputs))
}

fn image(kernel: &Kernel, system: &Path, toml: &Path, folder: &Path, inputs: PathBuf) -> Outcome<Image> {
    policy::compile_to(toml, &inputs.join("policy.bin"))?;
    kernel.build(system, folder, vec![inputs], None)
}

fn boot(image: &Image, folder: &Path, memory: u32, last: &str, whole: bool) -> Outcome<Finished> {
    let mut machine = bochs::Machine::new(&folder.join("bochs"), &image.iso);
    machine.memory_mib = memory;
    machine.time_limit = LIMIT;
    let broken = BROKEN.iter().filter(|_| whole).map(|text| (*text).to_owned());
    machine.sentinels = broken.chain([last.to_owned()]).collect();
    let finished = machine.run(|_| {})?;
    match &finished.ended {
        Ended::Sentinel(line) if line.starts_with(last) => Ok(finished),
        _ => Err(Failure::Check(finished.summary())),
    }
}

fn report(kernel: &Kernel, log: &str, guest: &str, finished: &Finished) -> Outcome<Report> {
    let lines: Vec<Line<'_>> = log.lines().filter_map(Line::parse).collect();
    Report::from_lines(&lines, "bochs".to_owned(), kernel.description(), guest.to_owned())
        .ok_or_else(|| Failure::Check(format!("the report of {guest} is incomplete; {}", finished.summary())))
}
