//! What perf in the guest says, against what is so.

use super::IPS;
use crate::machine::checks::Check;
use crate::machine::linux::{BRANCHES, FAULTS, INSTRUCTIONS, PERIOD, RDPMC_BRANCHES, RDPMC_INSTRUCTIONS};
use crate::run::report::Report;

/// Turns of `perf stat` in perf.sh, and the events that share counters there.
const TURNS: u32 = 3;
const SHARING: u32 = 12;

/// The value that a script printed by this name.
pub fn value<'a>(console: &[&'a str], name: &str) -> &'a str {
    let prefix = format!("linux | {name} | ");
    console.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("nothing").trim()
}

/// Ticks of the TSC from the kernel's start to its shell.
pub fn shell(console: &[&str]) -> Option<u64> {
    ticks(value(console, "shell"))
}

/// Seconds with two decimals, in ticks of the TSC.
pub fn ticks(seconds: &str) -> Option<u64> {
    let (whole, hundredths) = seconds.split_once('.').filter(|(_, rest)| rest.len() == 2)?;
    let hundredths = whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?;
    Some(hundredths * u64::from(IPS) / 100)
}

/// The value by this name must be this number.
pub fn exact(console: &[&str], name: &str, want: u64) -> Check {
    let got = value(console, name).to_owned();
    Check { name: format!("perf: {name}"), section: String::new(), got, want: want.to_string() }
}

/// The value by this name must be such that `holds`; else `want` says what is wanted.
fn such(console: &[&str], name: &str, want: &str, holds: impl Fn(&str) -> bool) -> Check {
    let got = value(console, name).to_owned();
    let want = if holds(&got) { got.clone() } else { want.to_owned() };
    Check { name: format!("perf: {name}"), section: String::new(), got, want }
}

/// What `perf stat` must say of the program `known` by this name. A cycle is an instruction or an attempt at one that
/// faults, and nothing that costs more is done in user mode (tools/bochs_pmu/README.md).
pub fn known(console: &[&str], name: &str) -> Vec<Check> {
    [("instructions", INSTRUCTIONS), ("branches", BRANCHES), ("cycles", INSTRUCTIONS + FAULTS)]
        .map(|(event, want)| exact(console, &format!("{name} {event}:u"), want))
        .to_vec()
}

/// What RDPMC in user mode must count. An RDPMC is charged after it has read: the first of two lies between both reads.
pub fn rdpmc(console: &[&str], cost: u64) -> Vec<Check> {
    [
        ("instructions", RDPMC_INSTRUCTIONS),
        ("branches", RDPMC_BRANCHES),
        ("cycles", RDPMC_INSTRUCTIONS + cost),
    ]
    .map(|(event, want)| exact(console, &format!("rdpmc {event}"), want))
    .to_vec()
}

/// What an RDPMC costs in this run, in cycles.
fn cost_of_rdpmc(report: &Report) -> u64 {
    report.cost.as_ref().and_then(|cost| cost.parameters["rdpmc"].as_u64()).unwrap_or(0)
}

/// What an event says of which the policy refuses everything.
pub fn refused(console: &[&str], name: &str) -> Check {
    such(console, name, "0, <not counted> or <not supported>", |got| {
        ["0", "<not counted>", "<not supported>"].contains(&got)
    })
}

/// The VMM's account: reading and writing counters caused no exit, and no PMI is lost.
pub fn account(report: &Report) -> Vec<Check> {
    let pmi = |name: &str| report.pmi.get(name).copied().unwrap_or(0);
    let check = |name: &str, got: u64, want: u64| Check {
        name: format!("exits: {name}"),
        section: String::new(),
        got: got.to_string(),
        want: want.to_string(),
    };
    vec![
        check("of RDPMC", report.by_reason.get("rdpmc").copied().unwrap_or(0), 0),
        check("for a counter, RDPMC or GLOBAL_*", report.data_accesses, 0),
        check("PMIs lost", pmi("lost"), 0),
        check(
            "PMIs delivered, joined with one, or seen by a handler, of all",
            pmi("delivered") + pmi("joined") + pmi("spurious"),
            pmi("raised"),
        ),
    ]
}

/// The values that perf.sh prints.
pub fn checks(console: &[&str], report: &Report) -> Vec<Check> {
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    let mut checks = Vec::new();
    for turn in 1..=TURNS {
        let name = format!("stat {turn}");
        checks.extend(known(console, &name));
        checks.push(exact(console, &format!("{name} minor-faults:u"), FAULTS));
    }
    checks.push(such(console, "open cache-misses", "more than 0", |got| number(got) > 0));
    for event in 1..=SHARING {
        let want = "a scaled count within what its running time allows";
        checks.push(such(console, &format!("shared {event}"), want, is_shared));
    }
    checks.extend(rdpmc(console, cost_of_rdpmc(report)));
    checks.push(exact(console, "samples", INSTRUCTIONS / PERIOD));
    for events in [6, 10] {
        let name = format!("samples with {events} events");
        checks.push(such(console, &name, "more than 100", |got| number(got) > 100));
        checks.push(exact(console, &format!("lost with {events} events"), 0));
    }
    checks.push(such(console, "clocksource", "tsc", |got| got == "tsc"));
    let raised = report.pmi.get("raised").is_some_and(|raised| *raised > 0);
    checks.push(Check::new("PMIs: any", "", u64::from(raised), 1));
    checks.extend(account(report));
    checks
}

