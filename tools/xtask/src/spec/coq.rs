//! Coq: the proofs, the check that they rest on no axiom, the oracle.

use crate::process::{Failure, Outcome, run_logged};
use crate::workspace::{output, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files in the order of their dependencies.
const FILES: &[&str] = &[
    "Arch",
    "Policy",
    "Machine",
    "Bits",
    "Registers",
    "Invariant",
    "Approved",
    "Local",
    "Permitted",
    "Isolated",
    "Pmi",
    "Transparent",
    "Authority",
    "Limit",
    "Terms",
    "Step",
    "Oracle",
];
/// Files whose theorems are claimed.
const CLAIMS: &[&str] =
    &["Approved", "Permitted", "Isolated", "Pmi", "Limit", "Transparent", "Authority", "Terms", "Step"];
/// Theorems that docs/assurance.md names. They must exist, whatever else does.
const REQUIRED: &[&str] = &[
    "host_quiet",
    "switch_quiet",
    "counters_of_the_guest",
    "only_permitted",
    "no_reserved_bit",
    "no_any_thread",
    "possible_ok",
    "isolation",
    "noninterference",
    "noninterference_by_kernel",
    "not_held_up",
    "read_back",
    "control_kept",
    "pmi_account",
    "pmi_once",
    "limit_holds",
    "limit_bounds",
    "none_lost",
    "refused_changes_nothing",
    "save_restore",
    "direct_transparent",
    "approved_is_decided",
    "approved_is_trapped",
    "approved_adds_nothing",
    "stale_pair_breaks",
    "withdrawn_pair_traps",
    "closure_sound",
    "islands_stay_apart",
    "hw_sel_term_ok",
    "hw_fctrl_term_ok",
    "step_term_ok",
];
/// What Coq prints for a theorem that rests on no axiom.
const CLOSED: &str = "Closed under the global context";

fn environment(error: std::io::Error, path: &Path) -> Failure {
    Failure::Environment(format!("{}: {error}", path.display()))
}

fn coq(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).args(["-Q", ".", "Vpmu"]);
    command
}

/// Compiles every file, in a folder of its own; the folder.
pub fn prove() -> Outcome<PathBuf> {
    let sources = root().join("tests/spec/coq");
    let folder = output("spec/coq")?;
    for name in FILES {
        let (from, to) = (sources.join(name).with_extension("v"), folder.join(name).with_extension("v"));
        fs::copy(&from, &to).map_err(|error| environment(error, &from))?;
        let log = folder.join(name).with_extension("log");
        run_logged(&format!("coqc {name}.v"), coq("coqc", &folder).arg(&to), &log)?;
    }
    println!("      coq: {} files", FILES.len());
    Ok(folder)
}

/// The theorems and corollaries of a file.
fn theorems(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.strip_prefix("Theorem ").or_else(|| line.strip_prefix("Corollary "))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

/// Asks Coq what each claimed theorem rests on; anything but nothing is a failure.
pub fn assumptions(folder: &Path) -> Outcome {
    let mut names = Vec::new();
    let mut script = String::new();
    for file in CLAIMS {
        let path = folder.join(file).with_extension("v");
        let text = fs::read_to_string(&path).map_err(|error| environment(error, &path))?;
        script.push_str(&format!("From Vpmu Require {file}.\n"));
        for name in theorems(&text) {
            script.push_str(&format!("Print Assumptions {file}.{name}.\n"));
            names.push(name.to_owned());
        }
    }
    if let Some(missing) = REQUIRED.iter().find(|name| !names.iter().any(|n| n == **name)) {
        return Err(Failure::Check(format!("the specification has no theorem {missing}")));
    }
    let path = folder.join("Assumptions.v");
    fs::write(&path, script).map_err(|error| environment(error, &path))?;
    let log = folder.join("Assumptions.log");
    run_logged("coqc Assumptions.v", coq("coqc", folder).arg(&path), &log)?;
    let printed = fs::read_to_string(&log).map_err(|error| environment(error, &log))?;
    let closed = printed.lines().filter(|line| *line == CLOSED).count();
    if closed != names.len() || printed.lines().any(|line| line != CLOSED) {
        return Err(Failure::Check(format!(
            "{closed} of {} theorems rest on no axiom; see {}",
            names.len(),
            log.display()
        )));
    }
    println!("      coq: {closed} theorems, each closed under the global context");
    Ok(())
}

/// Compiles the extracted specification with its replay driver; the program.
pub fn oracle(folder: &Path) -> Outcome<PathBuf> {
    let source = root().join("tests/spec/oracle/replay.ml");
    let copy = folder.join("replay.ml");
    fs::copy(&source, &copy).map_err(|error| environment(error, &source))?;
    let mut command = Command::new("ocamlfind");
    command.current_dir(folder).args(["ocamlopt", "-package", "zarith", "-linkpkg"]);
    command.args(["spec.mli", "spec.ml", "replay.ml", "-o", "replay"]);
    run_logged("ocamlfind ocamlopt", &mut command, &folder.join("replay.log"))?;
    Ok(folder.join("replay"))
}

/// Checks the compiled proofs anew with Coq's small checker.
pub fn check(folder: &Path) -> Outcome {
    let mut command = coq("coqchk", folder);
    command.args(["-silent", "-o"]).args(CLAIMS.iter().map(|name| format!("Vpmu.{name}")));
    let log = folder.join("coqchk.log");
    run_logged("coqchk", &mut command, &log)?;
    let printed = fs::read_to_string(&log).map_err(|error| environment(error, &log))?;
    if !printed.lines().any(|line| line.trim() == "* Axioms: <none>") {
        return Err(Failure::Check(format!("coqchk found axioms; see {}", log.display())));
    }
    println!("      coqchk: the proofs hold");
    Ok(())
}
