//! `machine selftest`: the rules of the SDM, checked by a kernel on the simulated machine.

use super::checks::{Check, parse, verdict};
use super::{bochs, kernels};
use crate::process::{Failure, Outcome};
use crate::workspace::output;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The models that are tested unless one is named: PMU version 5 with 8 + 4 counters, version 4 with 4 + 3, and
/// version 3, which freezes in the old way.
const MODELS: &[&str] = &["corei7_icelake_u", "corei7_skylake_x", "corei7_haswell_4770"];
const PROGRAM: &str = "machine-selftest";
/// Instructions between overflow and PMI in the run that tests late interrupts.
const SKID: u32 = 30;
/// Cycles in the run that tests the cost model: prime numbers, so that no sum of others looks like one of them.
const COSTS: [(&str, u32); 7] = [
    ("vm_exit", 1009),
    ("vm_entry", 503),
    ("rdmsr", 101),
    ("wrmsr_pmu", 211),
    ("wrmsr_other", 157),
    ("rdpmc", 37),
    ("interrupt", 307),
];
/// Slower than the default: the firmware's waits and each character on the serial line take less ticks.
const IPS: u32 = 10_000_000;
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What `cargo xtask machine selftest` takes.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// CPU model: a name of `bochs-bin --help cpu`, or its end; unless given, icelake_u, skylake_x and haswell_4770
    #[arg(long, value_name = "CPU")]
    model: Option<String>,
    /// Write the outcome to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Boots the kernels on every model; a line a check.
pub fn selftest(arguments: &Arguments) -> Outcome {
    if let Some(file) = &arguments.json {
        // Said before the run, not after it.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(Failure::Environment(format!("{}: its folder does not exist", file.display())));
        }
    }
    let models = arguments.model.as_deref().map_or(MODELS.to_vec(), |model| vec![model]);
    let start = Instant::now();
    let mut checks = Vec::new();
    let mut ticks = 0;
    for model in &models {
        ticks += test_model(model, &mut checks)?;
    }
    let failed = checks.iter().filter(|check| !check.ok()).count();
    let passed = checks.len() - failed;
    if let Some(file) = &arguments.json {
        let list: Vec<_> = checks
            .iter()
            .map(|c| json!({ "name": c.name, "ok": c.ok(), "got": c.got, "want": c.want }))
            .collect();
        let report = json!({
            "model": models.join(", "), "passed": passed, "failed": failed, "checks": list, "ticks": ticks,
        });
        write_whole(file, &format!("{report:#}\n"))?;
    }
    println!("{passed} passed, {failed} failed, {:.0} s", start.elapsed().as_secs_f64());
    verdict(&checks)
}

/// Runs every kernel on one model; returns the final ticks of all runs, added.
fn test_model(model: &str, checks: &mut Vec<Check>) -> Outcome<u64> {
    let mut add = |found: Vec<Check>| {
        for mut check in found {
            check.name = format!("{model}: {}", check.name);
            println!("{check}");
            checks.push(check);
        }
    };
    let rules = kernels::image(PROGRAM, "rules", &format!("ips={IPS}"))?;
    let (first, ticks) = boot(model, &rules, bochs::Pmu::default())?;
    add(parse(&first)?);
    let (second, ticks_again) = boot(model, &rules, bochs::Pmu::default())?;
    add(vec![
        Check::new("two runs: the same output", "", u64::from(first == second), 1),
        Check::new("two runs: the same final tick", "", ticks_again, ticks),
    ]);

    let late = kernels::image(PROGRAM, "skid", &format!("skid={SKID}"))?;
    let (serial, late_ticks) = boot(model, &late, bochs::Pmu { skid: SKID, costs: None })?;
    add(parse(&serial)?);

    let list: Vec<String> = COSTS.iter().map(|(name, cycles)| format!("{name}:{cycles}")).collect();
    let charged = kernels::image(PROGRAM, "costs", &format!("costs={}", list.join(",")))?;
    let file = output("machine")?.join("selftest-costs.toml");
    let lines: String = COSTS.iter().map(|(name, cycles)| format!("{name} = {cycles}\n")).collect();
    write_whole(&file, &format!("[cycles]\n{lines}"))?;
    let (serial, charged_ticks) = boot(model, &charged, bochs::Pmu { skid: 0, costs: Some(file) })?;
    add(parse(&serial)?);
    Ok(ticks + ticks_again + late_ticks + charged_ticks)
}

/// One run to the kernel's end: its serial text and final tick.
fn boot(model: &str, iso: &Path, pmu: bochs::Pmu) -> Outcome<(String, u64)> {
    let mut machine = bochs::Machine::new(&output("machine/selftest")?, iso);
    model.clone_into(&mut machine.cpu_model);
    machine.pmu = Some(pmu);
    machine.ips = IPS;
    machine.time_limit = TIME_LIMIT;
    let finished = machine.run(|_| ())?;
    super::expected_end(&finished)?;
    match finished.ticks {
        Some(ticks) => Ok((finished.serial, ticks)),
        None => Err(Failure::Check(format!("Bochs printed no final tick: {}", finished.summary()))),
    }
}

/// A file that appears complete or not at all.
pub(super) fn write_whole(path: &Path, text: &str) -> Outcome {
    let part = path.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", path.display())))
}
