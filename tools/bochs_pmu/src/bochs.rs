//! The running Bochs: fields of its processors and functions that it exports.

use crate::elf::{Executable, c_string, find, heap_size, symbol};
use crate::stop::stop;
use pmu_model::{Cpuid0A, Delivery};
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

/// The machine's clock: the fields of `bx_pc_system` that count ticks.
pub struct Clock {
    system: Object,
    countdown: *mut u32,
    period: *mut u32,
    total: *mut u64,
    countdown_event: OfClock,
}

impl Clock {
    fn find(functions: &Functions) -> Self {
        let system = symbol("bx_pc_system");
        let range = (system.address as usize, system.address as usize + system.size);
        Self {
            system: system.address,
            countdown: field(functions, range, "bochs.pc_system.currCountdown").cast(),
            period: field(functions, range, "bochs.pc_system.currCountdownPeriod").cast(),
            total: field(functions, range, "bochs.pc_system.ticksTotal").cast(),
            countdown_event: functions.countdown_event,
        }
    }

    /// Ticks since power-up.
    pub fn now(&self) -> u64 {
        // SAFETY: fields of the static bx_pc_system; Bochs simulates in one thread, which this is.
        unsafe { *self.total + u64::from((*self.period).wrapping_sub(*self.countdown)) }
    }

    /// Lets `ticks` pass, with every timer event in them, as Bochs does between two instructions. Timers may
    /// call hooks: no borrow of this library's state may be alive.
    pub fn advance(&self, mut ticks: u64) {
        loop {
            // SAFETY: as in `now`.
            let left = unsafe { *self.countdown };
            if ticks < u64::from(left) {
                // SAFETY: as in `now`; smaller than `left`, so it fits and does not reach 0.
                unsafe { *self.countdown = left - u32::try_from(ticks).unwrap_or(0) };
                return;
            }
            ticks -= u64::from(left);
            // SAFETY: as in `now`; a countdown of 0 is when Bochs itself calls this function.
            unsafe {
                *self.countdown = 0;
                (self.countdown_event)(self.system);
            }
        }
    }
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

/// Offset of the CPUID object's pointer in `BX_CPU_C`; `handle_unknown_rdmsr` loads it, which is checked.
const CPUID_OBJECT: usize = 0x38;
/// Virtual functions of `bx_cpuid_t`: `get_cpuid_leaf`, which the CPUID handler calls, and `rdmsr`.
const GET_CPUID_LEAF: usize = 5;
const VIRTUAL_RDMSR: usize = 7;
/// From a segment register's RPL up to its DPL (`bx_segment_reg_t`); RDPMC's handler reads the RPL, which is
/// checked. The RPL of CS is the CPL.
const RPL_TO_DPL: usize = 8;

/// A processor's fields.
pub struct Cpu {
    /// The `BX_CPU_C`.
    pub object: Object,
    /// Its `bx_cpuid_t`.
    pub cpuid: Object,
    /// Slots executed.
    pub icount: *const u64,
    /// The current privilege level.
    pub cpl: *const u8,
    rip: *const u64,
    rax: *mut u64,
    rcx: *mut u64,
    rdx: *mut u64,
    rbx: *mut u64,
    cr4: *const u32,
    lvtpc: *mut u32,
    apic_id: *const u32,
    apic_base: *mut u64,
    in_vmx: *const u8,
    in_guest: *const u8,
    vmcs: *const u64,
    size: usize,
}

/// IA32_APIC_BASE.EN, the global enable bit.
const APIC_GLOBAL_ENABLE: u64 = 1 << 11;
/// CR4.PCE.
const CR4_PCE: u32 = 1 << 8;
/// A VMCS pointer that points to none.
const NO_VMCS: u64 = u64::MAX;

impl Cpu {
    fn find(functions: &Functions, index: usize, object: Object) -> Self {
        // SAFETY: Bochs allocated the processor with new.
        let size = unsafe { heap_size(object) };
        let range = (object as usize, object as usize + size);
        let get = |name: &str| field(functions, range, &format!("bochs.cpu{index}.{name}"));
        let dpl = get("CS.dpl");
        // SAFETY: both lie within the object, as its size says.
        let (cpl, cpuid) = unsafe { (dpl.sub(RPL_TO_DPL), *object.add(CPUID_OBJECT).cast::<Object>()) };
        expect_code("_ZN8BX_CPU_C5RDPMCEP15bxInstruction_c", 0xD, &{
            let offset = u32::try_from(cpl as usize - object as usize).unwrap_or(0).to_le_bytes();
            [0x80, 0xBF, offset[0], offset[1], offset[2], offset[3], 0]
        });
        Self {
            object,
            cpuid,
            icount: get("icount").cast(),
            cpl,
            rip: get("RIP").cast(),
            rax: get("RAX").cast(),
            rcx: get("RCX").cast(),
            rdx: get("RDX").cast(),
            rbx: get("RBX").cast(),
            cr4: get("CR4").cast(),
            lvtpc: get("local_apic.lvt2").cast(),
            apic_id: get("local_apic.apic_id").cast(),
            apic_base: get("MSR.apicbase").cast(),
            in_vmx: &raw const NEVER.0,
            in_guest: &raw const NEVER.0,
            vmcs: &raw const NEVER.1,
            size,
        }
    }

