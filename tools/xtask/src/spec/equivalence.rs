//! The machine code of the pure functions against the terms that Coq prints.

use crate::process::{Failure, Outcome, run, run_logged};
use crate::workspace::{cargo, output, root, target};
use std::path::Path;
use std::process::Command;

/// Pinned: later releases of the last two break this angr.
const PACKAGES: &[&str] = &["angr==9.2.213", "bitstring<4.3", "pycparser==3.0"];

/// Builds the library, installs angr in an environment of its own, compares.
pub fn equivalence(proofs: &Path) -> Outcome {
    let arguments = ["build", "--release", "--quiet", "--package", "machine_code"];
    run("cargo build of machine_code", cargo().args(arguments))?;
    let environment = output("spec/angr")?;
    let python = environment.join("bin/python");
    if !environment.join("installed").exists() {
        let venv = ["-m", "venv", "--clear"];
        run_logged(
            "python3 -m venv",
            Command::new("python3").args(venv).arg(&environment),
            &proofs.join("venv.log"),
        )?;
        println!("      equivalence: installing angr (440 MB)");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        run_logged("pip install angr", &mut pip, &proofs.join("pip.log"))?;
        let marker = environment.join("installed");
        std::fs::write(&marker, "")
            .map_err(|error| Failure::Environment(format!("{}: {error}", marker.display())))?;
    }
    let script = root().join("tests/conformance/machine_code/equivalence.py");
    let library = target().join("release/libmachine_code.so");
    let mut command = Command::new(&python);
    command.arg(script).arg(library).arg(proofs.join("Terms.log"));
    run("machine-code equivalence", &mut command)
}