/// Whether `COUNT RUNNING PERCENT` of an event that shared its counter is a count of the program that can be. Enabled for E
/// cycles, of which it ran for R, it counted user instructions, one a cycle, T in all. The kernel and the host have the
/// other E - T cycles, so it counted at most R and at least R - (E - T); perf multiplies by E / R. The percentage is cut to
/// a whole number: E is at most what it gives, and both bounds are the wider for it.
#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn is_shared(line: &str) -> bool {
    let numbers: Option<Vec<f64>> = line.split(' ').map(|word| word.parse().ok()).collect();
    let Some([count, running_ns, percent]) = numbers.as_deref() else { return false };
    if !(*percent > 0.0 && *percent < 100.0) {
        return false;
    }
    let running = running_ns * f64::from(IPS) / 1e9;
    let enabled = running * 100.0 / percent;
    let all = INSTRUCTIONS as f64;
    let others = enabled - (INSTRUCTIONS + FAULTS) as f64;
    let least = all - others * (enabled / running - 1.0);
    others >= 0.0 && (least..=enabled).contains(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::lines::Line;

    const LOG: &str = "@exits total=12 io=10\n@pmu mode=Mediated data_accesses=0 ppc=3\n\
                       @pmi raised=3 delivered=2 lost=0 spurious=1\n@stop code=0 off\n";

    fn report(log: &str) -> Report {
        let lines: Vec<Line<'_>> = log.lines().filter_map(Line::parse).collect();
        Report::from_lines(&lines, "bochs".into(), "k".into(), "g".into()).expect("complete")
    }

    #[test]
    fn a_silent_guest_passes_nothing_but_the_account() {
        let checks = checks(&[], &report(LOG));
        assert_eq!((checks.len(), checks.iter().filter(|check| check.ok()).count()), (39, 5));
    }

    #[test]
    fn each_value_is_judged() {
        let lines = [
            ("stat 1 instructions:u", "10000004", "10000005"),
            ("stat 2 branches:u", "5000001", "5000002"),
            ("stat 3 cycles:u", "10000005", "10000004"),
            ("stat 1 minor-faults:u", "1", "2"),
            ("open cache-misses", "5", "0"),
            ("shared 12", "10000000 40000000 70.00", "10000000 40000000 100.00"),
            ("rdpmc instructions", "200004", "200005"),
            ("rdpmc cycles", "200004", "nothing"),
            ("samples", "100", "99"),
            ("lost with 10 events", "0", "1"),
            ("clocksource", "tsc", "acpi_pm"),
        ];
        let passes = |name: &str, value: &str| {
            let line = format!("linux | {name} | {value}");
            checks(&[&line], &report(LOG)).iter().filter(|check| check.ok()).count() - 5
        };
        for (name, right, wrong) in lines {
            assert_eq!((passes(name, right), passes(name, wrong)), (1, 0), "{name}");
        }
    }

    #[test]
    fn each_number_of_the_account_is_judged() {
        for (from, to) in
            [("io=10", "rdpmc=1"), ("data_accesses=0", "data_accesses=1"), ("spurious=1", "spurious=0")]
        {
            let account = account(&report(&LOG.replace(from, to)));
            assert_eq!(account.iter().filter(|check| !check.ok()).count(), 1, "{to}");
        }
        // With a policy that limits PMIs, those that come while one is held back are neither.
        let joined = account(&report(&LOG.replace("raised=3", "joined=2 raised=5")));
        assert!(joined.iter().all(Check::ok), "{joined:?}");
    }

    #[test]
    fn only_a_refused_event_counts_nothing() {
        for (said, ok) in
            [("0", true), ("<not counted>", true), ("<not supported>", true), ("1", false), ("", false)]
        {
            assert_eq!(refused(&[&format!("linux | refused x | {said}")], "refused x").ok(), ok, "{said}");
        }
        assert!(!refused(&[], "refused x").ok());
    }

    /// 57 ms at 200 cycles a microsecond: 11.4 million cycles, of which 10 million are the program's.
    #[test]
    fn a_scaled_count_is_bounded_by_its_running_time() {
        let says = |count: &str| is_shared(&format!("{count} 39900000 70.00"));
        assert!(says("10000004") && says("9405000") && says("11390000"));
        assert!(!says("9350000") && !says("11410000") && !says("<not counted>"));
        assert!(!is_shared("10000004 10000000 70.00"), "shorter than the program takes");
    }

    #[test]
    fn seconds_become_ticks() {
        assert_eq!(
            (ticks("6.55"), ticks("0.05"), ticks("6.5"), ticks("x")),
            (Some(1_310_000_000), Some(10_000_000), None, None)
        );
    }
}
