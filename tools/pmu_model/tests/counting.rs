//! What counts, and what an overflow does (SDM vol. 3B, 20.2.1 to 20.2.4).

mod common;

use common::{
    BRANCH_MISSES, BRANCHES, CMASK_1, CMASK_2, CTR_FRZ, CYCLES, EDGE, EN, FREEZE, INSTRUCTIONS, INT, INV,
    LLC_MISSES, LLC_REFERENCES, MAX, OS, REF_CYCLES, SLOTS, USR, counting, instructions, kernel, pmc0, pmu,
    status, v5,
};
use pmu_model::{Event, Events, Lvtpc, PmiLine, Pmu, Ring, SLOTS_PER_CYCLE, msr};

/// A step with a different number of everything.
const STEP: Events = Events {
    core_cycles: 3,
    ref_cycles: 2,
    instructions: 1,
    branches: 1,
    branch_misses: 1,
    llc_references: 5,
    llc_misses: 4,
};

/// Table 20-1: the architectural events.
#[test]
fn every_architectural_event_counts_its_own() {
    for (event, expected) in [
        (CYCLES, 3),
        (INSTRUCTIONS, 1),
        (REF_CYCLES, 2),
        (LLC_REFERENCES, 5),
        (LLC_MISSES, 4),
        (BRANCHES, 1),
        (BRANCH_MISSES, 1),
        (SLOTS, 3 * SLOTS_PER_CYCLE),
        (0x1C0, 0),
        (0x00, 0),
    ] {
        let mut pmu = counting(event | OS | EN);
        kernel(&mut pmu, &[STEP]);
        assert_eq!(pmc0(&pmu), expected, "event {event:#x}");
    }
}

/// Table 20-2: the fixed-function counters.
#[test]
fn every_fixed_counter_counts_its_own() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, 0x1111).unwrap();
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0xF << 32).unwrap();
    kernel(&mut pmu, &[STEP]);
    let read = |i| pmu.rdmsr(msr::IA32_FIXED_CTR0 + i).unwrap();
    assert_eq!([0, 1, 2, 3].map(read), [1, 3, 2, 3 * SLOTS_PER_CYCLE]);
    assert_eq!(Event::of_fixed(4), None);
}

/// 20.2.1.1 and 20.2.2: EN, USR, OS and the bit in IA32_PERF_GLOBAL_CTRL must all agree.
#[test]
fn a_counter_needs_every_enable() {
    for (selector, global, ring, counts) in [
        (EN | OS, 1, Ring::Kernel, true),
        (EN | OS, 1, Ring::User, false),
        (EN | USR, 1, Ring::User, true),
        (EN | USR, 1, Ring::Kernel, false),
        (EN | USR | OS, 1, Ring::User, true),
        (EN, 1, Ring::User, false),
        (OS | USR, 1, Ring::Kernel, false),
        (EN | OS, 2, Ring::Kernel, false),
    ] {
        let mut pmu = counting(INSTRUCTIONS | selector);
        pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, global).unwrap();
        assert_eq!(pmu.advance(ring, &Events::instruction()), None);
        assert_eq!(pmc0(&pmu), u64::from(counts), "{selector:#x}, {global}, {ring:?}");
    }
}

/// 20.2.2: the enable field of a fixed counter filters rings.
#[test]
fn a_fixed_counter_filters_rings() {
    for (field, ring, counts) in [
        (1, Ring::Kernel, true),
        (1, Ring::User, false),
        (2, Ring::User, true),
        (2, Ring::Kernel, false),
        (3, Ring::User, true),
        (0, Ring::Kernel, false),
        (8, Ring::Kernel, false),
    ] {
        let mut pmu = v5();
        pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, field).unwrap();
        pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 1 << 32).unwrap();
        assert_eq!(pmu.advance(ring, &Events::instruction()), None);
        assert_eq!(pmu.rdmsr(msr::IA32_FIXED_CTR0), Ok(u64::from(counts)), "{field}, {ring:?}");
    }
}

/// 20.2.1: version 1 has no global control.
#[test]
fn version_1_needs_no_global_control() {
    let mut pmu = pmu(1, 2, 0);
    pmu.wrmsr(msr::IA32_PERFEVTSEL0, INSTRUCTIONS | OS | EN | INT).unwrap();
    pmu.wrmsr(msr::IA32_PMC0, u64::MAX).unwrap();
    assert_eq!(instructions(&mut pmu, 2), 1, "an overflow requests a PMI");
    assert_eq!(pmc0(&pmu), 1);
}

