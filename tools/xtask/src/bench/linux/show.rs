//! The figures of the benchmark with Linux, for people and for programs.

use super::super::{json as ours, published, table};
use super::{FREQUENCY, Figures, Row};
use serde_json::{Value, json};
use std::fmt::{self, Write};
use vmm_core::exit::reason;

/// What stands before the figures.
const TITLE: &str = "Extra simulated time for the same work of a stock Linux guest while its perf samples it";

#[allow(clippy::cast_precision_loss, reason = "figures for people; none reaches 2^53")]
fn seconds(cycles: u64) -> f64 {
    cycles as f64 / FREQUENCY as f64
}

#[allow(clippy::cast_precision_loss, reason = "figures for people; none reaches 2^53")]
fn per(part: u64, of: f64) -> f64 {
    if of > 0.0 { part as f64 / of } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people; none reaches 2^53")]
fn per_pmi(row: &Row) -> f64 {
    per(row.case.total_exits(), row.case.pmis as f64)
}

/// Exits by reason, as a report says them.
fn reasons(row: &Row) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    row.case.exits.iter().map(|(number, count)| (reason::name(*number), *count))
}

/// The whole report.
///
/// # Errors
/// Only if writing into a string fails.
pub fn text(figures: &Figures) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(
        out,
        "{TITLE}: `perf record -F 1000 -e` 6 and 10 times `instructions`, at {} MHz",
        FREQUENCY / 1_000_000
    )?;
    writeln!(
        out,
        "\n{:<10} {:<12} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8} {:>6}  exits by reason",
        "workload", "mode", "overhead", "KVM's", "exits/s", "/PMI", "PMIs", "samples", "lost"
    )?;
    for row in figures.measured.iter().flat_map(|measured| &measured.rows) {
        let kvm = published::overhead(row.workload, row.mode).map_or(String::new(), |p| format!("{p:.2} %"));
        let case = &row.case;
        let exits: Vec<String> = reasons(row).map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(
            out,
            "{:<10} {:<12} {:>7.2} % {kvm:>9} {:>9.0} {:>7.1} {:>7} {:>8} {:>6}  {}",
            row.workload.name(),
            row.mode.name(),
            row.overhead_percent,
            per(case.total_exits(), seconds(case.cycles)),
            per_pmi(row),
            case.pmis,
            case.samples,
            case.lost,
            exits.join(", "),
        )?;
    }
    table::ratios(&mut out, &figures.overheads())?;
    writeln!(
        out,
        "\n{:<12} {:>14} {:>9} {:>9} {:>9} {:>9} {:>9}   from boot to power-off",
        "mode", "cycles alone", "exits", "trapped", "approved", "calls", "data"
    )?;
    for measured in &figures.measured {
        let boot = &measured.boot;
        writeln!(
            out,
            "{:<12} {:>14} {:>9} {:>9} {:>9} {:>9} {:>9}",
            measured.mode.name(),
            measured.baseline,
            boot.exits,
            boot.control_traps,
            boot.approved,
            boot.ppc,
            boot.data_accesses,
        )?;
    }
    let costs = serde_json::to_string(&figures.costs).map_err(|_| fmt::Error)?;
    writeln!(out, "costs in cycles, besides one for each instruction: {costs}")?;
    writeln!(out, "\nKVM: {}; a simulated machine is not that one: compare ratios.", published::SOURCE)?;
    Ok(out)
}

/// Everything as JSON.
pub fn json(figures: &Figures) -> Value {
    let rows = figures.measured.iter().flat_map(|measured| &measured.rows).map(|row| {
        let exits: serde_json::Map<String, Value> =
            reasons(row).map(|(name, count)| (name.to_owned(), json!(count))).collect();
        json!({
            "workload": row.workload.name(),
            "mode": row.mode.name(),
            "overhead_percent": row.overhead_percent,
            "published_overhead_percent": published::overhead(row.workload, row.mode),
            "cycles": row.case.cycles,
            "exits": row.case.total_exits(),
            "exits_by_reason": exits,
            "pmis": row.case.pmis,
            "samples": row.case.samples,
            "lost": row.case.lost,
        })
    });
    let boots = figures.measured.iter().map(|measured| {
        json!({
            "mode": measured.mode.name(),
            "baseline_cycles": measured.baseline,
            "exits": measured.boot.exits,
            "control_traps": measured.boot.control_traps,
            "approved": measured.boot.approved,
            "ppc": measured.boot.ppc,
            "data_exits": measured.boot.data_accesses,
        })
    });
    json!({
        "guest": "linux",
        "machine": "bochs with bochs_pmu: simulated, one instruction a cycle, costs as stated",
        "frequency": FREQUENCY,
        "rows": rows.collect::<Vec<_>>(),
        "boots": boots.collect::<Vec<_>>(),
        "ratios": ours::ratios_of(&figures.overheads()),
        "costs": figures.costs,
        "published": {"source": published::SOURCE},
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::figures;
    use super::{json, text};
    use serde_json::json as value;

    #[test]
    fn the_report_has_each_row_its_exits_and_the_ratios() {
        let text = text(&figures()).expect("a string takes all");
        let row = text.lines().find(|line| line.starts_with("multiplex  mediated")).expect("has its line");
        assert!(row.contains("8.00 %   10.45 %") && row.ends_with("pmi 20, ept-violation 30"), "{row}");
        assert!(text.contains("mediated / passthrough   basic 2.00 (KVM 1.46), multiplex 2.00 (KVM 1.42)"));
        assert!(text.contains("emulated / mediated      basic 5.00 (KVM 5.41), multiplex 5.00 (KVM 7.59)"));
    }

    #[test]
    fn the_json_has_what_the_own_guest_s_has() {
        let json = json(&figures());
        let row = &json["rows"][4];
        assert_eq!((&row["workload"], &row["mode"]), (&value!("basic"), &value!("mediated")));
        for field in ["overhead_percent", "exits", "samples", "lost", "pmis"] {
            assert!(row[field].is_number(), "{field}");
        }
        super::ours::tests::all_documented(&json);
        assert_eq!(json["boots"][0]["data_exits"], 9);
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(6));
    }
}
