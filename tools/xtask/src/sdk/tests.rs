//! What can be tested of it: without an SDK that the sources fit and what is refused; with one, images that boot.

use super::{Kernel, Name, Sdk, VARIABLE};
use crate::image::freestanding;
use crate::machine::{Ended, bochs};
use crate::policy;
use crate::process::{Failure, Outcome, run};
use crate::run::guest::Guest;
use crate::run::lines::Line;
use crate::run::report::Report;
use crate::run::{BROKEN, Mode, SENTINEL};
use crate::workspace::{cargo, output, root, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Arguments that are refused, and what is said.
const REFUSED: &[(&[&str], &str)] = &[
    (&["image", "--sdk"], "no Microkit SDK is named: give `--sdk DIR`, or set MICROKIT_SDK"),
    (&["run", "--sdk"], "no Microkit SDK is named: give `--sdk DIR`, or set MICROKIT_SDK"),
    (&["image", "--sdk", "docs"], "docs is no Microkit SDK (it has no file VERSION)"),
    (
        &["image", "--config", "benchmark"],
        "the bundled kernel has no configuration benchmark: add `--sdk DIR`",
    ),
];

/// Without an SDK: the domains' sources fit our own runtime as well in their form for the SDK, and wrong use is refused.
pub fn sources() -> Outcome {
    run("cargo fmt", cargo().current_dir(root().join("tools/sdk")).args(["fmt", "--check"]))?;
    let mut check = cargo();
    check.args([
        "check",
        "--quiet",
        "--package",
        "pmu_pd",
        "--package",
        "vmm_pd",
        "--target",
        freestanding::TARGET,
    ]);
    check.arg("--target-dir").arg(target().join("sdk/sources"));
    check.env("CARGO_ENCODED_RUSTFLAGS", "--cfg=stock_kernel\u{1f}-Dwarnings");
    run("the check of the domains for the SDK", &mut check)?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("this program's own path is unknown: {e}")))?;
    for (arguments, reason) in REFUSED {
        let mut command = Command::new(&program);
        let result =
            command.args(*arguments).current_dir(root()).env_remove(VARIABLE).output().map_err(|e| {
                Failure::Environment(format!("{} could not be started: {e}", program.display()))
            })?;
        let message = String::from_utf8_lossy(&result.stderr);
        if result.status.code() != Some(2) || !message.contains(reason) {
            return Err(Failure::Check(format!(
                "{arguments:?}: expected exit code 2 and `{reason}`, got {} and: {message}",
                result.status
            )));
        }
    }
    Ok(())
}

/// On the SDK that the variable names: the guest counts exactly with configuration benchmark, and has no PMU with the
/// others.
pub fn in_bochs() -> Outcome {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    for config in [Name::Benchmark, Name::Debug, Name::Release] {
        let kernel = Kernel::Sdk(Sdk::find(folder.as_deref(), config)?);
        let report = count(&kernel)?;
        report.verdict().map_err(|why| Failure::Check(format!("{}: {why}", kernel.description())))?;
        let mode = if config == Name::Benchmark { "mediated" } else { "off" };
        if report.mode != mode {
            return Err(Failure::Check(format!(
                "{}: the guest is in mode {}, not {mode}",
                kernel.description(),
                report.mode
            )));
        }
        if config == Name::Benchmark && report.counters.is_empty() {
            return Err(Failure::Check("the guest counted nothing".to_owned()));
        }
        println!("      {}: mode {mode}, {} counters exact", kernel.description(), report.counters.len());
    }
    Ok(())
}

/// The guest `count` on this kernel.
fn count(kernel: &Kernel) -> Outcome<Report> {
    let folder = output("sdk-tests")?.join(kernel.name());
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs).map_err(|e| Failure::Environment(format!("{}: {e}", inputs.display())))?;
    let policy = inputs.join("policy.toml");
    fs::write(&policy, Mode::Mediated.policy())
        .map_err(|e| Failure::Environment(format!("{}: {e}", policy.display())))?;
    policy::compile_to(&policy, &inputs.join("policy.bin"))?;
    let memory = Guest::new("count").put(&inputs)?;
    let image = kernel.build(&root().join("system.xml"), &folder, vec![inputs], None)?;
    let mut machine = bochs::Machine::new(&folder.join("bochs"), &image.iso);
    machine.memory_mib = memory;
    machine.time_limit = Duration::from_secs(300);
    machine.sentinels = BROKEN.iter().chain([&SENTINEL]).map(|text| (*text).to_owned()).collect();
    let finished = machine.run(|_| {})?;
    if !matches!(&finished.ended, Ended::Sentinel(line) if line.starts_with(SENTINEL)) {
        return Err(Failure::Check(finished.summary()));
    }
    let lines: Vec<Line<'_>> = finished.serial.lines().filter_map(Line::parse).collect();
    Report::from_lines(&lines, "bochs".to_owned(), kernel.description(), "count".to_owned())
        .ok_or_else(|| Failure::Check(format!("the VMM's report is incomplete; {}", finished.summary())))
}

/// Whether there is an SDK to test on.
pub fn is_named() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|folder| !Path::new(&folder).as_os_str().is_empty())
}
