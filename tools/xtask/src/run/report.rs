//! The report of a run as data.

use super::lines::Line;
use super::{Arguments, Machine};
use crate::machine::Finished;
use crate::process::{Failure, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// What begins the name of the simulated machine.
const SIMULATED: &str = "bochs";

/// A counter that the guest read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub workload: String,
    pub event: String,
    pub counter: String,
    pub measured: u64,
    pub expected: u64,
}

/// Where the simulated time went.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The cost model's parameters.
    pub parameters: Value,
    /// Core cycles in the guest.
    pub guest_cycles: u64,
    /// Core cycles outside it between its first instruction and its end.
    pub host_cycles: u64,
}

impl Cost {
    /// Host cycles in percent of all: also of a guest of a few instructions it says something.
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn outside_percent(&self) -> f64 {
        100.0 * self.host_cycles as f64 / (self.guest_cycles + self.host_cycles).max(1) as f64
    }
}

/// Everything that a run shows.
#[derive(Debug, Clone)]
pub struct Report {
    pub machine: String,
    /// It is the simulated machine.
    pub simulated: bool,
    pub kernel: String,
    pub guest: String,
    pub mode: String,
    pub counters: Vec<Counter>,
    /// What the guest says of its own checks: right, wrong.
    pub checks: Option<(u64, u64)>,
    pub exits: u64,
    pub by_reason: BTreeMap<String, u64>,
    pub control_traps: u64,
    pub control_reads: u64,
    pub data_accesses: u64,
    pub ppc: u64,
    pub pmi: BTreeMap<String, u64>,
    pub samples: Option<BTreeMap<String, u64>>,
    /// TSC cycles that the guest measured: of a control write, of a CPUID.
    pub round_trips: BTreeMap<String, u64>,
    /// What the policy domain counted.
    pub policy: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, u64>,
    pub pmu_error: Option<String>,
    pub cost: Option<Cost>,
    /// Exit code of the guest and why it stopped.
    pub stop: (u64, String),
    /// Lines about a guest that stopped badly: registers, last exits, its panic.
    pub details: Vec<String>,
    /// What Linux printed that must not be, whatever else is so.
    pub refuted: Option<String>,
}

impl Report {
    /// The report in the serial log of a run that came to its end.
    ///
    /// # Errors
    /// A line that the VMM always prints is missing.
    pub fn new(arguments: &Arguments, kernel: String, finished: &Finished) -> Outcome<Self> {
        let lines: Vec<Line<'_>> = finished.serial.lines().filter_map(Line::parse).collect();
        let machine = match arguments.machine {
            Machine::Bochs => format!("{SIMULATED} {}", arguments.model),
            Machine::Qemu => "qemu".to_owned(),
            Machine::Kvm => "kvm".to_owned(),
        };
        let mut report =
            Self::from_lines(&lines, machine, kernel, arguments.guest.clone()).ok_or_else(|| {
                Failure::Check(format!("the VMM's report is incomplete; {}", finished.summary()))
            })?;
        let machine_report = finished.report.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let elapsed =
            lines.iter().find(|line| !line.guest && line.word == "time").and_then(|l| l.number("cycles"));
        report.cost = machine_report.and_then(|text| cost(&text, elapsed?));
        Ok(report)
    }

    /// The report in these lines; none unless the VMM's last line is there.
    pub fn from_lines(lines: &[Line<'_>], machine: String, kernel: String, guest: String) -> Option<Self> {
        let own = |word| lines.iter().find(|line| !line.guest && line.word == word);
        let said = |word| lines.iter().rev().find(|line| line.guest && line.word == word);
        let stop = own("stop")?;
        let numbers = |word| own(word).map(Line::numbers).unwrap_or_default();
        let mut by_reason = numbers("exits");
        let exits = by_reason.remove("total").unwrap_or(0);
        let pmu = numbers("pmu");
        let count = |key: &str| pmu.get(key).copied().unwrap_or(0);
        let detail = |line: &Line<'_>| {
            matches!((line.guest, line.word), (false, "exit" | "registers") | (true, "panic"))
                .then(|| format!("{} {}", line.word, line.text))
        };
        Some(Self {
            simulated: machine.starts_with(SIMULATED),
            machine,
            kernel,
            guest,
            mode: own("pmu").and_then(|line| line.field("mode")).unwrap_or("none").to_lowercase(),
            counters: lines.iter().filter(|l| l.guest && l.word == "counter").filter_map(counter).collect(),
            checks: said("result").and_then(|line| Some((line.number("right")?, line.number("wrong")?))),
            exits,
            by_reason,
            control_traps: count("control_traps"),
            control_reads: count("control_reads"),
            data_accesses: count("data_accesses"),
            ppc: count("ppc"),
            pmi: numbers("pmi"),
            samples: said("samples").map(Line::numbers),
            round_trips: said("cost").map(Line::numbers).unwrap_or_default(),
            policy: numbers("policy"),
            faults: numbers("faults"),
            pmu_error: own("pmu-error").map(|line| line.text.to_owned()),
            cost: None,
            stop: (
                stop.number("code")?,
                stop.text.split_once(' ').map_or("", |(_, reason)| reason).to_owned(),
            ),
            details: lines.iter().filter_map(detail).collect(),
            refuted: None,
        })
    }

