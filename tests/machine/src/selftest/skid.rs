//! Interrupts that come late, as on hardware.

use crate::report::Report;
use crate::state::{arm, pmis, read};
use crate::window::{NOPS, nops};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::traps::PMI_RIP;
use machine_scenarios::{Geometry, HANDLER, msr::*};

/// `skid` instructions pass between the overflow and the PMI.
pub fn check(report: &mut Report, geometry: &Geometry, skid: u64) {
    const PERIOD: u64 = 50;
    assert!(PERIOD + skid < NOPS, "skid too large for this test");
    arm(geometry, PERIOD);
    let start = nops(1);
    let rule = "20.4.4 (skid)";
    report.check("late PMI: one", rule, pmis(), 1);
    report.check(
        "late PMI: its return address",
        rule,
        PMI_RIP.load(Relaxed).wrapping_sub(start),
        PERIOD + skid,
    );
    report.check("late PMI: the counter went on", rule, read(IA32_PMC0), skid + HANDLER);
}
