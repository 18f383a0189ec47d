//! The Microkit SDK: the same system on its kernel.

mod build;
mod find;
pub mod tests;

pub use find::Sdk;

use crate::image::{self, Image, Request};
use crate::process::{Failure, Outcome};
use kernel::Config;
use std::path::{Path, PathBuf};

/// Where the SDK is when `--sdk` names no folder, and for tests.
pub const VARIABLE: &str = "MICROKIT_SDK";

/// How the description of such a kernel begins.
pub const DESCRIPTION: &str = "Microkit SDK";

/// Which kernel an image has, on the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Choice {
    /// Build for the kernel of the Microkit SDK 2.3 in this folder [without DIR: of the variable MICROKIT_SDK]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    sdk: Option<Option<PathBuf>>,
    /// Which configuration of the kernel [default: benchmark with --sdk]
    #[arg(long, value_enum)]
    config: Option<Name>,
}

/// A configuration of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Prints, checks its assertions, has the debug system calls
    Debug,
    /// None of these
    Release,
    /// With --sdk: has the system calls that the policy domain needs on that kernel
    Benchmark,
}

impl Name {
    /// As on the command line, and as the SDK's folders are called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Name::Debug => "debug",
            Name::Release => "release",
            Name::Benchmark => "benchmark",
        }
    }
}

/// Which kernel an image has.
#[derive(Debug, Clone)]
pub enum Kernel {
    /// Ours.
    Bundled(Config),
    /// The SDK's.
    Sdk(Sdk),
}

impl Choice {
    /// The kernel; `default` is the configuration of ours.
    ///
    /// # Errors
    /// What is wrong with the SDK's folder, or with the choice.
    pub fn kernel(&self, default: Config) -> Outcome<Kernel> {
        let Some(folder) = &self.sdk else {
            return match self.config {
                None => Ok(Kernel::Bundled(default)),
                Some(Name::Debug) => Ok(Kernel::Bundled(Config::Debug)),
                Some(Name::Release) => Ok(Kernel::Bundled(Config::Release)),
                Some(Name::Benchmark) => Err(Failure::Environment(
                    "the bundled kernel has no configuration benchmark: add `--sdk DIR`, or choose release"
                        .to_owned(),
                )),
            };
        };
        let folder = folder.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        Sdk::find(folder.as_deref(), self.config.unwrap_or(Name::Benchmark)).map(Kernel::Sdk)
    }
}

impl Kernel {
    /// A name for folders.
    pub fn name(&self) -> String {
        match self {
            Kernel::Bundled(config) => config.name().to_owned(),
            Kernel::Sdk(sdk) => format!("sdk-{}", sdk.config().as_str()),
        }
    }

    /// What a report says of it.
    pub fn description(&self) -> String {
        match self {
            Kernel::Bundled(config) => format!("seL4 5.0.0 {}", config.name()),
            Kernel::Sdk(sdk) => format!("{DESCRIPTION} {} {}", sdk.version(), sdk.config().as_str()),
        }
    }

    /// Builds the image of `system` into `out`. Programs and prefill files are also looked for in `search`.
    ///
    /// # Errors
    /// As [`image::build`].
    pub fn build(
        &self,
        system: &Path,
        out: &Path,
        search: Vec<PathBuf>,
        capdl: Option<&Path>,
    ) -> Outcome<Image> {
        match self {
            Kernel::Bundled(config) => {
                image::build(&Request { search, capdl, ..Request::new(*config, system, out) })
            }
            Kernel::Sdk(sdk) => build::image(sdk, system, out, &search, capdl),
        }
    }

    /// What the user has to know about this kernel.
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Kernel::Bundled(_) => None,
            Kernel::Sdk(sdk) if sdk.config() == Name::Benchmark => Some(
                "note: this kernel's MSR system calls take no capability. That only pmu programs the PMU is a \
                 convention here: every protection domain can, and any can halt the kernel. With the PMU extension it is \
                 a capability (docs/proposal.md).",
            ),
            Kernel::Sdk(_) => Some(
                "note: this configuration's kernel has no MSR system calls: every VM is in mode off. Only benchmark \
                 has them.",
            ),
        }
    }
}
