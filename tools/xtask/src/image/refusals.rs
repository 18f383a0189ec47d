//! Descriptions that are wrong on purpose: `cargo xtask image` says where and why, and ends with code 2. So does a command whose
//! output nobody reads.

use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A file in tests/system/wrong, and what is said about it after its path.
const WRONG: &[(&str, &str)] = &[
    ("priority.xml", ":10: a PPC must be to a protection domain of strictly higher priority"),
    ("no_program.xml", ":5: program image 'nobodys_program.elf' is in no search path"),
    ("not_there.xml", ": cannot be read"),
];

/// Runs the command on each, and one command whose output nobody reads.
pub fn refused() -> Outcome {
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("this program's own path is unknown: {e}")))?;
    unread(&program)?;
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

/// What is printed to nobody, as after `| head`, is no panic, whether or not somebody reads the errors.
fn unread(program: &Path) -> Outcome {
    for errors_are_read in [true, false] {
        let ended: std::io::Result<Output> = std::io::pipe().and_then(|(reader, closed)| {
            drop(reader);
            let errors = if errors_are_read { Stdio::piped() } else { closed.try_clone()?.into() };
            Command::new(program)
                .args(["test", "--list"])
                .stdout(closed)
                .stderr(errors)
                .spawn()?
                .wait_with_output()
        });
        let ended = ended
            .map_err(|e| Failure::Environment(format!("{} could not be run: {e}", program.display())))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        let told = said.lines().count() == 1 && said.starts_with("error: nobody reads the output");
        if ended.status.code() != Some(2) || told != errors_are_read {
            return Err(Failure::Check(format!("an output that nobody reads: {}: {said}", ended.status)));
        }
    }
    Ok(())
}
