//! Debug registers (SDM vol. 3B, 18.2): breakpoints on code and data, single steps, and values across exits.

use crate::Checks;
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::apic::{DELIVER_NMI, EOI, LVT_PMI};
use guest::cpu::{cpuid, wrmsr};
use guest::interrupts::{set, vector};
use guest::multiboot::Information;
use guest::pmu::{
    EVENTS, GLOBAL_CTRL, Geometry, INSTRUCTIONS, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, SELECT_INT, clear,
};

/// Vector of the debug exception.
const DB: u8 = 1;
/// CPUID leaf 1, EDX, and CR4: debugging extensions.
const HAS_DE: u32 = 1 << 2;
const DE: u64 = 1 << 3;
/// DR6: breakpoints 0 and 1; access of a debug register; single step. DR7: bit 10 is always set.
const B0: u64 = 1;
const B1: u64 = 1 << 1;
const BD: u64 = 1 << 13;
const BS: u64 = 1 << 14;
const CAUSES: u64 = 0xf | BD | BS;
const DR7: u64 = 1 << 10;
/// DR7: breakpoint 0 is on, for code; breakpoint 1 is on, for writes of four bytes; accesses of debug registers trap.
const CODE_0: u64 = 1;
const WRITE_1: u64 = 1 << 2 | 1 << 20 | 3 << 22;
const GENERAL_DETECT: u64 = 1 << 13;
/// Breakpoint 0 is on, for writes of eight bytes.
const WRITE_0: u64 = 1 | 1 << 16 | 2 << 18;

/// The self-IPI register (SDM vol. 3A, 11.12.11), and the vector that is sent.
const SELF_IPI: u32 = 0x83f;
const VECTOR: u8 = 0x63;

static COUNT: AtomicU64 = AtomicU64::new(0);
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static NMIS: AtomicU64 = AtomicU64::new(0);
static CAUSE: AtomicU64 = AtomicU64::new(0);
static PLACE: AtomicU64 = AtomicU64::new(0);
/// Where the handler finds RIP.
static FRAME: AtomicU64 = AtomicU64::new(0);

/// Four bytes that a breakpoint watches.
#[repr(align(4))]
struct Cell(UnsafeCell<u32>);

// SAFETY: there is one processor, and no handler uses it.
unsafe impl Sync for Cell {}

static CELL: Cell = Cell(UnsafeCell::new(0));

/// Notes DR6 and RIP, counts, and ends breakpoints and single steps.
#[unsafe(naked)]
unsafe extern "C" fn on_debug() {
    naked_asm!(
        "push rax",
        "inc qword ptr [rip + {count}]",
        "mov rax, dr6",
        "mov [rip + {cause}], rax",
        "mov rax, [rsp + 8]",
        "mov [rip + {place}], rax",
        "lea rax, [rsp + 8]",
        "mov [rip + {frame}], rax",
        "mov eax, {dr7}",
        "mov dr7, rax",
        "mov eax, 0xffff0ff0",
        "mov dr6, rax",
        "and qword ptr [rsp + 24], ~0x100",
        "pop rax",
        "iretq",
        count = sym COUNT,
        cause = sym CAUSE,
        place = sym PLACE,
        frame = sym FRAME,
        dr7 = const DR7,
    )
}

guest::handler!(on_interrupt, interrupt);

extern "C" fn interrupt() {
    INTERRUPTS.fetch_add(1, Relaxed);
    wrmsr(EOI, 0);
}

guest::handler!(on_nmi, nmi);

extern "C" fn nmi() {
    NMIS.fetch_add(1, Relaxed);
}

/// One debug exception has come, of this cause, at this place.
fn came(checks: &mut Checks, what: &str, cause: u64, place: u64) {
    checks.equal(what, COUNT.swap(0, Relaxed), 1);
    checks.equal(what, CAUSE.load(Relaxed) & CAUSES, cause);
    checks.equal(what, PLACE.load(Relaxed), place);
}

/// A single step.
fn step() {
    // SAFETY: the handler ends the stepping and keeps all registers.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop") }
}

/// Debug exceptions without end: the delivery of one writes what a breakpoint watches. Comes back if there is an end.
pub fn storm() {
    set(DB, on_debug);
    step();
    // SAFETY: the breakpoint watches a word of the handler's stack.
    unsafe {
        asm!("mov dr0, {}", "mov dr7, {}", in(reg) FRAME.load(Relaxed), in(reg) DR7 | WRITE_0);
    }
    step();
}

