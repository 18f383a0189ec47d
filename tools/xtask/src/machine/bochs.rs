//! The simulated machine: Debian's unmodified Bochs 2.7 with the PMU of `bochs_pmu` preloaded.
//!
//! Runs are deterministic: the clock is not synchronised with the host's (`clock: sync=none`), the date is
//! fixed, and one instruction is one tick; two runs of one image end at the same tick.

use super::supervise::{self, Ended, Finished, Folder, Stop, Watch, read_log, tied};
use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, target};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PROGRAM: &str = "bochs-bin";
const VERSION_LINE: &str = "Bochs x86 Emulator 2.7";
/// What the library starts its messages with.
const LIBRARY: &str = "bochs_pmu: ";
/// Bochs says this when a guest writes "Shutdown" to port 0x8900.
const SHUTDOWN: &str = "shutdown requested";

/// Bytes of a block of Bochs's memory.
const BLOCK: usize = 128 << 10;

/// The model that every command uses unless told otherwise: PMU version 5, 8 general-purpose and 4 fixed counters.
pub const DEFAULT_CPU_MODEL: &str = "corei7_icelake_u";
/// Simulated instructions a second. TSC, PIT, HPET and local APIC timer agree at any value; a small one makes
/// the waits of firmware and kernels short.
pub const DEFAULT_IPS: u32 = 50_000_000;

/// How the PMU library behaves.
#[derive(Debug, Clone, Default)]
pub struct Pmu {
    /// Instructions between a counter's overflow and its PMI.
    pub skid: u32,
    /// The file of cycle costs (tools/bochs_pmu/costs.toml documents it); without one nothing is charged.
    pub costs: Option<PathBuf>,
}

/// A simulated machine with one processor.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Holds the configuration and the logs of the run; created if need be, used by one run at a time.
    pub folder: PathBuf,
    /// One of `bochs-bin --help cpu`, or the end of one after an underscore (`icelake_u`).
    pub cpu_model: String,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// The bootable CD image, see [`super::iso`].
    pub iso: PathBuf,
    /// A file that is in memory from this address on when the machine starts.
    pub preloaded: Option<(PathBuf, u64)>,
    /// The PMU; `None` is Bochs as Debian ships it.
    pub pmu: Option<Pmu>,
    /// Whether VM exits can save IA32_PERF_GLOBAL_CTRL.
    pub exit_save: bool,
    /// A port: a guest's write to it marks the PMU library's report.
    pub mark: Option<u16>,
    /// Simulated instructions a second: relates ticks to the time of PIT, HPET and RTC.
    pub ips: u32,
    /// The guest's VMM listens on COM2 for the request to end: at the time limit it is asked before the machine is stopped.
    pub listens: bool,
    /// The run ends with the first serial line that contains one of these.
    pub sentinels: Vec<String>,
    /// Host time after which the run is stopped.
    pub time_limit: Duration,
}

