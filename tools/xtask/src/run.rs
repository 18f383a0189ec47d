//! `run`: a guest on seL4 with the PMU mediated, and what came of it.

pub mod guest;
pub mod guest_image;
pub mod lines;
pub mod linux;
mod progress;
pub mod replay;
pub mod report;
mod show;
pub mod tests_of_deaths;
pub mod tests_of_guests;
pub mod tests_of_kernels;

use crate::machine::{Ended, Finished, bochs, kvm};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::workspace::{claim, output, results, root, unwritable};
use crate::{bench, sdk, setup};
use guest::{Guest, Place};
use kernel::Config;
use linux::Linux;
use progress::Progress;
use report::Report;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vmm_core::seam;

/// What `cargo xtask run` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The guest: count, idle, sample, multiplex, hostile, multiboot, protected; linux, which is Debian's kernel with busybox
    /// and perf; or a file: a Multiboot kernel, a Linux bzImage or a 64-bit ELF file
    #[arg(long, value_name = "NAME|FILE", default_value = DEFAULT_GUEST)]
    guest: String,
    /// The command line of a Multiboot kernel or of Linux
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// The module of a Multiboot kernel, or the initrd of Linux
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The guest's memory [default: 128, and 256 for linux]
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// How the guest's PMU is served; with a filter that denies nothing
    #[arg(long, value_enum, conflicts_with = "policy")]
    mode: Option<Mode>,
    /// The policy [default: pmu_pd/policy/examples/single_tenant.toml]
    #[arg(long, value_name = "FILE.toml")]
    policy: Option<PathBuf>,
    /// The machine: bochs is simulated, with VT-x and an exact PMU; qemu has neither and says so, but replays
    /// traces; kvm uses the host's, where it lets guests have both
    #[arg(long, value_enum, default_value = "bochs")]
    machine: Machine,
    /// The CPU model of the simulated machine, as `cargo xtask machine` takes it
    #[arg(long, value_name = "CPU", default_value = bochs::DEFAULT_CPU_MODEL)]
    model: String,
    /// Instructions between a counter's overflow and its interrupt
    #[arg(long, value_name = "N", default_value_t = 0)]
    skid: u32,
    /// File of the cycles that VM exits, MSR accesses and the like are charged, or "none"
    #[arg(long, value_name = "FILE", default_value = COSTS)]
    costs: PathBuf,
    #[command(flatten)]
    kernel: sdk::Choice,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every exit as a line (slow)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write every exit with all that the VMM read and decided, for `--replay` (slower)
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    record: Option<PathBuf>,
    /// Keep only the first N exits of the record
    #[arg(long, value_name = "N", requires = "record", value_parser = clap::value_parser!(u64).range(1..))]
    exits: Option<u64>,
    /// Replay what `--record` wrote through the VMM's logic and the policy domain, and report the first difference (needs
    /// `--machine qemu` and the policy of the recording)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["guest", "append", "initrd", "memory", "sdk", "config", "trace", "record", "json", "timeout", "script"])]
    replay: Option<PathBuf>,
    /// Stop the guest after this many seconds [default: 120, and 1800 for a Linux]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// What the guest linux runs in place of its measurements with perf, by its shell
    #[arg(last = true, value_name = "SCRIPT")]
    script: Option<PathBuf>,
}

impl Arguments {
    /// The user's files that are read after the results' are made empty.
    fn inputs(&self) -> Vec<&Path> {
        let files = [&self.policy, &self.initrd, &self.script].into_iter().flatten().map(PathBuf::as_path);
        files.chain([self.costs.as_path(), Path::new(&self.guest)]).collect()
    }

    /// What only the simulated machine obeys is refused elsewhere.
    fn fit_the_machine(&self) -> Outcome {
        let of_bochs =
            self.skid != 0 || self.model != bochs::DEFAULT_CPU_MODEL || self.costs != Path::new(COSTS);
        if self.machine == Machine::Bochs || !of_bochs {
            return Ok(());
        }
        Err(Failure::Environment(
            "--skid, --costs and --model are for the simulated machine: leave them out, or take `--machine bochs`"
                .to_owned(),
        ))
    }
}

/// How the guest's PMU is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Control registers are decided by policy, data registers are direct
    Mediated,
    /// No PMU
    Off,
    /// Every access is decided by policy
    Emulated,
    /// Every access is direct: no policy (for comparison)
    Passthrough,
}

