//! One boot of Linux in a mode: the cases that its script runs, and what was seen of each.

use super::super::lab::{Lab, Observed, observed};
use crate::image::{self, Request};
use crate::machine::bochs;
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::run::linux::{Linux, TIME_LIMIT, panicked};
use crate::run::{BROKEN, Mode, SENTINEL, lines};
use crate::workspace::{root, unwritable};
use kernel::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const SCRIPT: &str = include_str!("work.sh");
/// perf's counters are all for what is sampled.
const APPEND: &str = "nmi_watchdog=0";
/// The port to which the work's program writes before and after what it times (tests/machine/src/work.rs).
const MARK: u16 = 0xf5;
/// VM exits by their basic reason (SDM vol. 3D, appendix C): of an external interrupt, of which only a PMI is the guest's
/// doing; of an I/O instruction.
const EXTERNAL_INTERRUPT: u32 = 1;
const IO: u32 = 30;
/// What stands before the values that the script prints.
const SAID: &str = "linux | ";

/// What happened between the two marks of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// TSC cycles of the work.
    pub cycles: u64,
    /// What it computed.
    pub checksum: u64,
    /// VM exits by reason, without the host's own timer.
    pub exits: BTreeMap<u32, u64>,
    /// Performance-monitoring interrupts.
    pub pmis: u64,
    /// What perf says of the whole program, with the work before the marks.
    pub samples: u64,
    pub lost: u64,
}

impl Case {
    pub fn total_exits(&self) -> u64 {
        self.exits.values().sum()
    }
}

/// A boot, with what the VMM counted from its start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Without perf, then with each number of events.
    pub cases: Vec<Case>,
    pub exits: u64,
    pub control_traps: u64,
    pub approved: u64,
    pub ppc: u64,
    pub data_accesses: u64,
}

/// Boots Linux in this mode and lets it do so much work.
///
/// # Errors
/// The image cannot be built, Linux did not come to the end of its script, or its log is not what it must be.
pub fn boot(lab: &Lab, mode: Mode, costs: &Path, warmup: u64, turns: u64) -> Outcome<Boot> {
    lab.say(&format!("Linux, {}", mode.name()));
    let linux = Linux::with(&format!("WARMUP={warmup} TURNS={turns}\n{SCRIPT}"), APPEND, false)?;
    let guest = linux.guest(None);
    let inputs = lab.folder.join("inputs");
    let file = inputs.join("policy.toml");
    fs::write(&file, mode.policy()).map_err(|e| unwritable(&file, &e))?;
    policy::compile_to(&file, &inputs.join("policy.bin"))?;
    let place = guest.place(&inputs, true)?;
    let template = root().join("system.xml");
    let text = fs::read_to_string(&template)
        .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", template.display())))?;
    let system = inputs.join("system.xml");
    fs::write(&system, guest.describe(&text, &place)?).map_err(|e| unwritable(&system, &e))?;
    let out = lab.folder.join("image");
    let mut request = Request::new(Config::Release, &system, &out);
    request.search.push(inputs);
    let image = image::build(&request)?;
    let mut machine = image.in_bochs(&lab.folder.join("bochs"));
    if let Some(bank) = &place.bank {
        image.reserve(&bank.range())?;
        machine.preloaded = Some((bank.file.clone(), bank.range().start));
    }
    machine.memory_mib = place.memory_mib;
    // The machine's clocks agree with the rate that the overhead is meant for.
    machine.ips = u32::try_from(super::FREQUENCY).unwrap_or(u32::MAX);
    machine.pmu = Some(bochs::Pmu { skid: 0, costs: Some(costs.to_owned()) });
    machine.mark = Some(MARK);
    machine.time_limit = TIME_LIMIT;
    machine.sentinels = BROKEN.iter().chain([&SENTINEL]).map(|text| (*text).to_owned()).collect();
    let finished = machine.run(|line| {
        if let Some(text) = line.strip_prefix(lines::GUEST).and_then(|line| line.strip_prefix(SAID)) {
            lab.say(text.trim_end());
        }
    })?;
    panicked(&finished.serial)?;
    let observed = observed(&finished)?;
    let cases = cases(&finished.serial, &observed.machine["marks"])
        .map_err(|why| Failure::Check(format!("{}: {why}; {}", mode.name(), finished.summary())))?;
    Ok(boot_of(cases, &observed))
}

fn boot_of(cases: Vec<Case>, observed: &Observed) -> Boot {
    let report = &observed.report;
    Boot {
        cases,
        exits: observed.exits(),
        control_traps: report.control_traps,
        approved: observed.approved_writes(),
        ppc: report.ppc,
        data_accesses: report.data_accesses,
    }
}

