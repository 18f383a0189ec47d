//! Interrupts and exceptions: GDT, TSS and IDT (SDM vol. 3A, chapter 6).
//!
//! The prebuilt `core` keeps data below the stack pointer, so that every handler runs on a stack of its own.

use crate::cpu::{Descriptors, load_gdt_and_tss, load_idt};
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// A handler: assembly that keeps every register and ends with IRETQ; see [`handler!`](crate::handler).
pub type Handler = unsafe extern "C" fn();

/// Vectors (SDM vol. 3A, table 6-1).
pub mod vector {
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// General protection.
    pub const GP: u8 = 13;
}

/// Stacks of the TSS: one for NMIs, one for exceptions, one for interrupts.
const STACKS: usize = 3;
const STACK: usize = 0x4000;
const NMI_STACK: u8 = 1;
const EXCEPTION_STACK: u8 = 2;
const INTERRUPT_STACK: u8 = 3;
/// First vector that is no exception.
const FIRST_INTERRUPT: u8 = 32;

/// Selectors: code as at the start; the TSS has two places.
const CODE: u64 = 0x08;
const TSS_SELECTOR: u16 = 0x18;
/// An available 64-bit TSS, present (SDM vol. 3A, 7.2.3).
const TSS_TYPE: u64 = 0x89;
/// An interrupt gate, present (SDM vol. 3A, 6.14.1).
const GATE: u64 = 0x8e;
/// Bytes of the 64-bit TSS (SDM vol. 3A, figure 8-11).
const TSS_BYTES: usize = 104;
const TSS_WORDS: usize = TSS_BYTES / 4;
/// Place of IST1 in the TSS, in words of 32 bits.
const IST1: usize = 9;

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 5],
    tss: [u32; TSS_WORDS],
    idt: [[u64; 2]; 256],
    stacks: [[u8; STACK]; STACKS],
}

#[repr(transparent)]
struct Shared(UnsafeCell<Tables>);

// SAFETY: there is one processor, and only `install` and `set` write the tables, which no handler does.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    gdt: [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
    tss: [0; TSS_WORDS],
    idt: [[0; 2]; 256],
    stacks: [[0; STACK]; STACKS],
}));

/// Where #GP and #UD continue instead of ending the guest; 0 for nowhere.
static RESUME: AtomicU64 = AtomicU64::new(0);

/// Loads the tables. Exceptions then end the guest with a line that says which.
pub fn install() {
    // SAFETY: nothing else borrows the tables, and no handler writes them.
    let tables = unsafe { &mut *TABLES.0.get() };
    let halves = |address: u64| {
        let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
        [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
    };
    for (i, stack) in tables.stacks.iter_mut().enumerate() {
        let [low, high] = halves(stack.as_mut_ptr_range().end.addr() as u64);
        tables.tss[IST1 + 2 * i] = low;
        tables.tss[IST1 + 2 * i + 1] = high;
    }
    let tss = tables.tss.as_ptr().addr() as u64;
    let limit = TSS_BYTES as u64 - 1;
    tables.gdt[3] = limit | (tss & 0xff_ffff) << 16 | TSS_TYPE << 40 | (tss >> 24 & 0xff) << 56;
    tables.gdt[4] = tss >> 32;
    load_gdt_and_tss(Descriptors::new(&tables.gdt), TSS_SELECTOR);
    load_idt(Descriptors::new(&tables.idt));
    for exception in 0..FIRST_INTERRUPT {
        set(exception, unexpected);
    }
    set(vector::GP, general_protection);
    set(vector::UD, invalid_opcode);
}

/// Makes `handler` that of `vector`.
pub fn set(vector: u8, handler: Handler) {
    let stack = match vector {
        vector::NMI => NMI_STACK,
        0..FIRST_INTERRUPT => EXCEPTION_STACK,
        _ => INTERRUPT_STACK,
    };
    let address = handler as usize as u64;
    let low =
        address & 0xffff | CODE << 16 | u64::from(stack) << 32 | GATE << 40 | (address >> 16 & 0xffff) << 48;
    // SAFETY: one word at a time, and the vector does not occur while its gate changes.
    unsafe { (*TABLES.0.get()).idt[usize::from(vector)] = [low, address >> 32] };
}

/// Makes #GP and #UD continue at this address, once.
pub(crate) fn resume_at() -> &'static AtomicU64 {
    &RESUME
}

/// Whether the place to continue at was used since it was set.
pub(crate) fn was_resumed() -> bool {
    RESUME.swap(0, Ordering::Relaxed) == 0
}

extern "C" fn report_exception(rip: u64, code: u64) -> ! {
    crate::println!("@panic exception near rip={rip:#x}, first words on the stack {code:#x}");
    crate::exit(2)
}

/// An exception that nothing expects: what is on top of the stack is RIP or an error code.
#[unsafe(naked)]
unsafe extern "C" fn unexpected() {
    naked_asm!("mov rsi, [rsp]", "mov rdi, [rsp + 8]", "and rsp, -16", "call {report}", report = sym report_exception)
}

/// #GP pushes an error code.
#[unsafe(naked)]
unsafe extern "C" fn general_protection() {
    naked_asm!(
        "push rax",
        "xor eax, eax",
        "xchg rax, [rip + {resume}]",
        "test rax, rax",
        "jz 2f",
        "mov [rsp + 16], rax",
        "pop rax",
        "add rsp, 8",
        "iretq",
        "2: pop rax",
        "jmp {unexpected}",
        resume = sym RESUME,
        unexpected = sym unexpected,
    )
}

/// #UD pushes none.
#[unsafe(naked)]
unsafe extern "C" fn invalid_opcode() {
    naked_asm!(
        "push rax",
        "xor eax, eax",
        "xchg rax, [rip + {resume}]",
        "test rax, rax",
        "jz 2f",
        "mov [rsp + 8], rax",
        "pop rax",
        "iretq",
        "2: pop rax",
        "jmp {unexpected}",
        resume = sym RESUME,
        unexpected = sym unexpected,
    )
}

/// Makes a [`Handler`](crate::interrupts::Handler) `name` that calls the Rust function `function()`.
#[macro_export]
macro_rules! handler {
    ($name:ident, $function:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            // The processor aligned the stack and pushed five words; with these fifteen it is aligned again.
            ::core::arch::naked_asm!(
                "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
                "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
                "sub rsp, 512",
                "fxsave [rsp]",
                "cld",
                "call {function}",
                "fxrstor [rsp]",
                "add rsp, 512",
                "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8",
                "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
                "iretq",
                function = sym $function,
            )
        }
    };
}