impl Mode {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Mediated => "mediated",
            Mode::Off => "off",
            Mode::Emulated => "emulated",
            Mode::Passthrough => "passthrough",
        }
    }

    /// A policy of one VM in this mode.
    pub const fn policy(self) -> &'static str {
        match self {
            Mode::Mediated => concat!(
                "[[vm]]\nname = \"guest\"\nchannel = 1\nmode = \"mediated\"\n",
                "[vm.filter]\naction = \"deny\"\nevents = []\n"
            ),
            Mode::Emulated => concat!(
                "[[vm]]\nname = \"guest\"\nchannel = 1\nmode = \"emulated\"\n",
                "[vm.filter]\naction = \"deny\"\nevents = []\n"
            ),
            Mode::Off => "[[vm]]\nname = \"guest\"\nchannel = 1\nmode = \"off\"\n",
            Mode::Passthrough => {
                "[[vm]]\nname = \"guest\"\nchannel = 1\nmode = \"passthrough\"\nunsafe_benchmark = true\n"
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Machine {
    /// The simulated machine: Bochs with the PMU of this project
    Bochs,
    /// QEMU without acceleration
    Qemu,
    /// QEMU with the host's VT-x and PMU
    Kvm,
}

/// The guests of this project; each is a binary of the package `guest`.
const GUESTS: [&str; 8] =
    ["count", "idle", "sample", "multiplex", "hostile", "orphan", "multiboot", "protected"];
/// How long a guest may take.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// The costs of a run that names none.
const COSTS: &str = "tools/bochs_pmu/costs.toml";
/// The guest of a run that names none.
const DEFAULT_GUEST: &str = "count";
/// Where guests are linked.
pub const GUEST_BASE: u64 = 0x10_0000;
/// The last line of the VMM's report.
pub const SENTINEL: &str = "@stop";
/// How the initialiser's sentence begins when it cannot start the system, and how it ends on a machine that cannot run
/// guests.
const NOT_STARTED: &str = "initialiser: error: ";
const NO_VTX: &str = "the processor has no VT-x";
/// What the VMM says when the policy domain opens no vPMU.
const NO_PMU: &str = "@stop code=2 no PMU: ";
/// What it takes.
const PMU_NEEDED: &str = "it takes a machine with PMU version 4 or 5 and full-width writes (Linux's KVM gives its guests \
                          version 2), and a policy that asks for no more than the machine has";
/// What may be the cause when the machine has printed nothing.
const SILENT: &str = "it printed nothing: seL4 stops without a word on a processor that lacks what it needs, as pages of \
                      1 GiB; leave out --model, see whether --config debug prints more, or give it more time by --timeout";
/// The channel of system.xml from the policy domain to the VMM.
const CHANNEL: u8 = 1;
/// What is printed when something of ours breaks.
pub const BROKEN: [&str; 4] = ["panicked at", "monitor: ", "MON|ERROR", NOT_STARTED];

/// Runs a guest and shows what came of it.
pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.machine == Machine::Kvm
        && let Some(missing) = kvm::missing(arguments.mode != Some(Mode::Off))
    {
        return Err(Failure::Environment(missing));
    }
    arguments.fit_the_machine()?;
    setup::setup()?;
    if let Some(trace) = &arguments.replay {
        if arguments.machine != Machine::Qemu {
            return Err(Failure::Environment("a trace is replayed in QEMU: add `--machine qemu`".to_owned()));
        }
        return replay::run(trace, arguments);
    }
    let costs = costs(&arguments.costs)?;
    let folder = output("run")?;
    let _claim = claim(&folder)?;
    let files = [&arguments.json, &arguments.trace, &arguments.record];
    results(files.into_iter().flatten(), &arguments.inputs())?;
    let progress = Progress::start();
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs).map_err(|e| unwritable(&inputs, &e))?;
    let kernel = arguments.kernel.kernel(Config::Release)?;
    if let (sdk::Kernel::Sdk(_), Some(_)) = (&kernel, &arguments.record) {
        return Err(Failure::Environment(
            "recordings are made on the bundled kernel: leave out --sdk, or take --trace".to_owned(),
        ));
    }

    progress.say("policy");
    compile_policy(arguments, &inputs)?;
    progress.say("guest");
    let linux = Linux::of(arguments)?;
    let guest = match &linux {
        Some(linux) => linux.guest(arguments.memory),
        None => Guest {
            name: &arguments.guest,
            append: &arguments.append,
            initrd: arguments.initrd.as_deref(),
            memory: arguments.memory.unwrap_or(guest::DEFAULT_MEMORY),
        },
    };
    let ours = matches!(kernel, sdk::Kernel::Bundled(_));
    let place = guest.place(&inputs, ours && arguments.machine == Machine::Bochs)?;
    let default_time = if place.linux { linux::TIME_LIMIT } else { TIME_LIMIT };
    let time_limit = arguments.timeout.map_or(default_time, Duration::from_secs);
    progress.say("kernel, protection domains, image");
    let system = system(arguments, &guest, &place, &inputs)?;
    let image = kernel.build(&system, &folder.join(kernel.name()), vec![inputs], None)?;
    kernel.note().into_iter().for_each(|note| println!("{note}"));

    let finished = match arguments.machine {
        Machine::Bochs => {
            progress.say("simulated machine");
            let mut machine = image.in_bochs(&folder.join("bochs"));
            machine.cpu_model.clone_from(&arguments.model);
            machine.pmu = Some(bochs::Pmu { skid: arguments.skid, costs });
            machine.memory_mib = place.memory_mib;
            if place.linux {
                machine.ips = linux::IPS;
            }
            if let Some(bank) = &place.bank {
                image.reserve(&bank.range())?;
                machine.preloaded = Some((bank.file.clone(), bank.range().start));
            }
            machine.time_limit = time_limit;
            machine.listens = true;
            machine.sentinels = sentinels();
            machine.run(|line| progress.line(line))?
        }
        Machine::Qemu | Machine::Kvm => {
            progress.say("QEMU");
            let mut machine = image.in_qemu(&folder.join("qemu"));
            machine.kvm = arguments.machine == Machine::Kvm;
            machine.memory_mib = place.memory_mib;
            machine.time_limit = time_limit;
            machine.sentinels = sentinels();
            machine.run(|line| progress.line(line))?
        }
    };
    progress.end();
    if let Some(file) = arguments.trace.as_ref().or(arguments.record.as_ref()) {
        write_trace(&finished, file, arguments.exits)?;
    }
    let concluded = conclude(arguments, &kernel, linux.as_ref(), &finished);
    linux::panicked(&finished.serial)?;
    concluded
}

