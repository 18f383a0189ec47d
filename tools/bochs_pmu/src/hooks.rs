//! What Bochs calls: instrumentation stubs, instruction handlers and virtual functions that now lead here.
//!
//! Bochs calls them all in its one simulation thread. A hook that is reached while another one runs would break
//! the exclusive borrow of a [`Unit`]; the functions of Bochs that are called under such a borrow call none.
//! Faults and VM exits leave Bochs's handlers by longjmp, never through a frame of this library: wrappers of
//! handlers end in a jump to the handler.

use crate::bochs::{Functions, Machine, Object, is_bochs};
use crate::elf::{executable, symbol};
use crate::patch::{replace_handler, replace_stub, replace_virtual};
use crate::report::Report;
use crate::settings::Settings;
use crate::stop::{OrStop, stop};
use crate::unit::Unit;
use pmu_model::{Geometry, PerfCapabilities};
use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bochs's limit on processors.
const MAX_CPUS: usize = 256;

/// What the hooks of one processor look at for every instruction.
#[derive(Clone, Copy)]
struct Hot {
    icount: *const u64,
    cpl: *const u8,
    /// `after_execution` has work when this many slots are complete.
    wake: u64,
    unit: *mut Unit,
    /// `after_execution` has work when the CPL differs.
    cpl_seen: u8,
    /// `before_execution` has work.
    boundary: bool,
    branches: bool,
    llc: bool,
}

/// A value that only Bochs's simulation thread touches.
struct Single<T>(UnsafeCell<T>);
// SAFETY: hooks run in Bochs's only simulation thread; the constructor runs before it.
unsafe impl<T> Sync for Single<T> {}

static ZERO: (u64, u8) = (0, 0);
const IDLE: Hot = Hot {
    icount: &raw const ZERO.0,
    cpl: &raw const ZERO.1,
    wake: 0,
    unit: std::ptr::null_mut(),
    cpl_seen: 0,
    boundary: false,
    branches: false,
    llc: false,
};
static HOT: Single<[Hot; MAX_CPUS]> = Single(UnsafeCell::new([IDLE; MAX_CPUS]));
static LIBRARY: Single<Option<Library>> = Single(UnsafeCell::new(None));

/// Everything that is not per instruction.
struct Library {
    functions: Functions,
    settings: Settings,
    machine: Option<&'static Machine>,
}

fn hot(cpu: u32) -> *mut Hot {
    let index = usize::try_from(cpu).unwrap_or(0) % MAX_CPUS;
    // SAFETY: the index is within the array.
    unsafe { HOT.0.get().cast::<Hot>().add(index) }
}

/// The library, after its constructor.
fn library() -> &'static mut Library {
    // SAFETY: single-threaded, see [`Single`]; no caller keeps the borrow across a call of another hook.
    let library = unsafe { &mut *LIBRARY.0.get() };
    library.as_mut().unwrap_or_else(|| stop("Bochs called a hook before the library was set up"))
}

/// Runs `work` on a processor, then renews what its hooks look at, and lets the time pass that was charged.
fn with_unit(cpu: u32, work: impl FnOnce(&mut Unit, &Functions)) {
    let hot = hot(cpu);
    // SAFETY: `hot` is an entry of the array. Its unit is null or a leaked box.
    let Some(unit) = (unsafe { (*hot).unit.as_mut() }) else { return };
    let library = library();
    work(unit, &library.functions);
    // SAFETY: as above.
    unsafe { renew(&mut *hot, unit) };
    let ticks = unit.processor.take_ticks();
    if ticks > 0
        && let Some(machine) = library.machine
    {
        machine.clock.advance(ticks);
    }
}

fn renew(hot: &mut Hot, unit: &Unit) {
    let observed = unit.processor.pmu.observed();
    hot.wake = unit.wake();
    hot.boundary = unit.at_boundary();
    hot.cpl_seen = unit.cpu.privilege();
    hot.branches = observed.branches;
    hot.llc = observed.llc;
}

