//! One virtual machine whose guest runs in ring 0 with our page tables and descriptor tables.

use crate::guest::Guest;
use crate::state::read;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use machine_kernels::cpu::{control_registers, set_cr0, set_cr4, split};
use machine_kernels::traps::{selector, tables};
use x86::vmx::vmcs::{control, guest, host, ro};

const IA32_FEATURE_CONTROL: u32 = 0x3A;
const IA32_VMX_BASIC: u32 = 0x480;
const IA32_VMX_CR0_FIXED0: u32 = 0x486;
/// The capability MSRs (required and allowed bits) of the four control fields; the "true" ones, which do not
/// require the debug controls. No secondary controls.
const IA32_VMX_TRUE_PINBASED_CTLS: u32 = 0x48D;
const IA32_VMX_TRUE_PROCBASED_CTLS: u32 = 0x48E;
/// See above.
pub const IA32_VMX_TRUE_EXIT_CTLS: u32 = 0x48F;
/// See above.
pub const IA32_VMX_TRUE_ENTRY_CTLS: u32 = 0x490;
const CR4_VMXE: u64 = 1 << 13;
const RFLAGS_ALWAYS: u64 = 2;
/// RFLAGS.IF.
pub const RFLAGS_IF: u64 = 1 << 9;

/// Pin-based control: external interrupts exit.
pub const EXTERNAL_INTERRUPT_EXITING: u64 = 1;
/// Pin-based control: NMIs exit.
pub const NMI_EXITING: u64 = 1 << 3;
/// Pin-based control: the guest's NMIs are virtual ones.
pub const VIRTUAL_NMIS: u64 = 1 << 5;
/// Pin-based control: the VMX-preemption timer runs.
pub const PREEMPTION_TIMER: u64 = 1 << 6;
/// Interruptibility state: blocking by NMI.
pub const BLOCKING_BY_NMI: u64 = 1 << 3;
/// Activity states (SDM volume 3, 25.4.2).
pub const ACTIVITY_ACTIVE: u64 = 0;
/// See above.
pub const ACTIVITY_HLT: u64 = 1;
/// Processor-based control: the guest exits where it would take an interrupt.
pub const INTERRUPT_WINDOW_EXITING: u64 = 1 << 2;
/// Processor-based control: the guest exits where it would take an NMI.
pub const NMI_WINDOW_EXITING: u64 = 1 << 22;
/// Processor-based control: RDPMC exits.
pub const RDPMC_EXITING: u64 = 1 << 11;
const USE_MSR_BITMAPS: u64 = 1 << 28;
/// Exit control: IA32_DEBUGCTL is saved.
pub const EXIT_SAVE_DEBUG: u64 = 1 << 2;
const EXIT_HOST_64: u64 = 1 << 9;
/// Exit control: IA32_PERF_GLOBAL_CTRL is loaded.
pub const EXIT_LOAD_GLOBAL_CTRL: u64 = 1 << 12;
/// Exit control: a vector that ends the guest is acknowledged and reported.
pub const EXIT_ACKNOWLEDGE: u64 = 1 << 15;
/// Exit control: IA32_PERF_GLOBAL_CTRL is saved.
pub const EXIT_SAVE_GLOBAL_CTRL: u64 = 1 << 30;
/// Entry control: IA32_DEBUGCTL is loaded.
pub const ENTRY_LOAD_DEBUG: u64 = 1 << 2;
const ENTRY_GUEST_64: u64 = 1 << 9;
/// Entry control: IA32_PERF_GLOBAL_CTRL is loaded.
pub const ENTRY_LOAD_GLOBAL_CTRL: u64 = 1 << 13;

/// A page of the processor's.
#[repr(C, align(4096))]
struct Page([u8; 4096]);
/// An entry of an MSR list (SDM volume 3, table 25-15).
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct MsrEntry {
    msr: u32,
    reserved: u32,
    value: u64,
}
const NO_MSR: MsrEntry = MsrEntry { msr: 0, reserved: 0, value: 0 };

static mut VMXON: Page = Page([0; 4096]);
static mut VMCS: Page = Page([0; 4096]);
static mut BITMAP: Page = Page([0; 4096]);
static mut ENTRY_LOADS: [MsrEntry; 2] = [NO_MSR; 2];
static mut EXIT_STORES: [MsrEntry; 2] = [NO_MSR; 2];
static mut EXIT_LOADS: [MsrEntry; 2] = [NO_MSR; 2];
static LAUNCHED: AtomicBool = AtomicBool::new(false);