/// The system description; one in `folder` with the guest's memory, and for a trace with the VMM that prints every
/// exit.
fn system(arguments: &Arguments, guest: &Guest<'_>, place: &Place, folder: &Path) -> Outcome<PathBuf> {
    let file = root().join("system.xml");
    let text = fs::read_to_string(&file)
        .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", file.display())))?;
    let vmm = match (&arguments.trace, &arguments.record) {
        (None, None) => "\"vmm_pd.elf\"",
        (Some(_), _) => "\"vmm_pd_trace.elf\"",
        (None, Some(_)) => "\"vmm_pd_record.elf\"",
    };
    let changed = folder.join("system.xml");
    fs::write(&changed, guest.describe(&text, place)?.replace("\"vmm_pd.elf\"", vmm))
        .map_err(|e| unwritable(&changed, &e))?;
    Ok(changed)
}

fn sentinels() -> Vec<String> {
    BROKEN.iter().chain([&SENTINEL]).map(|text| (*text).to_owned()).collect()
}

/// The cost file, looked into before anything is built.
fn costs(file: &Path) -> Outcome<Option<PathBuf>> {
    if file == Path::new("none") {
        return Ok(None);
    }
    let file = bench::costs::named(file);
    bench::costs::read(&file)?;
    Ok(Some(file))
}

/// Puts the compiled policy into `folder`, if it is one for the VMM's channel.
fn compile_policy(arguments: &Arguments, folder: &Path) -> Outcome {
    let written = folder.join("policy.toml");
    let file = match (&arguments.policy, arguments.mode) {
        (Some(file), _) => file.clone(),
        (None, None) => default_policy(),
        (None, Some(mode)) => {
            fs::write(&written, mode.policy()).map_err(|e| unwritable(&written, &e))?;
            written
        }
    };
    policy::for_channel(&file, CHANNEL)?;
    policy::compile_to(&file, &folder.join("policy.bin"))
}

/// Puts the files that system.xml names into `folder`: the default policy and guest.
pub fn default_inputs(folder: &Path) -> Outcome {
    policy::compile_to(&default_policy(), &folder.join("policy.bin"))?;
    Guest::new(DEFAULT_GUEST).put(folder).map(drop)
}

fn default_policy() -> PathBuf {
    root().join("pmu_pd/policy/examples/single_tenant.toml")
}

