//! Which ring an instruction counts for: the one that executed it.

use crate::report::Report;
use crate::{discovery, state};
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::cpu::{control_registers, set_cr4, split};
use machine_kernels::traps::{Guard, PMI_CS, PMI_RIP, selector, set_user_gate};
use machine_scenarios::{HANDLER, msr::*};

const IA32_STAR: u32 = 0xC000_0081;
const IA32_LSTAR: u32 = 0xC000_0082;
const IA32_FMASK: u32 = 0xC000_0084;
const CR4_PCE: u64 = 1 << 8;
/// Turns of the loops in user code.
const TURNS: u64 = 1000;
/// DEC and JNZ each turn.
const LOOP: u64 = 2 * TURNS;

pub fn check(report: &mut Report) {
    iret_and_int(report);
    syscall_and_sysret(report);
    pmi_in_user_mode(report);
    rdpmc(report);
}

/// Counter 0 in user mode, 1 in ring 0, 2 branches in user mode, 3 branches in ring 0; fixed 0 in both.
fn program() -> u64 {
    state::reset(&discovery::geometry());
    state::write(IA32_PERFEVTSEL0, EN | USR | INSTRUCTIONS);
    state::write(IA32_PERFEVTSEL0 + 1, EN | OS | INSTRUCTIONS);
    state::write(IA32_PERFEVTSEL0 + 2, EN | USR | BRANCHES);
    state::write(IA32_PERFEVTSEL0 + 3, EN | OS | BRANCHES);
    state::write(IA32_FIXED_CTR_CTRL, 3);
    1 << 32 | 0xF
}

fn compare(report: &mut Report, how: &str, user: [u64; 2], kernel: [u64; 2]) {
    let mut check = |what, msr, want| {
        report.check(format_args!("{how}: {what}"), "20.2.1.1", state::read(msr), want);
    };
    check("instructions of ring 3", IA32_PMC0, user[0]);
    check("instructions of ring 0", IA32_PMC0 + 1, kernel[0]);
    check("branches of ring 3", IA32_PMC0 + 2, user[1]);
    check("branches of ring 0", IA32_PMC0 + 3, kernel[1]);
    check("instructions of both", IA32_FIXED_CTR0, user[0] + kernel[0]);
}

/// Runs `$user` in ring 3, entered by IRETQ with RFLAGS `$flags` and left by INT 0x80; R8 is the loop counter.
/// Ring 0 executes IRETQ before, and three loads and a WRMSR after.
macro_rules! in_ring_3 {
    ($ctrl:expr, $flags:expr, [$($user:literal),*], $($operands:tt)*) => {{
        let handler: u64;
        // SAFETY: reads an address.
        unsafe { asm!("lea {}, [rip + ring_3_return]", out(reg) handler) };
        set_user_gate(handler);
        let place: u64;
        let (high, low) = split($ctrl);
        // SAFETY: the kernel's stack pointer is saved in R15 and restored by the INT handler, which runs on the
        // stack of ring 0; user code touches registers only; the block's registers are named.
        unsafe {
            asm!(
                "mov r15, rsp",
                "push {data}",
                "push r15",
                "push {flags}",
                "push {code}",
                "lea {place}, [rip + 20f]",
                "push {place}",
                "lea r14, [rip + 21f]",
                "mov [rip + ring_3_resume], r14",
                "wrmsr",
                "iretq",
                "20:",
                $($user,)*
                "int 0x80",
                "21:",
                data = in(reg) u64::from(selector::USER_DATA),
                code = in(reg) u64::from(selector::USER_CODE),
                flags = in(reg) $flags,
                place = out(reg) place,
                inout("ecx") IA32_PERF_GLOBAL_CTRL => _,
                inout("eax") low => _,
                inout("edx") high => _,
                inout("r8d") 1000 => _,
                out("r14") _, out("r15") _,
                $($operands)*
            );
        }
        place
    }};
}

// INT 0x80 from ring 3, and SYSCALL: stops the counters and goes on in ring 0 after the user code.
core::arch::global_asm!(
    ".section .text.ring_3, \"ax\"",
    ".globl ring_3_return",
    "ring_3_return:",
    "mov ecx, 0x38F",
    "xor eax, eax",
    "xor edx, edx",
    "wrmsr",
    "mov rsp, r15",
    "mov ecx, 0x10",
    "mov ss, ecx",
    "jmp qword ptr [rip + ring_3_resume]",
    ".section .bss.ring_3, \"aw\", @nobits",
    ".balign 8",
    ".globl ring_3_resume",
    "ring_3_resume: .skip 8",
);

