//! Windows: a WRMSR of IA32_PERF_GLOBAL_CTRL, code of known length, a WRMSR that clears it again. Nothing that a
//! compiler made runs in between.

use core::arch::asm;
use machine_kernels::cpu::split;
use machine_scenarios::{Program, msr::IA32_PERF_GLOBAL_CTRL};

/// Where a window's code begins, for comparison with the address that a PMI returns to.
pub type Place = u64;

/// Number of one-byte instructions in [`nops`].
pub const NOPS: u64 = 2000;

/// The code between the two WRMSRs, with the interrupt flag set by `$enter` before and `$leave` after.
macro_rules! window {
    ($ctrl:expr, $enter:literal, [$($code:literal),*], $($operands:tt)*) => {{
        let place: u64;
        let (high, low) = split($ctrl);
        // SAFETY: the code changes the registers that are named, counts, reads memory that is mapped and has no
        // other effect; interrupts save all registers and use stacks of their own.
        unsafe {
            asm!(
                "lea {place}, [rip + 20f]",
                $enter,
                "wrmsr",
                "20:",
                $($code,)*
                "mov ecx, 0x38F",
                "xor eax, eax",
                "xor edx, edx",
                "wrmsr",
                "cli",
                place = out(reg) place,
                inout("ecx") IA32_PERF_GLOBAL_CTRL => _,
                inout("eax") low => _,
                inout("edx") high => _,
                $($operands)*
            );
        }
        place
    }};
}

/// A program with interrupts enabled.
pub fn run(ctrl: u64, program: Program) -> Place {
    /// Where `Program::Loads` reads: 16 MiB, beyond the kernel.
    const BUFFER: u64 = 0x100_0000;
    match program {
        Program::Loop(n) => window!(
            ctrl, "sti",
            ["30:", "nop", "nop", "nop", "nop", "nop", "dec r8d", "jnz 30b"],
            inout("r8d") n => _,
        ),
        Program::Calls(n) => window!(
            ctrl, "jmp 31f\n30: ret\n31: sti",
            ["32:", "call 30b", "dec r8d", "jnz 32b"],
            inout("r8d") n => _,
        ),
        Program::Loads(n) => window!(
            ctrl, "sti",
            ["30:", "mov rax, [r9]", "add r9, 64", "dec r8d", "jnz 30b"],
            inout("r8d") n => _, inout("r9") BUFFER => _,
        ),
    }
}

/// [`NOPS`] one-byte instructions with interrupts enabled.
pub fn nops(ctrl: u64) -> Place {
    window!(ctrl, "sti", [".rept 2000\nnop\n.endr"],)
}

/// The same with interrupts disabled.
pub fn nops_uninterrupted(ctrl: u64) -> Place {
    window!(ctrl, "cli", [".rept 2000\nnop\n.endr"],)
}

/// MOV ECX, REP MOVSB of `count` bytes. The string instruction is two bytes and follows the three-byte MOV.
pub fn rep_movsb(ctrl: u64, count: u32, from: &[u8], to: &mut [u8]) -> Place {
    assert!(from.len() >= count as usize && to.len() >= count as usize, "buffers too small");
    window!(ctrl, "sti", ["mov ecx, r8d", "rep movsb"],
        in("r8d") count, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _,)
}

/// MOV ECX, XOR EAX, REPE SCASB over `count` zero bytes.
pub fn repe_scasb(ctrl: u64, count: u32, zeros: &[u8]) -> Place {
    assert!(zeros.len() >= count as usize, "buffer too small");
    window!(ctrl, "sti", ["mov ecx, r8d", "xor eax, eax", "repe scasb"],
        in("r8d") count, inout("rdi") zeros.as_ptr() => _,)
}

/// HLT with interrupts enabled.
pub fn halt(ctrl: u64) -> Place {
    window!(ctrl, "sti", ["hlt"],)
}

/// A window whose code is repeated ten times between two RDTSC; gives the time stamps from one to the other.
macro_rules! timed {
    ($(#[$meta:meta])* $name:ident: $($code:literal),*) => {
        $(#[$meta])*
        pub fn $name(ctrl: u64) -> u64 {
            let cycles: u64;
            window!(
                ctrl, "cli",
                ["rdtsc", "mov r9d, eax", ".rept 10", $($code,)* ".endr", "rdtsc", "sub eax, r9d", "mov r9d, eax"],
                out("r9") cycles,
            );
            cycles
        }
    };
}

/// Instructions of a timed window beside the repeated ones: two RDTSC, two MOV, SUB.
pub const TIMED: u64 = 5;
/// Those from the first RDTSC to the second.
pub const BETWEEN: u64 = 2;
/// How often a timed window repeats its code.
pub const REPEATED: u64 = 10;

timed! {
    /// RDMSR of IA32_PERF_GLOBAL_STATUS: two instructions.
    timed_rdmsr: "mov ecx, 0x38E", "rdmsr"
}
timed! {
    /// WRMSR of 0 to IA32_PERF_GLOBAL_STATUS_RESET: four instructions.
    timed_wrmsr_pmu: "mov ecx, 0x390", "xor eax, eax", "xor edx, edx", "wrmsr"
}
timed! {
    /// WRMSR of 0 to IA32_LSTAR: four instructions.
    timed_wrmsr_other: "mov ecx, 0xC0000082", "xor eax, eax", "xor edx, edx", "wrmsr"
}
timed! {
    /// RDPMC of counter 0: two instructions.
    timed_rdpmc: "xor ecx, ecx", "rdpmc"
}
timed! {
    /// Two instructions that cost nothing beyond their cycles.
    timed_nops: "nop", "nop"
}