fn write_trace(finished: &Finished, file: &Path, exits: Option<u64>) -> Outcome {
    let is_exit = |line: &str| line.starts_with("@trace ");
    // A run that is stopped can end within a line.
    let complete = finished.serial.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut left = exits.unwrap_or(u64::MAX);
    let mut lines = complete.lines().filter(|line| is_exit(line) || line.starts_with(seam::PREFIX));
    let mut text = String::new();
    while let Some(line) = lines.next().filter(|_| left > 0) {
        text += line;
        text.push('\n');
        left -= u64::from(is_exit(line));
    }
    fs::write(file, text).map_err(|e| unwritable(file, &e))
}

/// Whether the VMM came to the end of its report.
fn reported(finished: &Finished) -> Outcome {
    let broken = |line: &str| BROKEN.iter().any(|text| line.contains(text));
    match &finished.ended {
        Ended::Sentinel(line) if line.starts_with(NO_PMU) => {
            let why = line.trim_end().trim_start_matches(NO_PMU);
            Err(Failure::Environment(format!("the guest gets no PMU: {why}; {PMU_NEEDED}")))
        }
        Ended::Sentinel(line) if line.starts_with(SENTINEL) => Ok(()),
        Ended::Sentinel(line) if line.starts_with(NOT_STARTED) && line.ends_with(NO_VTX) => {
            Err(Failure::Environment(
                "seL4 and the image boot, but this machine has no VT-x: a guest needs `--machine bochs`"
                    .to_owned(),
            ))
        }
        Ended::Sentinel(line) if broken(line) => Err(Failure::Check(finished.summary())),
        Ended::TimeLimit if finished.serial.is_empty() => {
            Err(Failure::Guest(format!("{}\n{SILENT}", finished.summary())))
        }
        _ => Err(Failure::Guest(finished.summary())),
    }
}

/// Shows the report; a guest that failed is a failure of its own kind.
fn conclude(
    arguments: &Arguments,
    kernel: &sdk::Kernel,
    linux: Option<&Linux>,
    finished: &Finished,
) -> Outcome {
    reported(finished)?;
    let mut report = Report::new(arguments, kernel.description(), finished)?;
    report.refuted = match linux {
        _ if linux::panicked(&finished.serial).is_err() => Some(linux::PANICKED.to_owned()),
        Some(linux) => linux.judge(&finished.serial, &report).err(),
        None => None,
    };
    print!("{}", show::text(&report));
    if let Some(file) = &arguments.json {
        let text = format!("{:#}\n", report.json());
        fs::write(file, text).map_err(|e| unwritable(file, &e))?;
    }
    report.verdict().map(drop).map_err(Failure::Guest)
}

#[cfg(test)]
mod tests {
    use super::{costs, reported, sentinels};
    use crate::machine::{Ended, Finished};
    use crate::process::Failure;
    use std::path::Path;
    use std::time::Duration;

    /// Tests run in this package's folder, which has a `src`, as the workspace's has not.
    #[test]
    fn costs_are_named_as_the_user_named_them() {
        let refused = costs(Path::new("src")).expect_err("it is a folder").to_string();
        assert!(refused.starts_with("the costs src cannot be read (Is a directory"), "{refused}");
        assert!(costs(Path::new(super::COSTS)).is_ok_and(|file| file.is_some_and(|file| file.is_absolute())));
    }

    #[test]
    fn a_machine_that_prints_nothing_has_a_remedy() {
        let finished = Finished { ended: Ended::TimeLimit, serial: String::new(), ..stopped_at("") };
        assert!(
            matches!(reported(&finished), Err(Failure::Guest(text)) if text.contains("leave out --model"))
        );
    }

    fn stopped_at(line: &str) -> Finished {
        Finished {
            serial: format!("{line}\n"),
            ended: Ended::Sentinel(line.to_owned()),
            ticks: None,
            report: None,
            console: "console.txt".into(),
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn what_the_initialiser_says_ends_the_run() {
        for (line, ends, code) in [
            ("initialiser: error: vcpu_guest_0: the processor has no VT-x", true, 2),
            ("initialiser: error: frame_9: no untyped memory is left for its 2^12 bytes", true, 1),
            ("initialiser: 4 threads of 99 objects started; 9 capability slots checked", false, 3),
        ] {
            assert_eq!(sentinels().iter().any(|sentinel| line.contains(sentinel.as_str())), ends, "{line}");
            let failure = reported(&stopped_at(line)).expect_err("no report");
            let found = match &failure {
                Failure::Check(text) => (1, text.contains(line)),
                Failure::Environment(text) => (2, text.contains("VT-x")),
                Failure::Guest(_) => (3, true),
            };
            assert_eq!(found, (code, true), "{line}");
        }
    }
}
