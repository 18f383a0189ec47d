//! `test`: every test of the project, as named steps.

use crate::image::{refusals, system_tests};
use crate::process::{Failure, Outcome, run};
use crate::workspace::cargo;
use crate::{check, kernel_tests, machine, policy, setup, spec};
use std::time::Instant;

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the steps whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// List the steps and stop
    #[arg(long)]
    list: bool,
}

/// One part of the test run: a name, what it shows, and the code that fails if that is not so.
struct Step {
    name: &'static str,
    shows: &'static str,
    run: fn() -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "setup", shows: "every tool is installed", run: setup::setup },
    Step { name: "check", shows: "format, lints, documentation, dependency rules", run: check::check },
    Step { name: "host", shows: "unit and property tests on the host", run: host },
    Step {
        name: "spec",
        shows: "the specification's proofs, and that pmu_core does what it says",
        run: spec::quick,
    },
    Step {
        name: "machine-selftest",
        shows: "the simulated machine follows the SDM's rules, and runs are repeatable",
        run: machine::run_selftest,
    },
    Step {
        name: "machine-linux",
        shows: "stock Debian Linux counts exactly on the simulated machine",
        run: machine::run_linux,
    },
    Step {
        name: "image-refusals",
        shows: "a wrong system description is refused with file, line and reason",
        run: refusals::refused,
    },
    Step {
        name: "kernel-build",
        shows: "the kernel's build is reproducible and small, and user level has its numbers",
        run: kernel_tests::kernel_build,
    },
    Step {
        name: "kernel-bochs",
        shows: "the kernel and its PMU extension, by a root task in Bochs, with early and late PMIs",
        run: kernel_tests::in_bochs,
    },
    Step { name: "system-qemu", shows: "images of protection domains, in QEMU", run: system_tests::in_qemu },
    Step {
        name: "system-bochs",
        shows: "images of protection domains and guests, in Bochs",
        run: system_tests::in_bochs,
    },
    Step {
        name: "policy-figures",
        shows: "the policy domain's instructions, image, state and stack; ten million messages",
        run: policy::figures,
    },
    Step {
        name: "fuzz",
        shows: "the fuzz targets, the same 50,000 inputs each time",
        run: policy::fuzz_briefly,
    },
    Step {
        name: "protocol-bochs",
        shows: "the policy domain on the real kernel answers every request, in Bochs",
        run: policy::in_bochs,
    },
    Step {
        name: "protocol-qemu",
        shows: "the policy domain answers a million random messages over real calls, in QEMU",
        run: crate::run::replay::messages,
    },
    Step {
        name: "replay-qemu",
        shows: "a recorded trace replays through both domains' logic over real calls, in QEMU",
        run: crate::run::replay::committed,
    },
    Step {
        name: "guests",
        shows: "every guest counts exactly on seL4, in Bochs",
        run: crate::run::tests_of_guests::guests,
    },
    Step {
        name: "two-vms",
        shows: "a guest counts exactly beside a hostile one, in Bochs",
        run: crate::run::tests_of_guests::two_vms,
    },
    Step {
        name: "policy-dies",
        shows: "a dying policy domain stops the guest that calls it, and nobody else, in Bochs",
        run: crate::run::tests_of_guests::policy_domain_dies,
    },
];

fn host() -> Outcome {
    run("cargo test", cargo().args(["test", "--workspace", "--quiet"]))
}

/// Runs the steps; all run even when one fails, and the last line counts them.
pub fn test(arguments: &Arguments) -> Outcome {
    let wanted = |s: &&Step| arguments.only.as_deref().is_none_or(|text| s.name.contains(text));
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    if steps.is_empty() {
        return Err(Failure::Environment(
            "no step has that name; `cargo xtask test --list` names them".into(),
        ));
    }
    if arguments.list {
        steps.iter().for_each(|s| println!("{:12} {}", s.name, s.shows));
        return Ok(());
    }
    let mut failed = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        println!("[{}/{}] {}: {}", i + 1, steps.len(), step.name, step.shows);
        let start = Instant::now();
        match (step.run)() {
            Ok(()) => println!("      ok, {:.0} s", start.elapsed().as_secs_f64()),
            Err(failure) => {
                println!("      FAILED, {:.0} s: {failure}", start.elapsed().as_secs_f64());
                failed.push(step.name);
            }
        }
    }
    println!("{} passed, {} failed", steps.len() - failed.len(), failed.len());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!("failed steps: {}", failed.join(", "))))
    }
}