    /// Whether the counter's value is not the true one. Of other events than these two, the guest knows what is true on the
    /// simulated machine alone.
    pub fn is_wrong(&self, counter: &Counter) -> bool {
        let known = self.simulated || ["instructions", "branches"].contains(&counter.event.as_str());
        known && counter.measured != counter.expected
    }

    /// Counters whose value is not the true one.
    pub fn wrong(&self) -> impl Iterator<Item = &Counter> {
        self.counters.iter().filter(|c| self.is_wrong(c))
    }

    /// In one line: what is so, or what is not.
    pub fn verdict(&self) -> Result<String, String> {
        let (code, why) = &self.stop;
        let lost = self.pmi.get("lost").copied().unwrap_or(0);
        let wrong = self.wrong().count();
        if let Some(error) = &self.pmu_error {
            return Err(format!("the policy domain failed: {error}"));
        }
        if *code != 0 {
            return Err(format!("the guest failed: {why}"));
        }
        if let Some(why) = &self.refuted {
            return Err(why.clone());
        }
        if wrong != 0 {
            return Err(format!("{wrong} of {} counters are wrong", self.counters.len()));
        }
        if let Some((_, wrong)) = self.checks.filter(|(right, wrong)| *wrong != 0 || *right == 0) {
            return Err(format!("{wrong} of the guest's checks failed"));
        }
        if lost != 0 {
            return Err(format!("{lost} performance-monitoring interrupts were lost"));
        }
        // Only RDPMC can be direct on the SDK's kernel.
        let direct = self.mode == "mediated" && !self.kernel.starts_with(crate::sdk::DESCRIPTION);
        if direct && self.data_accesses != 0 {
            return Err(format!("{} data accesses caused an exit; mediated means none", self.data_accesses));
        }
        let mut good = Vec::new();
        if !self.counters.is_empty() {
            good.push(format!("{} counters exact", self.counters.len()));
        }
        if direct {
            good.push("no data access caused an exit".to_owned());
        }
        if self.pmi.get("raised").is_some_and(|raised| *raised != 0) {
            good.push("no interrupt lost".to_owned());
        }
        if good.is_empty() {
            good.push("the guest ended well".to_owned());
        }
        Ok(good.join(", "))
    }

