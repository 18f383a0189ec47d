//! Code whose events are known by counting them in its source.
//!
//! Instructions and branches are the same on every processor. The others are those of this project's simulated machine
//! (tools/pmu_model, tools/bochs_pmu): an instruction takes one cycle, or what the cost model charges for a WRMSR besides;
//! a cycle has four slots; every data access is a reference to the last-level cache, in which a miss fills a pair of
//! lines; a two-bit counter predicts a conditional branch. What is done outside the guest counts nowhere: where the
//! monitor completes an instruction, that is one instruction, and no cycle.

use crate::apic::{DELIVER_NMI, LVT_PMI};
use crate::pmu::{
    BRANCH_MISSES, BRANCHES, GLOBAL_CTRL, GLOBAL_STATUS_RESET, INSTRUCTIONS, LLC_MISSES, LLC_REFERENCES,
    PERFEVTSEL0, PMC0, SLOTS,
};
use core::arch::{asm, naked_asm};
use core::sync::atomic::AtomicU64;

/// A piece of code between the write of GLOBAL_CTRL that enables the counters and the one that disables them.
pub struct Workload {
    /// A name that can be a value in a report.
    pub name: &'static str,
    /// Runs it: GLOBAL_CTRL's value, iterations, and the first line of memory for workloads that use memory.
    pub run: fn(u64, u64, *const u8),
    /// How often the loop runs; a multiple of 4.
    pub iterations: u64,
    /// Instructions of an iteration.
    instructions: u64,
    /// Those of them that the monitor completes.
    exits: u64,
    /// Branches of an iteration.
    branches: u64,
    /// Mispredicted branches of four iterations, but for the loop's own branch.
    mispredicted: u64,
    /// Loads of an iteration, each from the next line.
    loads: u64,
    /// It writes the selector of counter [`LAST`], which therefore does not count.
    pub clears_last: bool,
}

/// What surrounds the loop: the enabling WRMSR (1; it counts itself where it exits, and the disabling one where it does
/// not), MOV (1), and the disabling WRMSR's three operands (3).
const AROUND: u64 = 5;
/// Those of them that take a cycle whether GLOBAL_CTRL exits or not: all but WRMSR.
const AROUND_CYCLES: u64 = 4;
/// Slots of a cycle.
const SLOTS_PER_CYCLE: u64 = 4;
/// Bytes of a line of the last-level cache.
const LINE: usize = 64;
/// The counter whose selector some workloads write, the eighth.
pub const LAST: u32 = 7;
/// Lines that a workload may load.
const LINES: usize = 1024;

/// Runs code with the counters enabled. R8 holds the iterations, R11 the line; EAX, EBX, ECX and EDX are free in the loop.
macro_rules! measured {
    ($($body:literal),*) => {
        |enable: u64, iterations: u64, line: *const u8| {
            let [a, b, c, d, e, f, g, h] = enable.to_le_bytes();
            let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            // SAFETY: the code reads memory that the caller lends it and uses the registers that it names; RBX is kept in
            // R9. Interrupts keep every register.
            unsafe {
                asm!(
                    "mov r9, rbx",
                    "wrmsr",
                    "mov r8, r10",
                    $($body,)*
                    "mov ecx, {global_ctrl}",
                    "xor eax, eax",
                    "xor edx, edx",
                    "wrmsr",
                    "mov rbx, r9",
                    global_ctrl = const GLOBAL_CTRL,
                    in("r10") iterations,
                    inout("r11") line => _,
                    inout("ecx") GLOBAL_CTRL => _,
                    inout("eax") low => _,
                    inout("edx") high => _,
                    out("r8") _,
                    out("r9") _,
                    options(nostack),
                )
            }
        }
    };
}

/// Nothing but its loop.
const EMPTY: Workload = Workload {
    name: "loop",
    run: measured!("2: dec r8", "jnz 2b"),
    iterations: 100_000,
    instructions: 2,
    exits: 0,
    branches: 1,
    mispredicted: 0,
    loads: 0,
    clears_last: false,
};

/// The workloads.
pub const WORKLOADS: [Workload; 6] = [
    EMPTY,
    Workload {
        // Each iteration exits: the monitor completes the CPUID.
        name: "cpuid",
        run: measured!("2: xor eax, eax", "cpuid", "dec r8", "jnz 2b"),
        iterations: 200,
        instructions: 4,
        exits: 1,
        ..EMPTY
    },
    Workload {
        // Each iteration is a control trap: the last event selector gets a value that it has not had, while all others
        // count.
        name: "control",
        run: measured!("2: mov ecx, 0x18d", "mov eax, r8d", "xor edx, edx", "wrmsr", "dec r8", "jnz 2b"),
        iterations: 200,
        instructions: 6,
        exits: 1,
        clears_last: true,
        ..EMPTY
    },
    Workload {
        // The same with a value that is approved after the first time: the kernel completes the write.
        name: "approved",
        run: measured!("2: mov ecx, 0x18d", "xor eax, eax", "xor edx, edx", "wrmsr", "dec r8", "jnz 2b"),
        iterations: 200,
        instructions: 6,
        exits: 1,
        clears_last: true,
        ..EMPTY
    },
    Workload {
        // Taken or not by bit 1 of the iteration: a two-bit counter follows each pair too late, three times in four.
        name: "branches",
        run: measured!("2: test r8d, 2", "jnz 3f", "3: dec r8", "jnz 2b"),
        iterations: 4000,
        instructions: 4,
        branches: 2,
        mispredicted: 3,
        ..EMPTY
    },
    Workload {
        name: "memory",
        run: measured!("2: mov eax, [r11]", "add r11, 64", "dec r8", "jnz 2b"),
        iterations: LINES as u64,
        instructions: 4,
        loads: 1,
        ..EMPTY
    },
];

