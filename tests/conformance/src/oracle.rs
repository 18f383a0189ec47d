//! The oracle as a process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the oracle says about a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The specification does the same.
    Accepted,
    /// The specification does something else; where and what.
    Rejected(String),
    /// Not a trace, or the oracle did not run; why.
    Broken(String),
}

/// Gives `trace` to the oracle at `path`.
pub fn replay(path: &Path, trace: &str) -> Verdict {
    let child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Verdict::Broken(format!("{} could not be started: {error}", path.display())),
    };
    if let Some(mut input) = child.stdin.take() {
        // A rejection ends the oracle before it has read everything.
        let _ = input.write_all(trace.as_bytes());
    }
    match child.wait_with_output() {
        Err(error) => Verdict::Broken(format!("the oracle's output could not be read: {error}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match output.status.code() {
                Some(0) => Verdict::Accepted,
                Some(1) => Verdict::Rejected(text),
                _ => Verdict::Broken(text),
            }
        }
    }
}
