//! The scenarios of `machine_scenarios` on this machine.

use crate::report::Report;
use crate::{state, window};
use machine_kernels::cpu::{apic, apic_read, apic_write, rdmsr, rdpmc, wrmsr};
use machine_scenarios::{Geometry, Scenario, Step, all};

/// Runs every scenario that this PMU can run.
pub fn check(report: &mut Report, geometry: &Geometry) {
    all(geometry, &mut |scenario| {
        state::reset(geometry);
        for (i, &step) in scenario.steps.iter().enumerate() {
            perform(report, scenario, i, step);
        }
    });
}

fn perform(report: &mut Report, scenario: &Scenario, i: usize, step: Step) {
    let mut check = |what: core::fmt::Arguments, got, want| {
        let name = format_args!("{}: {what} (step {i})", scenario.name);
        report.check(name, scenario.section, got, want);
    };
    match step {
        Step::Write(msr, value) => state::write(msr, value),
        Step::WriteFaults(msr, value) => {
            check(format_args!("WRMSR {msr:#x} of {value:#x} is #GP"), u64::from(!wrmsr(msr, value)), 1);
        }
        Step::Read(msr, want) => check(format_args!("RDMSR {msr:#x}"), state::read(msr), want),
        Step::ReadFaults(msr) => {
            check(format_args!("RDMSR {msr:#x} is #GP"), u64::from(rdmsr(msr).is_none()), 1);
        }
        Step::WritableBits(msr, want) => {
            let accepted = (0..64).filter(|bit| wrmsr(msr, 1 << bit)).fold(0, |mask, bit| mask | 1 << bit);
            check(format_args!("bits that WRMSR {msr:#x} accepts"), accepted, want);
            state::write(msr, 0);
        }
        Step::Rdpmc(index, want) => {
            let got = rdpmc(index).unwrap_or_else(|| panic!("RDPMC {index:#x} is #GP"));
            check(format_args!("RDPMC {index:#x}"), got, want);
        }
        Step::RdpmcFaults(index) => {
            check(format_args!("RDPMC {index:#x} is #GP"), u64::from(rdpmc(index).is_none()), 1);
        }
        Step::Lvtpc(value) => apic_write(apic::LVT_PC, value),
        Step::LvtpcIs(want) => {
            check(format_args!("LVTPC"), u64::from(apic_read(apic::LVT_PC)), u64::from(want))
        }
        Step::Run(ctrl, program) => {
            window::run(ctrl, program);
        }
        Step::PmisTaken(want) => check(format_args!("PMIs taken"), state::pmis(), want),
    }
}
