//! `cargo xtask`: builds, runs and tests the project. Exit codes: 0 success, 1 a check or test failed,
//! 2 wrong use or a missing tool, 3 the guest failed.

mod bench;
mod check;
mod doctor;
mod image;
mod kernel;
mod kernel_tests;
mod machine;
mod policy;
mod process;
mod run;
mod sdk;
mod setup;
mod spec;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// Mediated performance counters for virtual machines on seL4: build, run, test.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 a check or test failed; 2 wrong use, wrong input or a missing \
                          tool; 3 the guest failed.";

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that the project needs (as root; else print the line to run)
    Setup,
    /// Say which tools are present or missing, and what each is for
    Doctor,
    /// Check format, lints, documentation and the crate dependency rules
    Check,
    /// Build the bundled seL4 kernel with the PMU extension
    Kernel(kernel::Arguments),
    /// Run a guest on seL4 with the PMU mediated, and show what came of it
    Run(Box<run::Arguments>),
    /// Measure what profiling costs a guest in every mode, beside KVM's published figures
    Bench(bench::Arguments),
    /// Build a bootable image from a system description
    Image(image::Arguments),
    /// Write a guest's kernel, command line and initrd as the file that a system description names
    GuestImage(run::guest_image::Arguments),
    /// Check or compile a policy file
    #[command(subcommand)]
    Policy(policy::Command),
    /// Prove the specification and compare the code with it
    Spec(spec::Arguments),
    /// Fuzz the policy domain
    Fuzz(policy::FuzzArguments),
    /// Run every test: host, simulated machine, images, specification
    Test(test::Arguments),
    /// Start the simulated machine
    #[command(subcommand)]
    Machine(machine::Command),
}

/// Nobody reads what we print any more, as after `| head`: that is no error of ours, and its results are cut. What was started
/// ends with us (`machine::tied`).
fn end_with_our_reader() {
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The text of std's `print!`, which has no other way to tell.
        if !info.payload_as_str().is_some_and(|text| text.starts_with("failed printing to std")) {
            return panics(info);
        }
        // If nobody reads this either, there is nobody to tell.
        let _ = writeln!(io::stderr(), "error: nobody reads the output any more; write it to a file");
        std::process::exit(2);
    }));
}

fn main() -> ExitCode {
    end_with_our_reader();
    let result = match Arguments::parse().command {
        Command::Setup => setup::setup(),
        Command::Doctor => doctor::doctor(),
        Command::Check => check::check(),
        Command::Kernel(arguments) => setup::setup().and_then(|()| kernel::kernel(&arguments)),
        Command::Run(arguments) => setup::setup().and_then(|()| run::run(&arguments)),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Image(arguments) => setup::setup().and_then(|()| image::image(&arguments)),
        Command::GuestImage(arguments) => run::guest_image::guest_image(&arguments),
        Command::Fuzz(arguments) => setup::setup().and_then(|()| policy::fuzz(&arguments)),
        Command::Policy(command) => policy::policy(&command),
        Command::Spec(arguments) => setup::setup().and_then(|()| spec::spec(&arguments)),
        Command::Test(arguments) => test::test(&arguments),
        Command::Machine(command) => setup::setup().and_then(|()| machine::machine(&command)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory, Parser};

    #[test]
    fn usage_is_what_can_be_typed() {
        Arguments::command().debug_assert();
        let refused = |arguments: &[&str]| {
            let all = std::iter::once("xtask").chain(arguments.iter().copied());
            Arguments::try_parse_from(all).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(&["run", "--exits", "1"]).contains("Usage: cargo xtask run"));
        for together in [
            &["test", "--list", "--step", "host"][..],
            &["test", "--full", "--step", "host"],
            &["spec", "--full", "--part", "coqchk"],
            &["run", "--machine", "qemu", "--replay", "x", "--timeout", "1"],
            &["run", "--machine", "qemu", "--replay", "x", "--config", "release"],
            &["run", "--machine", "qemu", "--replay", "x", "--sdk"],
            &["run", "--machine", "qemu", "--replay", "x", "--", "script"],
        ] {
            assert!(refused(together).contains("cannot be used with"), "{together:?}");
        }
        for nothing in [&["run", "--timeout", "0"][..], &["run", "--record", "x", "--exits", "0"]] {
            assert!(refused(nothing).contains("0 is not in 1.."), "{nothing:?}");
        }
    }
}
