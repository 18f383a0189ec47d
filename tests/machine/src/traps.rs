//! Descriptor tables, exceptions, the PMI and the timer interrupt.

use crate::cpu::{self, apic};
use core::arch::asm;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use machine_scenarios::{PMI_VECTOR, msr};
use static_assertions::const_assert_eq;

core::arch::global_asm!(include_str!("traps.s"), options(att_syntax));

/// Selectors of our GDT. SYSCALL and SYSRET dictate the order (SDM volume 2, SYSRET).
pub mod selector {
    /// Ring 0 code.
    pub const KERNEL_CODE: u16 = 0x08;
    /// Ring 0 data.
    pub const KERNEL_DATA: u16 = 0x10;
    /// Ring 3 data.
    pub const USER_DATA: u16 = 0x20 | 3;
    /// Ring 3 code.
    pub const USER_CODE: u16 = 0x28 | 3;
    /// The task state.
    pub const TASK: u16 = 0x30;
    /// What SYSRET adds 16 (code) and 8 (data) to.
    pub const SYSRET_BASE: u16 = 0x18 | 3;
}

/// The vector of the local APIC's timer.
pub const TIMER_VECTOR: u32 = 0x41;
/// The vector with which user code returns to the kernel; its handler is set by [`set_user_gate`].
const USER_VECTOR: usize = 0x80;
/// Instructions that a counter sees of the return from a PMI that resumes counting: three POP, ADD, IRETQ.
pub const HANDLER_END: u64 = 5;

const GENERAL_PROTECTION: u64 = 13;
const NMI: u64 = 2;
/// RDMSR, WRMSR and RDPMC have two bytes.
const GUARDED_LENGTH: u64 = 2;

/// What the entry code leaves on the stack.
#[repr(C)]
struct Frame {
    rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}
// Eleven registers lie below the error code.
const_assert_eq!(offset_of!(Frame, error), 11 * 8);

#[repr(C, packed)]
struct Task {
    reserved: u32,
    rsp: [u64; 3],
    reserved2: u64,
    ist: [u64; 7],
    reserved3: [u16; 5],
    io_map: u16,
}
const_assert_eq!(size_of::<Task>(), 104);

const STACK: usize = 16384;
#[repr(C, align(16))]
struct Stacks([[u8; STACK]; 4]);

static mut STACKS: Stacks = Stacks([[0; STACK]; 4]);
static mut TASK: Task =
    Task { reserved: 0, rsp: [0; 3], reserved2: 0, ist: [0; 7], reserved3: [0; 5], io_map: 104 };
static mut GDT: [u64; 8] =
    [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF, 0, 0];
static mut IDT: [[u64; 2]; 256] = [[0; 2]; 256];

/// PMIs taken.
pub static PMIS: AtomicU64 = AtomicU64::new(0);
/// The address that the last PMI returns to.
pub static PMI_RIP: AtomicU64 = AtomicU64::new(0);
/// The code selector that the last PMI returns to.
pub static PMI_CS: AtomicU64 = AtomicU64::new(0);
/// LVTPC at the last PMI.
pub static PMI_LVTPC: AtomicU64 = AtomicU64::new(0);
/// IA32_PERF_GLOBAL_STATUS at the last PMI.
pub static PMI_STATUS: AtomicU64 = AtomicU64::new(0);
/// If not 0: at a PMI reset the status, write [`RELOAD`] to IA32_A_PMC0, unmask LVTPC, and resume with this
/// IA32_PERF_GLOBAL_CTRL.
pub static RESUME: AtomicU64 = AtomicU64::new(0);
/// See [`RESUME`].
pub static RELOAD: AtomicU64 = AtomicU64::new(0);
/// Timer interrupts taken.
pub static TIMERS: AtomicU64 = AtomicU64::new(0);

static GUARDED: AtomicBool = AtomicBool::new(false);
static FAULTED: AtomicBool = AtomicBool::new(false);

/// While it lives, a #GP of a two-byte instruction is noted and the instruction stepped over.
pub struct Guard(());

impl Guard {
    /// Starts to watch.
    #[allow(clippy::new_without_default)] // not a value, but a scope
    pub fn new() -> Self {
        FAULTED.store(false, Relaxed);
        GUARDED.store(true, Relaxed);
        Self(())
    }

