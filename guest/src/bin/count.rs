//! Every architectural event on every counter, over code whose events are known: exits, control traps and PMIs come in
//! between. Of events whose truth is the simulated machine's alone, this guest only checks that all counters agree, and
//! leaves the comparison to who reads its report.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering::Relaxed;
use guest::cpu::{cpuid, rdmsr, rdpmc, rdtsc, try_rdmsr, try_rdpmc, try_wrmsr, wrmsr};
use guest::interrupts::vector;
use guest::known::{self, INTERRUPTED, LAST, PERIOD, TAKEN, WORKLOADS, Workload};
use guest::pmu::{
    A_PMC0, BRANCH_MISSES, BRANCHES, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL,
    GLOBAL_STATUS, Geometry, INSTRUCTIONS, LLC_MISSES, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, SELECT_INT,
    clear, full_width,
};
use guest::{apic, interrupts, latency, println};

guest::guest!(main);

/// RDPMC: fixed counters instead of general-purpose ones.
const RDPMC_FIXED: u32 = 1 << 30;
/// What the fixed counters count (SDM vol. 3B, table 20-2), as places in [`EVENTS`].
const FIXED_EVENTS: [usize; 4] = [INSTRUCTIONS, 0, 2, 7];
/// Lengths that are tried until no PMI is due when the counters stop.
const ATTEMPTS: u64 = 10;

struct Tally {
    full_width: bool,
    right: u32,
    wrong: u32,
}

impl Tally {
    /// A counter that says `measured` of place `event` of [`EVENTS`], where `expected` is true; the first one said
    /// `agreed`.
    fn counter(
        &mut self,
        workload: &str,
        event: usize,
        counter: (&str, u32),
        [measured, agreed, expected]: [u64; 3],
    ) {
        let ((kind, i), event_name) = (counter, EVENTS[event].name);
        println!(
            "@counter workload={workload} event={event_name} counter={kind}{i} measured={measured} expected={expected}"
        );
        self.check(measured == if known::is_architectural(event) { expected } else { agreed });
    }

    fn check(&mut self, right: bool) {
        if right {
            self.right += 1;
        } else {
            self.wrong += 1;
        }
    }
}

fn main() -> bool {
    let geometry = Geometry::read();
    let full_width = full_width();
    println!(
        "@pmu-geometry version={} general={} fixed={} full_width={}",
        geometry.version, geometry.general, geometry.fixed, full_width
    );
    if geometry.version == 0 {
        return without_a_pmu();
    }
    if geometry.version < 2 {
        println!("@panic the PMU has version {}; this guest needs 2", geometry.version);
        return false;
    }
    let mut tally = Tally { full_width, right: 0, wrong: 0 };
    let wrmsr_cycles = known::wrmsr_cycles();
    let possible = |workload: &&Workload| geometry.general > LAST || !workload.clears_last;
    let architectural = [INSTRUCTIONS, BRANCHES].into_iter();
    for event in architectural.filter(|event| geometry.has(*event) && possible(&&INTERRUPTED)) {
        interrupted(&geometry, event, &mut tally);
    }
    for workload in WORKLOADS.iter().filter(possible) {
        for event in (0..EVENTS.len()).filter(|event| geometry.has(*event)) {
            measure(&geometry, workload, event, wrmsr_cycles, &mut tally);
        }
    }
    cost();
    println!("@samples taken={}", TAKEN.load(Relaxed));
    println!("@result right={} wrong={}", tally.right, tally.wrong);
    tally.wrong == 0 && tally.right > 0
}

/// Where CPUID shows no PMU, every access to one raises #GP.
fn without_a_pmu() -> bool {
    interrupts::install();
    let registers = [PERFEVTSEL0, PMC0, A_PMC0, FIXED_CTR0, FIXED_CTR_CTRL, GLOBAL_CTRL];
    let faults = registers
        .iter()
        .filter(|register| try_rdmsr(**register).is_err() && try_wrmsr(**register, 0).is_err());
    let right = faults.count() + usize::from(try_rdpmc(0).is_err());
    println!("@result right={right} wrong={}", registers.len() + 1 - right);
    right == registers.len() + 1
}