    /// Finds the fields of VMX, which only processors with VMX have.
    fn find_vmx(&mut self, functions: &Functions, index: usize) {
        let range = (self.object as usize, self.object as usize + self.size);
        let get = |name: &str| field(functions, range, &format!("bochs.cpu{index}.VMX.{name}"));
        self.in_vmx = get("in_vmx");
        self.in_guest = get("in_vmx_guest");
        self.vmcs = get("vmcsptr").cast();
    }
}

/// The state of VMX where there is none.
static NEVER: (u8, u64) = (0, NO_VMCS);

/// Fields are read and written between two instructions or inside a handler, in Bochs's only simulation thread;
/// the pointers were checked to lie in the processor's object, which lives as long as the process simulates.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $type:ty = |$cpu:ident| $value:expr;)*) => {
        impl Cpu {
            $($(#[$doc])*
            pub fn $name(&self) -> $type {
                let $cpu = self;
                // SAFETY: a field of the live processor, see above.
                unsafe { $value }
            })*
        }
    };
}

accessors! {
    /// Slots executed, without the running one.
    slot: u64 = |cpu| *cpu.icount;
    /// The current privilege level.
    privilege: u8 = |cpu| *cpu.cpl;
    /// The instruction pointer, past the running instruction.
    instruction_pointer: u64 = |cpu| *cpu.rip;
    /// RCX.
    counter_register: u64 = |cpu| *cpu.rcx;
    /// Whether RDPMC is allowed outside ring 0.
    user_rdpmc: bool = |cpu| *cpu.cr4 & CR4_PCE != 0;
    /// The LVT performance-monitoring entry.
    lvtpc: u32 = |cpu| *cpu.lvtpc;
    /// Whether the processor is in VMX non-root operation.
    in_guest: bool = |cpu| *cpu.in_guest != 0;
    /// Whether a VM-entry instruction would look at a VMCS.
    can_enter: bool = |cpu| *cpu.in_vmx != 0 && *cpu.in_guest == 0 && *cpu.vmcs != NO_VMCS && *cpu.cpl == 0;
}

impl Cpu {
    /// Sets EDX:EAX, as RDMSR and RDPMC do.
    pub fn set_edx_eax(&self, value: u64) {
        // SAFETY: fields of the live processor, see above.
        unsafe {
            *self.rax = value & 0xFFFF_FFFF;
            *self.rdx = value >> 32;
        }
    }

    /// Sets the LVT performance-monitoring entry.
    pub fn set_lvtpc(&self, value: u32) {
        // SAFETY: a field of the live processor, see above.
        unsafe { *self.lvtpc = value };
    }

