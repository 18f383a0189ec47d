//! Work for measuring how fast the simulated machine runs. Command line: `turns=N`, and `counting` to have every
//! counter count: one architectural event each, then instructions.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]

use machine_kernels::cpu::{cpuid, wrmsr};
use machine_scenarios::Geometry;
use machine_scenarios::msr::*;

machine_kernels::kernel!(kernel);

const EVENTS: [u64; 8] = [
    INSTRUCTIONS,
    CORE_CYCLES,
    REFERENCE_CYCLES,
    BRANCHES,
    BRANCH_MISSES,
    LLC_REFERENCES,
    LLC_MISSES,
    INSTRUCTIONS,
];

fn kernel(line: &str) {
    let turns = line.split(' ').find_map(|word| word.strip_prefix("turns=")?.parse().ok()).expect("turns=N");
    if line.split(' ').any(|word| word == "counting") {
        count_everything();
    }
    machine_kernels::println!("speed | start");
    work(turns);
    machine_kernels::println!("speed | end");
    machine_kernels::cpu::halt_forever();
}

fn count_everything() {
    let [eax, ebx, _, edx] = cpuid(0xA);
    let geometry = Geometry::from_cpuid(eax, ebx, edx);
    let set = |msr, value| assert!(wrmsr(msr, value), "WRMSR {msr:#x} is #GP");
    for (i, event) in (0..geometry.general).zip(EVENTS) {
        set(IA32_PERFEVTSEL0 + i, EN | OS | USR | event);
    }
    set(IA32_FIXED_CTR_CTRL, 0x3333_3333 & ((1 << (4 * geometry.fixed)) - 1));
    set(IA32_PERF_GLOBAL_CTRL, geometry.all_counters());
}

/// Ten instructions a turn: arithmetic, a store, a load, a branch that is never and one that is nearly always
/// taken.
fn work(turns: u32) {
    let mut place = 0_u64;
    // SAFETY: reads and writes `place` only.
    unsafe {
        core::arch::asm!(
            "30:",
            "add rax, 1",
            "add r9, rax",
            "xor r10, r9",
            "mov [{place}], r10",
            "mov r11, [{place}]",
            "test r11d, r11d",
            "jz 31f",
            "31: lea rdx, [r11 + 3]",
            "dec ecx",
            "jnz 30b",
            place = in(reg) &raw mut place,
            inout("ecx") turns => _,
            inout("rax") 0_u64 => _, inout("r9") 0_u64 => _, inout("r10") 0_u64 => _,
            out("r11") _, out("rdx") _,
        );
    }
}