/// Makes a unit for each processor, at the first instruction.
#[cold]
fn start() {
    let library = library();
    let machine: &'static Machine =
        Box::leak(Box::new(Machine::find(&library.functions, virtual_rdmsr as *const () as usize)));
    library.machine = Some(machine);
    for (i, features) in machine.prepare(&library.functions).into_iter().enumerate() {
        let geometry = Geometry::from_cpuid(features.leaf_0a).or_stop();
        let capabilities = features.perf_capabilities.then_some(PerfCapabilities(PerfCapabilities::FW_WRITE));
        let cpu = &machine.cpus[i];
        let unit = Box::leak(Box::new(Unit::new(cpu, geometry, capabilities, &library.settings)));
        // SAFETY: `i` is less than MAX_CPUS: bx_cpu_count is one byte.
        let hot = unsafe { &mut *HOT.0.get().cast::<Hot>().add(i) };
        *hot = Hot { icount: cpu.icount, cpl: cpu.cpl, unit, ..IDLE };
    }
}

extern "C" fn after_execution(cpu: u32, _instruction: Object) {
    // SAFETY: an entry of the array, whose pointers are to fields of a processor or to ZERO.
    let due = unsafe {
        let hot = &*hot(cpu);
        *hot.icount + 1 >= hot.wake || *hot.cpl != hot.cpl_seen
    };
    if due {
        after_slowly(cpu);
    }
}

#[cold]
fn after_slowly(cpu: u32) {
    // SAFETY: an entry of the array.
    if unsafe { (*hot(cpu)).unit.is_null() } {
        start();
    }
    with_unit(cpu, Unit::after_instruction);
}

extern "C" fn before_execution(cpu: u32, _instruction: Object) {
    // SAFETY: an entry of the array.
    if unsafe { (*hot(cpu)).boundary } {
        before_slowly(cpu);
    }
}

#[cold]
fn before_slowly(cpu: u32) {
    with_unit(cpu, Unit::before_instruction);
}

extern "C" fn repeat_iteration(cpu: u32, _instruction: Object) {
    with_unit(cpu, |unit, _| unit.repeat_iteration());
}

extern "C" fn conditional_taken(cpu: u32, address: u64, _target: u64) {
    conditional(cpu, address, true);
}

extern "C" fn conditional_not_taken(cpu: u32, address: u64) {
    conditional(cpu, address, false);
}

#[inline]
fn conditional(cpu: u32, address: u64, taken: bool) {
    // SAFETY: an entry of the array; `branches` is set only with a unit, which no other hook borrows now.
    unsafe {
        let hot = &*hot(cpu);
        if hot.branches {
            (*hot.unit).processor.conditional_branch(address, taken);
        }
    }
}

#[inline]
fn other_branch(cpu: u32) {
    // SAFETY: as in `conditional`.
    unsafe {
        let hot = &*hot(cpu);
        if hot.branches {
            (*hot.unit).processor.other_branch();
        }
    }
}

extern "C" fn unconditional_near(cpu: u32, _what: u32, _address: u64, _target: u64) {
    other_branch(cpu);
}

extern "C" fn far(cpu: u32, _what: u32, _cs: u16, _address: u64, _new_cs: u16, _target: u64) {
    other_branch(cpu);
}

extern "C" fn data_access(cpu: u32, _linear: u64, physical: u64, _length: u32, _type: u32, _rw: u32) {
    // SAFETY: as in `conditional`.
    unsafe {
        let hot = &mut *hot(cpu);
        if hot.llc && (*hot.unit).processor.data_access(physical) {
            hot.wake = 0;
        }
    }
}

extern "C" fn reset(cpu: u32, kind: u32) {
    /// `BX_RESET_SOFTWARE`: INIT, which leaves the PMU alone (SDM vol. 3A, table 10-1).
    const SOFTWARE: u32 = 10;
    if kind != SOFTWARE {
        with_unit(cpu, |unit, _| unit.power_up());
    }
}

extern "C" fn exception(cpu: u32, _vector: u32, _error: u32) {
    with_unit(cpu, Unit::exception);
}

