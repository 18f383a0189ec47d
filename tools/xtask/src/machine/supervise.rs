//! One emulator process: started headless, watched, ended, its logs read. Nothing outlives it.

use crate::process::{Failure, Outcome};
use crate::run::lines::GUEST;
use crate::workspace::{Claim, claim};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A runaway guest can write gigabytes; a log longer than this ends the run.
const LOG_LIMIT_BYTES: u64 = 64 << 20;
/// How often the logs are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long an emulator may take to end by itself, and to write its report, after it was asked to; not counting what it
/// waits for a processor, because a busy machine is no failure.
const GRACE: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// This line of the serial log contains one of the sentinels, and not in what a guest printed, but for sentinels that
    /// begin with the VMM's mark of a guest's lines.
    Sentinel(String),
    /// The guest shut the machine down; with QEMU, the value that it wrote to isa-debug-exit.
    Shutdown(Option<u32>),
    /// The time limit passed; the machine was stopped.
    TimeLimit,
    /// A log grew past 64 MiB; the machine was stopped.
    LogTooLong(PathBuf),
    /// The emulator gave up: its exit code and its last message.
    EmulatorFailed(String),
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// All that the guest wrote to COM1. Bytes that are not UTF-8 are replaced.
    pub serial: String,
    /// How it ended.
    pub ended: Ended,
    /// The emulator's final tick (Bochs: instructions and charged cycles since power-on).
    pub ticks: Option<u64>,
    /// The report that the PMU library wrote, if it did (JSON).
    pub report: Option<PathBuf>,
    /// What the emulator itself printed.
    pub console: PathBuf,
    /// Host time from start to end.
    pub wall: Duration,
}

impl Finished {
    /// The last lines of the serial log and how the run ended, for a failure message.
    pub fn summary(&self) -> String {
        let how = match &self.ended {
            Ended::Sentinel(line) => format!("the machine was stopped at the line `{line}`"),
            Ended::Shutdown(None) => "the machine shut down".to_owned(),
            Ended::Shutdown(Some(code)) => format!("the machine shut down with code {code}"),
            Ended::TimeLimit => {
                format!("the machine was stopped at the time limit, after {:.0} s", self.wall.as_secs_f64())
            }
            Ended::LogTooLong(log) => {
                format!("the machine was stopped because {} grew past 64 MiB", log.display())
            }
            Ended::EmulatorFailed(message) => format!("the emulator failed: {message}"),
        };
        format!(
            "{how}; the end of its serial log:\n  {}\nthe emulator's own messages: {}",
            tail(&self.serial, 20),
            self.console.display()
        )
    }
}

/// The last `count` lines, indented to follow two spaces.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n  ")
}

/// A folder that one run at a time uses; the lock ends with the value.
pub(super) struct Folder {
    path: PathBuf,
    _claim: Claim,
}

impl Folder {
    /// Creates and locks the folder and deletes the logs of the run before.
    pub(super) fn claim(path: &Path, old: &[&str]) -> Outcome<Self> {
        let failed = |e| Failure::Environment(format!("{} cannot be written: {e}", path.display()));
        // Absolute, because the emulator may read its configuration with another working folder.
        let path = std::path::absolute(path).map_err(failed)?;
        let claim = claim(&path)?;
        for name in old {
            match fs::remove_file(path.join(name)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        Ok(Self { path, _claim: claim })
    }

    /// A file of this run.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new file of this run with this text.
    pub(super) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text)
            .map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", path.display())))?;
        Ok(path)
    }
}

/// What [`watch`] looks at.
pub(super) struct Watch<'a> {
    pub(super) serial: &'a Path,
    pub(super) console: &'a Path,
    /// Further logs whose length is limited.
    pub(super) logs: &'a [PathBuf],
    pub(super) sentinels: &'a [String],
    /// Where a byte goes when the time limit has passed; the machine then has some seconds more to end by itself.
    pub(super) end_request: Option<&'a Path>,
    /// Not counting what it waits for a processor that others use.
    pub(super) time_limit: Duration,
}

/// Why [`watch`] came back.
pub(super) enum Stop {
    Sentinel(String),
    Exited(ExitStatus),
    TimeLimit,
    LogTooLong(PathBuf),
}

/// The command line that runs `program` so that it dies with us, whatever ends us.
pub fn tied(program: impl AsRef<OsStr>, environment: &[(&str, &Path)]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "env"]);
    // Bochs would look for its parts where these say.
    command.args(["--unset=LTDL_LIBRARY_PATH", "--unset=BXSHARE", "TERM=dumb"]);
    for (name, value) in environment {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        command.arg(setting);
    }
    command.arg(program);
    command
}

