//! pmu_core, the reference and the oracle (package `conformance`).

use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, target};
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
    go(program, None, &["lockstep", "--depth", "5", "--operations", "24"])
}

/// Longer sequences.
pub fn full(program: &Path, oracle: &Path) -> Outcome {
    go(program, Some(oracle), &["traces", "--steps", "50000", "--seed", "1000"])?;
    go(program, Some(oracle), &["reference", "--depth", "3"])?;
    go(program, None, &["lockstep", "--depth", "5"])
}
