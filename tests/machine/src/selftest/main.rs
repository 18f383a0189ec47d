//! The selftest kernel: prints a line for each check, with the value got and the one that the SDM's rule gives
//! (section numbers: volume 3, revision 325462-083). `cargo xtask machine selftest` boots it and compares.
//!
//! Command line: `ips=N` for the rules of the PMU, with all costs zero, and the timers; `skid=N` for late
//! interrupts; `costs=..` for the cost model.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]

mod apic;
mod costs;
mod discovery;
mod guest;
mod halt;
mod pmi;
mod report;
mod rings;
mod scenarios;
mod skid;
mod state;
mod strings;
mod time;
mod vmcs;
mod vmx;
mod vmx_halt;
mod vmx_pmi;
mod window;

use report::Report;

machine_kernels::kernel!(kernel);

fn kernel(line: &str) {
    let geometry = discovery::geometry();
    let mut report = Report::new();
    let option = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    if let Some(instructions) = option("skid") {
        skid::check(&mut report, &geometry, instructions.parse().expect("skid=N"));
    } else if let Some(costs) = option("costs") {
        costs::check(&mut report, &geometry, costs);
    } else {
        discovery::check(&mut report, &geometry);
        scenarios::check(&mut report, &geometry);
        pmi::check(&mut report, &geometry);
        rings::check(&mut report);
        strings::check(&mut report, &geometry);
        halt::check(&mut report);
        apic::check(&mut report, &geometry);
        let ips = option("ips").and_then(|ips| ips.parse().ok()).expect("ips=N");
        time::check(&mut report, ips);
        vmx::check(&mut report, &geometry);
        vmx_halt::check(&mut report, &geometry);
        vmx_pmi::check(&mut report, &geometry);
    }
    report.end();
}
