//! The figures for programs.

use super::figures::{Figures, Overheads, Row, Set, goals, published_ratio};
use super::guest::{FREQUENCY, Workload};
use super::path::{Cost, PathFigures};
use super::published;
use crate::run::Mode;
use serde_json::{Value, json};

/// Everything as JSON.
pub fn json(figures: &Figures) -> Value {
    let goals: Vec<Value> = goals(figures)
        .iter()
        .map(|goal| {
            let limit = if goal.at_least { "at_least" } else { "at_most" };
            json!({"name": goal.name, "value": goal.value, limit: goal.limit, "met": goal.met()})
        })
        .collect();
    json!({
        "machine": "bochs with bochs_pmu: simulated, one instruction a cycle, costs as stated",
        "frequency": FREQUENCY,
        "baseline": {"mode": "off", "cycles": figures.baseline.cycles},
        "unused_percent": figures.unused_percent,
        "rows": rows(&figures.set),
        "ratios": ratios(&figures.set),
        "path": path(&figures.path),
        "costs": figures.set.costs,
        "goals": goals,
        "published": {"source": published::SOURCE},
        "sweep": figures.sweep.iter().map(|set| json!({
            "name": set.name, "costs": set.costs, "rows": rows(set), "ratios": ratios(set),
        })).collect::<Vec<_>>(),
        "ranking_holds": figures.ranking_holds(),
    })
}

fn rows(set: &Set) -> Vec<Value> {
    set.rows.iter().map(row).collect()
}

fn row(row: &Row) -> Value {
    json!({
        "workload": row.workload.name(),
        "mode": row.mode.name(),
        "overhead_percent": row.overhead_percent,
        "published_overhead_percent": published::overhead(row.workload, row.mode),
        "cycles": row.cycles,
        "exits": row.exits,
        "exits_per_second": row.exits_per_second,
        "exits_per_sample": row.exits_per_sample,
        "control_traps": row.control_traps,
        "approved": row.approved,
        "ppc": row.ppc,
        "data_exits": row.data_exits,
        "data_accesses": row.data_accesses,
        "control_writes": row.control_writes,
        "pmis": row.pmis,
        "samples": row.samples,
        "expected": row.expected,
        "lost": row.lost(),
        "counters_exact": row.exact.0,
        "counters": row.exact.1,
        "cycles_per_sample": row.cycles_per_sample,
    })
}

fn ratios(set: &Set) -> Vec<Value> {
    ratios_of(&set.overheads())
}

/// The ratios between modes, and KVM's.
pub fn ratios_of(overheads: &Overheads) -> Vec<Value> {
    let of = |workload: Workload| {
        let pair = |mode, to| json!({"value": overheads.ratio(workload, mode, to), "published": published_ratio(workload, mode, to)});
        json!({
            "workload": workload.name(),
            "mediated_to_passthrough": pair(Mode::Mediated, Mode::Passthrough),
            "emulated_to_mediated": pair(Mode::Emulated, Mode::Mediated),
            "ranking": overheads.ranking(workload),
        })
    };
    Workload::SAMPLED.map(of).to_vec()
}

fn path(path: &PathFigures) -> Value {
    let cost = |cost: &Cost| json!({"instructions": cost.instructions, "cycles": cost.cycles});
    let data = |costs: &[Cost; 3]| {
        let [rdpmc, read, write] = costs.each_ref().map(cost);
        json!({"rdpmc": rdpmc, "rdmsr": read, "wrmsr": write})
    };
    json!({
        "control_write_instructions": path.control_write.instructions,
        "control_write_cycles": path.control_write.cycles,
        "approved_control_write_instructions": path.approved_write.instructions,
        "approved_control_write_cycles": path.approved_write.cycles,
        "pmi_instructions": path.pmi.instructions,
        "pmi_cycles": path.pmi.cycles,
        "unmask": cost(&path.unmask),
        "unmask_passthrough": cost(&path.unmask_passthrough),
        "cpuid_counting": cost(&path.cpuid_counting),
        "data_read_exits": path.data_read_exits,
        "data": data(&path.data),
        "emulated_data": data(&path.emulated_data),
        "cpuid": cost(&path.cpuid),
        "cpuid_off": cost(&path.cpuid_off),
        "idle_percent": path.idle_percent(),
        "switch_cycles": path.switch_cycles,
    })
}

#[cfg(test)]
pub mod tests {
    use super::super::figures::tests::figures;
    use super::{Value, json};
    use serde_json::json as value;

    /// docs/report.md has each field in the first cell of a row.
    pub fn all_documented(json: &Value) {
        let text = include_str!("../../../../docs/report.md");
        let (_, text) = text.split_once("## Of the benchmark").expect("is there");
        let cells: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next()).collect();
        let lists = ["rows", "ratios", "boots"].map(|name| (format!("{name}[]."), &json[name][0]));
        for (prefix, object) in
            lists.into_iter().chain([("path.".into(), &json["path"]), (String::new(), json)])
        {
            for key in object.as_object().into_iter().flat_map(|object| object.keys()) {
                let field = format!("`{prefix}{key}`");
                assert!(cells.iter().any(|cell| cell.contains(&field)), "{field}");
            }
        }
    }

    #[test]
    fn each_field_is_documented() {
        all_documented(&json(&figures([20.0, 2.0, 2.5, 40.0, 4.0, 4.2])));
    }

    #[test]
    fn the_promised_fields_are_there() {
        let json = json(&figures([20.0, 2.0, 2.5, 40.0, 4.0, 4.2]));
        let row = &json["rows"][2];
        assert_eq!((&row["workload"], &row["mode"]), (&value!("basic"), &value!("mediated")));
        for field in ["overhead_percent", "exits", "control_traps", "ppc", "samples", "lost"] {
            assert!(row[field].is_number(), "{field}");
        }
        for field in
            ["control_write_instructions", "control_write_cycles", "pmi_instructions", "data_read_exits"]
        {
            assert!(json["path"][field].is_number(), "{field}");
        }
        assert!(json["costs"]["vm_exit"].is_number());
        assert_eq!(json["ratios"][0]["mediated_to_passthrough"]["value"], value!(1.25));
        assert_eq!((json["rows"].as_array().map(Vec::len), &json["ranking_holds"]), (Some(6), &value!(true)));
    }
}
