//! How long single accesses and a PMI take: guest `path`, with and without costs; and what the kernel's own tests find
//! for exits and for switching between two VMs.

use super::lab::{Lab, Observed};
use crate::image::freestanding::Build;
use crate::image::ran_to_end;
use crate::kernel;
use crate::kernel_tests;
use crate::machine::{bochs, iso};
use crate::process::{Failure, Outcome};
use crate::run::Mode;
use ::kernel::Config;
use std::path::Path;

/// The tests' root task with the test that prints figures alone.
const ONLY_FIGURES: &str = "--cfg=kernel_figures";

/// One thing, outside the guest: without costs a TSC tick is an instruction, with them a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub instructions: u64,
    pub cycles: u64,
}

/// What each thing takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFigures {
    /// A control write that the policy domain decides, from exit to entry.
    pub control_write: Cost,
    /// A control write of a value that it has approved.
    pub approved_write: Cost,
    /// From a counter's overflow to the first instruction of the guest's handler.
    pub pmi: Cost,
    /// The write of LVTPC that ends the handler, with the counters on. The local APIC is the VMM's in every mode.
    pub unmask: Cost,
    /// The same in mode passthrough, where the kernel first reads what the guest has programmed.
    pub unmask_passthrough: Cost,
    /// CPUID, from exit to entry, with six counters and a fixed one that count.
    pub cpuid_counting: Cost,
    /// The same with the vPMU there but unused.
    pub cpuid: Cost,
    /// The same without a vPMU.
    pub cpuid_off: Cost,
    /// RDPMC, RDMSR and WRMSR of a counter in mode mediated: nothing but what the cost model charges.
    pub data: [Cost; 3],
    /// The same in mode emulated.
    pub emulated_data: [Cost; 3],
    /// Exits by RDPMC and RDMSR of a counter in mode mediated.
    pub data_read_exits: u64,
    /// Switching the PMU between two VMs that both count.
    pub switch_cycles: u64,
}

impl PathFigures {
    /// By how much an exit with an idle vPMU is dearer than without one, in percent.
    #[allow(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn idle_percent(&self) -> f64 {
        100.0 * (self.cpuid.cycles as f64 / self.cpuid_off.cycles.max(1) as f64 - 1.0)
    }
}

/// Boots guest `path` as often as need be.
///
/// # Errors
/// A boot fails, or a number is missing.
pub fn measure(lab: &Lab, guest: &Path, costs: &Path) -> Outcome<PathFigures> {
    let twice = |mode: Mode| -> Outcome<[Observed; 2]> {
        lab.say(&format!("single accesses, {}", mode.name()));
        Ok([lab.boot(guest, mode, None)?, lab.boot(guest, mode, Some(costs))?])
    };
    let [off, mediated, emulated] = [twice(Mode::Off)?, twice(Mode::Mediated)?, twice(Mode::Emulated)?];
    let passthrough = twice(Mode::Passthrough)?;
    lab.say("switching between two VMs");
    let switch_cycles = switch(lab, costs)?;
    let cost = |runs: &[Observed; 2], word, key| -> Result<Cost, String> {
        Ok(Cost { instructions: runs[0].said(word, key)?, cycles: runs[1].said(word, key)? })
    };
    let data = |runs| -> Result<[Cost; 3], String> {
        Ok([
            cost(runs, "access", "rdpmc")?,
            cost(runs, "access", "read_counter")?,
            cost(runs, "access", "write_counter")?,
        ])
    };
    let all = || -> Result<PathFigures, String> {
        Ok(PathFigures {
            control_write: cost(&mediated, "path", "control_write")?,
            approved_write: cost(&mediated, "path", "known_control_write")?,
            pmi: cost(&mediated, "path", "pmi")?,
            unmask: cost(&mediated, "path", "unmask")?,
            unmask_passthrough: cost(&passthrough, "path", "unmask")?,
            cpuid_counting: cost(&mediated, "path", "cpuid_counting")?,
            cpuid: cost(&mediated, "path", "cpuid_idle")?,
            cpuid_off: cost(&off, "path", "cpuid_idle")?,
            data: data(&mediated)?,
            emulated_data: data(&emulated)?,
            data_read_exits: mediated[1].report.data_accesses,
            switch_cycles,
        })
    };
    all().map_err(Failure::Check)
}

/// Boots the kernel's tests for their figures, with costs.
fn switch(lab: &Lab, costs: &Path) -> Outcome<u64> {
    let build = Build {
        name: "kernel-figures",
        flags: vec![ONLY_FIGURES.to_owned()],
        ..Build::user_level(Config::Release)
    };
    let program = build.programs(&["kernel_tests"])?.swap_remove(0);
    let kernel = kernel::build(Config::Release)?;
    let modules = [program.as_path()];
    let payload = iso::Payload::Multiboot { kernel: &kernel.elf32, arguments: "", modules: &modules };
    let image = iso::make(&lab.folder.join("kernel-figures.iso"), &payload)?;
    let mut machine = bochs::Machine::new(&lab.folder.join("kernel-figures"), &image);
    machine.pmu = Some(bochs::Pmu { skid: 0, costs: Some(costs.to_owned()) });
    machine.sentinels = ["kernel tests: some passed", "panicked at"].map(str::to_owned).to_vec();
    let finished = machine.run(|_| ())?;
    ran_to_end(&finished)?;
    kernel_tests::figure(&finished.serial, "switch-four-counters")
}

#[cfg(test)]
pub mod tests {
    use super::{Cost, PathFigures};

    /// Figures that meet every goal.
    pub fn path() -> PathFigures {
        let cost = |instructions| Cost { instructions, cycles: instructions + 1450 };
        PathFigures {
            control_write: cost(1500),
            approved_write: cost(250),
            pmi: cost(700),
            unmask: cost(900),
            unmask_passthrough: cost(1000),
            cpuid_counting: cost(1700),
            cpuid: cost(1400),
            cpuid_off: cost(1360),
            data: [cost(0); 3],
            emulated_data: [cost(3000); 3],
            data_read_exits: 0,
            switch_cycles: 1800,
        }
    }

    /// 2850 cycles instead of 2810.
    #[test]
    fn an_idle_vpmu_is_compared_with_none() {
        assert!((path().idle_percent() - 100.0 * 40.0 / 2810.0).abs() < 1e-9);
    }
}
