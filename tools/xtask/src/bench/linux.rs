//! The benchmark with a stock Linux as the guest: its own perf samples the work.

mod boot;
mod show;

use super::figures::Overheads;
use super::guest::{FREQUENCY, Workload};
use super::{MODES, costs, plot, write};
use crate::process::{Failure, Outcome};
use crate::run::Mode;
use crate::setup;
use crate::workspace::results;
use bochs_pmu::costs::Costs;
use boot::{Boot, Case};
use std::path::{Path, PathBuf};

/// Cycles that a turn of the work takes, about, as of the benchmark's own guest.
const CYCLES_PER_TURN: u64 = super::CYCLES_PER_TURN;
/// Work before the one that is timed, in thousandths of a second: perf finds its periods, memory is mapped.
const WARMUP: u64 = 50;

/// Turns of the work in so many thousandths of a second.
const fn turns(thousandths: u64) -> u64 {
    thousandths * FREQUENCY / 1000 / CYCLES_PER_TURN
}

/// A sampled case in a mode, compared with the same boot's case without perf.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub workload: Workload,
    pub mode: Mode,
    /// Extra time for the same work, in percent.
    pub overhead_percent: f64,
    /// What happened while the work was timed.
    pub case: Case,
}

/// One boot: its rows, and what was counted from its start to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub mode: Mode,
    /// Cycles of the work without perf.
    pub baseline: u64,
    pub rows: Vec<Row>,
    pub boot: Boot,
}

#[allow(clippy::cast_precision_loss, reason = "a percentage for people; no figure reaches 2^53")]
fn percent(cycles: u64, baseline: u64) -> f64 {
    100.0 * (cycles as f64 / baseline.max(1) as f64 - 1.0)
}