    /// Makes a write of IA32_APIC_BASE that enables the local APIC effective: stock Bochs ignores every write
    /// once the APIC was disabled.
    pub fn allow_apic_enable(&self, value: u64) {
        if value & APIC_GLOBAL_ENABLE != 0 {
            // SAFETY: a field of the live processor, see above.
            unsafe { *self.apic_base |= APIC_GLOBAL_ENABLE };
        }
    }

    /// A 32-bit field of the current VMCS.
    pub fn vmread32(&self, functions: &Functions, encoding: u32) -> u32 {
        // SAFETY: there is a current VMCS: the callers are a VM entry past its first check and a VM exit.
        unsafe { (functions.vmread32)(self.object, encoding) }
    }

    /// A 64-bit or natural-width field of the current VMCS.
    pub fn vmread64(&self, functions: &Functions, encoding: u32) -> u64 {
        // SAFETY: as for vmread32.
        unsafe { (functions.vmread64)(self.object, encoding) }
    }

    /// Writes a 64-bit or natural-width field of the current VMCS.
    pub fn vmwrite64(&self, functions: &Functions, encoding: u32, value: u64) {
        // SAFETY: as for vmread32.
        unsafe { (functions.vmwrite64)(self.object, encoding, value) };
    }

    /// Lets Bochs look again at which interrupts are masked: stock Bochs masks INTR after a VM entry with guest
    /// IF=0 although external interrupts exit.
    pub fn update_interrupt_mask(&self, functions: &Functions) {
        // SAFETY: the processor is live; the function only looks at its flags and controls.
        unsafe { (functions.interrupt_mask_change)(self.object) };
    }

    /// Delivers an interrupt to this processor's local APIC.
    pub fn interrupt(&self, functions: &Functions, delivery: Delivery) {
        // SAFETY: the processor is live; physical destination, edge triggered.
        unsafe {
            (functions.deliver_interrupt)(delivery.vector, *self.apic_id, delivery.mode, false, false, false);
        }
    }

    /// EAX and ECX, as CPUID takes them.
    pub fn cpuid_arguments(&self) -> (u32, u32) {
        let low = |value: u64| u32::try_from(value & 0xFFFF_FFFF).unwrap_or(0);
        // SAFETY: fields of the live processor, see above.
        unsafe { (low(*self.rax), low(*self.rcx)) }
    }

    /// Sets EAX, EBX, ECX and EDX, as CPUID does.
    pub fn set_cpuid_results(&self, words: [u32; 4]) {
        let [eax, ebx, ecx, edx] = words.map(u64::from);
        // SAFETY: fields of the live processor, see above.
        unsafe {
            *self.rax = eax;
            *self.rbx = ebx;
            *self.rcx = ecx;
            *self.rdx = edx;
        }
    }

    /// A CPUID leaf, as the CPU model has it.
    fn cpuid_leaf(&self, leaf: u32) -> Cpuid0A {
        let mut words = [0_u32; 4];
        // SAFETY: the object is a bx_cpuid_t, whose virtual function takes leaf, subleaf and where to write the
        // four words. `Machine::find` checked the object and the slot.
        unsafe {
            let table = *self.cpuid.cast::<*const usize>();
            let get = std::mem::transmute::<usize, GetCpuidLeaf>(*table.add(GET_CPUID_LEAF));
            get(self.cpuid, leaf, 0, words.as_mut_ptr().cast());
        }
        let [eax, ebx, ecx, edx] = words;
        Cpuid0A { eax, ebx, ecx, edx }
    }

    fn capability_msr(&self, functions: &Functions, msr: u32) -> u64 {
        let mut value = 0;
        // SAFETY: the processor is live and `value` is where the result goes.
        if !unsafe { (functions.rdmsr)(self.object, msr, &raw mut value) } {
            stop(format!("the CPU model has VMX but no MSR {msr:#x}; choose another with `cpu: model=`"));
        }
        value
    }

