//! SSE registers, and AVX registers where CPUID has them, keep their values across exits and beside another VM.

use crate::Checks;
use core::arch::asm;
use guest::cpu::{cpuid, rdtsc};
use guest::multiboot::Information;
use guest::println;

/// Exits in a row, and how often unless `rounds=` says it. Between two VMs of one priority the kernel changes at its
/// timer tick.
const EXITS: u64 = 50;
const ROUNDS: u64 = 200;
/// CPUID leaf 1, ECX (SDM vol. 2A, CPUID): XSAVE, AVX.
const XSAVE: u32 = 1 << 26;
const AVX: u32 = 1 << 28;
/// CR4.OSXSAVE, and XCR0 with x87, SSE and AVX (SDM vol. 3A, 2.5, 2.6).
const OSXSAVE: u64 = 1 << 18;
const XCR0: u32 = 7;

/// Registers of 128 bits, sixteen of them.
type Sse = [[u64; 2]; 16];
/// Registers of 256 bits.
type Avx = [[u64; 4]; 16];

/// Loads every register, exits, and stores every register.
macro_rules! across_exits {
    ($name:ident, $type:ty, $move:literal, $letter:literal, $step:literal) => {
        fn $name(before: &$type, after: &mut $type) {
            // SAFETY: reads and writes the two arrays, which are as large as the registers are, and keeps RBX.
            unsafe {
                asm!(
                    "push rbx",
                    concat!(
                        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
                        $move, " ", $letter, "mm\\i, [rsi + ", $step, " * \\i]\n",
                        ".endr"
                    ),
                    "2: xor eax, eax",
                    "xor ecx, ecx",
                    "cpuid",
                    "dec r8",
                    "jnz 2b",
                    concat!(
                        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
                        $move, " [rdi + ", $step, " * \\i], ", $letter, "mm\\i\n",
                        ".endr"
                    ),
                    "pop rbx",
                    inout("r8") EXITS => _,
                    in("rsi") before,
                    in("rdi") after,
                    out("rax") _, out("rcx") _, out("rdx") _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                );
            }
        }
    };
}

across_exits!(sse, Sse, "movdqu", "x", "16");
across_exits!(avx, Avx, "vmovdqu", "y", "32");

/// Values of this moment, so that no two VMs have the same.
fn values<const N: usize>() -> [[u64; N]; 16] {
    let mut state = rdtsc() | 1;
    core::array::from_fn(|_| {
        core::array::from_fn(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state
        })
    })
}

pub fn check(checks: &mut Checks, information: &Information) {
    let rounds = information.value("rounds").and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut kept = 0;
    for _ in 0..rounds {
        let before = values::<2>();
        let mut after = [[0; 2]; 16];
        sse(&before, &mut after);
        kept += u64::from(before == after);
    }
    checks.equal("sse-rounds", kept, rounds);
    let features = cpuid(1)[2];
    let has_avx = features & XSAVE != 0 && features & AVX != 0;
    println!("@state sse=1 avx={}", u32::from(has_avx));
    if !has_avx {
        return;
    }
    enable_avx();
    checks.is("osxsave", cpuid(1)[2] & 1 << 27 != 0);
    let mut kept = 0;
    for _ in 0..rounds {
        let before = values::<4>();
        let mut after = [[0; 4]; 16];
        avx(&before, &mut after);
        kept += u64::from(before == after);
    }
    checks.equal("avx-rounds", kept, rounds);
}

fn enable_avx() {
    // SAFETY: CPUID has XSAVE and AVX, and this program has no other use of CR4.OSXSAVE and XCR0.
    unsafe {
        asm!(
            "mov {cr4}, cr4", "or {cr4}, {osxsave}", "mov cr4, {cr4}",
            "xsetbv",
            cr4 = out(reg) _,
            osxsave = const OSXSAVE,
            in("ecx") 0, in("eax") XCR0, in("edx") 0,
            options(nomem, nostack),
        );
    }
}
