//! The instrumentation stubs of Bochs that now lead here, and the state behind all hooks.
//!
//! Bochs calls all hooks in its one simulation thread. A hook that is reached while another one runs would break
//! the exclusive borrow of a [`Unit`]; the functions of Bochs that are called under such a borrow call none.
//! Faults and VM exits leave Bochs's handlers by longjmp, never through a frame of this library.

use crate::bochs::{Functions, Machine, Object, is_bochs};
use crate::elf::executable;
use crate::handlers;
use crate::near::{Near, Watch, When};
use crate::report::Report;
use crate::settings::Settings;
use crate::stop::{OrStop, stop};
use crate::unit::Unit;
use std::cell::UnsafeCell;

/// Bochs's limit on processors.
const MAX_CPUS: usize = 256;

/// A value that only Bochs's simulation thread touches.
struct Single<T>(UnsafeCell<T>);
// SAFETY: hooks run in Bochs's only simulation thread; the constructor runs before it.
unsafe impl<T> Sync for Single<T> {}

/// The units, leaked boxes; null before the first instruction.
static UNITS: Single<[*mut Unit; MAX_CPUS]> = Single(UnsafeCell::new([std::ptr::null_mut(); MAX_CPUS]));
static LIBRARY: Single<Option<Library>> = Single(UnsafeCell::new(None));

/// Everything that is not per instruction.
struct Library {
    functions: Functions,
    settings: Settings,
    watch: *mut Watch,
    machine: Option<&'static Machine>,
}

/// The unit of a processor. The caller keeps the borrow to itself until it returns to Bochs.
fn unit(cpu: u32) -> Option<&'static mut Unit> {
    let index = usize::try_from(cpu).unwrap_or(0) % MAX_CPUS;
    // SAFETY: null or a leaked box, which only one hook at a time borrows, see the module's documentation.
    unsafe { (*UNITS.0.get())[index].as_mut() }
}

/// The library, after its constructor.
fn library() -> &'static mut Library {
    // SAFETY: single-threaded, see [`Single`]; no caller keeps the borrow across a call of another hook.
    let library = unsafe { &mut *LIBRARY.0.get() };
    library.as_mut().unwrap_or_else(|| stop("Bochs called a hook before the library was set up"))
}

/// Runs `work` on a processor, then renews what the stubs test, and lets the time pass that was charged.
/// `running` says whether the running slot is still to be completed.
pub fn with_unit(cpu: u32, running: bool, work: impl FnOnce(&mut Unit, &Functions)) {
    let Some(unit) = unit(cpu) else { return };
    let library = library();
    let Some(machine) = library.machine else { return };
    work(unit, &library.functions);
    let ticks = unit.processor.take_ticks();
    renew(library.watch, machine.cpus.len(), cpu, running);
    if ticks > 0 {
        machine.clock.advance(ticks);
    }
}

/// Renews what the stubs test: for all processors together, as they share it.
fn renew(watch: *mut Watch, processors: usize, cpu: u32, running: bool) {
    let mut next = Watch { countdown: i32::MAX, boundary: false, branches: false, accesses: false };
    for index in 0..u32::try_from(processors).unwrap_or(0) {
        let Some(unit) = unit(index) else { continue };
        let complete = unit.cpu.slot() + u64::from(index == cpu && !running);
        let idle = i32::try_from(unit.idle_slots(complete)).unwrap_or(i32::MAX);
        let observed = unit.processor.pmu.observed();
        next.countdown = next.countdown.min(idle);
        next.boundary |= unit.at_boundary();
        next.branches |= observed.branches;
        next.accesses |= observed.llc;
    }
    // SAFETY: the watch is mapped for the whole life of the process; no reference to it exists.
    unsafe { watch.write(next) };
}

/// Makes a unit for each processor, at the first instruction.
#[cold]
fn start() {
    let library = library();
    let mut machine = Machine::find(&library.functions, handlers::virtual_rdmsr as *const () as usize);
    let features = machine.prepare(&library.functions, library.settings.exit_save);
    let machine: &'static Machine = Box::leak(Box::new(machine));
    library.machine = Some(machine);
    for (i, (cpu, features)) in machine.cpus.iter().zip(&features).enumerate() {
        let unit = Unit::new(cpu, features, &library.settings)
            .map_err(|error| format!("{error}; choose another CPU model, corei7_icelake_u for one"))
            .or_stop();
        let unit = Box::leak(Box::new(unit));
        // SAFETY: the simulation thread, and no borrow of the array exists.
        unsafe { (*UNITS.0.get())[i] = unit };
    }
}

extern "C" fn after_execution(cpu: u32, _instruction: Object) {
    if unit(cpu).is_none() {
        start();
    }
    with_unit(cpu, false, Unit::after_instruction);
}

extern "C" fn before_execution(cpu: u32, _instruction: Object) {
    with_unit(cpu, true, Unit::before_instruction);
}

extern "C" fn repeat_iteration(cpu: u32, _instruction: Object) {
    with_unit(cpu, true, |unit, _| unit.repeat_iteration());
}

extern "C" fn conditional_taken(cpu: u32, address: u64, _target: u64) {
    if let Some(unit) = unit(cpu) {
        unit.processor.conditional_branch(address, true);
    }
}

extern "C" fn conditional_not_taken(cpu: u32, address: u64) {
    if let Some(unit) = unit(cpu) {
        unit.processor.conditional_branch(address, false);
    }
}