/// The cases in the serial log, each with its two marks.
fn cases(serial: &str, marks: &Value) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    // Lines with perf's numbers of samples, and of lost ones.
    let mut said = [0, 0];
    let console = serial.lines().filter_map(|line| line.strip_prefix(lines::GUEST)?.strip_prefix(SAID));
    for (name, value) in console.filter_map(|line| line.split_once(" | ")) {
        let numbers = || {
            let numbers: Option<Vec<u64>> = value.split_whitespace().map(|word| word.parse().ok()).collect();
            numbers.ok_or_else(|| format!("the guest said `{name} | {value}`"))
        };
        if name == "case" {
            cases.push(Case::default());
        }
        let Some(case) = cases.last_mut() else { continue };
        match (name, numbers) {
            ("work", numbers) => {
                [case.cycles, case.checksum] =
                    <[u64; 2]>::try_from(numbers()?).map_err(|_| "the work's line has not two numbers")?;
            }
            ("samples", numbers) => {
                case.samples = numbers()?.iter().sum();
                said[0] += 1;
            }
            ("lost", numbers) => {
                case.lost = numbers()?.iter().sum();
                said[1] += 1;
            }
            _ => {}
        }
    }
    if said[0] != said[1] {
        return Err(format!(
            "perf told its samples {} times, and how many it lost {} times",
            said[0], said[1]
        ));
    }
    let marks = marks.as_array().map_or(&[] as &[Value], Vec::as_slice);
    if marks.len() != 2 * cases.len() {
        return Err(format!("the machine saw {} marks of {} cases", marks.len(), cases.len()));
    }
    for (case, pair) in cases.iter_mut().zip(marks.chunks_exact(2)) {
        if case.cycles == 0 {
            return Err("a case has not come to its end".to_owned());
        }
        (case.exits, case.pmis) = between(&pair[0], &pair[1]);
    }
    Ok(cases)
}

/// Exits from one mark to the next, and PMIs. The first mark's own exit comes after it, and is not the work's.
fn between(first: &Value, second: &Value) -> (BTreeMap<u32, u64>, u64) {
    let pmis = |mark: &Value| mark["pmis"]["delivered"].as_u64().unwrap_or(0);
    let pmis = pmis(second).saturating_sub(pmis(first));
    let mut exits = BTreeMap::new();
    for (reason, count) in second["vm_exits"].as_object().into_iter().flatten() {
        let Ok(number) = reason.parse::<u32>() else { continue };
        let before = first["vm_exits"][reason].as_u64().unwrap_or(0);
        let count = count.as_u64().unwrap_or(0).saturating_sub(before);
        let count = match number {
            EXTERNAL_INTERRUPT => count.min(pmis),
            IO => count.saturating_sub(1),
            _ => count,
        };
        if count > 0 {
            exits.insert(number, count);
        }
    }
    (exits, pmis)
}

#[cfg(test)]
pub mod tests {
    use super::{Case, cases};
    use serde_json::json;

    /// A case that took so many cycles.
    pub fn case(cycles: u64) -> Case {
        let exits = [(1, 20), (48, 30)].into();
        Case { cycles, checksum: 7, exits, pmis: 20, samples: 100, lost: 0 }
    }

    const LOG: &str = "@policy\nguest: linux | kernel | x\nguest: linux | case | 0\nguest: linux | work | 1000 7\n\
                       guest: linux | case | 6\nguest: linux | work | 1100 7\nguest: linux | samples | 60\n\
                       guest: linux | lost | 0\n";

    #[test]
    fn each_case_has_its_numbers_and_what_is_between_its_marks() {
        let mark = |interrupts: u64, pmis: u64, io: u64, apic: u64| json!({"vm_exits": {"1": interrupts, "30": io, "48": apic}, "pmis": {"delivered": pmis}});
        let marks = json!([mark(5, 0, 2, 9), mark(8, 0, 3, 11), mark(9, 0, 4, 15), mark(30, 12, 5, 40)]);
        let cases = cases(LOG, &marks).expect("complete");
        let first = Case { cycles: 1000, checksum: 7, exits: [(48, 2)].into(), ..Case::default() };
        assert_eq!(cases[0], first);
        // Of 21 external interrupts 12 were PMIs.
        let exits = [(1, 12), (48, 25)].into();
        assert_eq!(cases[1], Case { cycles: 1100, checksum: 7, exits, pmis: 12, samples: 60, lost: 0 });
        assert_eq!(cases[1].total_exits(), 37);
    }

    #[test]
    fn a_log_that_is_not_whole_is_refused() {
        let marks = json!([{}, {}, {}, {}]);
        assert!(cases(LOG, &json!([{}, {}, {}])).unwrap_err().contains("3 marks of 2 cases"));
        assert!(cases(&LOG.replace("1100 7", "1100"), &marks).unwrap_err().contains("two numbers"));
        assert!(cases(&LOG.replace("1100 7", "many 7"), &marks).unwrap_err().contains("many"));
        let without = LOG.replace("guest: linux | work | 1100 7\n", "");
        assert!(cases(&without, &marks).unwrap_err().contains("not come to its end"));
        assert!(
            cases(&LOG.replace("guest: linux | lost | 0\n", ""), &marks)
                .unwrap_err()
                .contains("lost 0 times")
        );
        // Without samples there is no number: perf has failed.
        assert!(cases(&LOG.replace("samples | 60", "samples | x"), &marks).is_err());
    }
}
