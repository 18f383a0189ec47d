//! The command line of `run`.

use crate::machine::bochs;
use crate::process::{Failure, Outcome};
use crate::sdk;
use std::path::{Path, PathBuf};

/// The costs of a run that names none.
pub(super) const COSTS: &str = "tools/bochs_pmu/costs.toml";
/// The guest of a run that names none.
pub(super) const DEFAULT_GUEST: &str = "count";

/// What `cargo xtask run` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The guest: count, idle, sample, multiplex, hostile, multiboot, protected; linux, which is Debian's kernel with busybox
    /// and perf; or a file: a Multiboot kernel, a Linux bzImage or a 64-bit ELF file
    #[arg(long, value_name = "NAME|FILE", default_value = DEFAULT_GUEST)]
    pub(super) guest: String,
    /// The command line of a Multiboot kernel or of Linux
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(super) append: String,
    /// The module of a Multiboot kernel, or the initrd of Linux
    #[arg(long, value_name = "FILE")]
    pub(super) initrd: Option<PathBuf>,
    /// The guest's memory [default: 128, and 256 for linux]
    #[arg(long, value_name = "MIB")]
    pub(super) memory: Option<u32>,
    /// How the guest's PMU is served; with a filter that denies nothing
    #[arg(long, value_enum, conflicts_with = "policy")]
    pub(super) mode: Option<Mode>,
    /// The policy [default: pmu_pd/policy/examples/single_tenant.toml]
    #[arg(long, value_name = "FILE.toml")]
    pub(super) policy: Option<PathBuf>,
    /// The machine: bochs is simulated, with VT-x and an exact PMU; qemu has neither and says so, but replays
    /// traces; kvm uses the host's, where it lets guests have both
    #[arg(long, value_enum, default_value = "bochs")]
    pub(super) machine: Machine,
    /// The CPU model of the simulated machine, as `cargo xtask machine` takes it
    #[arg(long, value_name = "CPU", default_value = bochs::DEFAULT_CPU_MODEL)]
    pub(super) model: String,
    /// Instructions between a counter's overflow and its interrupt
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) skid: u32,
    /// File of the cycles that VM exits, MSR accesses and the like are charged, or "none"
    #[arg(long, value_name = "FILE", default_value = COSTS)]
    pub(super) costs: PathBuf,
    #[command(flatten)]
    pub(super) kernel: sdk::Choice,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write every exit as a line (slow)
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Write every exit with all that the VMM read and decided, for `--replay` (slower)
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    pub(super) record: Option<PathBuf>,
    /// Keep only the first N exits of the record
    #[arg(long, value_name = "N", requires = "record", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) exits: Option<u64>,
    /// Replay what `--record` wrote through the VMM's logic and the policy domain, and report the first difference (needs
    /// `--machine qemu` and the policy of the recording)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["guest", "append", "initrd", "memory", "sdk", "config", "trace", "record", "json", "timeout", "script"])]
    pub(super) replay: Option<PathBuf>,
    /// Stop the guest after this many seconds [default: 120, and 1800 for a Linux]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout: Option<u64>,
    /// What the guest linux runs in place of its measurements with perf, by its shell
    #[arg(last = true, value_name = "SCRIPT")]
    pub(super) script: Option<PathBuf>,
}

impl Arguments {
    /// The user's files that are read after the results' are made empty.
    pub(super) fn inputs(&self) -> Vec<&Path> {
        let files = [&self.policy, &self.initrd, &self.script].into_iter().flatten().map(PathBuf::as_path);
        files.chain([self.costs.as_path(), Path::new(&self.guest)]).collect()
    }

    /// What only the simulated machine obeys is refused elsewhere.
    pub(super) fn fit_the_machine(&self) -> Outcome {
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
pub(super) enum Machine {
    /// The simulated machine: Bochs with the PMU of this project
    Bochs,
    /// QEMU without acceleration
    Qemu,
    /// QEMU with the host's VT-x and PMU
    Kvm,
}
