//! `run`: a guest on seL4 with the PMU mediated, and what came of it.

mod arguments;
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
pub use arguments::{Arguments, Mode};
use arguments::{DEFAULT_GUEST, Machine};
use guest::{Guest, Place};
use kernel::Config;
use linux::Linux;
use progress::Progress;
use report::Report;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vmm_core::seam;

/// The guests of this project; each is a binary of the package `guest`.
const GUESTS: [&str; 8] =
    ["count", "idle", "sample", "multiplex", "hostile", "orphan", "multiboot", "protected"];
/// How long a guest may take.
const TIME_LIMIT: Duration = Duration::from_secs(120);
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
        assert!(
            costs(Path::new(super::arguments::COSTS))
                .is_ok_and(|file| file.is_some_and(|file| file.is_absolute()))
        );
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
