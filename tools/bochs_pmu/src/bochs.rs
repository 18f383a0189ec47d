//! The running Bochs: fields of its processors and functions that it exports.

mod capabilities;
mod clock;
mod cpu;

pub use clock::Clock;
pub use cpu::Cpu;

use crate::elf::{Executable, c_string, find, heap_size, symbol};
use crate::stop::stop;
use pmu_model::Cpuid0A;
use std::ffi::{c_char, c_void};

/// `BX_CPU_C`, `bx_cpuid_t` and the other objects of Bochs.
pub type Object = *mut u8;

/// The Bochs that this library knows: bochs 2.7+dfsg-4+deb12u1 of Debian 12.
const BUILD_ID: &str = "6e89e0c07c096ab305b68eb0bf69c4aeb788d10d";

type VmRead32 = unsafe extern "C" fn(Object, u32) -> u32;
type VmRead64 = unsafe extern "C" fn(Object, u32) -> u64;
type VmWrite64 = unsafe extern "C" fn(Object, u32, u64);
type ReadMsr = unsafe extern "C" fn(Object, u32, *mut u64) -> bool;
type OfProcessor = unsafe extern "C" fn(Object);
type DeliverInterrupt = unsafe extern "C" fn(u8, u32, u8, bool, bool, bool) -> i32;
type OfClock = unsafe extern "C" fn(Object);
type GetCpuidLeaf = unsafe extern "C" fn(Object, u32, u32, *mut c_void);
type GetNumber = unsafe extern "C" fn(Object) -> i64;
type GetParam = unsafe extern "C" fn(Object, *const c_char, Object) -> Object;

/// The functions of Bochs that are called. None of them calls a hook of this library, but for `countdown_event`.
pub struct Functions {
    vmread32: VmRead32,
    vmread64: VmRead64,
    vmwrite64: VmWrite64,
    rdmsr: ReadMsr,
    interrupt_mask_change: OfProcessor,
    deliver_interrupt: DeliverInterrupt,
    countdown_event: OfClock,
    get_param: GetParam,
    get_number: GetNumber,
}

/// Reinterprets a symbol as a function of type `$type`.
macro_rules! function {
    ($type:ty, $name:expr) => {
        // SAFETY: the symbol is the C++ function that the field's type describes; System V ABI on both sides,
        // `this` is the first argument. The BuildID pins the binary.
        unsafe { std::mem::transmute::<*mut u8, $type>(symbol($name).address) }
    };
}

impl Functions {
    /// Checks that the process runs the Bochs that this library knows, and finds the functions.
    pub fn find(executable: &Executable) -> Self {
        if executable.build_id != BUILD_ID {
            stop(format!(
                "this bochs-bin has BuildID {}; only {BUILD_ID} is supported: install Debian 12's bochs 2.7+dfsg-4+deb12u1",
                executable.build_id
            ));
        }
        Self {
            vmread32: function!(VmRead32, "_ZN8BX_CPU_C8VMread32Ej"),
            vmread64: function!(VmRead64, "_ZN8BX_CPU_C8VMread64Ej"),
            vmwrite64: function!(VmWrite64, "_ZN8BX_CPU_C9VMwrite64Ejm"),
            rdmsr: function!(ReadMsr, "_ZN8BX_CPU_C5rdmsrEjPm"),
            interrupt_mask_change: function!(OfProcessor, "_ZN8BX_CPU_C25handleInterruptMaskChangeEv"),
            deliver_interrupt: function!(DeliverInterrupt, "_Z26apic_bus_deliver_interrupthjhbbb"),
            countdown_event: function!(OfClock, "_ZN14bx_pc_system_c14countdownEventEv"),
            get_param: function!(GetParam, "_ZN13bx_real_sim_c9get_paramEPKcP10bx_param_c"),
            get_number: function!(GetNumber, "_ZN14bx_param_num_c5get64Ev"),
        }
    }
}

/// Whether this process is a Bochs at all.
pub fn is_bochs() -> bool {
    crate::elf::program().is_some_and(|name| name == "bochs-bin") || find("BxOpcodesTable").is_some()
}

/// A parameter of Bochs's tree.
fn parameter(functions: &Functions, name: &str) -> Object {
    let sim = symbol("SIM").address.cast::<Object>();
    let path = c_string(name);
    // SAFETY: SIM points to the simulator interface; get_param only looks the path up.
    let parameter = unsafe { (functions.get_param)(*sim, path.as_ptr(), std::ptr::null_mut()) };
    if parameter.is_null() {
        stop(format!("Bochs has no parameter {name}"));
    }
    parameter
}