extern "C" fn hardware_interrupt(cpu: u32, _vector: u32, _cs: u16, _address: u64) {
    with_unit(cpu, |unit, _| unit.hardware_interrupt());
}

extern "C" fn vm_exit(cpu: u32, reason: u32, _qualification: u64) {
    with_unit(cpu, |unit, functions| unit.vm_exit(functions, reason));
}

extern "C" fn wrmsr(cpu: u32, msr: u32, value: u64) {
    with_unit(cpu, |unit, _| unit.wrmsr_begins(msr, value));
}

/// The end of Bochs: writes the report.
extern "C" fn exit_environment() {
    let library = library();
    let Some(machine) = library.machine else { return };
    let mut processors = Vec::new();
    for cpu in 0..machine.cpus.len() {
        // SAFETY: an entry of the array, which `start` filled.
        let unit = unsafe { &mut *(*HOT.0.get())[cpu].unit };
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
        with_unit(cpu, |unit, _| match unit.rdmsr(msr) {
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
        with_unit(cpu, |unit, _| match unit.wrmsr(msr, value) {
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
        with_unit(cpu, |unit, _| unit.rdmsr_begins());
    }
}

extern "C" fn entry_begins(object: Object) {
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, Unit::entry_begins);
    }
}

extern "C" fn rdpmc_begins(object: Object) -> u32 {
    let mut next = TO_HANDLER;
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, |unit, functions| {
            next = match unit.rdpmc(functions) {
                None => TO_HANDLER,
                Some(Ok(())) => RETURN,
                Some(Err(_)) => GENERAL_PROTECTION,
            };
        });
    }
    next
}

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

/// The wrapper of RDPMC: returns, raises #GP(0) or jumps to Bochs's handler, as `rdpmc_begins` says.
#[unsafe(naked)]
extern "C" fn rdpmc_wrapper() {
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
        begins = sym rdpmc_begins,
        handler = sym RDPMC,
        exception = sym EXCEPTION,
        ret = const RETURN,
        fault = const GENERAL_PROTECTION,
        vector = const 13,
    )
}

/// Sets everything up when the dynamic linker loads the library into Bochs.
extern "C" fn constructor() {
    if !is_bochs() {
        return;
    }
    let executable = executable();
    let functions = Functions::find(&executable);
    let settings = Settings::from_environment().or_stop();
    // SAFETY: before Bochs runs; nothing borrows it.
    unsafe { *LIBRARY.0.get() = Some(Library { functions, settings, machine: None }) };

    let stubs: [(&str, *const ()); 14] = [
        ("_Z24bx_instr_after_executionjP15bxInstruction_c", after_execution as *const ()),
        ("_Z25bx_instr_before_executionjP15bxInstruction_c", before_execution as *const ()),
        ("_Z25bx_instr_repeat_iterationjP15bxInstruction_c", repeat_iteration as *const ()),
        ("_Z27bx_instr_cnear_branch_takenjmm", conditional_taken as *const ()),
        ("_Z31bx_instr_cnear_branch_not_takenjm", conditional_not_taken as *const ()),
        ("_Z22bx_instr_ucnear_branchjjmm", unconditional_near as *const ()),
        ("_Z19bx_instr_far_branchjjtmtm", far as *const ()),
        ("_Z19bx_instr_lin_accessjmmjjj", data_access as *const ()),
        ("_Z14bx_instr_resetjj", reset as *const ()),
        ("_Z18bx_instr_exceptionjjj", exception as *const ()),
        ("_Z20bx_instr_hwinterruptjjtm", hardware_interrupt as *const ()),
        ("_Z15bx_instr_vmexitjjm", vm_exit as *const ()),
        ("_Z14bx_instr_wrmsrjjm", wrmsr as *const ()),
        ("_Z17bx_instr_exit_envv", exit_environment as *const ()),
    ];
    for (name, to) in stubs {
        replace_stub(name, to as usize);
    }
    let handlers: [(&AtomicUsize, &str, *const (), usize); 3] = [
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
