//! Descriptions that are wrong on purpose: `cargo xtask image` says where and why, and ends with code 2.

use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use std::process::Command;

/// A file in tests/system/wrong, and what is said about it after its path.
const WRONG: &[(&str, &str)] = &[
    ("priority.xml", ":10: a PPC must be to a protection domain of strictly higher priority"),
    ("no_program.xml", ":5: program image 'nobodys_program.elf' is in no search path"),
    ("not_there.xml", ": cannot be read"),
];

/// Runs the command on each.
pub fn refused() -> Outcome {
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("this program's own path is unknown: {e}")))?;
    let out = output("system-tests/wrong")?;
    for (name, reason) in WRONG {
        let system = root().join("tests/system/wrong").join(name);
        let result = Command::new(&program)
            .args(["image", "--system"])
            .arg(&system)
            .arg("--out")
            .arg(&out)
            .output()
            .map_err(|e| Failure::Environment(format!("{} could not be started: {e}", program.display())))?;
        let message = String::from_utf8_lossy(&result.stderr);
        let expected = format!("error: {}{reason}", system.display());
        if result.status.code() != Some(2) || !message.contains(&expected) {
            return Err(Failure::Check(format!(
                "{name}: expected exit code 2 and `{expected}`, got {} and: {message}",
                result.status
            )));
        }
    }
    Ok(())
}