/// 20.2.1.1, CMASK: counts the cycles with at least that many events.
#[test]
fn cmask_counts_cycles() {
    let load = |n| Events { llc_references: n, ..Events::instruction() };
    for (cmask, expected) in [(1, 3), (2, 2), (3, 1), (4, 0)] {
        let mut pmu = counting(LLC_REFERENCES | OS | EN | cmask << 24);
        kernel(&mut pmu, &[load(1), load(2), load(3), load(0), Events::idle(10)]);
        assert_eq!(pmc0(&pmu), expected, "CMASK {cmask}");
    }
    for (cmask, expected) in [(SLOTS_PER_CYCLE, 11), (SLOTS_PER_CYCLE + 1, 0)] {
        let mut pmu = counting(SLOTS | OS | EN | cmask << 24);
        kernel(&mut pmu, &[Events::instruction(), Events::idle(10)]);
        assert_eq!(pmc0(&pmu), expected, "slots, CMASK {cmask}");
    }
}

/// 20.2.1.1, INV: counts the cycles with fewer events than CMASK; ignored when CMASK is 0.
#[test]
fn inv_counts_the_other_cycles() {
    let steps = [Events::instruction(), Events::idle(10), Events::instruction()];
    for (bits, expected) in [(CMASK_1 | INV, 10), (CMASK_1, 2), (CMASK_2 | INV, 12), (INV, 2)] {
        let mut pmu = counting(INSTRUCTIONS | OS | EN | bits);
        kernel(&mut pmu, &steps);
        assert_eq!(pmc0(&pmu), expected, "{bits:#x}");
    }
}

/// 20.2.1.1, E: counts how often the condition becomes true.
#[test]
fn edge_counts_beginnings() {
    let branch = Events { branches: 1, ..Events::instruction() };
    let plain = Events::instruction();
    let steps = [branch, branch, plain, branch, Events::idle(3), branch];
    for (bits, expected) in [(EDGE, 3), (EDGE | CMASK_1, 3), (EDGE | CMASK_1 | INV, 2), (0, 4)] {
        let mut pmu = counting(BRANCHES | OS | EN | bits);
        kernel(&mut pmu, &steps);
        assert_eq!(pmc0(&pmu), expected, "{bits:#x}");
    }
    // In a ring that the counter ignores its condition is false.
    let mut pmu = counting(BRANCHES | OS | EN | EDGE);
    kernel(&mut pmu, &[branch]);
    assert_eq!(pmu.advance(Ring::User, &branch), None);
    kernel(&mut pmu, &[branch]);
    assert_eq!(pmc0(&pmu), 2);
}

/// A counter that compares must see every step.
#[test]
fn comparing_counters_leave_no_headroom() {
    for bits in [EDGE, CMASK_1, CMASK_1 | INV] {
        assert_eq!(counting(BRANCHES | OS | EN | bits).headroom().cycles, 1);
    }
    assert_eq!(counting(BRANCHES | OS | EN | INV).headroom().cycles, MAX + 1);
}

/// 20.2.1.1 and 20.2.2: the counter wraps to 0, its status bit is set, INT asks for a PMI.
#[test]
fn an_overflow_wraps_sets_its_status_bit_and_asks_for_a_pmi() {
    for (int, pmis) in [(INT, 1), (0, 0)] {
        let mut pmu = counting(INSTRUCTIONS | OS | EN | int);
        pmu.wrmsr(msr::IA32_A_PMC0, MAX - 1).unwrap();
        assert_eq!(instructions(&mut pmu, 1), 0);
        assert_eq!((pmc0(&pmu), status(&pmu)), (MAX, 0));
        assert_eq!(instructions(&mut pmu, 1), pmis);
        assert_eq!((pmc0(&pmu), status(&pmu)), (0, 1));
        assert_eq!(instructions(&mut pmu, 5), 0);
        assert_eq!((pmc0(&pmu), status(&pmu)), (5, 1));
    }
}

/// 20.2.2: likewise for fixed counters, with bit 32 + i and the PMI bit.
#[test]
fn a_fixed_counter_overflows() {
    for (field, pmis) in [(0x9, 1), (0x1, 0)] {
        let mut pmu = v5();
        pmu.wrmsr(msr::IA32_FIXED_CTR_CTRL, field << 4).unwrap();
        pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 1 << 33).unwrap();
        pmu.wrmsr(msr::IA32_FIXED_CTR0 + 1, MAX).unwrap();
        assert_eq!(instructions(&mut pmu, 1), pmis);
        assert_eq!((pmu.rdmsr(msr::IA32_FIXED_CTR0 + 1), status(&pmu)), (Ok(0), 1 << 33));
    }
}

/// Two counters that overflow in one step ask for one PMI.
#[test]
fn overflows_of_one_step_share_a_pmi() {
    let mut pmu = counting(INSTRUCTIONS | OS | EN | INT);
    pmu.wrmsr(msr::IA32_PERFEVTSEL0 + 1, CYCLES | OS | EN | INT).unwrap();
    pmu.wrmsr(msr::IA32_A_PMC0, MAX).unwrap();
    pmu.wrmsr(msr::IA32_A_PMC0 + 1, MAX).unwrap();
    assert_eq!(instructions(&mut pmu, 1), 1);
    assert_eq!(status(&pmu), 0b11);
}