/// Which MSR list.
#[derive(Clone, Copy)]
pub enum List {
    /// Loaded by VM entry.
    EntryLoad,
    /// Stored by VM exit.
    ExitStore,
    /// Loaded by VM exit.
    ExitLoad,
}

impl List {
    fn place(self) -> (*mut MsrEntry, u32, u32) {
        match self {
            List::EntryLoad => {
                let list = (&raw mut ENTRY_LOADS).cast();
                (list, control::VMENTRY_MSR_LOAD_ADDR_FULL, control::VMENTRY_MSR_LOAD_COUNT)
            }
            List::ExitStore => {
                let list = (&raw mut EXIT_STORES).cast();
                (list, control::VMEXIT_MSR_STORE_ADDR_FULL, control::VMEXIT_MSR_STORE_COUNT)
            }
            List::ExitLoad => {
                let list = (&raw mut EXIT_LOADS).cast();
                (list, control::VMEXIT_MSR_LOAD_ADDR_FULL, control::VMEXIT_MSR_LOAD_COUNT)
            }
        }
    }
}

/// How an attempt to enter the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A VM exit with this reason (bit 31: the entry failed), the guest's RAX and RDX, and the time stamps that
    /// passed from the first RDTSC of [`run`] to its second.
    Reason { reason: u64, rax: u64, rdx: u64, cycles: u64 },
    /// VMfailValid with this VM-instruction error.
    Failed(u64),
}

impl Exit {
    /// The reason, or 0x1_0000_0000 plus the VM-instruction error.
    pub fn code(self) -> u64 {
        match self {
            Exit::Reason { reason, .. } => reason,
            Exit::Failed(error) => 1 << 32 | error,
        }
    }

    /// Time stamps from before the entry to after the exit, see [`RUN`].
    pub fn cycles(self) -> u64 {
        match self {
            Exit::Reason { cycles, .. } => cycles,
            Exit::Failed(_) => u64::MAX,
        }
    }

    /// EDX:EAX of the guest.
    pub fn value(self) -> u64 {
        match self {
            Exit::Reason { rax, rdx, .. } => (rdx & 0xFFFF_FFFF) << 32 | rax & 0xFFFF_FFFF,
            Exit::Failed(_) => u64::MAX,
        }
    }
}

/// VMREAD.
pub fn get(field: u32) -> u64 {
    // SAFETY: a VMCS is current; reading it changes nothing.
    unsafe { x86::bits64::vmx::vmread(field) }.unwrap_or_else(|e| panic!("VMREAD {field:#x}: {e:?}"))
}

/// VMWRITE.
pub fn set(field: u32, value: u64) {
    // SAFETY: a VMCS is current; what it makes a guest do stays within guest code of ours.
    unsafe { x86::bits64::vmx::vmwrite(field, value) }
        .unwrap_or_else(|e| panic!("VMWRITE {field:#x}: {e:?}"));
}

/// A control field with these bits and those that its capability MSR demands.
fn controls(field: u32, capability: u32, wanted: u64) {
    let (required, allowed) = (read(capability) & 0xFFFF_FFFF, read(capability) >> 32);
    assert!(wanted & !allowed == 0, "controls {wanted:#x} of field {field:#x} are not offered");
    set(field, required | wanted);
}

/// Pin-based controls.
pub fn pin_controls(wanted: u64) {
    controls(control::PINBASED_EXEC_CONTROLS, IA32_VMX_TRUE_PINBASED_CTLS, wanted);
}

/// Processor-based controls, beside the MSR bitmap.
pub fn processor_controls(wanted: u64) {
    let field = control::PRIMARY_PROCBASED_EXEC_CONTROLS;
    controls(field, IA32_VMX_TRUE_PROCBASED_CTLS, USE_MSR_BITMAPS | wanted);
}

/// Exit controls, beside the 64-bit host.
pub fn exit_controls(wanted: u64) {
    controls(control::VMEXIT_CONTROLS, IA32_VMX_TRUE_EXIT_CTLS, EXIT_HOST_64 | wanted);
}

/// Entry controls, beside the 64-bit guest.
pub fn entry_controls(wanted: u64) {
    controls(control::VMENTRY_CONTROLS, IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_GUEST_64 | wanted);
}

