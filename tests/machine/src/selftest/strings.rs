//! Repeated string instructions.

use crate::report::Report;
use crate::state::{ON, arm, count, pmis, read, write};
use crate::window::{rep_movsb, repe_scasb};
use core::sync::atomic::Ordering::Relaxed;
use machine_kernels::traps::{HANDLER_END, PMI_RIP, RELOAD, RESUME};
use machine_scenarios::{Geometry, HANDLER, WINDOW, msr::*};

static ZEROS: [u8; 4096] = [0; 4096];

pub fn check(report: &mut Report, geometry: &Geometry) {
    let mut buffer = [0_u8; 4096];
    for length in [0, 1, 4000] {
        let name = format_args!("REP MOVSB of {length} bytes is one instruction");
        let got = count(geometry, ON | INSTRUCTIONS, |ctrl| rep_movsb(ctrl, length, &ZEROS, &mut buffer));
        // MOV ECX and the string instruction.
        report.check(name, "20.2.1.2", got, 2 + WINDOW);
    }
    let got = count(geometry, ON | INSTRUCTIONS, |ctrl| repe_scasb(ctrl, 1000, &ZEROS));
    // MOV ECX, XOR EAX and the string instruction.
    report.check("REPE SCASB of 1000 bytes is one instruction", "20.2.1.2", got, 3 + WINDOW);

    // A PMI in the middle, from the cycle counter: the instruction is resumed, and retires once.
    let cycles = |n| geometry.fixed_mask() + 1 - n;
    arm(geometry, 1 << 40);
    write(IA32_PERFEVTSEL0, 0);
    write(IA32_FIXED_CTR_CTRL, 0x93);
    write(IA32_FIXED_CTR0 + 1, cycles(100));
    RELOAD.store(0, Relaxed);
    RESUME.store(3 << 32, Relaxed);
    let start = rep_movsb(3 << 32, 4000, &ZEROS, &mut buffer);
    RESUME.store(0, Relaxed);
    report.check("PMI within REP MOVSB: one", "7.6", pmis(), 1);
    // The three-byte MOV comes before.
    report.check(
        "PMI within REP MOVSB: returns to the instruction",
        "7.6",
        PMI_RIP.load(Relaxed).wrapping_sub(start),
        3,
    );
    let want = 2 + WINDOW + HANDLER + HANDLER_END;
    report.check("PMI within REP MOVSB: it retires once", "20.2.1.2", read(IA32_FIXED_CTR0), want);
}