    /// Whether a #GP came.
    pub fn faulted(&self) -> bool {
        FAULTED.load(Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED.store(false, Relaxed);
    }
}

#[unsafe(no_mangle)]
extern "C" fn trap_handler(frame: &mut Frame, vector: u64) -> u64 {
    match vector {
        NMI => pmi(frame),
        _ if vector == u64::from(PMI_VECTOR) => {
            let resume = pmi(frame);
            cpu::apic_write(apic::EOI, 0);
            resume
        }
        _ if vector == u64::from(TIMER_VECTOR) => {
            TIMERS.fetch_add(1, Relaxed);
            cpu::apic_write(apic::EOI, 0);
            0
        }
        GENERAL_PROTECTION if GUARDED.load(Relaxed) => {
            FAULTED.store(true, Relaxed);
            frame.rip += GUARDED_LENGTH;
            0
        }
        _ => panic!("exception {vector}, error code {:#x}, at {:#x}:{:#x}", frame.error, frame.cs, frame.rip),
    }
}

/// The rest of the PMI handler; counting has stopped.
fn pmi(frame: &Frame) -> u64 {
    let lvtpc = cpu::apic_read(apic::LVT_PC);
    let status = cpu::rdmsr(msr::IA32_PERF_GLOBAL_STATUS).unwrap_or(u64::MAX);
    PMIS.fetch_add(1, Relaxed);
    PMI_RIP.store(frame.rip, Relaxed);
    PMI_CS.store(frame.cs, Relaxed);
    PMI_LVTPC.store(u64::from(lvtpc), Relaxed);
    PMI_STATUS.store(status, Relaxed);
    let resume = RESUME.load(Relaxed);
    if resume != 0 {
        cpu::wrmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET, status);
        cpu::wrmsr(msr::IA32_A_PMC0, RELOAD.load(Relaxed));
        cpu::apic_write(apic::LVT_PC, lvtpc & !machine_scenarios::LVT_MASKED);
    }
    resume
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// The two words of an interrupt gate.
fn gate(handler: u64, privilege: u64, stack: u64) -> [u64; 2] {
    const PRESENT_INTERRUPT_GATE: u64 = 0x8E << 40;
    let code = u64::from(selector::KERNEL_CODE) << 16;
    let low = handler & 0xFFFF | (handler >> 16 & 0xFFFF) << 48;
    [low | code | stack << 32 | PRESENT_INTERRUPT_GATE | privilege << 45, handler >> 32]
}

/// Sets what vector 0x80 of user code enters, on the stack of ring 0.
pub fn set_user_gate(handler: u64) {
    // SAFETY: one processor, and no interrupt enters this gate.
    unsafe { (&raw mut IDT).cast::<[u64; 2]>().add(USER_VECTOR).write(gate(handler, 3, 0)) };
}

/// The top of one of our stacks: 0 is ring 0's, the others are interrupt stacks.
fn stack_top(index: usize) -> u64 {
    (&raw const STACKS) as u64 + ((index + 1) * STACK) as u64
}

/// Addresses of the tables, for a VMCS: GDT, IDT, task state.
pub fn tables() -> (u64, u64, u64) {
    ((&raw const GDT) as u64, (&raw const IDT) as u64, (&raw const TASK) as u64)
}

/// Loads the tables, masks the legacy interrupt controllers, enables the local APIC.
pub fn initialise() {
    unsafe extern "C" {
        static trap_entries: [u64; 2];
        static trap_entries_end: [u64; 2];
    }
    let task = (&raw const TASK) as u64;
    // SAFETY: one processor, interrupts are off, nothing uses the tables yet; the entry list lies between its
    // two symbols. Afterwards only the processor reads the tables.
    unsafe {
        (&raw mut TASK.rsp).cast::<u64>().write_unaligned(stack_top(0));
        for i in 0..3 {
            (&raw mut TASK.ist).cast::<u64>().add(i).write_unaligned(stack_top(i + 1));
        }
        let low = (size_of::<Task>() as u64 - 1)
            | (task & 0xFF_FFFF) << 16
            | 0x89 << 40
            | (task >> 24 & 0xFF) << 56;
        let entry = usize::from(selector::TASK / 8);
        (&raw mut GDT).cast::<u64>().add(entry).write(low);
        (&raw mut GDT).cast::<u64>().add(entry + 1).write(task >> 32);
        let mut entry = &raw const trap_entries;
        while entry != &raw const trap_entries_end {
            let [vector, handler] = entry.read();
            // Compiled code has a red zone, so every trap has a stack of its own; an NMI may interrupt another.
            let stack = match vector {
                NMI => 2,
                _ if vector == u64::from(PMI_VECTOR) => 3,
                _ => 1,
            };
            (&raw mut IDT)
                .cast::<[u64; 2]>()
                .add(usize::try_from(vector).unwrap_or(0))
                .write(gate(handler, 0, stack));
            entry = entry.add(1);
        }
        let gdt = TablePointer { limit: 8 * 8 - 1, base: (&raw const GDT) as u64 };
        let idt = TablePointer { limit: 256 * 16 - 1, base: (&raw const IDT) as u64 };
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const gdt, in(reg) &raw const idt, in(reg) selector::TASK);
        for port in [0x21, 0xA1] {
            x86::io::outb(port, 0xFF);
        }
    }
    cpu::apic_write(apic::SPURIOUS, 0x1FF);
}
