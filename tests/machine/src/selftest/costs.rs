//! The cost model: events charge cycles, which core cycles and the time-stamp counter see and instructions do
//! not. The counts of instructions follow from SDM 20.2.1.2; the charges are the machine's parameters.

use crate::report::Report;
use crate::state::{arm, pmis, read, reset, write};
use crate::vmcs::{self, RUN};
use crate::window::*;
use crate::{guest, vmx};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::traps::{HANDLER_END, RELOAD, RESUME};
use machine_scenarios::{Geometry, HANDLER, WINDOW, msr::*};

const RULE: &str = "20.2.1.2";
/// Fixed counters 0 and 1: instructions, core cycles.
const BOTH: u64 = 3 << 32;

/// A timed window.
type Timed = fn(u64) -> u64;

/// Cycles that the launcher configured, by the names in its parameter file.
struct Charges<'a>(&'a str);

impl Charges<'_> {
    fn of(&self, name: &str) -> u64 {
        self.0
            .split(',')
            .find_map(|pair| pair.split_once(':').filter(|(key, _)| *key == name)?.1.parse().ok())
            .unwrap_or_else(|| panic!("no cost {name} in `{}`", self.0))
    }
}

/// `charges` is `name:cycles,...`.
pub fn check(report: &mut Report, geometry: &Geometry, charges: &str) {
    let charges = Charges(charges);
    instructions(report, geometry, &charges);
    interrupt(report, geometry, &charges);
    virtual_machine(report, geometry, &charges);
}

/// Counts instructions and core cycles of a timed window.
fn instructions(report: &mut Report, geometry: &Geometry, charges: &Charges) {
    // The WRMSR that ends the window is counted, so its charge is, too.
    let end = WINDOW + charges.of("wrmsr_pmu");
    let cases: [(&str, Timed, u64, u64); 5] = [
        ("NOP", timed_nops, 2, 0),
        ("RDMSR", timed_rdmsr, 2, charges.of("rdmsr")),
        ("WRMSR of a PMU register", timed_wrmsr_pmu, 4, charges.of("wrmsr_pmu")),
        ("WRMSR of another register", timed_wrmsr_other, 4, charges.of("wrmsr_other")),
        ("RDPMC", timed_rdpmc, 2, charges.of("rdpmc")),
    ];
    for (name, run, instructions, charge) in cases {
        reset(geometry);
        write(IA32_FIXED_CTR_CTRL, 0x33);
        let passed = run(BOTH);
        let (executed, charged) = (REPEATED * instructions, REPEATED * charge);
        let mut check =
            |what, got, want| report.check(format_args!("{name}, charged: {what}"), RULE, got, want);
        check("instructions", read(IA32_FIXED_CTR0), executed + TIMED + WINDOW);
        check("core cycles", read(IA32_FIXED_CTR0 + 1), executed + charged + TIMED + end);
        check("time-stamp counter", passed, executed + charged + BETWEEN);
    }
}

/// A PMI whose handler stops the counters and starts them again.
fn interrupt(report: &mut Report, geometry: &Geometry, charges: &Charges) {
    arm(geometry, 50);
    write(IA32_FIXED_CTR_CTRL, 0x33);
    RELOAD.store(0, Relaxed);
    RESUME.store(BOTH, Relaxed);
    nops(BOTH | 1);
    RESUME.store(0, Relaxed);
    let executed = NOPS + WINDOW + HANDLER + HANDLER_END;
    // Two WRMSRs stop the counters, the handler's and the window's; two start them and are not counted.
    let charged = charges.of("interrupt") + 2 * charges.of("wrmsr_pmu");
    report.check("interrupt, charged: one", RULE, pmis(), 1);
    report.check("interrupt, charged: instructions", RULE, read(IA32_FIXED_CTR0), executed);
    report.check("interrupt, charged: core cycles", RULE, read(IA32_FIXED_CTR0 + 1), executed + charged);
}

/// The time from before a VM entry to after the exit.
fn virtual_machine(report: &mut Report, geometry: &Geometry, charges: &Charges) {
    vmcs::initialise();
    for (what, guest, executed) in
        [("loop", guest::counting_loop(), guest::LOOP), ("NOPs", guest::nops(), guest::NOPS)]
    {
        vmx::prepare(geometry, 1);
        write(IA32_PERFEVTSEL0, EN | OS | INSTRUCTIONS);
        let exit = vmcs::run(guest, 0, 0);
        // The VMCALL does not retire, but takes its cycle.
        let passed = RUN + executed + 1;
        let charged = charges.of("vm_entry") + charges.of("vm_exit") + charges.of("wrmsr_pmu");
        let mut check =
            |name, got, want| report.check(format_args!("VMX, charged, {what}: {name}"), RULE, got, want);
        check("instructions of the guest", read(IA32_PMC0), executed);
        check("time from entry to exit", exit.cycles(), passed + charged);
    }
    vmcs::end();
}
