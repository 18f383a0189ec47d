//! What the runs amount to: rows, ratios, and the numbers that are to be reached.

use super::guest::{FREQUENCY, Workload};
use super::lab::Observed;
use super::path::PathFigures;
use super::published;
use crate::run::Mode;
use bochs_pmu::costs::Costs;

/// The modes that are compared, the dearest first.
pub const MODES: [Mode; 3] = [Mode::Emulated, Mode::Passthrough, Mode::Mediated];

/// The run that the others are compared with: the same work in mode off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline {
    /// Simulated cycles of the work.
    pub cycles: u64,
    /// What the work computed: the same in every run.
    pub checksum: u64,
}

impl Baseline {
    /// From the run in mode off.
    ///
    /// # Errors
    /// A number is missing.
    pub fn new(observed: &Observed) -> Result<Self, String> {
        Ok(Self { cycles: observed.said("bench", "cycles")?, checksum: observed.said("bench", "checksum")? })
    }
}

/// One run, compared with the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub workload: Workload,
    pub mode: Mode,
    /// Simulated cycles of the work.
    pub cycles: u64,
    /// Extra time for the same work, in percent.
    pub overhead_percent: f64,
    /// Exits of the guest's doing, without serial output.
    pub exits: u64,
    pub exits_per_second: f64,
    pub exits_per_sample: f64,
    /// Control writes that went through both protection domains.
    pub control_traps: u64,
    /// Control writes that the kernel completed.
    pub approved: u64,
    /// Protected procedure calls.
    pub ppc: u64,
    /// Accesses to counters and GLOBAL_* that exited.
    pub data_exits: u64,
    /// Accesses to counters and GLOBAL_* that the sampler made, and its control writes.
    pub data_accesses: u64,
    pub control_writes: u64,
    /// Exits by a use of the FPU that only the kernel saw.
    pub fpu_exits: u64,
    pub pmis: u64,
    pub samples: u64,
    pub expected: u64,
    /// Counters that agree with the fixed counter, of all.
    pub exact: (usize, usize),
    /// Extra cycles for each sample, in the guest and outside it.
    pub cycles_per_sample: f64,
}

#[allow(clippy::cast_precision_loss, reason = "figures for people; none reaches 2^53")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

impl Row {
    /// A sampled run.
    ///
    /// # Errors
    /// What makes the run worthless: a number is missing, or the guest computed something else.
    pub fn new(workload: Workload, mode: Mode, run: &Observed, base: &Baseline) -> Result<Self, String> {
        let cycles = run.said("bench", "cycles")?;
        let checksum = run.said("bench", "checksum")?;
        if checksum != base.checksum {
            return Err(format!("the work's checksum is {checksum} and not {}", base.checksum));
        }
        let samples = run.said("samples", "taken")?;
        let exits = run.exits();
        let report = &run.report;
        let extra = cycles.checked_sub(base.cycles).ok_or("sampling made the work faster")?;
        Ok(Self {
            workload,
            mode,
            cycles,
            overhead_percent: 100.0 * ratio(extra, base.cycles),
            exits,
            exits_per_second: ratio(exits, 1) / ratio(cycles, FREQUENCY),
            exits_per_sample: ratio(exits, samples),
            control_traps: report.control_traps,
            approved: run.approved_writes(),
            ppc: report.ppc,
            data_exits: report.data_accesses,
            data_accesses: run.said("accesses", "data")?,
            control_writes: run.said("accesses", "control")?,
            fpu_exits: run.fpu_exits(),
            pmis: report.pmi.get("raised").copied().unwrap_or(0),
            samples,
            expected: run.said("samples", "expected")?,
            exact: (report.counters.len() - report.wrong().count(), report.counters.len()),
            cycles_per_sample: ratio(extra, samples),
        })
    }

    /// Samples that should have been taken and were not.
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.samples)
    }

    /// What must be so whatever anything costs.
    ///
    /// # Errors
    /// What is not so.
    pub fn sound(&self) -> Result<(), String> {
        let Self { mode, control_traps, data_exits, .. } = *self;
        let name = format!("{}, {}", mode.name(), self.workload.name());
        let must = |holds: bool, what: String| if holds { Ok(()) } else { Err(format!("{name}: {what}")) };
        must(self.samples > 0, "no sample was taken".to_owned())?;
        must(
            self.samples == self.expected,
            format!("{} samples were taken, {} expected", self.samples, self.expected),
        )?;
        must(
            self.exact.0 == self.exact.1 && self.exact.1 > 0,
            format!("{} of {} counters exact", self.exact.0, self.exact.1),
        )?;
        must(self.fpu_exits == 0, format!("{} exits by uses of the FPU", self.fpu_exits))?;
        match mode {
            Mode::Emulated => must(
                data_exits >= self.data_accesses && control_traps >= self.control_writes,
                format!(
                    "{data_exits} data accesses and {control_traps} control writes exited, of {} and {}",
                    self.data_accesses, self.control_writes
                ),
            ),
            Mode::Passthrough => must(
                data_exits == 0 && control_traps == 0 && self.approved == 0,
                format!(
                    "{data_exits} data accesses and {control_traps} control writes exited, where none does"
                ),
            ),
            Mode::Mediated => must(
                data_exits == 0 && control_traps + self.approved >= self.control_writes,
                format!(
                    "{data_exits} data accesses exited, and {control_traps} + {} control writes of {}",
                    self.approved, self.control_writes
                ),
            ),
            Mode::Off => must(false, "sampled without a PMU".to_owned()),
        }
    }
}

