//! `policy`: checks and compiles policy files.

mod figures;
mod fuzz;
mod system;

pub use figures::figures;
pub use fuzz::{Arguments as FuzzArguments, brief as fuzz_briefly, fuzz};
pub use system::in_bochs;

use crate::process::{Failure, Outcome};
use pmu_policy::{Compiled, compile};
use std::fs;
use std::path::{Path, PathBuf};

/// What `cargo xtask policy` takes.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Check a policy file and say what it permits
    Check {
        /// The policy file (TOML)
        file: PathBuf,
    },
    /// Compile a policy file to the binary form of the policy region
    Compile {
        /// The policy file (TOML)
        file: PathBuf,
        /// Where the binary goes
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Runs the command.
pub fn policy(command: &Command) -> Outcome {
    match command {
        Command::Check { file } => {
            for vm in compile_file(file)?.vms {
                let fixed: Vec<String> =
                    (0..4).filter(|i| vm.fixed >> i & 1 != 0).map(|i| i.to_string()).collect();
                println!(
                    "VM \"{}\", channel {}: {:?}; {} of 65536 events may count; fixed counters {}",
                    vm.name,
                    vm.channel,
                    vm.mode,
                    vm.events,
                    if fixed.is_empty() { "none".to_owned() } else { fixed.join(", ") },
                );
            }
            Ok(())
        }
        Command::Compile { file, output } => compile_to(file, output),
    }
}

/// Compiles the policy file `file` into `output`, for the policy region.
pub fn compile_to(file: &Path, output: &Path) -> Outcome {
    let bytes = compile_file(file)?.bytes();
    fs::write(output, bytes)
        .map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", output.display())))
}

/// Refuses a policy that says nothing about the VM of this channel.
pub fn for_channel(file: &Path, channel: u8) -> Outcome {
    if compile_file(file)?.vms.iter().any(|vm| vm.channel == channel) {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "{}: no VM has channel {channel}, which is the one of system.xml: write `channel = {channel}`",
        file.display()
    )))
}

fn compile_file(file: &Path) -> Outcome<Compiled> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::Environment(format!("policy file {} cannot be read: {e}", file.display())))?;
    compile(&text).map_err(|e| Failure::Environment(format!("{}, {e}", file.display())))
}
