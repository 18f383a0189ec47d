//! The figures for people.

use super::figures::{Figures, Goal, Overheads, Set, goals, published_ratio};
use super::guest::{FREQUENCY, Workload};
use super::path::Cost;
use super::published;
use crate::run::Mode;
use std::fmt::{self, Write};

/// The whole report.
///
/// # Errors
/// Only if writing into a string fails.
pub fn text(figures: &Figures) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let base = &figures.baseline;
    writeln!(
        out,
        "Extra simulated time for the same work of a guest while perf's register sequence samples it"
    )?;
    writeln!(
        out,
        "baseline: mode off, nothing sampled, {} cycles = {:.3} s at {} MHz; mediated, unused: {:+.3} %",
        base.cycles,
        seconds(base.cycles),
        FREQUENCY / 1_000_000,
        figures.unused_percent
    )?;
    set(&mut out, &figures.set)?;
    single_accesses(&mut out, figures)?;
    for other in &figures.sweep {
        writeln!(out, "\nevery cost {}", if other.name == "half" { "halved" } else { "doubled" })?;
        set(&mut out, other)?;
    }
    if let Some(holds) = figures.ranking_holds() {
        let verb = if holds { "does not depend" } else { "DEPENDS" };
        writeln!(out, "\nthe ranking of the modes {verb} on the costs, halved or doubled")?;
    }
    writeln!(out, "\nto be reached")?;
    goals(figures).iter().try_for_each(|goal| goal_line(&mut out, goal))?;
    writeln!(out, "\nKVM: {}; a simulated machine is not that one: compare ratios.", published::SOURCE)?;
    Ok(out)
}

#[allow(clippy::cast_precision_loss, reason = "a time for people")]
fn seconds(cycles: u64) -> f64 {
    cycles as f64 / FREQUENCY as f64
}

/// The rows of one set of costs, with the ratios.
pub fn set(out: &mut String, set: &Set) -> fmt::Result {
    writeln!(
        out,
        "\n{:<10} {:<12} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7} {:>6} {:>7} {:>5} {:>6}",
        "workload",
        "mode",
        "overhead",
        "KVM's",
        "exits/s",
        "/sample",
        "cycles",
        "trapped",
        "approved",
        "calls",
        "data",
        "PMIs",
        "taken",
        "expect.",
        "lost",
        "exact"
    )?;
    for row in &set.rows {
        let kvm = published::overhead(row.workload, row.mode).map_or(String::new(), |p| format!("{p:.2} %"));
        writeln!(
            out,
            "{:<10} {:<12} {:>7.2} % {kvm:>9} {:>9.0} {:>7.2} {:>7.0} {:>7} {:>8} {:>7} {:>7} {:>7} {:>6} {:>7} {:>5} {:>6}",
            row.workload.name(),
            row.mode.name(),
            row.overhead_percent,
            row.exits_per_second,
            row.exits_per_sample,
            row.cycles_per_sample,
            row.control_traps,
            row.approved,
            row.ppc,
            row.data_exits,
            row.pmis,
            row.samples,
            row.expected,
            row.lost(),
            format!("{}/{}", row.exact.0, row.exact.1),
        )?;
    }
    ratios(out, &set.overheads())
}

/// The modes' order and ratios, with KVM's.
pub fn ratios(out: &mut String, overheads: &Overheads) -> fmt::Result {
    let ranking =
        |workload: Workload| format!("{} {}", workload.name(), overheads.ranking(workload).join(" < "));
    writeln!(out, "{:<24} {}", "ranking", Workload::SAMPLED.map(ranking).join(", "))?;
    for (name, mode, to) in [
        ("mediated / passthrough", Mode::Mediated, Mode::Passthrough),
        ("emulated / mediated", Mode::Emulated, Mode::Mediated),
    ] {
        let pair = |workload: Workload| {
            let (ours, kvm) = (overheads.ratio(workload, mode, to), published_ratio(workload, mode, to));
            format!("{} {:.2} (KVM {:.2})", workload.name(), ours.unwrap_or(0.0), kvm.unwrap_or(0.0))
        };
        writeln!(out, "{name:<24} {}", Workload::SAMPLED.map(pair).join(", "))?;
    }
    Ok(())
}

fn single_accesses(out: &mut String, figures: &Figures) -> fmt::Result {
    let path = &figures.path;
    writeln!(out, "\noutside the guest, for each              instructions   cycles")?;
    let mut line =
        |name: &str, cost: &Cost| writeln!(out, "  {name:<38} {:>12} {:>8}", cost.instructions, cost.cycles);
    line("control write, through both domains", &path.control_write)?;
    line("control write, approved", &path.approved_write)?;
    line("PMI, overflow to handler", &path.pmi)?;
    line("LVTPC write, handler's end, mediated", &path.unmask)?;
    line("the same, passthrough", &path.unmask_passthrough)?;
    line("CPUID, mediated, seven counters on", &path.cpuid_counting)?;
    line("CPUID, mediated, PMU unused", &path.cpuid)?;
    line("CPUID, off", &path.cpuid_off)?;
    let names = ["RDPMC", "RDMSR of a counter", "WRMSR of a counter"];
    for (mode, costs) in [("mediated", &path.data), ("emulated", &path.emulated_data)] {
        for (name, cost) in names.iter().zip(costs) {
            line(&format!("{name}, {mode}"), cost)?;
        }
    }
    writeln!(out, "  exits by reads of counters, mediated: {}", path.data_read_exits)?;
    writeln!(out, "  an exit with the vPMU idle: {:+.2} % over mode off", path.idle_percent())?;
    writeln!(out, "  switching between two VMs that count: {} cycles", path.switch_cycles)?;
    let costs = serde_json::to_string(&figures.set.costs).map_err(|_| fmt::Error)?;
    writeln!(out, "costs in cycles, besides one for each instruction: {costs}")
}

fn goal_line(out: &mut String, goal: &Goal) -> fmt::Result {
    let bound = if goal.at_least { "at least" } else { "at most" };
    let met = if goal.met() { "reached" } else { "MISSED" };
    writeln!(out, "  {:<52} {:>9.2}  {bound} {:>7.2}  {met}", goal.name, goal.value, goal.limit)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::text;

    #[test]
    fn the_report_has_a_line_for_each_row_ratio_and_goal() {
        let text = text(&figures([20.0, 2.0, 2.1, 40.0, 4.0, 4.8])).expect("a string takes all");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("basic ") || line.starts_with("multiplex "))
            .collect();
        assert_eq!(rows.len(), 18, "{text}");
        assert!(rows[2].starts_with("basic      mediated        2.10 %    6.21 %"), "{}", rows[2]);
        assert!(text.contains(
            "basic passthrough < mediated < emulated, multiplex passthrough < mediated < emulated"
        ));
        assert!(text.contains("mediated / passthrough   basic 1.05 (KVM 1.46), multiplex 1.20 (KVM 1.42)"));
        assert!(
            text.contains("mediated / passthrough, multiplex")
                && text.contains("1.20  at most    1.10  MISSED")
        );
        assert!(text.contains("the ranking of the modes does not depend on the costs"));
        assert!(text.contains("switching between two VMs that count: 1800 cycles"));
    }

    #[test]
    fn a_ranking_that_depends_on_the_costs_is_said_to() {
        let mut figures = figures([20.0, 2.0, 2.1, 40.0, 4.0, 4.2]);
        figures.sweep[0].rows[2].overhead_percent = 0.1;
        assert!(text(&figures).expect("a string takes all").contains("the ranking of the modes DEPENDS"));
    }
}
