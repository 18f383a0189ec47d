//! What counts, and how much.

use crate::Step::{Rdpmc, Read, Run, Write};
use crate::msr::*;
use crate::{Geometry, Program, Scenario, WINDOW};

/// Bits of [`Geometry::events`].
const EVENT_LLC_REFERENCES: u32 = 1 << 3;
const EVENT_LLC_MISSES: u32 = 1 << 4;
const EVENT_SLOTS: u32 = 1 << 7;
/// Cache lines of the machine's last-level cache: 4 MiB of 64 bytes.
const LLC_LINES: u32 = 65536;
/// Slots in a core cycle, of the simulated machine.
const SLOTS_PER_CYCLE: u64 = 4;

const LOOP: Program = Program::Loop(1000);
/// Instructions that a counter sees of a window around [`LOOP`]; core cycles too, one an instruction.
const SEEN: u64 = LOOP.instructions() + WINDOW;
const ON: u64 = EN | OS | USR;

pub(crate) fn scenarios(geometry: &Geometry, visit: &mut dyn FnMut(&Scenario)) {
    let mut one = |name, section, selector, program, count| {
        let steps =
            [Write(IA32_PERFEVTSEL0, selector), Run(1, program), Read(IA32_PMC0, count), Rdpmc(0, count)];
        visit(&Scenario { name, section, steps: &steps });
    };
    one("event: instructions retired", "20.2.1.2", ON | INSTRUCTIONS, LOOP, SEEN);
    one("event: core cycles", "20.2.1.2", ON | CORE_CYCLES, LOOP, SEEN);
    one("event: reference cycles", "20.2.1.2", ON | REFERENCE_CYCLES, LOOP, SEEN);
    one("event: branches, conditional", "20.2.1.2", ON | BRANCHES, LOOP, LOOP.branches());
    let calls = Program::Calls(500);
    one("event: branches, calls and returns", "20.2.1.2", ON | BRANCHES, calls, calls.branches());
    one("event: instructions of calls", "20.2.1.2", ON | INSTRUCTIONS, calls, calls.instructions() + WINDOW);
    one("an event that does not exist counts nothing", "20.2.1.1", ON | 0xFFFF, LOOP, 0);
    one("EN clear: no count", "20.2.1.1", OS | USR | INSTRUCTIONS, LOOP, 0);
    one("OS and USR clear: no count", "20.2.1.1", EN | INSTRUCTIONS, LOOP, 0);
    one("OS alone counts ring 0", "20.2.1.1", EN | OS | INSTRUCTIONS, LOOP, SEEN);
    one("USR alone does not count ring 0", "20.2.1.1", EN | USR | INSTRUCTIONS, LOOP, 0);
    one("USR alone does not count cycles of ring 0", "20.2.1.1", EN | USR | CORE_CYCLES, LOOP, 0);
    one("CMASK 1: cycles with an instruction", "20.2.1.1", ON | INSTRUCTIONS | CMASK, LOOP, SEEN);
    one("CMASK 2: cycles with two instructions", "20.2.1.1", ON | INSTRUCTIONS | (2 * CMASK), LOOP, 0);
    one(
        "CMASK 1 of branches: cycles with a branch",
        "20.2.1.1",
        ON | BRANCHES | CMASK,
        LOOP,
        LOOP.branches(),
    );
    one("INV, CMASK 1: cycles without an instruction", "20.2.1.1", ON | INSTRUCTIONS | INV | CMASK, LOOP, 0);
    one(
        "INV, CMASK 2: cycles with less than two",
        "20.2.1.1",
        ON | INSTRUCTIONS | INV | (2 * CMASK),
        LOOP,
        SEEN,
    );
    one(
        "INV, CMASK 1 of branches: cycles without a branch",
        "20.2.1.1",
        ON | BRANCHES | INV | CMASK,
        LOOP,
        SEEN - LOOP.branches(),
    );
    one("INV without CMASK is ignored", "20.2.1.1", ON | INSTRUCTIONS | INV, LOOP, SEEN);
    one(
        "EDGE, CMASK 1 of branches: each branch is an edge",
        "20.2.1.1",
        ON | BRANCHES | EDGE | CMASK,
        LOOP,
        LOOP.branches(),
    );
    // CALL and RET follow each other, DEC does not branch, JNZ and the next CALL follow each other: one run of
    // cycles with a branch a turn, except that the first begins without a JNZ before it and the last ends with one.
    one(
        "EDGE, CMASK 1: adjacent branches are one edge",
        "20.2.1.1",
        ON | BRANCHES | EDGE | CMASK,
        calls,
        500 + 1,
    );
    if geometry.events & EVENT_SLOTS != 0 {
        one("event: topdown slots", "20.2.1.2", ON | SLOTS, LOOP, SEEN * SLOTS_PER_CYCLE);
    }
    if geometry.events & EVENT_LLC_REFERENCES != 0 {
        let loads = Program::Loads(512);
        one("event: LLC references", "20.2.1.2", ON | LLC_REFERENCES, loads, 512);
    }

    let mut scenario = |name, section, steps: &[_]| visit(&Scenario { name, section, steps });
    scenario(
        "GLOBAL_CTRL clear: no count",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_FIXED_CTR_CTRL, 0x333),
            Run(1 << 1, LOOP),
            Read(IA32_PMC0, 0),
            Read(IA32_PMC0 + 1, 0),
            Read(IA32_FIXED_CTR0, 0),
        ],
    );
    scenario(
        "fixed counters: instructions, core and reference cycles",
        "20.2.2",
        &[
            Write(IA32_FIXED_CTR_CTRL, 0x333),
            Run(7 << 32, LOOP),
            Read(IA32_FIXED_CTR0, SEEN),
            Read(IA32_FIXED_CTR0 + 1, SEEN),
            Read(IA32_FIXED_CTR0 + 2, SEEN),
            Rdpmc(1 << 30, SEEN),
        ],
    );
    scenario(
        "fixed counters: the ring fields",
        "20.2.2",
        &[
            Write(IA32_FIXED_CTR_CTRL, 0x012),
            Run(7 << 32, LOOP),
            Read(IA32_FIXED_CTR0, 0),
            Read(IA32_FIXED_CTR0 + 1, SEEN),
            Read(IA32_FIXED_CTR0 + 2, 0),
        ],
    );
    if geometry.fixed > 3 {
        scenario(
            "fixed counter 3: slots",
            "20.2.5",
            &[
                Write(IA32_FIXED_CTR_CTRL, 0x3000),
                Run(1 << 35, LOOP),
                Read(IA32_FIXED_CTR0 + 3, SEEN * SLOTS_PER_CYCLE),
            ],
        );
    }
    let last = geometry.general - 1;
    scenario(
        "counters count at once, each its own event",
        "20.2.1",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_PERFEVTSEL0 + 1, ON | BRANCHES),
            Write(IA32_PERFEVTSEL0 + 2, ON | CORE_CYCLES),
            Write(IA32_PERFEVTSEL0 + last, ON | INSTRUCTIONS),
            Write(IA32_FIXED_CTR_CTRL, 0x3),
            Run(1 << 32 | 1 << last | 7, LOOP),
            Read(IA32_PMC0, SEEN),
            Read(IA32_PMC0 + 1, LOOP.branches()),
            Read(IA32_PMC0 + 2, SEEN),
            Read(IA32_PMC0 + last, SEEN),
            Read(IA32_FIXED_CTR0, SEEN),
        ],
    );
    scenario(
        "a stopped counter keeps its value and goes on from it",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Run(1, LOOP),
            Run(0, LOOP),
            Read(IA32_PMC0, SEEN),
            Run(1, LOOP),
            Read(IA32_PMC0, 2 * SEEN),
        ],
    );
    scenario(
        "branch misses of a learnt loop: its end",
        "20.2.1.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | BRANCH_MISSES),
            // Two runs teach the two-bit predictor; from then on only the exit of the loop is mispredicted.
            Run(0, LOOP),
            Run(0, LOOP),
            Run(1, LOOP),
            Read(IA32_PMC0, 1),
            Run(1, LOOP),
            Read(IA32_PMC0, 2),
        ],
    );
    if geometry.events & EVENT_LLC_MISSES != 0 {
        // Twice the cache's size in order: with LRU replacement nothing survives until the second pass, in
        // which each miss brings its neighbour along. A part that fits then stays.
        let twice = Program::Loads(2 * LLC_LINES);
        scenario(
            "event: LLC misses",
            "20.2.1.2",
            &[
                Write(IA32_PERFEVTSEL0, ON | LLC_MISSES),
                Run(1, twice),
                Write(IA32_PMC0, 0),
                Run(1, twice),
                Read(IA32_PMC0, u64::from(LLC_LINES)),
                Write(IA32_PMC0, 0),
                Run(1, Program::Loads(512)),
                Read(IA32_PMC0, 256),
                Run(1, Program::Loads(512)),
                Read(IA32_PMC0, 256),
            ],
        );
    }
}