/// Runs `command` headless until it ends, a sentinel line is complete, or a limit is reached; calls `on_line`
/// for each complete serial line, with the processor time that `command` has used. On return the process is gone.
pub(super) fn watch(
    command: &mut Command,
    watch: &Watch,
    on_line: &mut dyn FnMut(&str, Duration),
) -> Outcome<Stop> {
    let failed = |e| Failure::Environment(format!("{} cannot be written: {e}", watch.console.display()));
    let console = File::create(watch.console).map_err(failed)?;
    command.stdin(Stdio::null()).stdout(console.try_clone().map_err(failed)?).stderr(console);
    let child = command.spawn().map_err(|e| {
        let program = command.get_program().to_string_lossy();
        Failure::Environment(format!("`{program}` could not be started ({e}); run `cargo xtask doctor`"))
    })?;
    let mut child = Running(child);
    let mut lines = Lines::new(watch.serial);
    let start = Instant::now();
    let (mut limit, mut asked) = (watch.time_limit, false);
    let (mut cpu, mut waited) = (Duration::ZERO, Duration::ZERO);
    loop {
        cpu = child.cpu().unwrap_or(cpu);
        let exited = child.0.try_wait().map_err(failed)?;
        for line in lines.new_ones() {
            on_line(&line, cpu);
            if watch.sentinels.iter().any(|s| has(&line, s)) {
                return Ok(match child.stop() {
                    Some(status) if crashed(status) => Stop::Exited(status),
                    _ => Stop::Sentinel(line),
                });
            }
        }
        if let Some(status) = exited {
            return Ok(Stop::Exited(status));
        }
        let logs = watch.logs.iter().map(PathBuf::as_path).chain([watch.serial, watch.console]);
        for log in logs {
            if fs::metadata(log).is_ok_and(|m| m.len() > LOG_LIMIT_BYTES) {
                child.stop();
                return Ok(Stop::LogTooLong(log.to_owned()));
            }
        }
        waited = child.waited().unwrap_or(waited);
        let had = start.elapsed().saturating_sub(waited);
        if had > limit {
            match watch.end_request.filter(|_| !asked).map(ask) {
                Some(Ok(())) => {
                    asked = true;
                    limit = had + GRACE;
                }
                // Nobody listens: the emulator has not got that far.
                _ => {
                    child.stop();
                    return Ok(Stop::TimeLimit);
                }
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a process that was asked to end did so by a signal of its own: what it was to write is then not there.
fn crashed(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| signal != Signal::INT.as_raw())
}

/// Whether the line has the sentinel. What a guest prints is its own matter and stops nothing, unless the sentinel says by
/// the VMM's mark that it is a guest's.
fn has(line: &str, sentinel: &str) -> bool {
    let guest = line.find(GUEST).unwrap_or(line.len());
    line.find(sentinel).is_some_and(|at| at <= guest)
}

/// The request to end (ASCII: end of text), as the VMM knows it.
const END: u8 = 3;

/// Asks the guest's VMM to end.
fn ask(line: &Path) -> std::io::Result<()> {
    // Without a reader, a pipe cannot be opened so.
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    File::options().write(true).custom_flags(no_wait).open(line)?.write_all(&[END])
}

/// A child that is killed when we forget it.
struct Running(Child);

impl Running {
    /// Its processor time so far, user and system; nothing once it has ended.
    fn cpu(&self) -> Option<Duration> {
        // proc(5): fields 14 and 15, in hundredths of a second; the name in field 2 may hold anything but ends
        // with the last parenthesis.
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        let [user, system] = [fields.next()?, fields.next()?].map(str::parse::<u64>);
        Some(Duration::from_millis(10 * (user.ok()? + system.ok()?)))
    }

    /// How long it was ready to run and did not, because others had the processors: what the thread that waited longest
    /// did. Nothing once it has ended, or where Linux does not tell.
    fn waited(&self) -> Option<Duration> {
        // Documentation/scheduler/sched-stats.rst: time on the processor, time in the queue, both in nanoseconds.
        let of_thread = |folder: fs::DirEntry| {
            let text = fs::read_to_string(folder.path().join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
        };
        fs::read_dir(format!("/proc/{}/task", self.0.id())).ok()?.flatten().filter_map(of_thread).max()
    }

    /// Asks the process to end (its reports are then complete), and kills it if it does not. How it ended, if it did.
    fn stop(&mut self) -> Option<ExitStatus> {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
            && kill_process(pid, Signal::INT).is_ok()
        {
            let asked = Instant::now();
            let before = self.waited().unwrap_or_default();
            let mut waited = before;
            while asked.elapsed().saturating_sub(waited.saturating_sub(before)) < GRACE {
                if let Ok(Some(status)) = self.0.try_wait() {
                    return Some(status);
                }
                waited = self.waited().unwrap_or(waited);
                std::thread::sleep(POLL);
            }
        }
        // Either fails only if the process is gone, which is the aim.
        let _ = self.0.kill();
        let _ = self.0.wait();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// The complete lines of a file that another process appends to.
struct Lines<'a> {
    path: &'a Path,
    read: u64,
    pending: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, read: 0, pending: Vec::new() }
    }

    /// What was appended since the last call, up to the last line end. No file yet: nothing.
    fn new_ones(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(self.path) else { return Vec::new() };
        if file.seek(SeekFrom::Start(self.read)).is_err() {
            return Vec::new();
        }
        let before = self.pending.len();
        if file.take(LOG_LIMIT_BYTES).read_to_end(&mut self.pending).is_err() {
            self.pending.truncate(before);
            return Vec::new();
        }
        self.read += (self.pending.len() - before) as u64;
        let Some(end) = self.pending.iter().rposition(|&b| b == b'\n') else { return Vec::new() };
        let rest = self.pending.split_off(end + 1);
        let complete = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&complete).lines().map(str::to_owned).collect()
    }
}

/// A log as text; a log that was never written is empty.
pub(super) fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "")
}

#[cfg(test)]
mod tests;
