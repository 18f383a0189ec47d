//! A processor: its fields, and what Bochs's functions do to it.

use super::{Functions, GetCpuidLeaf, Object, expect_code, field};
use crate::elf::heap_size;
use pmu_model::{Cpuid0A, Delivery};

/// Offset of the CPUID object's pointer in `BX_CPU_C`; `handle_unknown_rdmsr` loads it, which is checked.
const CPUID_OBJECT: usize = 0x38;
/// Virtual functions of `bx_cpuid_t`: `get_cpuid_leaf`, which the CPUID handler calls, and `rdmsr`.
const GET_CPUID_LEAF: usize = 5;
pub(super) const VIRTUAL_RDMSR: usize = 7;
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
    event_mask: *mut u32,
    activity: *mut u32,
    in_vmx: *const u8,
    in_guest: *const u8,
    vmcs: *const u64,
    pub(super) size: usize,
}

/// IA32_APIC_BASE.EN, the global enable bit.
const APIC_GLOBAL_ENABLE: u64 = 1 << 11;
/// CR4.PCE.
const CR4_PCE: u32 = 1 << 8;
/// A VMCS pointer that points to none.
const NO_VMCS: u64 = u64::MAX;

impl Cpu {
    pub(super) fn find(functions: &Functions, index: usize, object: Object) -> Self {
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
            event_mask: get("event_mask").cast(),
            activity: get("activity_state").cast(),
            in_vmx: &raw const NEVER.0,
            in_guest: &raw const NEVER.0,
            vmcs: &raw const NEVER.1,
            size,
        }
    }

    /// Finds the fields of VMX, which only processors with VMX have.
    pub(super) fn find_vmx(&mut self, functions: &Functions, index: usize) {
        let range = (self.object as usize, self.object as usize + self.size);
        let get = |name: &str| field(functions, range, &format!("bochs.cpu{index}.VMX.{name}"));
        self.in_vmx = get("in_vmx");
        self.in_guest = get("in_vmx_guest");
        self.vmcs = get("vmcsptr").cast();
    }
}

/// The bit of virtual NMIs in a processor's mask of events.
const EVENT_VIRTUAL_NMI: u32 = 1 << 7;

/// Activity states, by Bochs's numbers, which are those of the VMCS (SDM vol. 3C, 25.4.2).
const ACTIVE: u32 = 0;
const HALTED: u32 = 1;

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
    /// Whether the processor is in the HLT state.
    is_halted: bool = |cpu| *cpu.activity == HALTED;
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

    /// Ends the blocking of virtual NMIs before a VM entry, which loads it (SDM vol. 3C, 27.7.1): stock Bochs
    /// lets the blocking of the guest that ran before, and whose NMI handler an exit interrupted, stay in force.
    pub fn unblock_virtual_nmis(&self) {
        // SAFETY: a field of the live processor, see above.
        unsafe { *self.event_mask &= !EVENT_VIRTUAL_NMI };
    }

    /// Puts the processor into the HLT state, or takes it out.
    pub fn set_halted(&self, halted: bool) {
        // SAFETY: a field of the live processor, see above.
        unsafe { *self.activity = if halted { HALTED } else { ACTIVE } };
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
    pub(super) fn cpuid_leaf(&self, leaf: u32) -> Cpuid0A {
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
}
