//! VM entry and exit: which registers they load and save, what guests count, what they may access.

use crate::guest::{self, LOOP, LOOP_BRANCHES};
use crate::report::Report;
use crate::state::{ON, read, reset, write};
use crate::vmcs::{self, *};
use machine_scenarios::{Geometry, msr::*};
use x86::vmx::vmcs::{guest as guest_state, host as host_state, ro};

/// Exit reasons (SDM volume 3, appendix C).
pub const REASON_VMCALL: u64 = 18;
const REASON_RDPMC: u64 = 15;
const REASON_RDMSR: u64 = 31;
const REASON_WRMSR: u64 = 32;
const ENTRY_FAILED: u64 = 1 << 31;
const REASON_INVALID_GUEST: u64 = ENTRY_FAILED | 33;
const REASON_MSR_LOADING: u64 = ENTRY_FAILED | 34;
/// [`Exit::code`] of VMfail with "VM entry with invalid host-state field(s)".
const FAILED_HOST_STATE: u64 = 1 << 32 | 8;

/// All of the PMU's controls of entries and exits.
const ENTRY: u64 = ENTRY_LOAD_GLOBAL_CTRL | ENTRY_LOAD_DEBUG;
const EXIT: u64 = EXIT_LOAD_GLOBAL_CTRL | EXIT_SAVE_GLOBAL_CTRL | EXIT_SAVE_DEBUG;

/// Guest and host values of IA32_PERF_GLOBAL_CTRL, and all controls that switch it.
pub fn prepare(geometry: &Geometry, guest_ctrl: u64) {
    reset(geometry);
    entry_controls(ENTRY);
    exit_controls(EXIT);
    pin_controls(0);
    processor_controls(0);
    set(guest_state::IA32_PERF_GLOBAL_CTRL_FULL, guest_ctrl);
    set(guest_state::IA32_DEBUGCTL_FULL, 0);
    set(host_state::IA32_PERF_GLOBAL_CTRL_FULL, 0);
}

pub fn check(report: &mut Report, geometry: &Geometry) {
    vmcs::initialise();
    capabilities(report);
    refusals(report, geometry);
    counting(report, geometry);
    switching(report, geometry);
    lists(report, geometry);
    intercepts(report, geometry);
    debugctl(report, geometry);
    nmi_blocking(report, geometry);
}

/// Each VM entry loads the blocking of NMIs, each exit saves it: that of one guest is not the next one's.
fn nmi_blocking(report: &mut Report, geometry: &Geometry) {
    let mut check = |name, got, want| report.check(name, "27.7.1, 28.3.4", got, want);
    prepare(geometry, 0);
    pin_controls(NMI_EXITING | VIRTUAL_NMIS);
    for (end, name, blocking) in [
        (
            "VMX: a guest in its NMI handler runs to its VMCALL",
            "VMX: a guest in its NMI handler blocks NMIs",
            BLOCKING_BY_NMI,
        ),
        ("VMX: the next guest runs to its VMCALL", "VMX: the next guest does not block NMIs", 0),
    ] {
        set(guest_state::INTERRUPTIBILITY_STATE, blocking);
        let exit = run_in_state(guest::counting_loop(), 0, 0);
        check(end, exit.code(), REASON_VMCALL);
        check(name, get(guest_state::INTERRUPTIBILITY_STATE), blocking);
    }
    pin_controls(0);
}

fn capabilities(report: &mut Report) {
    let mut offered = |name, capability, bit: u64| {
        report.check(name, "25.7.1, 25.8.1", read(capability) >> 32 & bit, bit);
    };
    offered("VMX: entries can load IA32_PERF_GLOBAL_CTRL", IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_LOAD_GLOBAL_CTRL);
    offered("VMX: exits can load IA32_PERF_GLOBAL_CTRL", IA32_VMX_TRUE_EXIT_CTLS, EXIT_LOAD_GLOBAL_CTRL);
    offered("VMX: exits can save IA32_PERF_GLOBAL_CTRL", IA32_VMX_TRUE_EXIT_CTLS, EXIT_SAVE_GLOBAL_CTRL);
}

fn refusals(report: &mut Report, geometry: &Geometry) {
    let bad = 1 << geometry.general;
    prepare(geometry, bad);
    let exit = run(guest::counting_loop(), 0, 0);
    report.check(
        "VMX: a reserved bit in the guest's IA32_PERF_GLOBAL_CTRL",
        "27.3.1.1",
        exit.code(),
        REASON_INVALID_GUEST,
    );
    prepare(geometry, 0);
    set(guest_state::IA32_DEBUGCTL_FULL, 1 << 5);
    let exit = run(guest::counting_loop(), 0, 0);
    report.check(
        "VMX: a reserved bit in the guest's IA32_DEBUGCTL",
        "27.3.1.1",
        exit.code(),
        REASON_INVALID_GUEST,
    );
    prepare(geometry, 0);
    set(host_state::IA32_PERF_GLOBAL_CTRL_FULL, bad);
    let exit = run(guest::counting_loop(), 0, 0);
    report.check(
        "VMX: a reserved bit in the host's IA32_PERF_GLOBAL_CTRL",
        "27.2.2",
        exit.code(),
        FAILED_HOST_STATE,
    );
    prepare(geometry, 0);
    set_list(List::EntryLoad, &[(IA32_PMC0, 7), (IA32_PERF_GLOBAL_CTRL, bad)]);
    let exit = run(guest::counting_loop(), 0, 0);
    report.check("VMX: a reserved bit in the entry's MSR list", "27.4", exit.code(), REASON_MSR_LOADING);
    report.check("VMX: the qualification names the second entry", "27.8", get(ro::EXIT_QUALIFICATION), 2);
    set_list(List::EntryLoad, &[]);
}