    /// Offers VM-exit control bit 30, "save IA32_PERF_GLOBAL_CTRL", which Bochs does not know: sets it among
    /// the supported bits, which are found by what the capability MSRs say.
    fn offer_save_perf_global_ctrl(&self, functions: &Functions) {
        let read = |msr| self.capability_msr(functions, msr);
        let capabilities: [Capability; 5] =
            CAPABILITIES.map(|(msr, default1)| Capability::new(read(msr), default1));
        // SAFETY: the processor's object is readable and aligned for words.
        let words = unsafe { std::slice::from_raw_parts_mut(self.object.cast::<u32>(), self.size / 4) };
        let fits = |at: &usize| capabilities.iter().zip(&words[*at..]).all(|(c, &word)| c.fits(word));
        let found: Vec<usize> = (0..words.len() - capabilities.len()).filter(fits).collect();
        let [at] = found[..] else {
            stop(format!("the VMX capabilities of the processor fit {} places instead of 1", found.len()));
        };
        words[at + EXIT_CONTROLS] |= SAVE_PERF_GLOBAL_CTRL;
        let exit = read(CAPABILITIES[EXIT_CONTROLS].0) >> 32;
        let entry = read(CAPABILITIES[ENTRY_CONTROLS].0) >> 32;
        let wanted = u64::from(SAVE_PERF_GLOBAL_CTRL) | EXIT_LOAD_PERF_GLOBAL_CTRL;
        if exit & wanted != wanted || entry & ENTRY_LOAD_PERF_GLOBAL_CTRL == 0 {
            stop("the CPU model does not offer the VM-entry and VM-exit controls of IA32_PERF_GLOBAL_CTRL");
        }
    }
}

/// What a VMX capability MSR says about a word of supported control bits.
#[derive(Clone, Copy)]
struct Capability {
    allowed: u32,
    required: u32,
}

impl Capability {
    fn new(msr: u64, default1: u32) -> Self {
        let half = |value: u64| u32::try_from(value & 0xFFFF_FFFF).unwrap_or(0);
        Self { allowed: half(msr >> 32), required: half(msr) | default1 }
    }

    /// Whether `word` can be the supported bits: none that is not allowed, and all that are allowed, but those
    /// which are required anyway.
    fn fits(self, word: u32) -> bool {
        word != 0 && word & !self.allowed == 0 && self.allowed & !word & !self.required == 0
    }
}

/// The capability MSRs of the words in the order of Bochs's table, and their default-1 controls (SDM vol. 3D,
/// A.2 to A.5): pin-based, primary and secondary processor-based, exit, entry.
const CAPABILITIES: [(u32, u32); 5] =
    [(0x481, 0x16), (0x482, 0x0401_E172), (0x48B, 0), (0x483, 0x3_6DFF), (0x484, 0x11FF)];
const EXIT_CONTROLS: usize = 3;
const ENTRY_CONTROLS: usize = 4;
const SAVE_PERF_GLOBAL_CTRL: u32 = 1 << 30;
const EXIT_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 12;
const ENTRY_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 13;

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
            let slot = unsafe { *(*cpu.cpuid.cast::<*const usize>()).add(VIRTUAL_RDMSR) };
            if slot != rdmsr {
                stop("the CPU model's virtual functions are not where they should be");
            }
        }
        Self { cpus, clock: Clock::find(functions) }
    }

    /// What the processors have; and the VM-exit control that Bochs lacks is offered, where there is VMX.
    pub fn prepare(&mut self, functions: &Functions) -> Vec<Features> {
        let leaf_1 = |cpu: &Cpu| cpu.cpuid_leaf(1).ecx;
        for (i, cpu) in self.cpus.iter_mut().enumerate().filter(|(_, cpu)| leaf_1(cpu) & (1 << 5) != 0) {
            cpu.find_vmx(functions, i);
            cpu.offer_save_perf_global_ctrl(functions);
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
