//! Overflow, status, PMI, freezing.

use crate::Step::{Lvtpc, LvtpcIs, PmisTaken, Read, Run, Write};
use crate::msr::*;
use crate::{Geometry, HANDLER, LVT_MASKED, LVT_NMI, PMI_VECTOR, Program, Scenario, WINDOW};

const LOOP: Program = Program::Loop(1000);
const SEEN: u64 = LOOP.instructions() + WINDOW;
const ON: u64 = EN | OS | USR;
/// A counter that overflows after this many events.
const PERIOD: u64 = 1000;

pub(crate) fn scenarios(geometry: &Geometry, visit: &mut dyn FnMut(&Scenario)) {
    let mut scenario = |name, section, steps: &[_]| visit(&Scenario { name, section, steps });
    let start = geometry.counter_mask() + 1 - PERIOD;
    let fixed_start = geometry.fixed_mask() + 1 - PERIOD;
    let last = geometry.general - 1;

    scenario(
        "overflow sets the status bit and wraps",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            Read(IA32_PERF_GLOBAL_STATUS, 1),
            Read(IA32_PMC0, SEEN - PERIOD),
            Write(IA32_PERF_GLOBAL_STATUS_RESET, 1),
            Read(IA32_PERF_GLOBAL_STATUS, 0),
        ],
    );
    scenario(
        "no overflow one event before",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0, geometry.counter_mask() - SEEN),
            Run(1, LOOP),
            Read(IA32_PERF_GLOBAL_STATUS, 0),
            Read(IA32_PMC0, geometry.counter_mask()),
        ],
    );
    scenario(
        "overflow with the last event",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0, geometry.counter_mask() + 1 - SEEN),
            Run(1, LOOP),
            Read(IA32_PERF_GLOBAL_STATUS, 1),
            Read(IA32_PMC0, 0),
        ],
    );
    scenario(
        "every counter has its status bit",
        "20.2.2",
        &[
            Write(IA32_PERFEVTSEL0 + last, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0 + last, start),
            Write(IA32_FIXED_CTR_CTRL, 0x333),
            Write(IA32_FIXED_CTR0, fixed_start),
            Write(IA32_FIXED_CTR0 + 1, fixed_start),
            Write(IA32_FIXED_CTR0 + 2, fixed_start),
            Run(7 << 32 | 1 << last, LOOP),
            Read(IA32_PERF_GLOBAL_STATUS, 7 << 32 | 1 << last),
            Read(IA32_FIXED_CTR0 + 1, SEEN - PERIOD),
        ],
    );
    scenario(
        "writing a counter sets no status bit",
        "20.2.2",
        &[
            Write(IA32_A_PMC0, geometry.counter_mask()),
            Write(IA32_A_PMC0, 0),
            Read(IA32_PERF_GLOBAL_STATUS, 0),
        ],
    );
    scenario(
        "INT clear: no PMI",
        "20.2.1.1",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(0),
            LvtpcIs(PMI_VECTOR),
        ],
    );
    scenario(
        "INT set: one PMI, LVTPC masked by its delivery",
        "20.2.1.1, 11.5.1",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(1),
            LvtpcIs(LVT_MASKED | PMI_VECTOR),
            Read(IA32_PERF_GLOBAL_STATUS, 1),
            Read(IA32_PMC0, HANDLER),
        ],
    );
    scenario(
        "masked LVTPC: the status bit, but no PMI",
        "11.5.1",
        &[
            Lvtpc(LVT_MASKED | PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(0),
            Read(IA32_PERF_GLOBAL_STATUS, 1),
            Read(IA32_PMC0, SEEN - PERIOD),
        ],
    );
    scenario(
        "unmasking LVTPC later delivers nothing",
        "11.5.1",
        &[
            Lvtpc(LVT_MASKED | PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            Lvtpc(PMI_VECTOR),
            Run(0, LOOP),
            PmisTaken(0),
        ],
    );
    scenario(
        "a second PMI needs LVTPC unmasked again",
        "11.5.1",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(1),
            Lvtpc(PMI_VECTOR),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(2),
        ],
    );
    scenario(
        "PMI although the status bit is still set",
        "20.2.2",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            Read(IA32_PERF_GLOBAL_STATUS, 1),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_A_PMC0, start),
            Run(1, LOOP),
            PmisTaken(1),
        ],
    );
    scenario(
        "two overflows in one instruction: one PMI",
        "20.2.1.1",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
            Write(IA32_PERFEVTSEL0 + 1, ON | INT | CORE_CYCLES),
            Write(IA32_A_PMC0, start),
            Write(IA32_A_PMC0 + 1, start),
            Run(3, LOOP),
            PmisTaken(1),
            Read(IA32_PERF_GLOBAL_STATUS, 3),
        ],
    );
    scenario(
        "PMI of a fixed counter",
        "20.2.2",
        &[
            Lvtpc(PMI_VECTOR),
            Write(IA32_FIXED_CTR_CTRL, 0xB),
            Write(IA32_FIXED_CTR0, fixed_start),
            Run(1 << 32, LOOP),
            PmisTaken(1),
            Read(IA32_PERF_GLOBAL_STATUS, 1 << 32),
            Read(IA32_FIXED_CTR0, HANDLER),
        ],
    );
    scenario(
        "PMI as NMI",
        "11.5.1",
        &[
            Lvtpc(LVT_NMI),
            Write(IA32_PERFEVTSEL0, ON | INT | BRANCHES),
            Write(IA32_A_PMC0, geometry.counter_mask() + 1 - 10),
            Run(1, LOOP),
            PmisTaken(1),
            LvtpcIs(LVT_MASKED | LVT_NMI),
            Read(IA32_PMC0, 0),
        ],
    );
    if geometry.version >= 4 {
        scenario(
            "setting a status bit by software sends no PMI",
            "20.2.4.2",
            &[
                Lvtpc(PMI_VECTOR),
                Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
                Write(IA32_PERF_GLOBAL_STATUS_SET, 1),
                Run(0, LOOP),
                PmisTaken(0),
            ],
        );
        scenario(
            "streamlined freeze: CTR_FRZ stops all counters, GLOBAL_CTRL stays",
            "18.4.7",
            &[
                Lvtpc(PMI_VECTOR),
                Write(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
                Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
                Write(IA32_PERFEVTSEL0 + 1, ON | INSTRUCTIONS),
                Write(IA32_A_PMC0, start),
                Run(3, LOOP),
                PmisTaken(1),
                Read(IA32_PERF_GLOBAL_STATUS, CTR_FRZ | 1),
                Read(IA32_PMC0, 0),
                Read(IA32_PMC0 + 1, PERIOD),
                Run(3, LOOP),
                Read(IA32_PMC0 + 1, PERIOD),
                Write(IA32_PERF_GLOBAL_STATUS_RESET, CTR_FRZ | 1),
                Run(2, LOOP),
                Read(IA32_PMC0 + 1, PERIOD + SEEN),
            ],
        );
        scenario(
            "CTR_FRZ set by software freezes, reset resumes",
            "20.2.4.2",
            &[
                Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
                Write(IA32_PERF_GLOBAL_STATUS_SET, CTR_FRZ),
                Run(1, LOOP),
                Read(IA32_PMC0, 0),
                Write(IA32_PERF_GLOBAL_STATUS_RESET, CTR_FRZ),
                Run(1, LOOP),
                Read(IA32_PMC0, SEEN),
            ],
        );
        scenario(
            "an overflow without INT freezes nothing",
            "18.4.7",
            &[
                Write(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
                Write(IA32_PERFEVTSEL0, ON | INSTRUCTIONS),
                Write(IA32_A_PMC0, start),
                Run(1, LOOP),
                Read(IA32_PERF_GLOBAL_STATUS, 1),
                Read(IA32_PMC0, SEEN - PERIOD),
            ],
        );
    } else {
        scenario(
            "legacy freeze: a PMI clears GLOBAL_CTRL",
            "18.4.7",
            &[
                Lvtpc(PMI_VECTOR),
                Write(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
                Write(IA32_PERFEVTSEL0, ON | INT | INSTRUCTIONS),
                Write(IA32_A_PMC0, start),
                Run(1, LOOP),
                PmisTaken(1),
                Read(IA32_PERF_GLOBAL_STATUS, 1),
                Read(IA32_PMC0, 0),
            ],
        );
    }
}
