//! The guest `linux`: Debian's kernel as it is, busybox, and perf, which measures programs of known length.

mod judge;
pub mod steps;
mod two;

use super::Arguments;
use super::guest::Guest;
use super::report::Report;
use crate::machine::{linux, linux_files};
use crate::process::{Failure, Outcome};
use crate::workspace::output;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Its name on the command line.
pub const NAME: &str = "linux";
/// How long a Linux may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(1800);
/// Simulated instructions a second for a Linux, as on the bare machine. With fewer there are more ticks of its timer in as
/// many instructions, and it loses some while it starts: then it takes the time-stamp counter for a bad clock.
pub const IPS: u32 = linux::IPS;
/// Its memory in MiB.
const MEMORY: u32 = 256;
/// As for any Linux with this console and this first program, which ends at a panic.
const COMMAND_LINE: &str = "console=ttyS0,115200 quiet panic=-1 rdinit=/init";
const INIT: &str = include_str!("linux/init.sh");
const FUNCTIONS: &str = include_str!("linux/functions.sh");
const MEASUREMENTS: &str = include_str!("linux/perf.sh");
/// How lines of the guest begin in the serial log.
const GUEST: &str = "guest: ";
/// How the kernel says that it has given up.
const PANIC: &str = "Kernel panic - not syncing";
/// How we say it.
pub const PANICKED: &str = "the guest's kernel panicked";
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
        let measures = arguments.script.is_none();
        Self::with(&script, &arguments.append, measures).map(Some)
    }

    /// The files with this script.
    pub fn with(script: &str, append: &str, measures: bool) -> Outcome<Self> {
        let kernel = linux_files::kernel()?;
        let folder = output("run/linux")?;
        let scripts = [("init", INIT), ("functions", FUNCTIONS), ("script", script)];
        Ok(Self {
            kernel: kernel.display().to_string(),
            initrd: linux_files::initial_files(&folder, &scripts)?,
            command_line: format!("{COMMAND_LINE} {append}").trim_end().to_owned(),
            measures,
        })
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

    /// Shows what the guest said, and what was counted of it, against what must be.
    ///
    /// # Errors
    /// It did not come to the end of its script, or a value is wrong.
    pub fn judge(&self, serial: &str, report: &Report) -> Result<(), String> {
        let console = console(serial);
        if !console.contains(&"linux | end") {
            return Err("the guest did not come to the end of its script".to_owned());
        }
        if let Some(ticks) = judge::shell(&console) {
            println!("{TO_THE_SHELL}{ticks}");
        }
        if !self.measures {
            return Ok(());
        }
        let checks = judge::checks(&console, report);
        checks.iter().for_each(|check| println!("{check}"));
        match checks.iter().filter(|check| !check.ok()).count() {
            0 => Ok(()),
            failed => Err(format!("{failed} of {} checks failed", checks.len())),
        }
    }
}

/// What stands before the ticks of the TSC from the kernel's start to its shell.
const TO_THE_SHELL: &str = "to the shell, in ticks of the TSC: ";

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
    Err(Failure::Guest(format!("{PANICKED}; its last lines:\n  {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The report's verdict is the run's: in JSON, too, a program must find what the exit code says.
    #[test]
    fn what_the_guest_linux_got_wrong_fails_its_report() {
        let log = "@pmi raised=0 delivered=0 lost=0\n@stop code=0 off\n";
        let lines: Vec<_> = log.lines().filter_map(crate::run::lines::Line::parse).collect();
        let report = Report::from_lines(&lines, "bochs".into(), "k".into(), NAME.into());
        let mut report = report.expect("complete");
        assert_eq!(report.json()["passed"], true);
        let linux = Linux {
            kernel: String::new(),
            initrd: PathBuf::new(),
            command_line: String::new(),
            measures: true,
        };
        assert!(linux.judge("guest: linux | start\n", &report).unwrap_err().contains("end of its script"));
        report.refuted = linux.judge("guest: linux | end\n", &report).err();
        let json = report.json();
        assert_eq!((&json["passed"], &json["verdict"]), (&false.into(), &"35 of 39 checks failed".into()));
        assert!(crate::run::show::text(&report).ends_with("\nFAIL: 35 of 39 checks failed\n"));
    }

    #[test]
    fn a_panic_is_shown_with_what_came_before() {
        let log = "guest: before\nguest: Kernel panic - not syncing: x\nguest: after\n";
        let error = panicked(log).expect_err("fails");
        assert!(panicked("Kernel panic of the host's\nguest: linux | end\n").is_ok());
        assert!(matches!(&error, Failure::Guest(text) if text.contains("before") && text.contains("after")));
    }
}