/// The setting of `cpu: ips=`: ticks of the clock in a second of the machine's time.
fn ticks_per_second(functions: &Functions) -> u64 {
    let ips = parameter(functions, "cpu.ips");
    // SAFETY: cpu.ips is a bx_param_num_c.
    let value = unsafe { (functions.get_number)(ips) };
    u64::try_from(value).unwrap_or_else(|_| stop(format!("cpu: ips={value} is no number of ticks")))
}

/// The field that a parameter of Bochs's save/restore tree stands for: the one pointer in the parameter
/// object that lies within `range`.
fn field(functions: &Functions, range: (usize, usize), name: &str) -> *mut u8 {
    let parameter = parameter(functions, name);
    // SAFETY: parameters are allocated one by one with new; the whole block is readable.
    let words = unsafe { std::slice::from_raw_parts(parameter.cast::<usize>(), heap_size(parameter) / 8) };
    let mut inside = words.iter().filter(|&&word| range.0 < word && word < range.1);
    match (inside.next(), inside.next()) {
        (Some(&word), None) => word as *mut u8,
        _ => stop(format!("the parameter {name} of Bochs does not point to exactly one field")),
    }
}

/// Stops unless the code of a function has these bytes at this offset.
fn expect_code(name: &str, offset: usize, bytes: &[u8]) {
    let function = symbol(name);
    if offset + bytes.len() > function.size {
        stop(format!("{name} has {} bytes, too few", function.size));
    }
    // SAFETY: within the function, whose code is readable.
    let code = unsafe { std::slice::from_raw_parts(function.address.add(offset), bytes.len()) };
    if code != bytes {
        stop(format!("{name} has {code:02x?} at offset {offset:#x} instead of {bytes:02x?}"));
    }
}

/// The machine: its processors and its clock.
pub struct Machine {
    /// All processors.
    pub cpus: Vec<Cpu>,
    /// The clock.
    pub clock: Clock,
}

/// What a processor has.
pub struct Features {
    /// CPUID leaf 0, EAX: the last basic leaf.
    pub last_leaf: u32,
    /// CPUID leaf 0xA.
    pub leaf_0a: Cpuid0A,
    /// CPUID leaf 1, ECX.PDCM: IA32_PERF_CAPABILITIES exists.
    pub perf_capabilities: bool,
    /// Ticks of its TSC in a second of the machine's time.
    pub ticks_per_second: u64,
}

impl Machine {
    /// Finds the processors, once Bochs has made them; `rdmsr` is this library's virtual function.
    pub fn find(functions: &Functions, rdmsr: usize) -> Self {
        // handle_unknown_rdmsr: mov rdi, [rdi + CPUID_OBJECT]; CPUID: call [rax + 8 * GET_CPUID_LEAF]
        expect_code("_ZN8BX_CPU_C20handle_unknown_rdmsrEjPm", 0x17, &[0x48, 0x8B, 0x7F, 0x38]);
        expect_code("_ZN8BX_CPU_C5CPUIDEP15bxInstruction_c", 0x43, &[0xFF, 0x50, 0x28]);
        let count = symbol("bx_cpu_count").address;
        let array = symbol("bx_cpu_array").address.cast::<*const Object>();
        // SAFETY: Bochs has made its processors: a hook of one of them was called. The array has `count` pointers.
        let objects = unsafe { std::slice::from_raw_parts(*array, usize::from(*count)) };
        let cpus: Vec<Cpu> =
            objects.iter().enumerate().map(|(i, &object)| Cpu::find(functions, i, object)).collect();
        for cpu in &cpus {
            // SAFETY: a pointer field of the processor to an object with a virtual table.
            let slot = unsafe { *(*cpu.cpuid.cast::<*const usize>()).add(cpu::VIRTUAL_RDMSR) };
            if slot != rdmsr {
                stop("the CPU model's virtual functions are not where they should be");
            }
        }
        Self { cpus, clock: Clock::find(functions) }
    }

    /// What the processors have; and the VM-exit control that Bochs lacks is offered, where there is VMX and `exit_save`.
    pub fn prepare(&mut self, functions: &Functions, exit_save: bool) -> Vec<Features> {
        let leaf_1 = |cpu: &Cpu| cpu.cpuid_leaf(1).ecx;
        for (i, cpu) in self.cpus.iter_mut().enumerate().filter(|(_, cpu)| leaf_1(cpu) & (1 << 5) != 0) {
            cpu.find_vmx(functions, i);
            if exit_save {
                capabilities::offer_save_perf_global_ctrl(cpu, functions);
            }
        }
        let ticks_per_second = ticks_per_second(functions);
        let features = |cpu: &Cpu| Features {
            last_leaf: cpu.cpuid_leaf(0).eax,
            ticks_per_second,
            leaf_0a: cpu.cpuid_leaf(0xA),
            perf_capabilities: leaf_1(cpu) & (1 << 15) != 0,
        };
        self.cpus.iter().map(features).collect()
    }
}
