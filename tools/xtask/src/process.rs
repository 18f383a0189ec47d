//! Running other programs, and how a command of ours fails.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Why a command of `cargo xtask` did not succeed. Each message is a sentence that names the place and the
/// remedy.
#[derive(Debug)]
pub enum Failure {
    /// A check or a test failed: exit code 1.
    Check(String),
    /// Wrong use, wrong input, a missing tool or a failed build: exit code 2.
    Environment(String),
    /// The guest failed: exit code 3.
    Guest(String),
}

impl Failure {
    /// The exit code that `--help` documents.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Check(_) => ExitCode::from(1),
            Failure::Environment(_) => ExitCode::from(2),
            Failure::Guest(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Check(message) | Failure::Environment(message) | Failure::Guest(message) => {
                f.write_str(message)
            }
        }
    }
}

/// What every command of ours returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Runs `command` with its output on ours; an exit code other than 0 becomes a failed check.
pub fn run(what: &str, command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| not_started(what, command, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::Check(format!("{what} failed ({status})"))) }
}

/// Runs `command` with its output in the file `log`; on failure the last lines of the log are in the message.
pub fn run_logged(what: &str, command: &mut Command, log: &Path) -> Outcome {
    let create = || File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) =
        create().map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", log.display())))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let status = command.status().map_err(|error| not_started(what, command, &error))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
    Err(Failure::Check(format!("{what} failed ({status}); the end of {}:\n  {tail}", log.display())))
}

fn not_started(what: &str, command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::Environment(format!(
        "{what}: `{program}` could not be started ({error}); `cargo xtask doctor` says whether its package is installed, and \
         PATH must have its folder"
    ))
}
