//! `kernel`: the bundled seL4 with the PMU extension.

use crate::process::{Failure, Outcome};
use crate::workspace::{root, target, unwritable};
use clap::ValueEnum;
use kernel::{Config, Kernel, Variant};
use std::fs;
use std::path::PathBuf;

/// What `cargo xtask kernel` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build only this kernel; without it, both
    #[arg(long, value_enum)]
    config: Option<KernelConfig>,
    /// Also write the numbers that user level shares with the debug kernel into tools/kernel/abi
    #[arg(long)]
    abi: bool,
}

/// Which kernel an image gets.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelConfig {
    /// Prints, checks its assertions, has the debug system calls
    Debug,
    /// None of these
    Release,
}

impl From<KernelConfig> for Config {
    fn from(config: KernelConfig) -> Self {
        match config {
            KernelConfig::Debug => Config::Debug,
            KernelConfig::Release => Config::Release,
        }
    }
}

/// Builds what is asked for and says where it is.
pub fn kernel(arguments: &Arguments) -> Outcome {
    if arguments.abi && arguments.config == Some(KernelConfig::Release) {
        return Err(Failure::Environment(
            "--abi writes the numbers of the debug kernel: leave out --config release".to_owned(),
        ));
    }
    let both = [KernelConfig::Debug, KernelConfig::Release];
    let wanted: Vec<KernelConfig> = arguments.config.map_or_else(|| both.to_vec(), |one| vec![one]);
    for config in wanted {
        let kernel = build(config.into())?;
        let size = kernel.text_size().map_err(failure)?;
        println!("{}: {} ({size} bytes of text)", Config::from(config).name(), kernel.elf32.display());
        if arguments.abi && config == KernelConfig::Debug {
            let file = numbers();
            fs::copy(&kernel.abi, &file).map_err(|e| unwritable(&file, &e))?;
        }
    }
    Ok(())
}

/// Builds the extended kernel, or returns the one that is there; says so only when it takes time.
pub fn build(config: Config) -> Outcome<Kernel> {
    kernel::build(&target(), config, Variant::Extended, &mut |line| eprintln!("kernel: {line}"))
        .map_err(failure)
}

/// The committed numbers.
pub fn numbers() -> PathBuf {
    root().join("tools/kernel/abi/src/numbers.rs")
}

/// An error of the kernel's build as a failure of ours.
pub fn failure(error: kernel::Error) -> Failure {
    Failure::Environment(format!("the kernel was not built: {error}"))
}