fn counting(report: &mut Report, geometry: &Geometry) {
    prepare(geometry, 1 << 34 | 7);
    write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS);
    write(IA32_PERFEVTSEL0 + 1, ON | BRANCHES);
    write(IA32_PERFEVTSEL0 + 2, EN | USR | INSTRUCTIONS);
    write(IA32_FIXED_CTR_CTRL, 0x300);
    let exit = run(guest::counting_loop(), 0, 0);
    let mut check = |name, got, want| report.check(name, "27.3.2.1, 28.5.1", got, want);
    check("VMX: the guest runs to its VMCALL", exit.code(), REASON_VMCALL);
    check("VMX: instructions of the guest", read(IA32_PMC0), LOOP);
    check("VMX: branches of the guest", read(IA32_PMC0 + 1), LOOP_BRANCHES);
    check("VMX: a guest in ring 0 is ring 0", read(IA32_PMC0 + 2), 0);
    check("VMX: reference cycles of the guest", read(IA32_FIXED_CTR0 + 2), LOOP);
    check("VMX: the host's IA32_PERF_GLOBAL_CTRL after the exit", read(IA32_PERF_GLOBAL_CTRL), 0);
    check(
        "VMX: the guest's IA32_PERF_GLOBAL_CTRL is saved",
        get(guest_state::IA32_PERF_GLOBAL_CTRL_FULL),
        1 << 34 | 7,
    );
    run(guest::counting_loop(), 0, 0);
    check("VMX: the second run adds exactly as much", read(IA32_PMC0), 2 * LOOP);
}

fn switching(report: &mut Report, geometry: &Geometry) {
    let mut check = |name, got, want| report.check(name, "27.3.2.1, 28.3.1, 28.5.1", got, want);
    // Counter 0 is the host's, counter 1 the guest's: the entry instruction is the host's.
    prepare(geometry, 2);
    write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS);
    write(IA32_PERFEVTSEL0 + 1, ON | INSTRUCTIONS);
    run(guest::counting_loop(), 0, 1);
    check("VMX: the host's counter sees the entry instruction only", read(IA32_PMC0), 1);
    check("VMX: the guest's counter sees the guest only", read(IA32_PMC0 + 1), LOOP);

    prepare(geometry, 2);
    entry_controls(ENTRY & !ENTRY_LOAD_GLOBAL_CTRL);
    write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS);
    write(IA32_PERFEVTSEL0 + 1, ON | INSTRUCTIONS);
    run(guest::counting_loop(), 0, 1);
    check("VMX: without load at entry the host's value stays", read(IA32_PMC0), 1 + LOOP);
    check("VMX: without load at entry the guest's value is not used", read(IA32_PMC0 + 1), 0);
    check("VMX: what is saved then is the value in force", get(guest_state::IA32_PERF_GLOBAL_CTRL_FULL), 1);

    prepare(geometry, 2);
    exit_controls(EXIT & !EXIT_SAVE_GLOBAL_CTRL);
    run(guest::writes_global_ctrl(), 0, 0);
    check("VMX: without save at exit the field stays", get(guest_state::IA32_PERF_GLOBAL_CTRL_FULL), 2);

    prepare(geometry, 2);
    exit_controls(EXIT & !EXIT_LOAD_GLOBAL_CTRL);
    run(guest::writes_global_ctrl(), 0, 0);
    check("VMX: without load at exit the guest's value stays", read(IA32_PERF_GLOBAL_CTRL), 5);

    prepare(geometry, 2);
    write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS);
    write(IA32_PERFEVTSEL0 + 1, ON | INSTRUCTIONS);
    let exit = run(guest::writes_global_ctrl(), 0, 0);
    check("VMX: the guest may write IA32_PERF_GLOBAL_CTRL", exit.code(), REASON_VMCALL);
    check("VMX: what the guest wrote is saved", get(guest_state::IA32_PERF_GLOBAL_CTRL_FULL), 5);
    // Three loads and the WRMSR with the old value; two NOPs with the new one.
    check("VMX: counter 1 until the guest's write", read(IA32_PMC0 + 1), 4);
    check("VMX: counter 0 after the guest's write", read(IA32_PMC0), 2);

    prepare(geometry, 0);
    set(host_state::IA32_PERF_GLOBAL_CTRL_FULL, 1 << 33);
    run(guest::counting_loop(), 0, 0);
    check("VMX: the exit loads the host's value", read(IA32_PERF_GLOBAL_CTRL), 1 << 33);
}