impl Machine {
    /// A machine with the default model, 256 MiB, the PMU without skid and costs, and a limit of 120 s.
    pub fn new(folder: &Path, iso: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            cpu_model: DEFAULT_CPU_MODEL.to_owned(),
            memory_mib: 256,
            iso: iso.to_owned(),
            preloaded: None,
            pmu: Some(Pmu::default()),
            exit_save: true,
            mark: None,
            ips: DEFAULT_IPS,
            listens: false,
            sentinels: Vec::new(),
            time_limit: Duration::from_secs(120),
        }
    }

    /// Runs it to its end; `on_line` sees each complete line of the serial log as it comes. A machine that
    /// cannot be started is an environment failure; whatever happens later is in [`Finished::ended`].
    pub fn run(&self, mut on_line: impl FnMut(&str)) -> Outcome<Finished> {
        self.run_timed(|line, _| on_line(line))
    }

    /// [`Machine::run`] whose `on_line` also sees the processor time that Bochs has used, in steps of 10 ms.
    pub fn run_timed(&self, mut on_line: impl FnMut(&str, Duration)) -> Outcome<Finished> {
        let model = resolve_model(PROGRAM, &self.cpu_model)?;
        if !self.iso.is_file() {
            return Err(Failure::Environment(format!("the image {} is no file", self.iso.display())));
        }
        let library = self.pmu.as_ref().map(|_| build_library()).transpose()?;
        let logs = ["serial.txt", "bochs.txt", "console.txt", "report.json", "request"];
        let folder = Folder::claim(&self.folder, &logs)?;
        let [serial, log, console, report, request] = logs.map(|name| folder.file(name));
        let request = self.listens.then_some(request);
        if let Some(request) = &request {
            make_pipe(request)?;
        }
        let configuration = self.configuration(&model, &serial, &log, request.as_deref())?;
        let configuration = folder.write("bochsrc.txt", &configuration)?;
        // The package has the internal debugger built in; it waits for a command before the first instruction.
        let debugger = folder.write("debugger.txt", &format!("{}c\n", self.touches()?))?;

        let mut environment: Vec<(&str, &Path)> = Vec::new();
        let skid = self.pmu.as_ref().map_or(0, |pmu| pmu.skid).to_string();
        let mark = self.mark.map(|port| port.to_string());
        if let (Some(pmu), Some(library)) = (&self.pmu, &library) {
            environment.push(("BOCHS_PMU_SKID", Path::new(&skid)));
            environment.push(("BOCHS_PMU_EXIT_SAVE", Path::new(if self.exit_save { "1" } else { "0" })));
            environment.push(("BOCHS_PMU_REPORT", &report));
            if let Some(costs) = &pmu.costs {
                environment.push(("BOCHS_PMU_COSTS", costs));
            }
            if let Some(mark) = &mark {
                environment.push(("BOCHS_PMU_MARK", Path::new(mark)));
            }
            environment.push(("LD_PRELOAD", library));
        }
        let mut command = tied(PROGRAM, &environment);
        command.arg("-q").arg("-f").arg(&configuration).arg("-rc").arg(&debugger);
        let start = Instant::now();
        let stop = supervise::watch(
            &mut command,
            &Watch {
                serial: &serial,
                console: &console,
                logs: &[log],
                sentinels: &self.sentinels,
                end_request: request.as_deref(),
                time_limit: self.time_limit,
            },
            &mut on_line,
        )?;
        let printed = read_log(&console);
        if let Some(refusal) =
            printed.lines().find_map(|l| l.strip_prefix(LIBRARY).filter(|_| refused(&stop)))
        {
            return Err(Failure::Environment(refusal.to_owned()));
        }
        Ok(Finished {
            serial: read_log(&serial),
            ended: ended(stop, &printed),
            ticks: final_tick(&printed),
            report: report.is_file().then_some(report),
            console,
            wall: start.elapsed(),
        })
    }

    /// Debugger commands that put the preloaded file where it belongs. Bochs gives memory out in blocks, in the order of
    /// their first use, but loads a file as if all of its blocks followed the first: they do when nothing else comes
    /// in between, so each is used once, before the first instruction, by a byte that it holds.
    fn touches(&self) -> Outcome<String> {
        let Some((file, address)) = &self.preloaded else { return Ok(String::new()) };
        let bytes = std::fs::read(file)
            .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", file.display())))?;
        let blocks = (*address..).step_by(BLOCK).zip(bytes.iter().step_by(BLOCK));
        Ok(blocks.map(|(at, byte)| format!("setpmem {at:#x} 1 {byte:#x}\n")).collect())
    }

    fn configuration(
        &self,
        model: &str,
        serial: &Path,
        log: &Path,
        request: Option<&Path>,
    ) -> Outcome<String> {
        let com2 = match request {
            Some(pipe) => format!("com2: enabled=1, mode=term, dev=\"{}\"\n", shown(pipe)?),
            None => String::new(),
        };
        let preloaded = match &self.preloaded {
            Some((file, address)) => {
                format!("optramimage1: file=\"{}\", address={address:#x}\n", shown(file)?)
            }
            None => String::new(),
        };
        // Without the speaker there is no sound. Its thread lives on while Bochs unloads its parts, and now and then ends it
        // by SIGSEGV before the library's report.
        Ok(format!(
            "config_interface: textconfig\n\
             display_library: term\n\
             romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
             vgaromimage: file=/usr/share/vgabios/vgabios.bin\n\
             megs: {memory}\n\
             {preloaded}\
             cpu: model={model}, count=1, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=0\n\
             clock: sync=none, time0=1\n\
             ata0-master: type=cdrom, path=\"{iso}\", status=inserted\n\
             boot: cdrom\n\
             com1: enabled=1, mode=file, dev=\"{serial}\"\n\
             {com2}\
             port_e9_hack: enabled=1\n\
             plugin_ctrl: speaker=0\n\
             log: \"{log}\"\n\
             panic: action=fatal\n\
             error: action=report\n\
             info: action=report\n\
             debug: action=ignore\n",
            iso = shown(&self.iso)?,
            memory = self.memory_mib,
            ips = self.ips,
            serial = shown(serial)?,
            log = shown(log)?,
        ))
    }
}

