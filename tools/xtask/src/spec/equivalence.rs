//! The machine code of the pure functions and of `Vpmu::write` against the terms that Coq prints.

use crate::process::{Failure, Outcome, run, run_logged};
use crate::workspace::{cargo, output, root, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    root().join("tests/conformance/machine_code")
}

/// A Python environment with angr; its interpreter. The list of packages is whole and pinned, so pip resolves nothing.
fn python(logs: &Path) -> Outcome<PathBuf> {
    let list = folder().join("requirements.txt");
    let wanted = read(&list)?;
    let environment = output("spec/angr")?;
    let python = environment.join("bin/python");
    // Written last, so that an installation that was interrupted is made anew.
    let marker = environment.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run_logged("python3 -m venv", &mut venv, &logs.join("venv.log"))?;
    println!("      equivalence: installing angr (90 MB)");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-compile", "--requirement"]).arg(&list);
    run_logged("pip install angr", &mut pip, &logs.join("pip.log"))?;
    fs::write(&marker, wanted).map_err(|error| environment_failure(&marker, &error))?;
    Ok(python)
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| environment_failure(path, &error))
}

fn environment_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("{}: {error}", path.display()))
}

/// Builds the library, installs angr in an environment of its own, compares.
pub fn equivalence(proofs: &Path) -> Outcome {
    let arguments = ["build", "--release", "--quiet", "--package", "machine_code"];
    run("cargo build of machine_code", cargo().args(arguments))?;
    let python = python(proofs)?;
    let library = target().join("release/libmachine_code.so");
    let (terms, steps) = (proofs.join("Terms.log"), proofs.join("Step.log"));
    let mut functions = Command::new(&python);
    functions.arg(folder().join("equivalence.py")).arg(&library).arg(&terms);
    run("machine-code equivalence of the pure functions", &mut functions)?;
    let mut step = Command::new(&python);
    step.arg(folder().join("step.py")).args([&library, &steps, &terms]);
    run("machine-code equivalence of Vpmu::write", &mut step)
}
