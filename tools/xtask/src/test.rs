//! `test`: every test of the project, as named steps.

mod lanes;

use crate::image::{refusals, system_tests};
use crate::process::{Failure, Outcome, run};
use crate::workspace::cargo;
use crate::{bench, check, kernel_tests, machine, policy, setup, spec};
use lanes::Lane;

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the steps whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run this step alone, with its output as it comes
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "full"])]
    step: Option<String>,
    /// Also run what takes many minutes: Linux as a guest
    #[arg(long)]
    full: bool,
    /// List the steps and stop
    #[arg(long, conflicts_with = "step")]
    list: bool,
}

/// One part of the test run: a name, what it shows, where it runs, and the code that fails if that is not so.
struct Step {
    name: &'static str,
    shows: &'static str,
    lane: Lane,
    run: fn() -> Outcome,
}

/// The steps that `--full` adds.
const LONG: [&str; 2] = ["linux-guest", "linux-two-vms"];
/// The steps that need a Microkit SDK; they are counted apart.
const ON_SDK: [&str; 4] = ["sdk-bochs", "sdk-guests", "sdk-two-vms", "sdk-policy-dies"];

const STEPS: &[Step] = &[
    Step { name: "setup", lane: Lane::First, shows: "every tool is installed", run: setup::setup },
    Step {
        name: "check",
        lane: Lane::Host,
        shows: "format, lints, documentation, dependency rules",
        run: check::check,
    },
    Step { name: "host", lane: Lane::Host, shows: "unit and property tests on the host", run: host },
    Step {
        name: "spec",
        lane: Lane::Host,
        shows: "the specification's proofs, and that pmu_core does what it says",
        run: spec::quick,
    },
    Step {
        name: "machine-selftest",
        lane: Lane::Machine,
        shows: "the simulated machine follows the SDM's rules, and runs are repeatable",
        run: machine::run_selftest,
    },
    Step {
        name: "machine-linux",
        lane: Lane::Machine,
        shows: "stock Debian Linux counts exactly on the simulated machine",
        run: machine::run_linux,
    },
    Step {
        name: "image-refusals",
        lane: Lane::Host,
        shows: "a wrong system description is refused with file, line and reason; an output that nobody reads is no panic",
        run: refusals::refused,
    },
    Step {
        name: "sdk-sources",
        lane: Lane::Host,
        shows: "the domains' sources fit the Microkit SDK's runtime by its names, and wrong use is refused",
        run: crate::sdk::tests::sources,
    },
    Step {
        name: ON_SDK[0],
        lane: Lane::Machine,
        shows: "on the Microkit SDK's own kernel a guest counts exactly, in its three configurations, in Bochs",
        run: crate::sdk::tests::configurations,
    },
    Step {
        name: ON_SDK[1],
        lane: Lane::Machine,
        shows: "on the Microkit SDK's own kernel every guest ends well, in Bochs",
        run: crate::sdk::tests::guests,
    },
    Step {
        name: ON_SDK[2],
        lane: Lane::Machine,
        shows: "on the Microkit SDK's own kernel a guest counts exactly beside one without a PMU, in Bochs",
        run: crate::sdk::tests::two_vms,
    },
    Step {
        name: ON_SDK[3],
        lane: Lane::Machine,
        shows: "on the Microkit SDK's own kernel a dying policy domain stops the guest that calls it alone, in Bochs",
        run: crate::sdk::tests::policy_domain_dies,
    },
    Step {
        name: "kernel-build",
        lane: Lane::Machine,
        shows: "the kernel's build is reproducible and small, and user level has its numbers",
        run: kernel_tests::kernel_build,
    },
    Step {
        name: "kernel-bochs",
        lane: Lane::Machine,
        shows: "the kernel and its PMU extension, by a root task in Bochs, with early and late PMIs",
        run: kernel_tests::in_bochs,
    },
    Step {
        name: "system-qemu",
        lane: Lane::Machine,
        shows: "images of protection domains, in QEMU",
        run: system_tests::in_qemu,
    },
    Step {
        name: "system-bochs",
        lane: Lane::Machine,
        shows: "images of protection domains and guests, in Bochs",
        run: system_tests::in_bochs,
    },
    Step {
        name: "policy-figures",
        lane: Lane::Host,
        shows: "the policy domain's instructions, image, state and stack; ten million messages",
        run: policy::figures,
    },
    Step {
        name: "fuzz",
        lane: Lane::Host,
        shows: "the fuzz targets, the same 50,000 inputs each time",
        run: policy::fuzz_briefly,
    },
    Step {
        name: "protocol-bochs",
        lane: Lane::Machine,
        shows: "the policy domain on the real kernel answers every request, in Bochs",
        run: policy::in_bochs,
    },
    Step {
        name: "protocol-qemu",
        lane: Lane::Machine,
        shows: "the policy domain answers a million random messages over real calls, in QEMU",
        run: crate::run::replay::messages,
    },
    Step {
        name: "replay-qemu",
        lane: Lane::Machine,
        shows: "a recorded trace replays through both domains' logic over real calls, in QEMU",
        run: crate::run::replay::committed,
    },
    Step {
        name: "guests",
        lane: Lane::Machine,
        shows: "every guest counts exactly on seL4, in Bochs",
        run: crate::run::tests_of_guests::guests,
    },
    Step {
        name: "bench",
        lane: Lane::Machine,
        shows: "sampling as perf does, in every mode: exact, nothing lost, in Bochs",
        run: bench::short,
    },
    Step {
        name: "kernels",
        lane: Lane::Machine,
        shows: "Multiboot kernels by the command line: what ends well, what ends badly, what is refused, in Bochs",
        run: crate::run::tests_of_kernels::kernels,
    },
    Step {
        name: "two-vms",
        lane: Lane::Machine,
        shows: "a guest counts exactly beside a hostile one, in Bochs",
        run: crate::run::tests_of_guests::two_vms,
    },
    Step {
        name: "policy-dies",
        lane: Lane::Machine,
        shows: "a domain that panics or faults takes its own guest's PMU, or its guest, and nobody else's, in Bochs",
        run: crate::run::tests_of_deaths::deaths,
    },
    Step {
        name: LONG[0],
        lane: Lane::Machine,
        shows: "stock Debian Linux is a guest, its perf counts exactly, its shell comes in time, its panic is told (with --full alone)",
        run: crate::run::linux::steps::guest,
    },
    Step {
        name: LONG[1],
        lane: Lane::Machine,
        shows: "of two Linux VMs one records while the other counts exactly, in Bochs (with --full alone)",
        run: crate::run::linux::steps::two,
    },
];