/// Counts one event on all counters at once, and on the fixed counter that counts it.
fn measure(geometry: &Geometry, workload: &Workload, event: usize, wrmsr_cycles: u64, tally: &mut Tally) {
    // A run before teaches the branch predictor.
    for _ in 0..if event == BRANCH_MISSES { 2 } else { 1 } {
        select(geometry, 0, event);
        (workload.run)(geometry.all(), workload.iterations, known::lines(event == LLC_MISSES));
    }
    compare(geometry, workload, 0, event, workload.truth(event, wrmsr_cycles), tally);
}

/// Counts one event on all counters but the first, which interrupts.
fn interrupted(geometry: &Geometry, event: usize, tally: &mut Tally) {
    interrupts::install();
    interrupts::set(vector::NMI, known::on_pmi);
    apic::enable();
    for more in 0..ATTEMPTS {
        let workload = INTERRUPTED.longer(more);
        select(geometry, 1, event);
        wrmsr(PERFEVTSEL0, EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT);
        wrmsr(PMC0, u64::from(PERIOD.wrapping_neg()));
        wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
        let before = TAKEN.load(Relaxed);
        (workload.run)(geometry.all(), workload.iterations, known::lines(false));
        // A PMI that is due when the counters stop is handled partly or wholly after.
        if rdmsr(GLOBAL_STATUS) & 1 == 0 {
            let taken = TAKEN.load(Relaxed) - before;
            tally.check(taken >= workload.truth(INSTRUCTIONS, 0) / u64::from(PERIOD));
            let truth = workload.truth(event, 0) + known::handlers(event, taken);
            return compare(geometry, &workload, 1, event, truth, tally);
        }
    }
    tally.check(false);
}

/// Programs the counters from `first` on.
fn select(geometry: &Geometry, first: u32, event: usize) {
    clear(geometry);
    for i in first..geometry.general {
        wrmsr(PERFEVTSEL0 + i, EVENTS[event].code | SELECT_ALL_RINGS);
    }
    let all_fixed = (0..geometry.fixed).fold(0, |field, i| field | FIXED_ALL_RINGS << (4 * i));
    wrmsr(FIXED_CTR_CTRL, all_fixed);
}

/// Compares what the counters from `first` on say with the truth.
fn compare(
    geometry: &Geometry,
    workload: &Workload,
    first: u32,
    event: usize,
    truth: u64,
    tally: &mut Tally,
) {
    let general = if workload.clears_last { geometry.general.min(LAST) } else { geometry.general };
    let agreed = rdmsr(PMC0 + first);
    for i in first..general {
        let measured = rdmsr(PMC0 + i);
        tally.counter(workload.name, event, ("pmc", i), [measured, agreed, truth]);
        tally.check(rdpmc(i) == measured);
        if tally.full_width {
            tally.check(rdmsr(A_PMC0 + i) == measured);
        }
    }
    for (i, _) in (0..geometry.fixed).zip(FIXED_EVENTS).filter(|(_, fixed)| *fixed == event) {
        let measured = rdmsr(FIXED_CTR0 + i);
        tally.counter(workload.name, event, ("fixed", i), [measured, agreed, truth]);
        tally.check(rdpmc(RDPMC_FIXED | i) == measured);
    }
    wrmsr(GLOBAL_CTRL, 0);
}

/// Writes and CPUIDs over which the cost is the mean.
const COST_ROUNDS: u64 = 200;

/// What control writes, a PMI and, to compare, a CPUID take, in TSC cycles from the guest's point of view.
fn cost() {
    let mean = |step: fn(u64)| {
        let start = rdtsc();
        (0..COST_ROUNDS).for_each(step);
        (rdtsc() - start) / COST_ROUNDS
    };
    // A value that was never written before, so that it is decided: CMASK is another each time.
    let control_write = mean(|i| wrmsr(PERFEVTSEL0, EVENTS[INSTRUCTIONS].code | (i + 1) << 24));
    // Values that were, another each time: a write of the value that is there may be cheaper.
    let known = |i| wrmsr(PERFEVTSEL0, EVENTS[if i % 2 == 0 { INSTRUCTIONS } else { BRANCHES }].code);
    (0..2).for_each(known);
    let approved_write = mean(known);
    let exit = mean(|_| {
        cpuid(0);
    });
    apic::enable();
    let pmi = latency::pmi_cycles();
    println!("@cost control_write={control_write} approved_write={approved_write} cpuid={exit} pmi={pmi}");
}
