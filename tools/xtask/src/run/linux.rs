//! The guest `linux`: Debian's kernel as it is, busybox, and perf, which measures a program of known length.

use super::Arguments;
use super::guest::Guest;
use crate::machine::checks::{Check, verdict};
use crate::machine::linux::{self, BRANCHES, INSTRUCTIONS, PERIOD};
use crate::machine::linux_files;
use crate::process::{Failure, Outcome, run};
use crate::workspace::output;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Its name on the command line.
const NAME: &str = "linux";
/// How long it may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(1800);
/// Its memory in MiB.
const MEMORY: u32 = 256;
const COMMAND_LINE: &str = "console=ttyS0,115200 quiet panic=-1 rdinit=/init";
/// Simulated instructions a second: as `cargo xtask machine linux` has it.
pub const IPS: u32 = linux::IPS;
const INIT: &str = include_str!("linux_init.sh");
const MEASUREMENTS: &str = include_str!("linux_perf.sh");
/// How lines of the guest begin in the serial log.
const GUEST: &str = "guest: ";
/// How the kernel says that it has given up.
const PANIC: &str = "Kernel panic - not syncing";
/// Lines of its console that are shown then.
const LAST_LINES: usize = 20;

/// The files of the guest.
#[derive(Debug)]
pub struct Linux {
    kernel: String,
    initrd: PathBuf,
    command_line: String,
    /// Its script is the one with the measurements.
    measures: bool,
}

impl Linux {
    /// The files, if that is the guest of the command line.
    pub fn of(arguments: &Arguments) -> Outcome<Option<Self>> {
        let refused = |text: &str| Err(Failure::Environment(text.to_owned()));
        if arguments.guest != NAME {
            return match arguments.script {
                Some(_) => refused("a script after `--` is for `--guest linux`"),
                None => Ok(None),
            };
        }
        if arguments.initrd.is_some() {
            return refused(
                "`--guest linux` has an initrd of its own; for yours, name your kernel by `--guest FILE`",
            );
        }
        let script = match &arguments.script {
            None => MEASUREMENTS.to_owned(),
            Some(file) => fs::read_to_string(file).map_err(|e| {
                Failure::Environment(format!("the script {} cannot be read: {e}", file.display()))
            })?,
        };
        let kernel = linux_files::kernel()?;
        let folder = output("run/linux")?;
        Ok(Some(Self {
            kernel: kernel.display().to_string(),
            initrd: linux_files::initial_files(&folder, &[("init", INIT), ("script", &script)])?,
            command_line: format!("{COMMAND_LINE} {}", arguments.append).trim_end().to_owned(),
            measures: arguments.script.is_none(),
        }))
    }

    /// The guest with this memory.
    pub fn guest(&self, memory: Option<u32>) -> Guest<'_> {
        Guest {
            name: &self.kernel,
            append: &self.command_line,
            initrd: Some(&self.initrd),
            memory: memory.unwrap_or(MEMORY),
        }
    }

    /// What the guest said, against what must be.
    ///
    /// # Errors
    /// [`Failure::Guest`]: it did not come to the end of its script, or a value is wrong.
    pub fn judge(&self, serial: &str) -> Outcome {
        let console = console(serial);
        if !console.contains(&"linux | end") {
            return Err(Failure::Guest("the guest did not come to the end of its script".to_owned()));
        }
        if !self.measures {
            return Ok(());
        }
        let checks = checks(&console);
        checks.iter().for_each(|check| println!("{check}"));
        verdict(&checks).map_err(|failure| Failure::Guest(failure.to_string()))
    }
}

fn console(serial: &str) -> Vec<&str> {
    serial.lines().filter_map(|line| line.strip_prefix(GUEST)).collect()
}

/// Whether a guest's Linux has given up, whatever became of the machine then.
///
/// # Errors
/// [`Failure::Guest`] with the last lines of its console.
pub fn panicked(serial: &str) -> Outcome {
    let console = console(serial);
    let Some(at) = console.iter().position(|line| line.contains(PANIC)) else { return Ok(()) };
    let last = console[at.saturating_sub(LAST_LINES)..].join("\n  ");
    Err(Failure::Guest(format!("the guest's kernel panicked; its last lines:\n  {last}")))
}

/// The step of `cargo xtask test --full`: the command as a user has it.
pub fn measured() -> Outcome {
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("the program of xtask cannot be found: {e}")))?;
    run("cargo xtask run --guest linux", Command::new(program).args(["run", "--guest", NAME]))
}

/// The values that the measurements print.
fn checks(console: &[&str]) -> Vec<Check> {
    let value = |name: &str| {
        let prefix = format!("linux | {name} | ");
        console.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("nothing").trim().to_owned()
    };
    let check = |name: &str, want: String| Check {
        name: format!("perf: {name}"),
        section: String::new(),
        got: value(name),
        want,
    };
    let mut checks = Vec::new();
    for turn in 1..=3 {
        for (event, want) in [("instructions:u", INSTRUCTIONS), ("branches:u", BRANCHES)] {
            checks.push(check(&format!("stat {turn} {event}"), want.to_string()));
        }
    }
    checks.push(check("samples", (INSTRUCTIONS / PERIOD).to_string()));
    checks.push(check("lost with 6 events", "0".to_owned()));
    checks.push(check("lost with 10 events", "0".to_owned()));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(measures: bool) -> Linux {
        Linux { kernel: String::new(), initrd: PathBuf::new(), command_line: String::new(), measures }
    }

    #[test]
    fn a_silent_guest_fails() {
        assert!(linux(false).judge("").is_err());
        assert!(linux(true).judge("guest: linux | end\n").is_err());
        assert!(linux(false).judge("guest: linux | end\n").is_ok());
    }

    #[test]
    fn a_panic_is_shown_with_what_came_before() {
        let log = "guest: before\nguest: Kernel panic - not syncing: x\nguest: after\n";
        let error = panicked(log).expect_err("fails");
        assert!(panicked("Kernel panic of the host's\nguest: linux | end\n").is_ok());
        assert!(matches!(&error, Failure::Guest(text) if text.contains("before") && text.contains("after")));
    }

    #[test]
    fn each_value_is_judged() {
        let good = [
            "linux | stat 1 instructions:u | 10000004",
            "linux | stat 1 branches:u | 5000001",
            "linux | samples | 100",
            "linux | lost with 6 events | 0",
            "linux | lost with 10 events | 0",
        ];
        let right = |console: &[&str]| checks(console).iter().filter(|check| check.ok()).count();
        assert_eq!(right(&good), 5);
        assert_eq!(right(&[&["linux | samples | 99"], &good[..2]].concat()), 2);
        assert_eq!(checks(&[]).len(), 9);
    }
}
