//! QEMU: without acceleration the same kernels and protection domains, fast, without VT-x and without PMU; with KVM
//! the host's VT-x and PMU.

use super::supervise::{self, Ended, Finished, Folder, Stop, Watch, read_log, tail, tied};
use crate::process::{Failure, Outcome};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";
/// Where a guest writes a byte `n` to end QEMU with exit code `2 * n + 1`.
const DEBUG_EXIT_PORT: &str = "isa-debug-exit,iobase=0xf4,iosize=0x04";

/// A QEMU machine with one processor.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Holds the logs of the run; created if need be, used by one run at a time.
    pub folder: PathBuf,
    /// A Multiboot kernel (32-bit ELF).
    pub kernel: PathBuf,
    /// Its only module.
    pub module: Option<PathBuf>,
    /// Whether the host's processor runs it, by KVM.
    pub kvm: bool,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// The run ends with the first serial line that contains one of these.
    pub sentinels: Vec<String>,
    /// Host time after which the run is stopped.
    pub time_limit: Duration,
}

impl Machine {
    /// A machine with 512 MiB and a limit of 60 s.
    pub fn new(folder: &Path, kernel: &Path, module: Option<&Path>) -> Self {
        Self {
            folder: folder.to_owned(),
            kernel: kernel.to_owned(),
            module: module.map(Path::to_owned),
            kvm: false,
            memory_mib: 512,
            sentinels: Vec::new(),
            time_limit: Duration::from_secs(60),
        }
    }

    /// Runs it to its end; `on_line` sees each complete line of the serial log as it comes.
    pub fn run(&self, mut on_line: impl FnMut(&str)) -> Outcome<Finished> {
        self.run_timed(|line, _| on_line(line))
    }

    /// [`Machine::run`] whose `on_line` also sees the processor time that QEMU has used, in steps of 10 ms.
    pub fn run_timed(&self, mut on_line: impl FnMut(&str, Duration)) -> Outcome<Finished> {
        for file in [Some(&self.kernel), self.module.as_ref()].into_iter().flatten() {
            if !file.is_file() {
                return Err(Failure::Environment(format!("the file {} does not exist", file.display())));
            }
        }
        let logs = ["serial.txt", "console.txt"];
        let folder = Folder::claim(&self.folder, &logs)?;
        let [serial, console] = logs.map(|name| folder.file(name));
        let mut command = tied(PROGRAM, &[]);
        let (accelerator, cpu) = if self.kvm { ("kvm", "host,+pmu") } else { ("tcg", "Nehalem,+fsgsbase") };
        command.args(["-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-display", "none"]);
        command.args(["-nodefaults", "-no-reboot", "-device", DEBUG_EXIT_PORT]);
        command.arg("-m").arg(self.memory_mib.to_string());
        let mut file = std::ffi::OsString::from("file:");
        file.push(&serial);
        command.arg("-serial").arg(file).arg("-kernel").arg(&self.kernel);
        if let Some(module) = &self.module {
            command.arg("-initrd").arg(module);
        }
        let start = Instant::now();
        let watch = Watch {
            serial: &serial,
            console: &console,
            logs: &[],
            sentinels: &self.sentinels,
            end_request: None,
            time_limit: self.time_limit,
        };
        let stop = supervise::watch(&mut command, &watch, &mut on_line)?;
        Ok(Finished {
            serial: read_log(&serial),
            ended: ended(stop, &read_log(&console)),
            ticks: None,
            report: None,
            console,
            wall: start.elapsed(),
        })
    }
}

fn ended(stop: Stop, printed: &str) -> Ended {
    match stop {
        Stop::Sentinel(line) => Ended::Sentinel(line),
        Stop::TimeLimit => Ended::TimeLimit,
        Stop::LogTooLong(log) => Ended::LogTooLong(log),
        Stop::Exited(status) => match status.code() {
            Some(0) => Ended::Shutdown(None),
            // QEMU's own failures end with code 1 and a message; a guest's 0 ends with code 1 and none.
            Some(code) if code % 2 == 1 && printed.trim().is_empty() => {
                Ended::Shutdown(u32::try_from(code / 2).ok())
            }
            _ => Ended::EmulatorFailed(format!("it ended with {status}: {}", tail(printed, 3))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, Stop, ended};
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn the_guest_s_exit_code_is_not_qemu_s() {
        let exited = |code: i32| Stop::Exited(ExitStatus::from_raw(code << 8));
        assert_eq!(ended(exited(0), ""), Ended::Shutdown(None));
        assert_eq!(ended(exited(3), ""), Ended::Shutdown(Some(1)));
        assert_eq!(ended(exited(1), ""), Ended::Shutdown(Some(0)));
        assert!(matches!(ended(exited(1), "qemu: no such file"), Ended::EmulatorFailed(_)));
    }
}
