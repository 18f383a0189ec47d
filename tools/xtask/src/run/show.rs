//! The report for people.

use super::report::{Counter, Report};
use std::fmt::Write;

/// What an exit reason is about.
const REASONS: &[(&str, &str)] = &[
    ("wrmsr", "WRMSR: PMU control registers, the APIC"),
    ("rdmsr", "RDMSR"),
    ("rdpmc", "RDPMC"),
    ("pmi", "performance-monitoring interrupts"),
    ("io", "serial output"),
    ("cpuid", "CPUID"),
    ("hlt", "HLT"),
    ("interrupt-window", "waiting for the guest to accept an interrupt"),
    ("nmi-window", "waiting for the guest to accept an NMI"),
    ("preemption-timer", "timers of the guest"),
    ("ept-violation", "registers of the local APIC in memory"),
    ("cr-access", "control registers"),
    ("dr-access", "debug registers"),
    ("wbinvd", "WBINVD"),
    ("xsetbv", "XSETBV"),
];

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "guest {} on {}, PMU {}, machine {}\n",
        report.guest, report.kernel, report.mode, report.machine
    );
    counters(&mut out, report);
    if let Some(samples) = &report.samples {
        let _ = writeln!(out, "samples");
        for (name, value) in samples {
            let _ = writeln!(out, "  {name:<24} {value:>12}");
        }
        out.push('\n');
    }
    let _ = writeln!(out, "exits {:>38}", grouped(report.exits));
    for (reason, count) in &report.by_reason {
        let about = REASONS.iter().find(|(name, _)| name == reason).map_or("", |(_, about)| *about);
        let _ = writeln!(out, "  {reason:<24} {:>17}  {about}", grouped(*count));
    }
    let _ = writeln!(out, "\nPMU");
    let mut row = |name: &str, value: u64, about: &str| {
        let _ = writeln!(out, "  {name:<24} {:>17}  {about}", grouped(value));
    };
    row("data accesses that exit", report.data_accesses, "RDPMC, counters, GLOBAL_*");
    row("control traps", report.control_traps, "writes of PERFEVTSELi and FIXED_CTR_CTRL");
    row("control reads", report.control_reads, "reads of the same");
    row("calls to pmu_pd", report.ppc, "protected procedure calls");
    for (name, about) in [
        ("raised", "PMIs that the kernel passed on"),
        ("delivered", "as the guest's LVTPC says"),
        ("lost", "merged with one not yet taken"),
        ("spurious", "LVTPC masked: the guest is in its handler, and sees the overflow there"),
        ("joined", "with one that the policy's limit held back: one PMI for both"),
    ] {
        row(&format!("PMIs {name}"), report.pmi.get(name).copied().unwrap_or(0), about);
    }
    for (key, name) in [("ApprovedWrites", "approved writes"), ("ApprovedReads", "approved reads")] {
        if let Some(count) = report.policy.get(key) {
            row(name, *count, "of control registers, completed by the kernel: no trap");
        }
    }
    if let Some(denied) = report.policy.get("Denied") {
        row("control writes denied", *denied, "in part or whole, by the policy");
    }
    let round_trip = "cycles by the guest's clock, exit to entry";
    for (key, name, about) in [
        ("control_write", "a control write", round_trip),
        ("approved_write", "an approved write", round_trip),
        ("cpuid", "a CPUID", round_trip),
        ("pmi", "a PMI", "cycles by the guest's clock, overflow to handler"),
    ] {
        if let Some(cycles) = report.round_trips.get(key) {
            row(name, *cycles, about);
        }
    }
    if let Some(cost) = &report.cost {
        let _ = writeln!(out, "\nsimulated time");
        let _ = writeln!(out, "  {:<24} {:>17}  cycles", "in the guest", grouped(cost.guest_cycles));
        let _ = writeln!(
            out,
            "  {:<24} {:>17}  cycles, {:.1} % of both; serial output included",
            "outside it",
            grouped(cost.host_cycles),
            cost.outside_percent()
        );
        let _ = writeln!(out, "  by the cost model        {}", cost.parameters);
    }
    for line in &report.details {
        let _ = writeln!(out, "{line}");
    }
    let _ = match report.verdict() {
        Ok(good) => writeln!(out, "\nPASS: {good}"),
        Err(bad) => writeln!(out, "\nFAIL: {bad}"),
    };
    out
}

/// Neighbours that agree in all but the counter are one row.
fn counters(out: &mut String, report: &Report) {
    if report.counters.is_empty() {
        return;
    }
    let mut row = |cells: [&str; 5], mark: &str| {
        let [workload, event, counters, measured, truth] = cells;
        let _ = writeln!(out, "  {workload:<11} {event:<17} {counters:<16} {measured:>15} {truth:>15}{mark}");
    };
    row(["workload", "event", "counters", "measured", "true"], "");
    let mut rest = report.counters.as_slice();
    while let Some(first) = rest.first() {
        let same = |c: &&Counter| {
            (&c.workload, &c.event, c.measured, c.expected)
                == (&first.workload, &first.event, first.measured, first.expected)
        };
        let (group, after) = rest.split_at(rest.iter().take_while(same).count());
        let counters = match group {
            [one] => one.counter.clone(),
            _ => format!("{} counters", group.len()),
        };
        let mark = if report.is_wrong(first) { "  WRONG" } else { "" };
        let cells =
            [&first.workload, &first.event, &counters, &grouped(first.measured), &grouped(first.expected)];
        row(cells.map(String::as_str), mark);
        rest = after;
    }
    out.push('\n');
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!([7, 999, 1000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
    }
}