fn lists(report: &mut Report, geometry: &Geometry) {
    let mut check = |name, got, want| report.check(name, "27.4, 28.4, 28.6", got, want);
    prepare(geometry, 1);
    write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS);
    set_list(List::EntryLoad, &[(IA32_A_PMC0, 1 << 40), (IA32_A_PMC0 + 2, 777)]);
    set_list(List::ExitStore, &[(IA32_PMC0, 0), (IA32_PERF_GLOBAL_STATUS, 0)]);
    set_list(List::ExitLoad, &[(IA32_A_PMC0, 99), (IA32_PERFEVTSEL0, EN)]);
    run(guest::counting_loop(), 0, 0);
    check(
        "VMX: entry list loads a counter that the guest goes on with",
        list_value(List::ExitStore, 0),
        (1 << 40) + LOOP,
    );
    check("VMX: exit list stores the status", list_value(List::ExitStore, 1), 0);
    check("VMX: entry list loads a second counter", read(IA32_PMC0 + 2), 777);
    check("VMX: exit list loads a counter", read(IA32_PMC0), 99);
    check("VMX: exit list loads a selector", read(IA32_PERFEVTSEL0), EN);
    for list in [List::EntryLoad, List::ExitStore, List::ExitLoad] {
        set_list(list, &[]);
    }
}

fn intercepts(report: &mut Report, geometry: &Geometry) {
    let mut check = |name, got, want| report.check(name, "26.1.3", got, want);
    prepare(geometry, 0);
    write(IA32_A_PMC0, 0x1234_5678_9ABC);
    let exit = run(guest::reads_counter(), 0, 0);
    check("VMX: RDMSR without its bit in the bitmap", exit.code(), REASON_VMCALL);
    check("VMX: RDMSR gives the guest the value", exit.value(), 0x1234_5678_9ABC);
    let exit = run(guest::writes_selector(), 0, 0);
    check("VMX: WRMSR without its bit in the bitmap", exit.code(), REASON_VMCALL);
    check("VMX: WRMSR of the guest writes", read(IA32_PERFEVTSEL0), 0x43_00C0);
    let exit = run(guest::reads_by_rdpmc(), 0, 0);
    check("VMX: RDPMC without RDPMC exiting", exit.code(), REASON_VMCALL);
    check("VMX: RDPMC gives the guest the value", exit.value(), 0x1234_5678_9ABC);

    intercept(IA32_PMC0, false, true);
    intercept(IA32_PERFEVTSEL0, true, true);
    prepare(geometry, 2);
    processor_controls(RDPMC_EXITING);
    write(IA32_PERFEVTSEL0 + 1, ON | INSTRUCTIONS);
    let exit = run(guest::reads_counter(), 0, 0);
    check("VMX: RDMSR with its bit in the bitmap exits", exit.code(), REASON_RDMSR);
    check("VMX: an RDMSR that exits does not retire", read(IA32_PMC0 + 1), 1);
    write(IA32_PMC0 + 1, 0);
    let exit = run(guest::writes_selector(), 0, 0);
    check("VMX: WRMSR with its bit in the bitmap exits", exit.code(), REASON_WRMSR);
    check("VMX: a WRMSR that exits does not write", read(IA32_PERFEVTSEL0), 0);
    check("VMX: a WRMSR that exits does not retire", read(IA32_PMC0 + 1), 3);
    let exit = run(guest::reads_by_rdpmc(), 0, 0);
    check("VMX: RDPMC with RDPMC exiting exits", exit.code(), REASON_RDPMC);
    intercept(IA32_PMC0, false, false);
    intercept(IA32_PERFEVTSEL0, true, false);
}

fn debugctl(report: &mut Report, geometry: &Geometry) {
    let mut check = |name, got, want| report.check(name, "27.3.2.1, 28.3.1, 28.5.1", got, want);
    prepare(geometry, 0);
    set(guest_state::IA32_DEBUGCTL_FULL, FREEZE_PERFMON_ON_PMI);
    write(IA32_DEBUGCTL, 0);
    run(guest::counting_loop(), 0, 0);
    check("VMX: the exit clears IA32_DEBUGCTL", read(IA32_DEBUGCTL), 0);
    check(
        "VMX: the guest's IA32_DEBUGCTL is saved",
        get(guest_state::IA32_DEBUGCTL_FULL),
        FREEZE_PERFMON_ON_PMI,
    );
    set(guest_state::IA32_DEBUGCTL_FULL, 0);
    entry_controls(ENTRY & !ENTRY_LOAD_DEBUG);
    write(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI);
    run(guest::counting_loop(), 0, 0);
    check(
        "VMX: without load the guest has the host's IA32_DEBUGCTL",
        get(guest_state::IA32_DEBUGCTL_FULL),
        FREEZE_PERFMON_ON_PMI,
    );
}