// What workloads name by numbers.
const _: () = assert!(PERFEVTSEL0 + LAST == 0x18d && LINE == 64);

impl Workload {
    /// The same with `more` iterations.
    pub const fn longer(self, more: u64) -> Self {
        Self { iterations: self.iterations + more, ..self }
    }

    /// How often place `event` of [`EVENTS`](crate::pmu::EVENTS) happens, where a WRMSR of GLOBAL_CTRL takes `wrmsr` cycles
    /// of the guest ([`wrmsr_cycles`]), the workload's branches are predicted as after a run of it, and no line is in the
    /// cache.
    pub const fn truth(&self, event: usize, wrmsr: u64) -> u64 {
        let n = self.iterations;
        let cycles = AROUND_CYCLES + wrmsr + (self.instructions - self.exits) * n;
        match event {
            INSTRUCTIONS => AROUND + self.instructions * n,
            BRANCHES => self.branches * n,
            LLC_REFERENCES => self.loads * n,
            // Every other line came with its neighbour.
            LLC_MISSES => self.loads * n / 2,
            // The loop's branch once, at its end.
            BRANCH_MISSES => 1 + self.mispredicted * n / 4,
            SLOTS => SLOTS_PER_CYCLE * cycles,
            _ => cycles,
        }
    }
}

/// Whether the truth about place `event` of [`EVENTS`](crate::pmu::EVENTS) is the same on every processor.
pub const fn is_architectural(event: usize) -> bool {
    matches!(event, INSTRUCTIONS | BRANCHES)
}

#[repr(C, align(4096))]
struct Lines([AtomicU64; LINES * LINE / size_of::<u64>()]);

static USED: Lines = Lines([const { AtomicU64::new(0) }; _]);
static FRESH: Lines = Lines([const { AtomicU64::new(0) }; _]);

/// Memory for a run that is to find no line in the cache, once; for any other run.
pub fn lines(fresh: bool) -> *const u8 {
    let Lines(words) = if fresh { &FRESH } else { &USED };
    words.as_ptr().cast()
}

/// Runs of which the shortest tells what an instruction takes, undisturbed.
const TRIES: u32 = 16;
/// What takes longer exits, and passes outside the guest.
const MOST_DIRECT: u32 = 600;

/// TSC cycles of a few instructions.
macro_rules! cycles {
    ($($instruction:literal),*) => {{
        let cycles: u32;
        // SAFETY: RDTSC, and what is between: a write of 0 to GLOBAL_CTRL.
        unsafe {
            asm!(
                "rdtsc",
                "mov {start:e}, eax",
                "mov ecx, {global_ctrl}",
                "xor eax, eax",
                "xor edx, edx",
                $($instruction,)*
                "rdtsc",
                "sub eax, {start:e}",
                start = out(reg) _,
                global_ctrl = const GLOBAL_CTRL,
                out("eax") cycles,
                out("ecx") _,
                out("edx") _,
                options(nostack),
            );
        }
        cycles
    }};
}

/// Cycles of the guest that a WRMSR of GLOBAL_CTRL takes, by the TSC: 0 where it exits.
pub fn wrmsr_cycles() -> u64 {
    let shortest = |once: fn() -> u32| (0..TRIES).map(|_| once()).min().unwrap_or(0);
    let taken = shortest(|| cycles!("wrmsr")) - shortest(|| cycles!());
    if taken < MOST_DIRECT { u64::from(taken) } else { 0 }
}

/// Iterations with a control trap, an exit besides and, every [`PERIOD`] instructions of counter 0, a PMI.
pub const INTERRUPTED: Workload = Workload {
    name: "interrupts",
    run: measured!(
        "2: mov ecx, 0x18d",
        "mov eax, r8d",
        "xor edx, edx",
        "wrmsr",
        "xor eax, eax",
        "cpuid",
        "dec r8",
        "jnz 2b"
    ),
    iterations: 1000,
    instructions: 8,
    exits: 2,
    clears_last: true,
    ..EMPTY
};
/// Instructions between a PMI's end and the next one, but for some of the handler's.
pub const PERIOD: u32 = 97;
/// Instructions of [`on_pmi`].
const HANDLER_INSTRUCTIONS: u64 = 20;
/// Branches of [`on_pmi`]: IRETQ.
const HANDLER_BRANCHES: u64 = 1;

/// PMIs that [`on_pmi`] and those of [`latency`](crate::latency) took.
pub static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The handler of counter 0's PMI, an NMI: starts the next period, unmasks LVTPC, counts. The counters go on meanwhile.
///
/// # Safety
/// Only as the handler of an interrupt.
#[unsafe(naked)]
pub unsafe extern "C" fn on_pmi() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "mov ecx, {status_reset}",
        "mov eax, 1",
        "xor edx, edx",
        "wrmsr",
        "mov ecx, {pmc0}",
        "mov eax, -{period}",
        "xor edx, edx",
        "wrmsr",
        "mov ecx, {lvt_pmi}",
        "mov eax, {nmi}",
        "xor edx, edx",
        "wrmsr",
        "inc qword ptr [rip + {taken}]",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        status_reset = const GLOBAL_STATUS_RESET,
        pmc0 = const PMC0,
        period = const PERIOD,
        lvt_pmi = const LVT_PMI,
        nmi = const DELIVER_NMI,
        taken = sym TAKEN,
    )
}

/// What [`on_pmi`] adds to [`Workload::truth`] of an architectural event when it took `taken` PMIs.
pub const fn handlers(event: usize, taken: u64) -> u64 {
    if event == INSTRUCTIONS { HANDLER_INSTRUCTIONS * taken } else { HANDLER_BRANCHES * taken }
}