/// Whichever instruction overflows a counter, among them the CPUID whose trap is due: the trap comes before the PMI (SDM
/// vol. 3A, table 6-2), and neither is lost.
fn overflows(checks: &mut Checks) {
    let geometry = Geometry::read();
    if geometry.version < 2 {
        return;
    }
    set(vector::NMI, on_nmi);
    for before in 1..=10u32 {
        clear(&geometry);
        wrmsr(LVT_PMI, DELIVER_NMI);
        wrmsr(PERFEVTSEL0, EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT);
        wrmsr(PMC0, u64::from(before.wrapping_neg()));
        let place: u64;
        // SAFETY: the handlers keep all registers, that of the trap ends the stepping; RBX is kept.
        unsafe {
            asm!(
                "push rbx", "wrmsr", "xor eax, eax", "xor ecx, ecx", "pushfq", "or qword ptr [rsp], 0x100",
                "popfq", "cpuid", "2: nop", "lea {place}, [rip + 2b]", "pop rbx",
                place = out(reg) place, inout("ecx") GLOBAL_CTRL => _, inout("eax") 1 => _, inout("edx") 0 => _,
            );
        }
        clear(&geometry);
        came(checks, "single-step-before-a-pmi", BS, place);
        checks.equal("pmi-after-single-step", NMIS.swap(0, Relaxed), 1);
    }
}

pub fn check(checks: &mut Checks, _: &Information) {
    set(DB, on_debug);
    let mut place: u64;
    // SAFETY: the handler ends the breakpoint and keeps all registers.
    unsafe {
        asm!(
            "lea {place}, [rip + 2f]", "mov dr0, {place}", "mov {value}, {dr7}", "mov dr7, {value}",
            "nop", "2: nop",
            place = out(reg) place, value = out(reg) _, dr7 = const DR7 | CODE_0,
        );
    }
    came(checks, "code-breakpoint", B0, place);

    // SAFETY: as above; the word is this part's own.
    unsafe {
        asm!(
            "mov dr1, {cell}", "mov {value}, {dr7}", "mov dr7, {value}",
            "mov {value:e}, [{cell}]", "mov dword ptr [{cell}], 7", "2: lea {place}, [rip + 2b]",
            cell = in(reg) CELL.0.get(), value = out(reg) _, place = out(reg) place, dr7 = const DR7 | WRITE_1,
        );
    }
    came(checks, "write-watched", B1, place);

    // CPUID exits, and traps all the same.
    // SAFETY: as above; RBX is kept.
    unsafe {
        asm!(
            "push rbx", "xor eax, eax", "xor ecx, ecx", "pushfq", "or qword ptr [rsp], 0x100", "popfq",
            "cpuid", "2: nop", "lea {place}, [rip + 2b]", "pop rbx",
            place = out(reg) place, out("eax") _, out("ecx") _, out("edx") _,
        );
    }
    came(checks, "single-step-over-an-exit", BS, place);

    // STI traps too, while interrupts still wait for the instruction after it (SDM vol. 3A, 6.8.3).
    // SAFETY: as above; interrupts are off before and after.
    unsafe {
        asm!(
            "pushfq", "or qword ptr [rsp], 0x100", "popfq", "sti", "2: nop", "cli", "lea {place}, [rip + 2b]",
            place = out(reg) place,
        );
    }
    came(checks, "single-step-over-sti", BS, place);

    // The trap after an instruction comes before the interrupt that it raises (SDM vol. 3A, table 6-2).
    set(VECTOR, on_interrupt);
    guest::apic::enable();
    // SAFETY: as above; the handler of the interrupt keeps all registers.
    unsafe {
        asm!(
            "pushfq", "or qword ptr [rsp], 0x300", "popfq", "wrmsr", "2: nop", "cli", "lea {place}, [rip + 2b]",
            place = out(reg) place, in("ecx") SELF_IPI, in("eax") u32::from(VECTOR), in("edx") 0,
        );
    }
    came(checks, "single-step-before-an-interrupt", BS, place);
    checks.equal("interrupt-after-single-step", INTERRUPTS.swap(0, Relaxed), 1);

    overflows(checks);

    // SAFETY: as above.
    unsafe {
        asm!(
            "mov {value}, {dr7}", "mov dr7, {value}", "2: mov {value}, dr0", "lea {place}, [rip + 2b]",
            place = out(reg) place, value = out(reg) _, dr7 = const DR7 | GENERAL_DETECT,
        );
    }
    came(checks, "general-detect", BD, place);

    let mut read = [0u64; 4];
    // SAFETY: no breakpoint is on.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
             in(reg) 0x1001u64, in(reg) 0x2002u64, in(reg) 0x3003u64, in(reg) 0x4004u64);
    }
    for _ in 0..50 {
        cpuid(0);
    }
    let [a, b, c, d] = &mut read;
    // SAFETY: as above.
    unsafe {
        asm!(
            "mov {}, dr0",
            "mov {}, dr1",
            "mov {}, dr2",
            "mov {}, dr3",
            out(reg) * a,
            out(reg) * b,
            out(reg) * c,
            out(reg) * d
        );
    }
    checks.is("addresses-across-exits", read == [0x1001, 0x2002, 0x3003, 0x4004]);

    let mut cr4: u64;
    // SAFETY: no breakpoint is on, so that the extension changes nothing.
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {de}", "mov cr4, {0}", "mov {0}, cr4", out(reg) cr4, de = const DE);
    }
    checks.equal("cr4-de", cr4 & DE, DE);
    checks.equal("cpuid-de", u64::from(cpuid(1)[3] & HAS_DE), HAS_DE.into());
}
