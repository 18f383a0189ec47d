//! The length of a loop between two writes of IA32_PERF_GLOBAL_CTRL, to the instruction.

use crate::Checks;
use core::arch::asm;
use guest::cpu::{cpuid, rdmsr, rdpmc, try_rdmsr, try_wrmsr, wrmsr};
use guest::multiboot::Information;
use guest::pmu::{
    A_PMC0, BRANCHES, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, GLOBAL_CTRL, Geometry, INSTRUCTIONS,
    PERF_CAPABILITIES, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, clear,
};
use guest::println;

/// Instructions and branches of an iteration.
const BODY: u64 = 10;
/// Besides the iterations: the enabling WRMSR, which counts itself (1), what comes before the loop (5), the call and
/// what follows it (4), a jump (1), and what comes before the disabling WRMSR (6), which does not count itself.
const AROUND: u64 = 1 + 5 + 4 + 1 + 6;
/// The call and the jump.
const BRANCHES_AROUND: u64 = 2;
/// IA32_FIXED_CTR0 by RDPMC (SDM vol. 2B, RDPMC).
const RDPMC_FIXED: u32 = 1 << 30;

/// CPUID leaf 1, ECX: IA32_PERF_CAPABILITIES; its bit FW_WRITES; a value that no write of 32 bits gives.
const PDCM: u32 = 1 << 15;
const FULL_WIDTH: u64 = 1 << 13;
const WIDE: u64 = 1 << 40 | 5;

/// Runs `iterations` with the counters of `enable`.
fn run(enable: u64, iterations: u64) {
    let [a, b, c, d, e, f, g, h] = enable.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    // SAFETY: uses no memory but a word of the stack, which it takes back, and the registers that it names.
    unsafe {
        asm!(
            "wrmsr",
            // Five.
            "mov rsi, {n}", "xor edi, edi", "lea r8, [rdi + 1]", "mfence", "mov rcx, rsi",
            // Ten, of which one is a branch.
            "2: add rdi, r8", "xor r9, rdi", "rol r9, 7", "nop", "nop", "lea r9, [r9 + 4]", "nop", "nop",
            "dec rcx", "jnz 2b",
            // Four, of which one is a branch.
            "call 3f", "3: pop rsi", "add rsi, 0", "nop",
            // One.
            "jmp 4f", "nop", "4:",
            // Six.
            "mov ecx, {global_ctrl}", "xor eax, eax", "xor edx, edx", "nop", "nop", "nop",
            "wrmsr",
            n = in(reg) iterations,
            global_ctrl = const GLOBAL_CTRL,
            inout("ecx") GLOBAL_CTRL => _,
            inout("eax") low => _,
            inout("edx") high => _,
            out("rsi") _,
            out("rdi") _,
            out("r8") _,
            out("r9") _,
        );
    }
}

/// IA32_PERF_CAPABILITIES says whether counters are written at full width (SDM vol. 3B, 20.2.8).
pub fn capabilities(checks: &mut Checks) {
    let said = if cpuid(1)[2] & PDCM == 0 {
        checks.is("no-capabilities-without-pdcm", try_rdmsr(PERF_CAPABILITIES).is_err());
        false
    } else {
        rdmsr(PERF_CAPABILITIES) & FULL_WIDTH != 0
    };
    let written = try_wrmsr(A_PMC0, WIDE).is_ok();
    checks.equal("full-width-writes", written.into(), said.into());
    if written {
        checks.equal("full-width", rdmsr(PMC0), WIDE);
        wrmsr(A_PMC0, 0);
    }
    println!("@full-width writes={}", u8::from(written));
}

pub fn check(checks: &mut Checks, _: &Information) {
    let geometry = Geometry::read();
    // Without IA32_PERF_GLOBAL_CTRL the enabling write is another one.
    if geometry.version < 2 {
        println!("@counting version={} tried=0", geometry.version);
        return;
    }
    let mut tried = 0;
    for (event, around) in [(INSTRUCTIONS, AROUND), (BRANCHES, BRANCHES_AROUND)] {
        for counter in 0..geometry.general {
            for iterations in [1, 1000, 100_000] {
                clear(&geometry);
                wrmsr(PERFEVTSEL0 + counter, EVENTS[event].code | SELECT_ALL_RINGS);
                run(1 << counter, iterations);
                let each = if event == INSTRUCTIONS { BODY } else { 1 };
                checks.equal(EVENTS[event].name, rdpmc(counter), each * iterations + around);
                tried += 1;
            }
        }
    }
    if geometry.fixed > 0 {
        clear(&geometry);
        wrmsr(FIXED_CTR_CTRL, FIXED_ALL_RINGS);
        run(1 << 32, 1000);
        checks.equal("fixed-instructions", rdpmc(RDPMC_FIXED), BODY * 1000 + AROUND);
        tried += 1;
    }
    checks.equal("all-stopped", rdmsr(GLOBAL_CTRL), 0);
    clear(&geometry);
    println!("@counting version={} tried={tried}", geometry.version);
}