impl Measured {
    fn new(mode: Mode, boot: Boot) -> Result<Self, String> {
        let [none, sampled @ ..] = boot.cases.as_slice() else {
            return Err("the guest ran no case".to_owned());
        };
        if sampled.len() != Workload::SAMPLED.len() {
            return Err(format!("the guest ran {} cases with perf", sampled.len()));
        }
        let rows = Workload::SAMPLED.into_iter().zip(sampled).map(|(workload, case)| {
            if case.checksum != none.checksum {
                return Err(format!("the work's checksum is {} and not {}", case.checksum, none.checksum));
            }
            let overhead_percent = percent(case.cycles, none.cycles);
            Ok(Row { workload, mode, overhead_percent, case: case.clone() })
        });
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Self { mode, baseline: none.cycles, rows, boot })
    }

    /// What must be so whatever anything costs.
    fn sound(&self) -> Result<(), String> {
        let mode = self.mode.name();
        for row in &self.rows {
            let (name, case) = (row.workload.name(), &row.case);
            if case.cycles <= self.baseline {
                return Err(format!("{mode}, {name}: sampling made the work faster"));
            }
            if case.samples == 0 || case.lost != 0 {
                return Err(format!(
                    "{mode}, {name}: perf has {} samples and lost {}",
                    case.samples, case.lost
                ));
            }
        }
        let direct = matches!(self.mode, Mode::Mediated | Mode::Passthrough);
        match self.boot.data_accesses {
            0 if !direct => Err(format!("{mode}: no access to a counter exited")),
            n if direct && n != 0 => Err(format!("{mode}: {n} accesses to counters or GLOBAL_* exited")),
            _ => Ok(()),
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub costs: Costs,
    pub measured: Vec<Measured>,
}

impl Figures {
    /// The overheads alone.
    pub fn overheads(&self) -> Overheads {
        let rows = self.measured.iter().flat_map(|measured| &measured.rows);
        Overheads(rows.map(|row| (row.workload, row.mode, row.overhead_percent)).collect())
    }
}

/// Boots Linux in every mode and shows what came of it.
///
/// # Errors
/// A boot fails, or something is not as it must be whatever anything costs.
pub fn bench(file: &Path, work: u32, json: Option<&PathBuf>, chart: Option<&PathBuf>) -> Outcome {
    let costs = costs::read(file)?;
    setup::setup()?;
    let lab = super::Lab::new("bench-linux")?;
    results(json.into_iter().chain(chart), &[file])?;
    let file = costs::write(&costs, &lab.folder, "default")?;
    let mut measured = Vec::new();
    for mode in MODES {
        let boot = boot::boot(&lab, mode, &file, turns(WARMUP), turns(u64::from(work)))?;
        let found = Measured::new(mode, boot);
        measured.push(found.map_err(|why| Failure::Check(format!("{}: {why}", mode.name())))?);
    }
    lab.say("done");
    let figures = Figures { costs, measured };
    let text = show::text(&figures).map_err(|_| Failure::Check("the report cannot be written".to_owned()))?;
    print!("{text}");
    if let Some(file) = json {
        write(file, &format!("{:#}\n", show::json(&figures)))?;
    }
    if let Some(file) = chart {
        let svg = plot::svg(&figures.overheads());
        write(file, &svg.map_err(|_| Failure::Check("the chart cannot be drawn".to_owned()))?)?;
    }
    figures.measured.iter().try_for_each(Measured::sound).map_err(Failure::Check)?;
    figures.overheads().sound().map_err(Failure::Check)
}

#[cfg(test)]
pub mod tests {
    use super::boot::tests::case;
    use super::{Boot, Figures, MODES, Measured, Mode};
    use bochs_pmu::costs::Costs;

    fn boot(cycles: [u64; 3], data_accesses: u64) -> Boot {
        Boot { cases: cycles.map(case).to_vec(), data_accesses, ..Boot::default() }
    }

    fn measured(mode: Mode, cycles: [u64; 3]) -> Measured {
        let data = if mode == Mode::Emulated { 9 } else { 0 };
        Measured::new(mode, boot(cycles, data)).expect("complete")
    }

    /// 20, 2, 4 % and 40, 4, 8 %.
    pub fn figures() -> Figures {
        let cycles = [[1000, 1200, 1400], [1000, 1020, 1040], [1000, 1040, 1080]];
        let measured = MODES.into_iter().zip(cycles).map(|(mode, cycles)| measured(mode, cycles)).collect();
        Figures { costs: Costs::default(), measured }
    }

    #[test]
    fn overhead_is_extra_time_for_the_same_work_in_the_same_boot() {
        let overheads = figures().overheads();
        let percents: Vec<String> = overheads.0.iter().map(|row| format!("{:.2}", row.2)).collect();
        assert_eq!(percents, ["20.00", "40.00", "2.00", "4.00", "4.00", "8.00"]);
        assert_eq!(overheads.sound(), Ok(()));
    }

    #[test]
    fn a_guest_that_computed_something_else_or_ran_too_little_is_not_compared() {
        let mut other = boot([1000, 1020, 1040], 0);
        other.cases[2].checksum += 1;
        assert!(Measured::new(Mode::Mediated, other).unwrap_err().contains("checksum"));
        for cases in 0..3 {
            let mut short = boot([1000, 1020, 1040], 0);
            short.cases.truncate(cases);
            assert!(Measured::new(Mode::Mediated, short).is_err());
        }
    }

    /// What makes a boot's figures unsound, and what is said then.
    type Change = (fn(&mut Measured), &'static str);

    #[test]
    fn what_must_be_so_is_checked() {
        let good = measured(Mode::Mediated, [1000, 1020, 1040]);
        assert_eq!(good.sound(), Ok(()));
        let changes: &[Change] = &[
            (|m| m.rows[0].case.cycles = 1000, "faster"),
            (|m| m.rows[1].case.samples = 0, "0 samples"),
            (|m| m.rows[1].case.lost = 1, "lost 1"),
            (|m| m.boot.data_accesses = 1, "1 accesses"),
        ];
        for (change, why) in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad.sound().unwrap_err().contains(*why), "{why}");
        }
        let mut emulated = measured(Mode::Emulated, [1000, 1200, 1400]);
        assert_eq!(emulated.sound(), Ok(()));
        emulated.boot.data_accesses = 0;
        assert!(emulated.sound().is_err());
    }
}