/// Sets the MSR bitmap's bit of a low MSR for reads or writes (SDM volume 3, 25.6.9).
pub fn intercept(msr: u32, write: bool, on: bool) {
    let offset = (msr / 8) as usize + if write { 2048 } else { 0 };
    let bit = 1 << (msr % 8);
    // SAFETY: the offset lies within the page for MSRs below 0x2000; the processor only reads it.
    unsafe {
        let byte = (&raw mut BITMAP).cast::<u8>().add(offset);
        byte.write_volatile(if on { byte.read_volatile() | bit } else { byte.read_volatile() & !bit });
    }
}

/// Makes an MSR list of these MSRs and values.
pub fn set_list(list: List, entries: &[(u32, u64)]) {
    let (place, address, count) = list.place();
    assert!(entries.len() <= 2, "an MSR list has room for two");
    for (i, &(msr, value)) in entries.iter().enumerate() {
        // SAFETY: two entries of static storage; no guest runs now.
        unsafe { place.add(i).write_volatile(MsrEntry { msr, reserved: 0, value }) };
    }
    set(address, place as u64);
    set(count, entries.len() as u64);
}

/// The value of a list's entry, as the processor stored it.
pub fn list_value(list: List, index: usize) -> u64 {
    let (place, _, _) = list.place();
    assert!(index < 2, "an MSR list has room for two");
    // SAFETY: as in `set_list`.
    unsafe { place.add(index).read_volatile() }.value
}

/// Enters VMX operation and makes the VMCS, with no lists, nothing intercepted, and only what is always
/// required in the controls.
pub fn initialise() {
    if read(IA32_FEATURE_CONTROL) & 1 == 0 {
        crate::state::write(IA32_FEATURE_CONTROL, 1 | 1 << 2);
    }
    let (cr0, cr3, cr4) = control_registers();
    let (cr0, cr4) = (cr0 | read(IA32_VMX_CR0_FIXED0), cr4 | CR4_VMXE);
    set_cr4(cr4);
    set_cr0(cr0);
    let revision = u32::try_from(read(IA32_VMX_BASIC) & 0x7FFF_FFFF).unwrap_or(0);
    // SAFETY: the pages are the processor's from here on, and aligned.
    unsafe {
        (&raw mut VMXON).cast::<u32>().write_volatile(revision);
        (&raw mut VMCS).cast::<u32>().write_volatile(revision);
        x86::bits64::vmx::vmxon(&raw const VMXON as u64).expect("VMXON");
        x86::bits64::vmx::vmclear(&raw const VMCS as u64).expect("VMCLEAR");
        x86::bits64::vmx::vmptrld(&raw const VMCS as u64).expect("VMPTRLD");
    }
    LAUNCHED.store(false, Relaxed);
    pin_controls(0);
    processor_controls(0);
    exit_controls(0);
    entry_controls(0);
    set(control::MSR_BITMAPS_ADDR_FULL, &raw const BITMAP as u64);
    set(guest::LINK_PTR_FULL, u64::MAX);
    for list in [List::EntryLoad, List::ExitStore, List::ExitLoad] {
        set_list(list, &[]);
    }
    let (gdt, idt, task) = tables();
    let (code, data) = (u64::from(selector::KERNEL_CODE), u64::from(selector::KERNEL_DATA));
    // ES, CS, SS, DS, FS, GS, LDTR, TR: selector, limit, access rights, base.
    let unusable = 0x1_0000;
    let segments = [
        (data, 0xFFFF_FFFF, 0xC093, 0),
        (code, 0xFFFF_FFFF, 0xA09B, 0),
        (data, 0xFFFF_FFFF, 0xC093, 0),
        (data, 0xFFFF_FFFF, 0xC093, 0),
        (data, 0xFFFF_FFFF, 0xC093, 0),
        (data, 0xFFFF_FFFF, 0xC093, 0),
        (0, 0, unusable, 0),
        (u64::from(selector::TASK), 0x67, 0x8B, task),
    ];
    for (i, (selector, limit, access, base)) in (0..).zip(segments) {
        set(guest::ES_SELECTOR + 2 * i, selector);
        set(guest::ES_LIMIT + 2 * i, limit);
        set(guest::ES_ACCESS_RIGHTS + 2 * i, access);
        set(guest::ES_BASE + 2 * i, base);
    }
    for (field, value) in [
        (guest::CR0, cr0),
        (guest::CR3, cr3),
        (guest::CR4, cr4),
        (guest::GDTR_BASE, gdt),
        (guest::GDTR_LIMIT, 63),
        (guest::IDTR_BASE, idt),
        (guest::IDTR_LIMIT, 4095),
        (guest::DR7, 0x400),
        (guest::RSP, 0),
        (host::CR0, cr0),
        (host::CR3, cr3),
        (host::CR4, cr4),
        (host::ES_SELECTOR, data),
        (host::CS_SELECTOR, code),
        (host::SS_SELECTOR, data),
        (host::DS_SELECTOR, data),
        (host::FS_SELECTOR, 0),
        (host::GS_SELECTOR, 0),
        (host::TR_SELECTOR, u64::from(selector::TASK)),
        (host::FS_BASE, 0),
        (host::GS_BASE, 0),
        (host::TR_BASE, task),
        (host::GDTR_BASE, gdt),
        (host::IDTR_BASE, idt),
    ] {
        set(field, value);
    }
}