/// Instructions of ring 0 in `ring_3_return` until the counters stop.
const RETURN: u64 = 4;
/// RFLAGS: the bit that is always set.
const FLAGS: u64 = 2;
/// RFLAGS.IF.
const FLAGS_IF: u64 = 1 << 9;

fn iret_and_int(report: &mut Report) {
    let ctrl = program();
    in_ring_3!(ctrl, FLAGS, ["30:", "dec r8d", "jnz 30b"],);
    // Ring 3: the loop and INT; ring 0: IRETQ and the return code. INT and IRET are branches (20.2.1.2).
    compare(report, "IRET, INT", [LOOP + 1, TURNS + 1], [1 + RETURN, 1]);
}

fn syscall_and_sysret(report: &mut Report) {
    let ctrl = program();
    let handler: u64;
    // SAFETY: reads an address.
    unsafe { asm!("lea {}, [rip + ring_3_return]", out(reg) handler) };
    let star = u64::from(selector::SYSRET_BASE) << 48 | u64::from(selector::KERNEL_CODE) << 32;
    state::write(IA32_STAR, star);
    state::write(IA32_LSTAR, handler);
    state::write(IA32_FMASK, FLAGS_IF);
    let (high, low) = split(ctrl);
    // SAFETY: as in `in_ring_3`; SYSCALL keeps the user's stack pointer, which user code does not use, and the
    // return code restores ours from R15.
    unsafe {
        asm!(
            "mov r15, rsp",
            "lea r14, [rip + 21f]",
            "mov [rip + ring_3_resume], r14",
            "wrmsr",
            "lea rcx, [rip + 20f]",
            "mov r11d, 2",
            "sysretq",
            "20:",
            "30:",
            "dec r8d",
            "jnz 30b",
            "syscall",
            "21:",
            inout("ecx") IA32_PERF_GLOBAL_CTRL => _,
            inout("eax") low => _,
            inout("edx") high => _,
            inout("r8d") 1000 => _,
            out("r11") _, out("r14") _, out("r15") _,
        );
    }
    // Ring 3: the loop and SYSCALL; ring 0: LEA, MOV, SYSRET and the return code.
    compare(report, "SYSRET, SYSCALL", [LOOP + 1, TURNS + 1], [3 + RETURN, 1]);
}

fn pmi_in_user_mode(report: &mut Report) {
    const PERIOD: u64 = 1001;
    let geometry = discovery::geometry();
    state::arm(&geometry, PERIOD);
    state::write(IA32_PERFEVTSEL0, EN | USR | INT | INSTRUCTIONS);
    state::write(IA32_PERFEVTSEL0 + 1, EN | OS | INSTRUCTIONS);
    let ctrl: u64 = 3;
    let start = in_ring_3!(ctrl, FLAGS | FLAGS_IF, ["30:", "dec r8d", "jnz 30b"],);
    report.check("PMI in ring 3: one", "20.2.1.1", state::pmis(), 1);
    report.check("PMI in ring 3: returns there", "7.6", PMI_CS.load(Relaxed), u64::from(selector::USER_CODE));
    // An odd number of instructions: after DEC, which has three bytes.
    report.check("PMI in ring 3: its return address", "7.6", PMI_RIP.load(Relaxed).wrapping_sub(start), 3);
    report.check(
        "PMI in ring 3: its handler does not count for ring 3",
        "20.2.1.1",
        state::read(IA32_PMC0),
        0,
    );
    // IRETQ and the handler until it stops the counters.
    report.check(
        "PMI in ring 3: its handler counts for ring 0",
        "20.2.1.1",
        state::read(IA32_PMC0 + 1),
        1 + HANDLER,
    );
}

/// RDPMC in ring 3 is CR4.PCE's to allow.
fn rdpmc(report: &mut Report) {
    let (_, _, cr4) = control_registers();
    for (allowed, cr4) in [(false, cr4 & !CR4_PCE), (true, cr4 | CR4_PCE)] {
        state::reset(&discovery::geometry());
        state::write(IA32_A_PMC0, 0x1234_5678_9ABC);
        set_cr4(cr4);
        let (low, high): (u64, u64);
        let none: u64 = 0;
        let guard = Guard::new();
        in_ring_3!(none, FLAGS, ["xor ecx, ecx", "rdpmc", "mov r9, rax", "mov r10, rdx"],
            out("r9") low, out("r10") high,);
        let name = format_args!("RDPMC in ring 3, CR4.PCE {}: #GP", u8::from(allowed));
        report.check(name, "RDPMC", u64::from(guard.faulted()), u64::from(!allowed));
        if allowed {
            report.check(
                "RDPMC in ring 3, CR4.PCE 1: the value",
                "RDPMC",
                high << 32 | low,
                0x1234_5678_9ABC,
            );
        }
    }
    set_cr4(cr4 & !CR4_PCE);
}
