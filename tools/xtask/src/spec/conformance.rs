//! pmu_core, the reference and the oracle (package `conformance`).

use crate::process::{Failure, Outcome, run};
use crate::run::tests_of_guests;
use crate::workspace::{cargo, output, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the program; its path.
pub fn build() -> Outcome<PathBuf> {
    let arguments = ["build", "--release", "--quiet", "--package", "conformance"];
    run("cargo build of conformance", cargo().args(arguments))?;
    let program = target().join("release/conformance");
    if program.exists() {
        Ok(program)
    } else {
        Err(Failure::Environment(format!("{} was not built", program.display())))
    }
}

fn go(program: &Path, oracle: Option<&Path>, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(oracle) = oracle {
        command.arg("--oracle").arg(oracle);
    }
    run(&format!("conformance {}", arguments.join(" ")), &mut command)
}

/// In every run of the tests.
pub fn quick(program: &Path, oracle: &Path) -> Outcome {
    go(program, Some(oracle), &["traces"])?;
    go(program, Some(oracle), &["corrupt"])?;
    go(program, Some(oracle), &["reference", "--depth", "2"])?;
    go(program, None, &["fixpoint"])?;
    go(program, None, &["approvals", "--depth", "4"])?;
    go(program, None, &["limits", "--depth", "4"])?;
    go(program, None, &["lockstep", "--depth", "4"])?;
    go(program, None, &["lockstep", "--depth", "5", "--operations", "24"])
}

/// Longer sequences.
pub fn sequences(program: &Path, oracle: &Path) -> Outcome {
    go(program, Some(oracle), &["traces", "--steps", "10000", "--seed", "1000"])?;
    go(program, Some(oracle), &["reference", "--depth", "3"])?;
    go(program, None, &["approvals", "--depth", "5"])?;
    go(program, None, &["limits", "--depth", "6"])?;
    go(program, None, &["lockstep", "--depth", "5"])
}

/// A guest on the simulated machine that writes every bit of every PMU register.
pub fn every_bit(program: &Path, oracle: &Path) -> Outcome {
    let file = output("spec")?.join("every_bit.exits");
    tests_of_guests::every_bit_traced(&file)?;
    go(program, Some(oracle), &["exits", &file.display().to_string()])
}

/// The exits of whole runs on the simulated machine.
pub fn exits(program: &Path, oracle: &Path) -> Outcome {
    let xtask = std::env::current_exe()
        .map_err(|error| Failure::Environment(format!("the path of this program is not known: {error}")))?;
    for guest in ["count", "hostile"] {
        let file = output("spec")?.join(guest).with_extension("exits");
        let mut command = Command::new(&xtask);
        command.args(["run", "--timeout", "900", "--guest", guest, "--trace"]).arg(&file);
        run(&format!("cargo xtask run --guest {guest} --trace"), &mut command)?;
        go(program, Some(oracle), &["exits", &file.display().to_string()])?;
    }
    Ok(())
}