    /// The report for programs: docs/report.md names each field.
    pub fn json(&self) -> Value {
        let counters: Vec<Value> = self
            .counters
            .iter()
            .map(|c| {
                json!({"workload": c.workload, "event": c.event, "counter": c.counter,
                       "measured": c.measured, "expected": c.expected})
            })
            .collect();
        let cost = self.cost.as_ref().map(|cost| {
            json!({"parameters": cost.parameters, "guest_cycles": cost.guest_cycles,
                   "host_cycles": cost.host_cycles, "outside_percent": cost.outside_percent()})
        });
        let (passed, verdict) = match self.verdict() {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        json!({
            "machine": self.machine,
            "kernel": self.kernel,
            "mode": self.mode,
            "guest": self.guest,
            "counters": counters,
            "checks": self.checks.map(|(right, wrong)| json!({"right": right, "wrong": wrong})),
            "exits": {"total": self.exits, "by_reason": self.by_reason},
            "control_traps": self.control_traps,
            "control_reads": self.control_reads,
            "data_accesses": self.data_accesses,
            "ppc": self.ppc,
            "pmi": self.pmi,
            "samples": self.samples,
            "round_trips": self.round_trips,
            "policy": self.policy,
            "faults": self.faults,
            "cost": cost,
            "stop": {"code": self.stop.0, "reason": self.stop.1},
            "details": self.details,
            "pmu_error": self.pmu_error,
            "passed": passed,
            "verdict": verdict,
        })
    }
}

fn counter(line: &Line<'_>) -> Option<Counter> {
    let text = |key| line.field(key).map(str::to_owned);
    Some(Counter {
        workload: text("workload")?,
        event: text("event")?,
        counter: text("counter")?,
        measured: line.number("measured")?,
        expected: line.number("expected")?,
    })
}

/// The cost from what the PMU library wrote, and the guest's life in TSC cycles by the VMM's clock.
fn cost(text: &str, elapsed: u64) -> Option<Cost> {
    let value: Value = serde_json::from_str(text).ok()?;
    let guest_cycles = value["processors"][0]["guest"]["cycles"].as_u64()?;
    let host_cycles = elapsed.saturating_sub(guest_cycles);
    Some(Cost { parameters: value["costs"].clone(), guest_cycles, host_cycles })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
guest: @counter workload=loop event=branches counter=pmc0 measured=7 expected=7
guest: @result right=1 wrong=0
@exits total=12 io=10 wrmsr=2
@pmu mode=Mediated control_traps=2 control_reads=0 data_accesses=0 ppc=3
@pmi raised=1 delivered=1 lost=0 spurious=0
@stop code=0 the guest ended itself with code 0
";

    fn report(log: &str) -> Option<Report> {
        let lines: Vec<Line<'_>> = log.lines().filter_map(Line::parse).collect();
        Report::from_lines(&lines, "bochs m".into(), "k".into(), "g".into())
    }

    #[test]
    fn a_good_run_passes_and_its_numbers_are_in_the_json() {
        let report = report(LOG).expect("complete");
        assert!(report.verdict().is_ok());
        let json = report.json();
        assert_eq!(json["exits"], json!({"total": 12, "by_reason": {"io": 10, "wrmsr": 2}}));
        assert_eq!((&json["mode"], &json["ppc"]), (&json!("mediated"), &json!(3)));
        assert_eq!(json["counters"][0]["measured"], 7);
    }

    /// A guest of three instructions, as `protected` nearly is: a ratio to its own time would be a number without sense.
    #[test]
    fn time_outside_the_guest_is_a_share_of_all() {
        let mut report = report(LOG).expect("complete");
        for (guest_cycles, host_cycles, percent, text) in [
            (1, 9_999, 99.99, "100.0 % of both"),
            (3, 1, 25.0, "25.0 % of both"),
            (0, 0, 0.0, "0.0 % of both"),
        ] {
            report.cost = Some(Cost { parameters: json!({}), guest_cycles, host_cycles });
            assert_eq!(report.json()["cost"]["outside_percent"], json!(percent));
            let shown = super::super::show::text(&report);
            assert!(shown.contains(text), "{shown}");
        }
    }

    /// docs/report.md has a row for each field of the report.
    #[test]
    fn each_field_is_documented() {
        let text = include_str!("../../../../docs/report.md");
        let (text, _) = text.split_once("## Of the benchmark").expect("is there");
        let mut report = report(LOG).expect("complete");
        report.cost = Some(Cost { parameters: json!({}), guest_cycles: 1, host_cycles: 1 });
        let json = report.json();
        let row = |name: &str| text.lines().any(|line| line.starts_with(&format!("| `{name}` ")));
        for (key, value) in json.as_object().expect("an object") {
            assert!(row(key), "{key}");
            // Objects whose keys are names of ours, and not data.
            let inner = value.as_object().filter(|_| ["checks", "cost", "stop"].contains(&key.as_str()));
            for inner in inner.into_iter().flat_map(|object| object.keys()) {
                assert!(row(&format!("{key}.{inner}")), "{key}.{inner}");
            }
        }
        for key in json["counters"][0].as_object().expect("an object").keys() {
            assert!(row(&format!("counters[].{key}")), "{key}");
        }
    }

    #[test]
    fn each_thing_that_is_not_so_fails_the_run() {
        for (from, to) in [
            ("measured=7", "measured=8"),
            ("wrong=0", "wrong=1"),
            ("right=1", "right=0"),
            ("lost=0", "lost=1"),
            ("data_accesses=0", "data_accesses=1"),
            ("code=0", "code=1"),
            ("@stop", "@pmu-error gone\n@stop"),
        ] {
            let log = LOG.replacen(from, to, 1);
            assert!(report(&log).expect("complete").verdict().is_err(), "{to}");
        }
    }

    /// What the guest knows of the simulated machine's cycles and caches is not so of other machines.
    #[test]
    fn on_other_machines_instructions_and_branches_alone_are_judged() {
        let cycles = LOG.replace("branches", "core-cycles").replace("measured=7", "measured=8");
        let mut report = report(&cycles).expect("complete");
        assert!(report.verdict().is_err());
        report.simulated = false;
        assert!(report.verdict().is_ok());
        report.counters[0].event = "instructions".into();
        assert!(report.verdict().is_err());
    }

    #[test]
    fn a_guest_that_prints_the_vmm_s_last_line_does_not_end_the_report() {
        assert!(report(&LOG.replace("@stop", "guest: @stop")).is_none());
    }
}