/// A PMU whose PMC0 overflows at the next instruction, and which freezes on a PMI.
fn about_to_freeze(version: u32, int: u64) -> Pmu {
    let mut pmu = pmu(version, 4, 3);
    pmu.wrmsr(msr::IA32_DEBUGCTL, FREEZE).expect("valid in every version");
    pmu.wrmsr(msr::IA32_PERFEVTSEL0, INSTRUCTIONS | OS | EN | int).expect("valid in every version");
    pmu.wrmsr(msr::IA32_PERFEVTSEL0 + 1, INSTRUCTIONS | OS | EN).expect("valid in every version");
    pmu.wrmsr(msr::IA32_A_PMC0, MAX).expect("valid in every version");
    pmu
}

/// 20.2.4, streamlined freezing: CTR_FRZ stops all counters until software clears it; the enables stay.
#[test]
fn streamlined_freeze_sets_ctr_frz() {
    for version in 4..=5 {
        let mut pmu = about_to_freeze(version, INT);
        assert_eq!(instructions(&mut pmu, 3), 1);
        assert_eq!(status(&pmu), CTR_FRZ | 1);
        assert_eq!(pmu.rdmsr(msr::IA32_PERF_GLOBAL_CTRL), Ok(0xF));
        assert_eq!((pmc0(&pmu), pmu.rdmsr(msr::IA32_PMC0 + 1)), (0, Ok(1)));
        pmu.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET, CTR_FRZ | 1).unwrap();
        instructions(&mut pmu, 3);
        assert_eq!((pmc0(&pmu), status(&pmu)), (3, 0));
    }
}

/// Vol. 3B, 18.4.7, legacy freezing: the enables in IA32_PERF_GLOBAL_CTRL are cleared.
#[test]
fn legacy_freeze_clears_the_enables() {
    for version in 2..=3 {
        let mut pmu = about_to_freeze(version, INT);
        assert_eq!(instructions(&mut pmu, 3), 1);
        assert_eq!((status(&pmu), pmu.rdmsr(msr::IA32_PERF_GLOBAL_CTRL)), (1, Ok(0)));
        assert_eq!((pmc0(&pmu), pmu.rdmsr(msr::IA32_PMC0 + 1)), (0, Ok(1)));
    }
}

/// An overflow that asks for no PMI freezes nothing.
#[test]
fn no_pmi_no_freeze() {
    let mut pmu = about_to_freeze(5, 0);
    instructions(&mut pmu, 3);
    assert_eq!((pmc0(&pmu), status(&pmu)), (2, 1));
}

/// Vol. 3A, 12.5.1: delivery masks the LVT entry; a masked entry loses the PMI.
#[test]
fn delivery_masks_the_lvt_entry() {
    let mut pmu = counting(INSTRUCTIONS | OS | EN | INT);
    pmu.wrmsr(msr::IA32_A_PMC0, MAX).unwrap();
    let request = pmu.advance(Ring::Kernel, &Events::instruction()).unwrap();
    let mut lvtpc = Lvtpc(0x4E);
    let delivery = lvtpc.deliver(request).unwrap();
    assert_eq!((delivery.vector, delivery.mode, lvtpc.0), (0x4E, 0, 0x1_004E));
    assert_eq!(lvtpc.deliver(request), None);
    let mut nmi = Lvtpc(0x4FF);
    assert_eq!(nmi.deliver(request).map(|d| d.mode), Some(Lvtpc::NMI));
    assert_eq!(nmi.0, 0x1_04FF);
}

/// One PMI is on its way at most, and it arrives on time.
#[test]
fn a_late_pmi_is_one_pmi() {
    let mut pmu = counting(INSTRUCTIONS | OS | EN | INT);
    pmu.wrmsr(msr::IA32_A_PMC0, MAX).unwrap();
    let request = pmu.advance(Ring::Kernel, &Events::instruction()).unwrap();
    let mut line = PmiLine::new(30);
    line.request(request, 100);
    line.request(request, 110);
    assert_eq!((line.due(), line.take(129)), (Some(130), None));
    assert_eq!(line.take(130), Some(request));
    assert_eq!((line.due(), line.take(1000)), (None, None));
    line.request(request, 200);
    line.hurry(201);
    assert_eq!(line.take(201), Some(request), "a processor that halts gets it at once");
    let mut prompt = PmiLine::new(0);
    prompt.request(request, 7);
    assert_eq!(prompt.take(7), Some(request));
}