/// A named pipe.
fn make_pipe(pipe: &Path) -> Outcome {
    let made = mkfifoat(CWD, shown(pipe)?.as_str(), Mode::RUSR | Mode::WUSR);
    made.map_err(|e| {
        Failure::Environment(format!("{} cannot be made: error {}", pipe.display(), e.raw_os_error()))
    })
}

/// A path as Bochs's configuration takes it.
fn shown(path: &Path) -> Outcome<String> {
    let refuse = || Failure::Environment(format!("Bochs cannot use the path {}; rename it", path.display()));
    let absolute = std::path::absolute(path).map_err(|_| refuse())?;
    let text = absolute.to_str().ok_or_else(refuse)?;
    if text.contains(['"', '\n', '$', ',']) { Err(refuse()) } else { Ok(text.to_owned()) }
}

/// Builds the PMU library and returns its path.
fn build_library() -> Outcome<PathBuf> {
    let library = preloadable(target().join("release/libbochs_pmu.so"))?;
    run("the build of bochs_pmu", cargo().args(["build", "--quiet", "--release", "--package", "bochs_pmu"]))
        .map_err(|e| Failure::Environment(e.to_string()))?;
    if library.is_file() {
        Ok(library)
    } else {
        Err(Failure::Environment(format!("the build of bochs_pmu did not make {}", library.display())))
    }
}

/// A library that LD_PRELOAD can name. Else Bochs would run without the PMU, and seL4 stop without a word (ld.so(8): spaces
/// and colons separate names there, and nothing escapes them).
fn preloadable(library: PathBuf) -> Outcome<PathBuf> {
    if library.as_os_str().as_encoded_bytes().iter().any(|byte| [b' ', b':'].contains(byte)) {
        return Err(Failure::Environment(format!(
            "{} has a space or a colon, and cannot be preloaded into Bochs; set CARGO_TARGET_DIR to a folder without",
            library.display()
        )));
    }
    Ok(library)
}

/// The full name of the CPU model, from what the installed Bochs offers.
fn resolve_model(program: &str, wanted: &str) -> Outcome<String> {
    let output = Command::new(program).args(["--help", "cpu"]).env("TERM", "dumb").output().map_err(|e| {
        Failure::Environment(format!("`{program}` could not be started ({e}); run `cargo xtask setup`"))
    })?;
    let text = [output.stdout, output.stderr].concat();
    choose_model(&String::from_utf8_lossy(&text), wanted)
}

/// `help` is what `bochs-bin --help cpu` prints.
fn choose_model(help: &str, wanted: &str) -> Outcome<String> {
    if !help.contains(VERSION_LINE) {
        return Err(Failure::Environment(
            "the installed bochs-bin is not Bochs 2.7; install Debian 12's with `cargo xtask setup`".into(),
        ));
    }
    let models: Vec<&str> = help
        .lines()
        .skip_while(|l| !l.starts_with("Supported CPU models"))
        .skip(2)
        .take_while(|l| !l.is_empty())
        .collect();
    let ending = format!("_{wanted}");
    let found =
        models.iter().find(|m| **m == wanted).or_else(|| models.iter().find(|m| m.ends_with(&ending)));
    found.map(|m| (*m).to_owned()).ok_or_else(|| {
        Failure::Environment(format!("unknown CPU model `{wanted}`; Bochs knows {}", models.join(", ")))
    })
}

/// Whether the process ended as the library ends it when it refuses (bochs_pmu, `stop::EXIT_CODE`).
fn refused(stop: &Stop) -> bool {
    const REFUSED: i32 = 97;
    matches!(stop, Stop::Exited(status) if status.code() == Some(REFUSED))
}

