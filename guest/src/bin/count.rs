//! Every architectural event on every counter. Instructions and branches must be those of the code's known
//! length, to the last one; of the other events all counters must agree.
#![no_std]
#![no_main]

use core::arch::asm;
use guest::cpu::{cpuid, rdmsr, rdpmc, rdtsc, try_rdmsr, try_rdpmc, try_wrmsr, wrmsr};
use guest::pmu::{
    A_PMC0, BRANCHES, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL, Geometry,
    INSTRUCTIONS, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, clear, full_width,
};
use guest::{interrupts, println};

guest::guest!(main);

/// RDPMC: fixed counters instead of general-purpose ones.
const RDPMC_FIXED: u32 = 1 << 30;
/// What the fixed counters count (SDM vol. 3B, table 20-2), as places in [`EVENTS`].
const FIXED_EVENTS: [usize; 4] = [INSTRUCTIONS, 0, 2, 7];

/// A piece of code whose instructions and branches are known by counting them in its source.
struct Workload {
    name: &'static str,
    run: fn(enable: u64, iterations: u64),
    iterations: u64,
    instructions: fn(u64) -> u64,
    branches: fn(u64) -> u64,
}

/// What surrounds the loop: the enabling WRMSR (1; it counts itself), MOV (1), and the disabling WRMSR's three
/// operands (3; it does not count itself).
const AROUND: u64 = 5;

/// Code between the enabling and the disabling write of GLOBAL_CTRL. R8 holds the iterations; EAX, EBX, ECX and
/// EDX are free in the loop.
macro_rules! measured {
    ($($body:literal),*) => {
        |enable: u64, iterations: u64| {
            let [a, b, c, d, e, f, g, h] = enable.to_le_bytes();
            let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            // SAFETY: the code uses no memory and only the registers that it names; RBX is kept in R9.
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
                    inout("ecx") GLOBAL_CTRL => _,
                    inout("eax") low => _,
                    inout("edx") high => _,
                    out("r8") _,
                    out("r9") _,
                    options(nomem, nostack),
                )
            }
        }
    };
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "loop",
        run: measured!("2: dec r8", "jnz 2b"),
        iterations: 100_000,
        instructions: |n| AROUND + 2 * n,
        branches: |n| n,
    },
    Workload {
        // Each iteration exits: the VMM completes the CPUID.
        name: "cpuid",
        run: measured!("2: xor eax, eax", "cpuid", "dec r8", "jnz 2b"),
        iterations: 200,
        instructions: |n| AROUND + 4 * n,
        branches: |n| n,
    },
    Workload {
        // Each iteration is a control trap: PERFEVTSEL of the last counter is written while all others count.
        name: "control",
        run: measured!("2: mov ecx, 0x18d", "xor eax, eax", "xor edx, edx", "wrmsr", "dec r8", "jnz 2b"),
        iterations: 200,
        instructions: |n| AROUND + 6 * n,
        branches: |n| n,
    },
];

struct Tally {
    full_width: bool,
    right: u32,
    wrong: u32,
}

impl Tally {
    fn counter(&mut self, workload: &str, event: &str, counter: (&str, u32), measured: u64, expected: u64) {
        let (kind, i) = counter;
        println!(
            "@counter workload={workload} event={event} counter={kind}{i} measured={measured} expected={expected}"
        );
        self.check(measured == expected);
    }

    fn check(&mut self, right: bool) {
        if right {
            self.right += 1;
        } else {
            self.wrong += 1;
        }
    }
}

fn main() -> bool {
    let geometry = Geometry::read();
    let full_width = full_width();
    println!(
        "@pmu-geometry version={} general={} fixed={} full_width={}",
        geometry.version, geometry.general, geometry.fixed, full_width
    );
    if geometry.version == 0 {
        return without_a_pmu();
    }
    if geometry.version < 2 {
        println!("@panic the PMU has version {}; this guest needs 2", geometry.version);
        return false;
    }
    let mut tally = Tally { full_width, right: 0, wrong: 0 };
    for workload in WORKLOADS {
        for event in (0..EVENTS.len()).filter(|event| geometry.has(*event)) {
            measure(&geometry, workload, event, &mut tally);
        }
    }
    cost();
    println!("@result right={} wrong={}", tally.right, tally.wrong);
    tally.wrong == 0 && tally.right > 0
}

/// Where CPUID shows no PMU, every access to one raises #GP.
fn without_a_pmu() -> bool {
    interrupts::install();
    let registers = [PERFEVTSEL0, PMC0, A_PMC0, FIXED_CTR0, FIXED_CTR_CTRL, GLOBAL_CTRL];
    let faults = registers
        .iter()
        .filter(|register| try_rdmsr(**register).is_err() && try_wrmsr(**register, 0).is_err());
    let right = faults.count() + usize::from(try_rdpmc(0).is_err());
    println!("@result right={right} wrong={}", registers.len() + 1 - right);
    right == registers.len() + 1
}

/// Counts one event on all counters at once, and on the fixed counter that counts it.
fn measure(geometry: &Geometry, workload: &Workload, event: usize, tally: &mut Tally) {
    clear(geometry);
    // The workload "control" clears the selector of the eighth counter, which therefore does not count here.
    let general = if workload.name == "control" { geometry.general.min(7) } else { geometry.general };
    for i in 0..general {
        wrmsr(PERFEVTSEL0 + i, EVENTS[event].code | SELECT_ALL_RINGS);
    }
    let all_fixed = (0..geometry.fixed).fold(0, |field, i| field | FIXED_ALL_RINGS << (4 * i));
    wrmsr(FIXED_CTR_CTRL, all_fixed);
    (workload.run)(geometry.all(), workload.iterations);

    let truth = match event {
        INSTRUCTIONS => (workload.instructions)(workload.iterations),
        BRANCHES => (workload.branches)(workload.iterations),
        _ => rdmsr(PMC0),
    };
    let name = EVENTS[event].name;
    for i in 0..general {
        let measured = rdmsr(PMC0 + i);
        tally.counter(workload.name, name, ("pmc", i), measured, truth);
        tally.check(rdpmc(i) == measured);
        if tally.full_width {
            tally.check(rdmsr(A_PMC0 + i) == measured);
        }
    }
    for (i, _) in (0..geometry.fixed).zip(FIXED_EVENTS).filter(|(_, fixed)| *fixed == event) {
        let measured = rdmsr(FIXED_CTR0 + i);
        tally.counter(workload.name, name, ("fixed", i), measured, truth);
        tally.check(rdpmc(RDPMC_FIXED | i) == measured);
    }
    wrmsr(GLOBAL_CTRL, 0);
}

/// Writes and CPUIDs over which the cost is the mean.
const COST_ROUNDS: u64 = 200;

/// What a control write and, to compare, a CPUID take, in TSC cycles from the guest's point of view.
fn cost() {
    let mean = |step: fn(u64)| {
        let start = rdtsc();
        (0..COST_ROUNDS).for_each(step);
        (rdtsc() - start) / COST_ROUNDS
    };
    // Another value each time: a write of the same value may be cheaper.
    let control_write =
        mean(|i| wrmsr(PERFEVTSEL0, EVENTS[if i % 2 == 0 { INSTRUCTIONS } else { BRANCHES }].code));
    let exit = mean(|_| {
        cpuid(0);
    });
    println!("@cost control_write={control_write} cpuid={exit}");
}
