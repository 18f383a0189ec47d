//! What Bochs calls: instrumentation stubs, instruction handlers and virtual functions that now lead here.
//!
//! Bochs calls them all in its one simulation thread. A hook that is reached while another one runs would break
//! the exclusive borrow of a [`Unit`]; the functions of Bochs that are called under such a borrow call none.
//! Faults and VM exits leave Bochs's handlers by longjmp, never through a frame of this library: wrappers of
//! handlers end in a jump to the handler.

use crate::bochs::{Functions, Machine, Object, is_bochs};
use crate::elf::{executable, symbol};
use crate::near::{Near, Watch, When};
use crate::patch::{replace_handler, replace_virtual};
use crate::report::Report;
use crate::settings::Settings;
use crate::stop::{OrStop, stop};
use crate::unit::Unit;
use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

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
fn with_unit(cpu: u32, running: bool, work: impl FnOnce(&mut Unit, &Functions)) {
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
    let mut machine = Machine::find(&library.functions, virtual_rdmsr as *const () as usize);
    let features = machine.prepare(&library.functions);
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
    with_unit(cpu, true, |unit, _| unit.halt());
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

extern "C" fn vm_exit(cpu: u32, reason: u32, _qualification: u64) {
    with_unit(cpu, true, |unit, functions| unit.vm_exit(functions, reason));
}

extern "C" fn wrmsr(cpu: u32, msr: u32, value: u64) {
    with_unit(cpu, true, |unit, _| unit.wrmsr_begins(msr, value));
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

/// The index of the processor that `same` picks.
fn index_of(same: impl Fn(&crate::bochs::Cpu) -> bool) -> Option<u32> {
    let index = library().machine?.cpus.iter().position(same)?;
    u32::try_from(index).ok()
}

/// Bochs's results of a CPU model's rdmsr and wrmsr: not known, #GP, done.
const UNKNOWN: i32 = -1;
const FAULT: i32 = 0;
const DONE: i32 = 1;

extern "C" fn virtual_rdmsr(cpuid: Object, msr: u32, value: *mut u64) -> i32 {
    let mut result = UNKNOWN;
    if let Some(cpu) = index_of(|cpu| cpu.cpuid == cpuid) {
        with_unit(cpu, true, |unit, _| match unit.rdmsr(msr) {
            Some(Ok(read)) => {
                // SAFETY: Bochs passes where the value goes.
                unsafe { *value = read };
                result = DONE;
            }
            Some(Err(_)) => result = FAULT,
            None => {}
        });
    }
    result
}

extern "C" fn virtual_wrmsr(cpuid: Object, msr: u32, value: u64) -> i32 {
    let mut result = UNKNOWN;
    if let Some(cpu) = index_of(|cpu| cpu.cpuid == cpuid) {
        with_unit(cpu, true, |unit, _| match unit.wrmsr(msr, value) {
            Some(Ok(())) => result = DONE,
            Some(Err(_)) => result = FAULT,
            None => {}
        });
    }
    result
}

/// What a wrapper does after its Rust part.
const TO_HANDLER: u32 = 0;
const RETURN: u32 = 1;
const GENERAL_PROTECTION: u32 = 2;

extern "C" fn rdmsr_begins(object: Object) {
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, _| unit.rdmsr_begins());
    }
}

extern "C" fn entry_begins(object: Object) {
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, Unit::entry_begins);
    }
}

extern "C" fn rdpmc_begins(object: Object) -> u32 {
    let mut next = TO_HANDLER;
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, functions| {
            next = match unit.rdpmc(functions) {
                None => TO_HANDLER,
                Some(Ok(())) => RETURN,
                Some(Err(_)) => GENERAL_PROTECTION,
            };
        });
    }
    next
}

extern "C" fn cpuid_begins(object: Object) -> u32 {
    let mut next = TO_HANDLER;
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, _| next = if unit.cpuid() { RETURN } else { TO_HANDLER });
    }
    next
}

static CPUID: AtomicUsize = AtomicUsize::new(0);
static RDMSR: AtomicUsize = AtomicUsize::new(0);
static RDPMC: AtomicUsize = AtomicUsize::new(0);
static VM_ENTRY: AtomicUsize = AtomicUsize::new(0);
static EXCEPTION: AtomicUsize = AtomicUsize::new(0);

/// The wrapper of an instruction handler `(BX_CPU_C *, bxInstruction_c *)`: calls `$begins` with the first
/// argument, then jumps to the handler in `$handler` as if nothing had happened.
macro_rules! wrapper {
    ($name:ident, $begins:ident, $handler:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name() {
            naked_asm!(
                "push rdi",
                "push rsi",
                "sub rsp, 8",
                "call {begins}",
                "add rsp, 8",
                "pop rsi",
                "pop rdi",
                "jmp qword ptr [rip + {handler}]",
                begins = sym $begins,
                handler = sym $handler,
            )
        }
    };
}
wrapper!(rdmsr_wrapper, rdmsr_begins, RDMSR);
wrapper!(vm_entry_wrapper, entry_begins, VM_ENTRY);

/// The wrapper of an instruction handler: calls `$begins` with the first argument; returns, raises #GP(0) or
/// jumps to the handler, as that says.
macro_rules! deciding_wrapper {
    ($name:ident, $begins:ident, $handler:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name() {
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {begins}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "cmp eax, {ret}",
        "je 2f",
        "cmp eax, {fault}",
        "je 3f",
        "jmp qword ptr [rip + {handler}]",
        "2: ret",
        "3: mov esi, {vector}",
        "xor edx, edx",
        "jmp qword ptr [rip + {exception}]",
        begins = sym $begins,
        handler = sym $handler,
        exception = sym EXCEPTION,
        ret = const RETURN,
        fault = const GENERAL_PROTECTION,
        vector = const 13,
    )
}
    };
}
deciding_wrapper!(cpuid_wrapper, cpuid_begins, CPUID);
deciding_wrapper!(rdpmc_wrapper, rdpmc_begins, RDPMC);

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

    let handlers: [(&AtomicUsize, &str, *const (), usize); 4] = [
        (&CPUID, "_ZN8BX_CPU_C5CPUIDEP15bxInstruction_c", cpuid_wrapper as *const (), 1),
        (&RDMSR, "_ZN8BX_CPU_C5RDMSREP15bxInstruction_c", rdmsr_wrapper as *const (), 1),
        (&RDPMC, "_ZN8BX_CPU_C5RDPMCEP15bxInstruction_c", rdpmc_wrapper as *const (), 1),
        // VMLAUNCH and VMRESUME share a handler.
        (&VM_ENTRY, "_ZN8BX_CPU_C8VMLAUNCHEP15bxInstruction_c", vm_entry_wrapper as *const (), 2),
    ];
    for (original, name, to, count) in handlers {
        original.store(replace_handler(name, to as usize, count), Ordering::Relaxed);
    }
    EXCEPTION.store(symbol("_ZN8BX_CPU_C9exceptionEjt").address as usize, Ordering::Relaxed);
    // One virtual table for each CPU model of Bochs 2.7, and one of the base class.
    const VIRTUAL_TABLES: usize = 29;
    let read = virtual_rdmsr as *const () as usize;
    replace_virtual(&executable, "_ZN10bx_cpuid_t5rdmsrEjPm", read, VIRTUAL_TABLES);
    let write = virtual_wrmsr as *const () as usize;
    replace_virtual(&executable, "_ZN10bx_cpuid_t5wrmsrEjm", write, VIRTUAL_TABLES);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;