fn ended(stop: Stop, printed: &str) -> Ended {
    match stop {
        Stop::Sentinel(line) => Ended::Sentinel(line),
        Stop::TimeLimit => Ended::TimeLimit,
        Stop::LogTooLong(log) => Ended::LogTooLong(log),
        Stop::Exited(_) if printed.contains(SHUTDOWN) => Ended::Shutdown(None),
        Stop::Exited(status) => {
            let message =
                printed.lines().skip_while(|l| !l.contains("exiting with the following message")).nth(1);
            Ended::EmulatorFailed(message.map_or_else(|| format!("it ended with {status}"), str::to_owned))
        }
    }
}

/// The tick that the debugger prints when Bochs ends: `(0).[519245498] [0x...] ...`.
fn final_tick(printed: &str) -> Option<u64> {
    printed.lines().rev().find_map(|line| line.strip_prefix("(0).[")?.split_once(']')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Ended, Machine, Stop, choose_model, ended, final_tick, resolve_model};
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::ExitStatus;

    const HELP: &str = "Supported CPU models:\n\nbx_generic\ncorei7_skylake_x\ncorei7_icelake_u\n\n\
                        quit_sim called with exit code 0\n    Bochs x86 Emulator 2.7\n";

    #[test]
    fn a_model_is_found_by_its_name_or_its_end() {
        for wanted in ["corei7_icelake_u", "icelake_u"] {
            assert_eq!(choose_model(HELP, wanted).unwrap(), "corei7_icelake_u");
        }
    }

    #[test]
    fn an_unknown_model_is_refused_with_the_known_ones() {
        let message = choose_model(HELP, "z80").unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown CPU model `z80`; Bochs knows bx_generic, corei7_skylake_x, corei7_icelake_u"
        );
        assert!(choose_model(HELP, "").is_err());
        assert!(choose_model(HELP, "lake_u").is_err());
    }

    #[test]
    fn another_version_is_refused() {
        let message = choose_model(&HELP.replace("2.7", "2.8"), "icelake_u").unwrap_err().to_string();
        assert!(message.contains("not Bochs 2.7") && message.contains("cargo xtask setup"), "{message}");
    }

    #[test]
    fn each_block_of_a_preloaded_file_is_used_in_order() {
        let file = std::env::temp_dir().join(format!("xtask-preloaded-{}", std::process::id()));
        let mut bytes = vec![0; 2 * BLOCK + 1];
        (bytes[0], bytes[BLOCK], bytes[2 * BLOCK]) = (1, 0xab, 3);
        std::fs::write(&file, bytes).unwrap();
        let mut machine = Machine::new(Path::new("folder"), Path::new("iso"));
        assert_eq!(machine.touches().unwrap(), "");
        machine.preloaded = Some((file.clone(), 0x800_0000));
        let expected = "setpmem 0x8000000 1 0x1\nsetpmem 0x8020000 1 0xab\nsetpmem 0x8040000 1 0x3\n";
        assert_eq!(machine.touches().unwrap(), expected);
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_library_that_cannot_be_preloaded_is_refused() {
        for (path, taken) in [("/target/x.so", true), ("/my target/x.so", false), ("/a:b/x.so", false)] {
            let refused = super::preloadable(path.into()).err().map(|failure| failure.to_string());
            assert_eq!(refused.is_none(), taken, "{path}");
            assert!(refused.is_none_or(|text| text.contains("set CARGO_TARGET_DIR")));
        }
    }

    #[test]
    fn a_missing_program_is_an_environment_failure() {
        let message = resolve_model("bochs-that-is-not-there", "icelake_u").unwrap_err().to_string();
        assert!(message.contains("cargo xtask setup"), "{message}");
    }

    #[test]
    fn the_last_printed_tick_is_the_final_one() {
        assert_eq!(final_tick("(0) [0x1] x\n(0).[12] [0x2]\n(0).[345] [0x3] y\n"), Some(345));
        assert_eq!(final_tick("nothing"), None);
    }

    #[test]
    fn a_bochs_panic_is_not_a_shutdown() {
        let exit = || Stop::Exited(ExitStatus::from_raw(256));
        let text = |message| format!("====\nBochs is exiting with the following message:\n{message}\n====\n");
        assert_eq!(ended(exit(), &text("[UNMAP ] Shutdown port: shutdown requested")), Ended::Shutdown(None));
        let panic = "[CPU0  ] exception(): 3rd (13) exception with no resolution";
        assert_eq!(ended(exit(), &text(panic)), Ended::EmulatorFailed(panic.into()));
    }
}
