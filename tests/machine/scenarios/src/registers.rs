//! Registers: widths, reserved bits, what exists.

use crate::Step::{Rdpmc, RdpmcFaults, Read, ReadFaults, WritableBits, Write, WriteFaults};
use crate::msr::*;
use crate::{Geometry, Scenario};

pub(crate) fn scenarios(geometry: &Geometry, visit: &mut dyn FnMut(&Scenario)) {
    let mut scenario = |name, section, steps: &[_]| visit(&Scenario { name, section, steps });
    let &Geometry { version, general, fixed, .. } = geometry;
    let mask = geometry.counter_mask();

    scenario(
        "legacy write below bit 31 is kept",
        "20.2.8",
        &[Write(IA32_PMC0, 0x7FFF_FFFF), Read(IA32_PMC0, 0x7FFF_FFFF)],
    );
    scenario(
        "legacy write is sign-extended from bit 31",
        "20.2.8",
        &[Write(IA32_PMC0, 0x8000_0000), Read(IA32_PMC0, mask & !0x7FFF_FFFF), Rdpmc(0, mask & !0x7FFF_FFFF)],
    );
    scenario(
        "legacy write ignores bits 63:32",
        "20.2.8",
        &[Write(IA32_PMC0, 0xDEAD_BEEF_0000_0001), Read(IA32_PMC0, 1)],
    );
    scenario(
        "full-width write is kept whole",
        "20.2.8",
        &[
            Write(IA32_A_PMC0, 0x8123_4567_89AB & mask),
            Read(IA32_A_PMC0, 0x8123_4567_89AB & mask),
            Read(IA32_PMC0, 0x8123_4567_89AB & mask),
        ],
    );
    scenario(
        "full-width write beyond the counter's width faults",
        "20.2.8",
        &[
            Write(IA32_A_PMC0, 77),
            WriteFaults(IA32_A_PMC0, mask + 1),
            WriteFaults(IA32_A_PMC0, u64::MAX),
            Read(IA32_A_PMC0, 77),
        ],
    );
    scenario("bits of IA32_A_PMC0", "20.2.8", &[WritableBits(IA32_A_PMC0, mask)]);
    scenario("bits of IA32_PMC0", "20.2.8", &[WritableBits(IA32_PMC0, u64::MAX)]);
    scenario("bits of IA32_FIXED_CTR0", "20.2.2", &[WritableBits(IA32_FIXED_CTR0, geometry.fixed_mask())]);
    let any_thread = if geometry.any_thread_deprecated { 1 << 21 } else { 0 };
    scenario(
        "bits of IA32_PERFEVTSEL0",
        "20.2.1.1, 20.2.3",
        &[WritableBits(IA32_PERFEVTSEL0, 0xFFFF_FFFF & !any_thread)],
    );
    let any_thread = if geometry.any_thread_deprecated { 0x4444_4444 } else { 0 };
    let controls = (1_u64 << (4 * fixed)) - 1;
    scenario(
        "bits of IA32_FIXED_CTR_CTRL",
        "20.2.2, 20.2.3",
        &[WritableBits(IA32_FIXED_CTR_CTRL, controls & !any_thread)],
    );
    scenario(
        "bits of IA32_PERF_GLOBAL_CTRL",
        "20.2.2",
        &[WritableBits(IA32_PERF_GLOBAL_CTRL, geometry.all_counters())],
    );
    scenario(
        "IA32_PERF_GLOBAL_STATUS is read-only",
        "20.2.2",
        &[WriteFaults(IA32_PERF_GLOBAL_STATUS, 0), Read(IA32_PERF_GLOBAL_STATUS, 0)],
    );
    scenario("IA32_PERF_CAPABILITIES is read-only", "20.8", &[WriteFaults(IA32_PERF_CAPABILITIES, 0)]);
    scenario(
        "every counter and selector is a register of its own",
        "20.2.1",
        &[
            Write(IA32_PMC0, 1),
            Write(IA32_PMC0 + general - 1, 2),
            Write(IA32_PERFEVTSEL0, INSTRUCTIONS),
            Write(IA32_PERFEVTSEL0 + general - 1, BRANCHES),
            Write(IA32_FIXED_CTR0, 3),
            Write(IA32_FIXED_CTR0 + fixed - 1, 4),
            Read(IA32_PMC0, 1),
            Read(IA32_PMC0 + general - 1, 2),
            Read(IA32_PERFEVTSEL0, INSTRUCTIONS),
            Read(IA32_PERFEVTSEL0 + general - 1, BRANCHES),
            Read(IA32_FIXED_CTR0, 3),
            Read(IA32_FIXED_CTR0 + fixed - 1, 4),
        ],
    );
    scenario(
        "counters beyond the geometry do not exist",
        "20.2.1",
        &[
            ReadFaults(IA32_PMC0 + general),
            WriteFaults(IA32_PMC0 + general, 0),
            ReadFaults(IA32_A_PMC0 + general),
            WriteFaults(IA32_A_PMC0 + general, 0),
            ReadFaults(IA32_PERFEVTSEL0 + general),
            WriteFaults(IA32_PERFEVTSEL0 + general, 0),
            ReadFaults(IA32_FIXED_CTR0 + fixed),
            WriteFaults(IA32_FIXED_CTR0 + fixed, 0),
        ],
    );
    scenario(
        "RDPMC reads general-purpose and fixed counters",
        "RDPMC",
        &[
            Write(IA32_A_PMC0, 0x1234_5678_9ABC & mask),
            Write(IA32_FIXED_CTR0 + 1, 0xFEDC_BA98_7654 & geometry.fixed_mask()),
            Rdpmc(0, 0x1234_5678_9ABC & mask),
            Rdpmc(1 << 30 | 1, 0xFEDC_BA98_7654 & geometry.fixed_mask()),
        ],
    );
    scenario(
        "RDPMC beyond the geometry faults",
        "RDPMC",
        &[
            RdpmcFaults(general),
            RdpmcFaults(1 << 30 | fixed),
            RdpmcFaults(1 << 31),
            RdpmcFaults(0x2000 << 16),
            RdpmcFaults(u32::MAX),
        ],
    );
    let counters = geometry.all_counters();
    let frozen = if version >= 4 { LBR_FRZ | CTR_FRZ } else { 0 };
    let status = counters | frozen | OVF_UNCORE | OVF_BUF | COND_CHGD;
    scenario(
        "bits of IA32_PERF_GLOBAL_STATUS_RESET",
        "20.2.2, 20.2.4.2",
        &[WritableBits(IA32_PERF_GLOBAL_STATUS_RESET, status)],
    );
    if version >= 4 {
        scenario(
            "status bits are set and reset one by one",
            "20.2.4.2",
            &[
                Write(IA32_PERF_GLOBAL_STATUS_SET, geometry.all_counters()),
                Read(IA32_PERF_GLOBAL_STATUS, geometry.all_counters()),
                Write(IA32_PERF_GLOBAL_STATUS_RESET, 1 << 32 | 1),
                Read(IA32_PERF_GLOBAL_STATUS, geometry.all_counters() & !(1 << 32 | 1)),
                Write(IA32_PERF_GLOBAL_STATUS_RESET, geometry.all_counters()),
                Read(IA32_PERF_GLOBAL_STATUS, 0),
            ],
        );
        scenario(
            "bits of IA32_PERF_GLOBAL_STATUS_SET",
            "20.2.4.2",
            &[WritableBits(IA32_PERF_GLOBAL_STATUS_SET, status & !COND_CHGD)],
        );
        scenario(
            "status bits of absent counters are reserved",
            "20.2.4.2",
            &[
                WriteFaults(IA32_PERF_GLOBAL_STATUS_SET, 1 << general),
                WriteFaults(IA32_PERF_GLOBAL_STATUS_SET, 1 << (32 + fixed)),
                WriteFaults(IA32_PERF_GLOBAL_STATUS_RESET, 1 << general),
                WriteFaults(IA32_PERF_GLOBAL_STATUS_RESET, 1 << (32 + fixed)),
            ],
        );
        scenario(
            "IA32_PERF_GLOBAL_INUSE follows the selectors",
            "20.2.4.3",
            &[
                Read(IA32_PERF_GLOBAL_INUSE, 0),
                Write(IA32_PERFEVTSEL0 + 1, INSTRUCTIONS),
                Read(IA32_PERF_GLOBAL_INUSE, 1 << 1),
                Write(IA32_FIXED_CTR_CTRL, 0x30),
                Read(IA32_PERF_GLOBAL_INUSE, 1 << 33 | 1 << 1),
                Write(IA32_PERFEVTSEL0 + 1, INSTRUCTIONS | INT),
                Read(IA32_PERF_GLOBAL_INUSE, PMI_INUSE | 1 << 33 | 1 << 1),
                Write(IA32_PERFEVTSEL0 + 1, 0),
                Write(IA32_FIXED_CTR_CTRL, 0x8),
                Read(IA32_PERF_GLOBAL_INUSE, PMI_INUSE),
                WriteFaults(IA32_PERF_GLOBAL_INUSE, 0),
            ],
        );
    } else {
        scenario(
            "version 4's registers are absent",
            "20.2.4",
            &[
                ReadFaults(IA32_PERF_GLOBAL_STATUS_SET),
                WriteFaults(IA32_PERF_GLOBAL_STATUS_SET, 0),
                ReadFaults(IA32_PERF_GLOBAL_INUSE),
            ],
        );
    }
    scenario(
        "freeze on PMI is accepted, reserved bits of IA32_DEBUGCTL fault",
        "18.4.1",
        &[
            Write(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
            Read(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
            WriteFaults(IA32_DEBUGCTL, 1 << 5),
            WriteFaults(IA32_DEBUGCTL, 1 << 16),
            WriteFaults(IA32_DEBUGCTL, 1 << 63),
            Read(IA32_DEBUGCTL, FREEZE_PERFMON_ON_PMI),
        ],
    );
}