/// Rows of one set of costs, with their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// "default", or how the costs are scaled.
    pub name: String,
    pub costs: Costs,
    pub rows: Vec<Row>,
}

/// Extra time of each workload and mode, in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Overheads(pub Vec<(Workload, Mode, f64)>);

impl Overheads {
    /// The overhead in percent.
    pub fn of(&self, workload: Workload, mode: Mode) -> Option<f64> {
        self.0.iter().find(|row| (row.0, row.1) == (workload, mode)).map(|row| row.2)
    }

    /// The quotient of two modes' overheads.
    pub fn ratio(&self, workload: Workload, mode: Mode, to: Mode) -> Option<f64> {
        Some(self.of(workload, mode)? / self.of(workload, to)?)
    }

    /// The modes of a workload, the cheapest first.
    pub fn ranking(&self, workload: Workload) -> Vec<&'static str> {
        let mut rows: Vec<_> = self.0.iter().filter(|row| row.0 == workload).collect();
        rows.sort_by(|a, b| a.2.total_cmp(&b.2));
        rows.iter().map(|row| row.1.name()).collect()
    }

    /// Emulated must be dearer than mediated, whatever anything costs.
    ///
    /// # Errors
    /// It is not.
    pub fn sound(&self) -> Result<(), String> {
        for workload in Workload::SAMPLED {
            if self.ratio(workload, Mode::Emulated, Mode::Mediated).is_none_or(|ratio| ratio <= 1.0) {
                return Err(format!("{}: emulated is not dearer than mediated", workload.name()));
            }
        }
        Ok(())
    }
}

impl Set {
    /// The overheads alone.
    pub fn overheads(&self) -> Overheads {
        Overheads(self.rows.iter().map(|row| (row.workload, row.mode, row.overhead_percent)).collect())
    }

    /// What must be so whatever anything costs.
    ///
    /// # Errors
    /// What is not so.
    pub fn sound(&self) -> Result<(), String> {
        self.rows.iter().try_for_each(Row::sound)?;
        self.overheads().sound()
    }
}

/// Everything that a benchmark found.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub baseline: Baseline,
    /// Overhead of mode mediated for a guest that leaves its PMU alone, in percent.
    pub unused_percent: f64,
    pub set: Set,
    pub path: PathFigures,
    /// The same with other costs.
    pub sweep: Vec<Set>,
}

impl Figures {
    /// Whether every set of costs has the ranking of the default one; none without a sweep.
    pub fn ranking_holds(&self) -> Option<bool> {
        let own = self.set.overheads();
        let same =
            |set: &Set| Workload::SAMPLED.iter().all(|w| set.overheads().ranking(*w) == own.ranking(*w));
        (!self.sweep.is_empty()).then(|| self.sweep.iter().all(same))
    }
}

/// A number to be reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub name: String,
    pub value: f64,
    pub limit: f64,
    /// The value must be at least the limit, not at most.
    pub at_least: bool,
}

impl Goal {
    pub fn met(&self) -> bool {
        if self.at_least { self.value >= self.limit } else { self.value <= self.limit }
    }
}

/// The goals that this project has set itself, with what was found.
#[allow(clippy::cast_precision_loss, reason = "figures for people; none reaches 2^53")]
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |name: String, value: Option<f64>, limit: f64, at_least: bool| {
        goals.extend(value.map(|value| Goal { name, value, limit, at_least }));
    };
    for (workload, most) in [(Workload::Basic, 4.0), (Workload::Multiplex, 7.0)] {
        let (set, overheads, name) = (&figures.set, figures.set.overheads(), workload.name());
        let ratio = |mode, to| overheads.ratio(workload, mode, to);
        goal(format!("mediated / passthrough, {name}"), ratio(Mode::Mediated, Mode::Passthrough), 1.1, false);
        goal(format!("emulated / mediated, {name}"), ratio(Mode::Emulated, Mode::Mediated), 8.0, true);
        goal(format!("mediated, {name}, percent"), overheads.of(workload, Mode::Mediated), most, false);
        let rows = || set.rows.iter().filter(|row| row.workload == workload);
        let mediated = rows().find(|row| row.mode == Mode::Mediated);
        goal(format!("lost samples, {name}"), Some(rows().map(Row::lost).sum::<u64>() as f64), 0.0, false);
        goal(format!("data exits, {name}"), mediated.map(|row| row.data_exits as f64), 0.0, false);
    }
    let path = &figures.path;
    for (name, value, most) in [
        ("control write through both domains, instructions", path.control_write.instructions, 1600),
        ("approved control write, instructions", path.approved_write.instructions, 300),
        ("PMI from overflow to handler, instructions", path.pmi.instructions, 1000),
        ("switch between two VMs that count, cycles", path.switch_cycles, 2500),
    ] {
        goal(name.to_owned(), Some(value as f64), most as f64, false);
    }
    goal("an exit with the vPMU idle, percent over off".to_owned(), Some(path.idle_percent()), 2.0, false);
    goals
}

/// KVM's quotient of two modes' overheads.
pub fn published_ratio(workload: Workload, mode: Mode, to: Mode) -> Option<f64> {
    Some(published::overhead(workload, mode)? / published::overhead(workload, to)?)
}

#[cfg(test)]
pub mod tests;