/// Leaves VMX operation.
pub fn end() {
    // SAFETY: no guest runs.
    unsafe { x86::bits64::vmx::vmxoff() }.expect("VMXOFF");
}

/// Instructions of [`run`] from its first RDTSC to its second, but for the guest's: RDTSC, three MOV, TEST,
/// JNZ, WRMSR, VMRESUME or VMLAUNCH; two MOV.
pub const RUN: u64 = 10;

/// Runs the guest from its first instruction to the next exit. Right before the VM entry `host_ctrl` is
/// written to IA32_PERF_GLOBAL_CTRL, so that of the host's instructions only the entry counts.
pub fn run(guest: Guest, flags: u64, host_ctrl: u64) -> Exit {
    set(guest::INTERRUPTIBILITY_STATE, 0);
    set(guest::ACTIVITY_STATE, ACTIVITY_ACTIVE);
    run_in_state(guest, flags, host_ctrl)
}

/// The same with the interruptibility and activity states that are there.
pub fn run_in_state(guest: Guest, flags: u64, host_ctrl: u64) -> Exit {
    set(guest::RIP, guest.0);
    set(guest::RFLAGS, RFLAGS_ALWAYS | flags);
    let (failed, rax, rdx, cycles): (u64, u64, u64, u64);
    let (high, low) = split(host_ctrl);
    // SAFETY: the guest returns to label 21 with our stack; every register that a guest may have changed is
    // saved here or named as changed; guest code has no access to memory.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "mov r10d, 0x6C14", // host RSP
            "vmwrite r10, rsp",
            "lea r9, [rip + 21f]",
            "mov r10d, 0x6C16", // host RIP
            "vmwrite r10, r9",
            "mov r13, rax",
            "mov r14, rdx",
            "rdtsc",
            "mov r12d, eax",
            "mov rax, r13",
            "mov rdx, r14",
            "test r8d, r8d",
            "jnz 22f",
            "wrmsr",
            "vmlaunch",
            "jmp 23f",
            "22:",
            "wrmsr",
            "vmresume",
            "23: mov r9d, 1",
            "jmp 24f",
            "21: mov r13, rax",
            "mov r14, rdx",
            "rdtsc",
            "sub eax, r12d",
            "mov r12d, eax",
            "mov rax, r13",
            "mov rdx, r14",
            "xor r9d, r9d",
            "24:",
            "pop rbx",
            "pop rbp",
            inout("ecx") machine_scenarios::msr::IA32_PERF_GLOBAL_CTRL => _,
            inout("rax") u64::from(low) => rax,
            inout("rdx") u64::from(high) => rdx,
            inout("r8d") u32::from(LAUNCHED.load(Relaxed)) => _,
            out("r9") failed, out("r10") _, out("r11") _, out("r12") cycles, out("r13") _, out("r14") _,
            out("r15") _, out("rsi") _, out("rdi") _,
        );
    }
    if failed != 0 {
        return Exit::Failed(get(ro::VM_INSTRUCTION_ERROR));
    }
    let reason = get(ro::EXIT_REASON);
    // A failed entry does not launch the VMCS (SDM volume 3, 27.8).
    if reason >> 31 == 0 {
        LAUNCHED.store(true, Relaxed);
    }
    Exit::Reason { reason, rax, rdx, cycles }
}
