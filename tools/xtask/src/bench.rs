//! `bench`: what profiling costs a guest, in every mode, on the simulated machine. docs/benchmark.md says what is
//! measured and why.

pub mod costs;
mod figures;
mod guest;
mod json;
mod lab;
mod linux;
mod path;
mod plot;
mod published;
mod table;

use crate::process::{Failure, Outcome};
use crate::run::Mode;
use crate::setup;
use crate::workspace::{results, root, unwritable};
use bochs_pmu::costs::Costs;
use costs::Scale;
use figures::{Baseline, Figures, MODES, Row, Set};
use guest::{FREQUENCY, Workload};
use lab::{Lab, Observed};
use std::fs;
use std::path::{Path, PathBuf};

/// Who works and is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sampled {
    /// A guest of this project that makes perf's register accesses
    Own,
    /// Debian's Linux with its own perf
    Linux,
}

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The guest
    #[arg(long, value_enum, default_value = "own")]
    guest: Sampled,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the overheads as a bar chart
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// File of the cycles that VM exits, MSR accesses and the like are charged
    #[arg(long, value_name = "FILE", default_value = DEFAULT_COSTS)]
    costs: PathBuf,
    /// Measure again with every cost halved and doubled, and say whether the modes keep their ranking (three times as long)
    #[arg(long)]
    sweep: bool,
    /// The guest's work, in thousandths of a second of its time
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=10_000))]
    work: u32,
}

const DEFAULT_COSTS: &str = "tools/bochs_pmu/costs.toml";
/// Cycles that a turn of the guest's work takes, about (guest/src/workload.rs).
const CYCLES_PER_TURN: u64 = 20;
/// The work of the test, in thousandths of a second.
const SHORT: u32 = 20;

/// Runs every mode and workload, and shows what came of it.
pub fn bench(arguments: &Arguments) -> Outcome {
    let named = costs::named(&arguments.costs);
    let costs = costs::read(&named)?;
    if arguments.guest == Sampled::Linux {
        if arguments.sweep {
            return Err(Failure::Environment(
                "--sweep is for the benchmark's own guest: leave out --guest linux".to_owned(),
            ));
        }
        return linux::bench(&named, arguments.work, arguments.json.as_ref(), arguments.plot.as_ref());
    }
    setup::setup()?;
    let lab = Lab::new("bench")?;
    results(arguments.json.iter().chain(&arguments.plot), &[&named])?;
    let bench = Bench::new(lab, arguments.work)?;
    let (baseline, set) = bench.set("default", &costs)?;
    let unused = bench.unused(&costs, &baseline)?;
    let program = bench.lab.folder.join("path.elf");
    guest::build("path", &program)?;
    let path = path::measure(&bench.lab, &program, &costs::write(&costs, &bench.lab.folder, "default")?)?;
    let mut sweep = Vec::new();
    for scale in Scale::ALL.into_iter().filter(|_| arguments.sweep) {
        sweep.push(bench.set(scale.name(), &scale.of(&costs))?.1);
    }
    bench.lab.say("done");
    let figures = Figures { baseline, unused_percent: unused, set, path, sweep };
    let text =
        table::text(&figures).map_err(|_| Failure::Check("the report cannot be written".to_owned()))?;
    print!("{text}");
    if let Some(file) = &arguments.json {
        write(file, &format!("{:#}\n", json::json(&figures)))?;
    }
    if let Some(file) = &arguments.plot {
        let svg = plot::svg(&figures.set.overheads())
            .map_err(|_| Failure::Check("the chart cannot be drawn".to_owned()))?;
        write(file, &svg)?;
    }
    std::iter::once(&figures.set)
        .chain(&figures.sweep)
        .try_for_each(|set| set.sound().map_err(|why| Failure::Check(format!("costs {}: {why}", set.name))))
}

/// The test: a short form, of which nothing is judged but what must be so whatever anything costs.
pub fn short() -> Outcome {
    let bench = Bench::new(Lab::new("bench-test")?, SHORT)?;
    let (_, set) = bench.set("default", &costs::read(&root().join(DEFAULT_COSTS))?)?;
    let mut text = String::new();
    table::set(&mut text, &set).map_err(|_| Failure::Check("the table cannot be written".to_owned()))?;
    print!("{text}");
    set.sound().map_err(Failure::Check)
}

/// The guest, and how much it works.
struct Bench {
    lab: Lab,
    program: PathBuf,
    iterations: u64,
}

impl Bench {
    fn new(lab: Lab, thousandths: u32) -> Outcome<Self> {
        let program = lab.folder.join("bench.elf");
        lab.say("the guest");
        guest::build("bench", &program)?;
        Ok(Self { lab, program, iterations: u64::from(thousandths) * FREQUENCY / 1000 / CYCLES_PER_TURN })
    }

    /// One run.
    fn run(&self, workload: Workload, mode: Mode, costs: &Path) -> Outcome<Observed> {
        self.lab.say(&format!("{}, {}", mode.name(), workload.name()));
        let configured = self.lab.folder.join("configured.elf");
        guest::configure(&self.program, workload, self.iterations, &configured)?;
        self.lab.boot(&configured, mode, Some(costs))
    }

    /// Every mode and workload with these costs.
    fn set(&self, name: &str, costs: &Costs) -> Outcome<(Baseline, Set)> {
        let file = costs::write(costs, &self.lab.folder, name)?;
        self.lab.say(&format!("costs: {name}"));
        let baseline = Baseline::new(&self.run(Workload::None, Mode::Off, &file)?).map_err(Failure::Check)?;
        let mut rows = Vec::new();
        for workload in Workload::SAMPLED {
            for mode in MODES {
                let run = self.run(workload, mode, &file)?;
                let row = Row::new(workload, mode, &run, &baseline);
                rows.push(
                    row.map_err(|why| {
                        Failure::Check(format!("{}, {}: {why}", mode.name(), workload.name()))
                    })?,
                );
            }
        }
        Ok((baseline, Set { name: name.to_owned(), costs: *costs, rows }))
    }

    /// What mode mediated costs a guest that leaves its PMU alone, in percent.
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn unused(&self, costs: &Costs, baseline: &Baseline) -> Outcome<f64> {
        let file = costs::write(costs, &self.lab.folder, "default")?;
        let run = self.run(Workload::None, Mode::Mediated, &file)?;
        let cycles = run.said("bench", "cycles").map_err(Failure::Check)?;
        Ok(100.0 * (cycles as f64 / baseline.cycles as f64 - 1.0))
    }
}

fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).map_err(|e| unwritable(file, &e))
}
