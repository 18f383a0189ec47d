//! Starting machines: the simulated one ([`bochs`]: the stock Bochs with the PMU of `bochs_pmu`) and QEMU
//! ([`qemu`]: faster, without VT-x and PMU). Both take a description, run it headless under [`supervise`], and
//! return the serial text and how it ended. [`iso`] makes what they boot.
//!
//! ```ignore
//! let iso = iso::make(&folder.join("test.iso"), &iso::Payload::Multiboot { kernel, arguments: "", modules: &[] })?;
//! let mut machine = bochs::Machine::new(&folder, &iso);
//! machine.sentinels = vec!["all tests passed".into(), "panicked at".into()];
//! let finished = machine.run(|line| println!("{line}"))?;
//! match &finished.ended {
//!     Ended::Sentinel(line) if line.contains("passed") => Ok(()),
//!     _ => Err(Failure::Check(finished.summary())),
//! }
//! ```

pub mod bochs;
pub mod checks;
pub mod iso;
mod kernels;
pub mod kvm;
pub mod linux;
pub mod linux_files;
pub mod qemu;
mod selftest;
mod speed;
mod supervise;

pub use supervise::{Ended, Finished, tied};

use crate::process::{Failure, Outcome};
use crate::workspace::output;
use std::path::PathBuf;
use std::time::Duration;

/// What `cargo xtask machine` does.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Boot a CD image on the simulated machine and show its serial output
    Boot(BootArguments),
    /// Check the rules of the SDM with test kernels on the simulated machine
    Selftest(selftest::Arguments),
    /// Boot stock Debian Linux on the simulated machine and compare what its perf counts
    Linux(linux::Arguments),
    /// Measure what the PMU costs the simulation
    Speed,
}

/// Which simulated machine.
#[derive(clap::Args)]
pub struct Options {
    /// CPU model: a name of `bochs-bin --help cpu`, or its end (icelake_u)
    #[arg(long, value_name = "CPU", default_value = bochs::DEFAULT_CPU_MODEL)]
    model: String,
    /// Instructions between a counter's overflow and its interrupt
    #[arg(long, value_name = "N", default_value_t = 0)]
    skid: u32,
    /// File of the cycles that VM exits, MSR accesses and the like are charged
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
}

/// Memory that Bochs 2.7 gives a machine, in MiB.
const MEMORY: std::ops::RangeInclusive<i64> = 1..=1 << 20;

/// What `cargo xtask machine boot` takes.
#[derive(clap::Args)]
pub struct BootArguments {
    #[command(flatten)]
    options: Options,
    /// The CD image
    iso: PathBuf,
    /// Stop at a serial line that contains this (may be repeated)
    #[arg(long, value_name = "TEXT")]
    until: Vec<String>,
    /// Stop after this many seconds
    #[arg(long, value_name = "S", default_value_t = 120)]
    seconds: u64,
    /// Guest memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(MEMORY))]
    memory: u32,
}

/// Runs the command.
pub fn machine(command: &Command) -> Outcome {
    match command {
        Command::Boot(arguments) => boot(arguments),
        Command::Selftest(arguments) => selftest::selftest(arguments),
        Command::Linux(arguments) => linux::command(arguments),
        Command::Speed => speed::speed(),
    }
}

/// The test step of `machine selftest`.
pub fn run_selftest() -> Outcome {
    selftest::selftest(&selftest::Arguments::default())
}

/// The test step of `machine linux`.
pub fn run_linux() -> Outcome {
    linux::linux()
}

fn boot(arguments: &BootArguments) -> Outcome {
    if let Some(file) = &arguments.options.costs {
        crate::bench::costs::read(file)?;
    }
    let mut machine = bochs::Machine::new(&output("machine/boot")?, &arguments.iso);
    machine.cpu_model.clone_from(&arguments.options.model);
    machine.pmu = Some(bochs::Pmu { skid: arguments.options.skid, costs: arguments.options.costs.clone() });
    machine.memory_mib = arguments.memory;
    machine.sentinels.clone_from(&arguments.until);
    machine.time_limit = Duration::from_secs(arguments.seconds);
    expected_end(&machine.run(|line| println!("{line}"))?)
}

/// A run that the guest did not end is a failed check.
fn expected_end(finished: &Finished) -> Outcome {
    match finished.ended {
        Ended::Shutdown(_) | Ended::Sentinel(_) => Ok(()),
        _ => Err(Failure::Check(finished.summary())),
    }
}