fn host() -> Outcome {
    run("cargo test", cargo().args(["test", "--workspace", "--quiet"]))
}

/// Runs the steps; all run even when one fails, and the last line counts them.
pub fn test(arguments: &Arguments) -> Outcome {
    if let Some(name) = &arguments.step {
        let step = STEPS.iter().find(|step| step.name == name.as_str()).ok_or_else(no_step)?;
        return (step.run)();
    }
    let sdk = crate::sdk::tests::is_named();
    let wanted = |s: &&Step| {
        arguments.only.as_deref().is_none_or(|text| s.name.contains(text))
            && (sdk || !ON_SDK.contains(&s.name))
            && (arguments.full || !LONG.contains(&s.name))
    };
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    if steps.is_empty() {
        return Err(no_step());
    }
    if arguments.list {
        steps.iter().for_each(|s| println!("{:16} {}", s.name, s.shows));
        return Ok(());
    }
    let failed = lanes::run(&steps)?;
    let on_sdk = |name: &str| ON_SDK.contains(&name);
    let (of_sdk, failed_on_sdk) =
        (steps.iter().filter(|s| on_sdk(s.name)).count(), failed.iter().filter(|name| on_sdk(name)).count());
    let (own, failed_own) = (steps.len() - of_sdk, failed.len() - failed_on_sdk);
    println!("{} passed, {failed_own} failed", own - failed_own);
    if of_sdk == 0 {
        println!("on the Microkit SDK: not run (MICROKIT_SDK names none, or --only leaves it out)");
    } else {
        println!("on the Microkit SDK: {} passed, {failed_on_sdk} failed", of_sdk - failed_on_sdk);
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!("failed steps: {}", failed.join(", "))))
    }
}

fn no_step() -> Failure {
    Failure::Environment("no step has that name; `cargo xtask test --list` names them".into())
}