extern "C" fn unconditional_near(cpu: u32, _what: u32, _address: u64, _target: u64) {
    if let Some(unit) = unit(cpu) {
        unit.processor.other_branch();
    }
}

extern "C" fn far_branch(cpu: u32, _what: u32, _cs: u16, _address: u64, _new_cs: u16, _target: u64) {
    with_unit(cpu, true, |unit, _| unit.far_branch());
}

extern "C" fn halt(cpu: u32) {
    with_unit(cpu, true, Unit::halt);
}

extern "C" fn monitor_wait(cpu: u32, _address: u64, _length: u32, _flags: u32) {
    halt(cpu);
}

extern "C" fn data_access(cpu: u32, _linear: u64, physical: u64, _length: u32, _type: u32, _rw: u32) {
    if let Some(unit) = unit(cpu)
        && unit.processor.data_access(physical)
    {
        // SAFETY: the watch is mapped for the whole life of the process; no reference to it exists.
        unsafe { (*library().watch).countdown = 0 };
    }
}

extern "C" fn reset(cpu: u32, kind: u32) {
    /// `BX_RESET_SOFTWARE`: INIT, which leaves the PMU alone (SDM vol. 3A, table 10-1).
    const SOFTWARE: u32 = 10;
    if kind != SOFTWARE {
        with_unit(cpu, true, |unit, _| unit.power_up());
    }
}

extern "C" fn exception(cpu: u32, _vector: u32, _error: u32) {
    with_unit(cpu, true, Unit::exception);
}

extern "C" fn hardware_interrupt(cpu: u32, _vector: u32, _cs: u16, _address: u64) {
    with_unit(cpu, true, |unit, _| unit.hardware_interrupt());
}

extern "C" fn vm_exit(cpu: u32, reason: u32, qualification: u64) {
    with_unit(cpu, true, |unit, functions| unit.vm_exit(functions, reason, qualification));
}

extern "C" fn wrmsr(cpu: u32, msr: u32, value: u64) {
    with_unit(cpu, true, |unit, _| unit.wrmsr_begins(msr, value));
}

/// The index of the processor that `same` picks.
pub fn index_of(same: impl Fn(&crate::bochs::Cpu) -> bool) -> Option<u32> {
    let index = library().machine?.cpus.iter().position(same)?;
    u32::try_from(index).ok()
}

/// The end of Bochs: writes the report.
extern "C" fn exit_environment() {
    let library = library();
    let Some(machine) = library.machine else { return };
    let mut processors = Vec::new();
    for cpu in 0..machine.cpus.len() {
        let Some(unit) = unit(u32::try_from(cpu).unwrap_or(0)) else { continue };
        unit.processor.sync(unit.cpu.slot());
        processors.push(&unit.processor.totals);
    }
    let report = Report {
        ticks: machine.clock.now(),
        skid: library.settings.skid,
        costs: &library.settings.costs,
        processors,
    };
    report.write(&library.settings).or_stop();
}

/// Sets everything up when the dynamic linker loads the library into Bochs.
extern "C" fn constructor() {
    if !is_bochs() {
        return;
    }
    let executable = executable();
    let functions = Functions::find(&executable);
    let settings = Settings::from_environment().or_stop();
    let mut near = Near::map(&executable);
    let hooks: [(&str, When, *const ()); 16] = [
        ("_Z24bx_instr_after_executionjP15bxInstruction_c", When::CountedDown, after_execution as *const ()),
        ("_Z25bx_instr_before_executionjP15bxInstruction_c", When::Boundary, before_execution as *const ()),
        ("_Z25bx_instr_repeat_iterationjP15bxInstruction_c", When::Always, repeat_iteration as *const ()),
        ("_Z27bx_instr_cnear_branch_takenjmm", When::Branches, conditional_taken as *const ()),
        ("_Z31bx_instr_cnear_branch_not_takenjm", When::Branches, conditional_not_taken as *const ()),
        ("_Z22bx_instr_ucnear_branchjjmm", When::Branches, unconditional_near as *const ()),
        ("_Z19bx_instr_far_branchjjtmtm", When::Always, far_branch as *const ()),
        ("_Z19bx_instr_lin_accessjmmjjj", When::Accesses, data_access as *const ()),
        ("_Z12bx_instr_hltj", When::Always, halt as *const ()),
        ("_Z14bx_instr_mwaitjmjj", When::Always, monitor_wait as *const ()),
        ("_Z14bx_instr_resetjj", When::Always, reset as *const ()),
        ("_Z18bx_instr_exceptionjjj", When::Always, exception as *const ()),
        ("_Z20bx_instr_hwinterruptjjtm", When::Always, hardware_interrupt as *const ()),
        ("_Z15bx_instr_vmexitjjm", When::Always, vm_exit as *const ()),
        ("_Z14bx_instr_wrmsrjjm", When::Always, wrmsr as *const ()),
        ("_Z17bx_instr_exit_envv", When::Always, exit_environment as *const ()),
    ];
    for (name, when, hook) in hooks {
        near.hook(name, when, hook);
    }
    let watch = near.seal();
    // SAFETY: before Bochs runs; nothing borrows it.
    unsafe { *LIBRARY.0.get() = Some(Library { functions, settings, watch, machine: None }) };

    handlers::install(&executable);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;
