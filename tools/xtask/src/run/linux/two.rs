//! Two Linux VMs side by side (tests/system/two_linux): one records, the other counts exactly.

use super::{COMMAND_LINE, FUNCTIONS, GUEST, INIT, IPS, TIME_LIMIT, judge};
use crate::image::{self, Request};
use crate::machine::checks::{Check, verdict};
use crate::machine::linux::INSTRUCTIONS;
use crate::machine::{Ended, Finished, bochs, linux_files};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::run::guest::Guest;
use crate::run::tests_of_guests::{lines_of, report};
use crate::run::{BROKEN, SENTINEL, costs, unwritable};
use crate::workspace::{output, root};
use kernel::Config;
use std::fs;
use std::path::Path;

/// What the two VMMs put before their lines.
const RECORD: &str = "record | ";
const EXACT: &str = "exact | ";
const SCRIPT: &str = include_str!("two.sh");
/// Samples of two.sh's `perf record`: 400,000,014 instructions (tests/machine/src/long.rs), 400,000 a sample.
const SAMPLES: u64 = 1000;
/// Turns of `perf stat` there.
const TURNS: u32 = 12;
/// Memory of the VMs in MiB, in the description's order, and of the machine.
const MEMORIES: [u32; 2] = [256, 192];
const MACHINE: u32 = 768;
const COSTS: &str = "tools/bochs_pmu/costs.toml";

/// The step `linux-two-vms`.
pub fn two() -> Outcome {
    let folder = output("two-linux")?;
    let scripts = [("init", INIT), ("functions", FUNCTIONS), ("script", SCRIPT)];
    let initrd = linux_files::initial_files(&folder, &scripts)?;
    let kernel = linux_files::kernel()?.display().to_string();
    // The smaller memory has room for it: both have.
    let [_, memory] = MEMORIES;
    let guest = Guest { name: &kernel, append: COMMAND_LINE, initrd: Some(&initrd), memory };
    let file = folder.join("linux.image");
    fs::write(&file, guest.image()?).map_err(|e| unwritable(&file, &e))?;
    let source = root().join("tests/system/two_linux");
    policy::compile_to(&source.join("policy.toml"), &folder.join("policy.bin"))?;
    let system = source.join("system.xml");
    let out = folder.join("image");
    let mut request = Request::new(Config::Release, &system, &out);
    request.search.push(folder.clone());
    let image = image::build(&request)?;

    let mut machine = image.in_bochs(&folder.join("bochs"));
    machine.pmu = Some(bochs::Pmu { skid: 0, costs: costs(Path::new(COSTS))? });
    machine.memory_mib = MACHINE;
    machine.ips = IPS;
    machine.time_limit = 2 * TIME_LIMIT;
    // It does more, and ends last.
    let last = format!("{RECORD}{SENTINEL}");
    machine.sentinels = BROKEN.iter().map(|text| (*text).to_owned()).chain([last.clone()]).collect();
    let finished = machine.run(|line| println!("  {line}"))?;
    match &finished.ended {
        Ended::Sentinel(line) if line.contains(&last) => judge_both(&finished),
        _ => Err(Failure::Check(finished.summary())),
    }
}

/// What both said.
fn judge_both(finished: &Finished) -> Outcome {
    let mut checks = values(&finished.serial);
    for mark in [RECORD, EXACT] {
        let report = report(&lines_of(finished, mark), mark, finished)?;
        report.verdict().map_err(|e| Failure::Check(format!("{mark}{e}")))?;
        for mut check in judge::account(&report) {
            check.name = format!("{mark}{}", check.name);
            checks.push(check);
        }
    }
    checks.iter().for_each(|check| println!("{check}"));
    verdict(&checks)
}

/// The values that two.sh prints, in the serial log of both.
fn values(serial: &str) -> Vec<Check> {
    let console = |mark: &str| {
        let start = format!("{mark}{GUEST}");
        serial.lines().filter_map(|line| line.strip_prefix(&start).map(str::to_owned)).collect::<Vec<_>>()
    };
    let [record, exact] = [RECORD, EXACT].map(console);
    let [record, exact] = [&record, &exact].map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut checks = Vec::new();
    checks.push(judge::exact(&record, "samples", SAMPLES));
    for turn in 1..=TURNS {
        checks.extend(judge::known(&exact, &format!("stat {turn}")));
    }
    checks.push(judge::refused(&exact, "refused cache-misses"));
    checks.push(judge::exact(&exact, "refused instructions:u", INSTRUCTIONS));
    let rdpmc_costs = cost_of_rdpmc();
    checks.extend(judge::rdpmc(&exact, rdpmc_costs));
    checks.push(Check::new(
        "a count that ends while the other VM records: any",
        "",
        u64::from(overlap(serial)),
        1,
    ));
    checks
}

/// What the cost file says.
fn cost_of_rdpmc() -> u64 {
    let text = fs::read_to_string(root().join(COSTS)).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("rdpmc = ")?.parse().ok()).unwrap_or(0)
}

/// Whether a count of one VM ends while the program runs that the other VM records.
fn overlap(serial: &str) -> bool {
    let place =
        |says: &str| serial.lines().position(|line| line == format!("{RECORD}{GUEST}linux | long | {says}"));
    let (Some(begins), Some(ends)) = (place("begins"), place("ends")) else { return false };
    let count = format!("{EXACT}{GUEST}linux | stat ");
    serial.lines().take(ends).skip(begins).any(|line| line.starts_with(&count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_guests_pass_nothing() {
        assert!(values("").iter().all(|check| !check.ok()));
        assert_ne!(cost_of_rdpmc(), 0);
    }

    #[test]
    fn a_count_must_end_while_the_other_records() {
        let [begins, ends] = ["begins", "ends"].map(|says| format!("record | guest: linux | long | {says}"));
        let count = "exact | guest: linux | stat 1 x | 1".to_owned();
        for (lines, overlaps) in [
            ([&begins, &count, &ends], true),
            ([&count, &begins, &ends], false),
            ([&begins, &ends, &count], false),
        ] {
            assert_eq!(overlap(&lines.map(String::as_str).join("\n")), overlaps);
        }
    }
}
