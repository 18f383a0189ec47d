//! A sampler as Linux's perf is one on x86: events of instructions with a period each, an NMI at each overflow,
//! and, with more events than counters, rotation by a timer. The register accesses are perf's, in their order.
//!
//! | in the NMI | why |
//! |---|---|
//! | WRMSR GLOBAL_CTRL = 0 | nothing counts in the handler |
//! | RDMSR GLOBAL_STATUS | which counters overflowed |
//! | WRMSR GLOBAL_STATUS_RESET | acknowledge them |
//! | RDPMC, WRMSR IA32_A_PMCi for each | add up what was counted, start the next period |
//! | RDMSR GLOBAL_STATUS | has another one overflowed meanwhile |
//! | WRMSR LVTPC | delivery has masked it |
//! | WRMSR GLOBAL_CTRL | count on |
//!
//! | in the rotation | why |
//! |---|---|
//! | WRMSR GLOBAL_CTRL = 0 | nothing counts while counters change hands |
//! | WRMSR PERFEVTSELi without EN, RDPMC for each | every event leaves its counter |
//! | WRMSR IA32_A_PMCi, PERFEVTSELi for each | the next events get the counters |
//! | WRMSR GLOBAL_CTRL | count on |
//!
//! Exact: what all periods of an event add up to is what fixed counter 0 counted while the event had a counter.

use crate::apic;
use crate::cpu::{rdmsr, rdpmc, wrmsr};
use crate::interrupts::{self, vector};
use crate::pmu::{
    A_PMC0, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL, GLOBAL_STATUS,
    GLOBAL_STATUS_RESET, Geometry, INSTRUCTIONS, PERFEVTSEL0, SELECT_ALL_RINGS, SELECT_INT, clear,
    full_width,
};
use crate::println;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The most events.
pub const MAX_EVENTS: usize = 10;
/// The most counters that are used.
const MAX_COUNTERS: usize = 8;
/// Counters have 48 bits.
const WIDTH: u64 = (1 << 48) - 1;
/// RDPMC of fixed counter 0.
const RDPMC_FIXED0: u32 = 1 << 30;
/// The fixed counter in GLOBAL_CTRL.
const FIXED0: u64 = 1 << 32;
const SELECT: u64 = EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT;
/// PERFEVTSEL: EN.
const SELECT_EN: u64 = 1 << 22;

/// What is known of one event.
struct Sampled {
    /// Counted in all periods that are over.
    counted: AtomicU64,
    /// What the fixed counter counted in the time that the event had a counter.
    expected: AtomicU64,
    overflows: AtomicU64,
}

struct State {
    events: AtomicU32,
    counters: AtomicU32,
    /// The event that has counter 0; the next ones have the next counters.
    first: AtomicU32,
    /// The fixed counter when the events got their counters.
    since: AtomicU64,
    running: AtomicBool,
    interrupts: AtomicU64,
    without_overflow: AtomicU64,
    rotations: AtomicU64,
    sampled: [Sampled; MAX_EVENTS],
}

static STATE: State = State {
    events: AtomicU32::new(0),
    counters: AtomicU32::new(0),
    first: AtomicU32::new(0),
    since: AtomicU64::new(0),
    running: AtomicBool::new(false),
    interrupts: AtomicU64::new(0),
    without_overflow: AtomicU64::new(0),
    rotations: AtomicU64::new(0),
    sampled: [const {
        Sampled { counted: AtomicU64::new(0), expected: AtomicU64::new(0), overflows: AtomicU64::new(0) }
    }; MAX_EVENTS],
};

crate::handler!(on_pmi, pmi);
crate::handler!(on_rotation, rotation);

/// The vector of the rotation's timer.
const ROTATION: u8 = 0x40;

/// Instructions in a period of an event: primes, so that the events drift apart.
const PERIODS: [u64; MAX_EVENTS] =
    [20_011, 20_021, 20_023, 20_029, 20_047, 20_051, 20_063, 20_071, 20_089, 20_101];

/// The value from which an event's counter overflows after its period.
fn preset(event: u32) -> u64 {
    WIDTH + 1 - PERIODS[event as usize]
}

/// The event that has this counter.
fn event_of(counter: u32) -> u32 {
    (STATE.first.load(Relaxed) + counter) % STATE.events.load(Relaxed)
}

fn mask() -> u64 {
    (1 << STATE.counters.load(Relaxed)) - 1
}

/// Adds up what the event's counter has counted since its preset; it may have overflowed.
fn account(counter: u32, event: u32) {
    let counted = rdpmc(counter).wrapping_sub(preset(event)) & WIDTH;
    STATE.sampled[event as usize].counted.fetch_add(counted, Relaxed);
}

extern "C" fn pmi() {
    wrmsr(GLOBAL_CTRL, 0);
    STATE.interrupts.fetch_add(1, Relaxed);
    let mut status = rdmsr(GLOBAL_STATUS) & mask();
    if status == 0 {
        STATE.without_overflow.fetch_add(1, Relaxed);
    }
    while status != 0 {
        wrmsr(GLOBAL_STATUS_RESET, status);
        for counter in (0..STATE.counters.load(Relaxed)).filter(|i| status & 1 << i != 0) {
            let event = event_of(counter);
            account(counter, event);
            STATE.sampled[event as usize].overflows.fetch_add(1, Relaxed);
            wrmsr(A_PMC0 + counter, preset(event));
        }
        status = rdmsr(GLOBAL_STATUS) & mask();
    }
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
    if STATE.running.load(Relaxed) {
        wrmsr(GLOBAL_CTRL, mask() | FIXED0);
    }
}

/// Every event leaves its counter. Nothing counts.
fn schedule_out() {
    let now = rdpmc(RDPMC_FIXED0);
    let interval = now.wrapping_sub(STATE.since.load(Relaxed)) & WIDTH;
    for counter in 0..STATE.counters.load(Relaxed) {
        let event = event_of(counter);
        wrmsr(PERFEVTSEL0 + counter, SELECT & !SELECT_EN);
        account(counter, event);
        STATE.sampled[event as usize].expected.fetch_add(interval, Relaxed);
    }
    // An overflow that was not taken is accounted for.
    wrmsr(GLOBAL_STATUS_RESET, mask());
    STATE.since.store(now, Relaxed);
}

/// Events get the counters, from `first` on. Nothing counts.
fn schedule_in(first: u32) {
    STATE.first.store(first, Relaxed);
    for counter in 0..STATE.counters.load(Relaxed) {
        wrmsr(A_PMC0 + counter, preset(event_of(counter)));
        wrmsr(PERFEVTSEL0 + counter, SELECT);
    }
}

extern "C" fn rotation() {
    STATE.running.store(false, Relaxed);
    wrmsr(GLOBAL_CTRL, 0);
    STATE.rotations.fetch_add(1, Relaxed);
    schedule_out();
    schedule_in((STATE.first.load(Relaxed) + 1) % STATE.events.load(Relaxed));
    wrmsr(apic::EOI, 0);
    STATE.running.store(true, Relaxed);
    wrmsr(GLOBAL_CTRL, mask() | FIXED0);
}

/// Samples `events` events on `counters` counters while `work` runs, rotating them every `rotate` TSC cycles if
/// that is not 0; prints what came of it. Whether all is exact.
pub fn run(events: u32, counters: u32, rotate: u32, work: fn()) -> bool {
    let geometry = Geometry::read();
    if geometry.general < counters || geometry.fixed == 0 || !full_width() {
        println!("@panic this guest needs {counters} counters, a fixed one and full-width writes");
        return false;
    }
    assert!(events as usize <= MAX_EVENTS && counters as usize <= MAX_COUNTERS && counters <= events);
    STATE.events.store(events, Relaxed);
    STATE.counters.store(counters, Relaxed);
    interrupts::install();
    interrupts::set(vector::NMI, on_pmi);
    interrupts::set(ROTATION, on_rotation);
    apic::enable();
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
    clear(&geometry);
    wrmsr(FIXED_CTR_CTRL, FIXED_ALL_RINGS);
    schedule_in(0);
    if rotate != 0 {
        apic::start_timer(ROTATION, rotate);
        crate::cpu::enable_interrupts();
    }
    STATE.running.store(true, Relaxed);
    wrmsr(GLOBAL_CTRL, mask() | FIXED0);
    work();
    crate::cpu::disable_interrupts();
    STATE.running.store(false, Relaxed);
    wrmsr(GLOBAL_CTRL, 0);
    apic::stop_timer();
    schedule_out();
    judge(events, rotate != 0)
}

fn judge(events: u32, rotates: bool) -> bool {
    let (mut right, mut wrong, mut samples) = (0, 0, 0);
    let name = if rotates { "multiplex" } else { "sampling" };
    for (i, sampled) in (0..events).zip(&STATE.sampled) {
        let (counted, expected) = (sampled.counted.load(Relaxed), sampled.expected.load(Relaxed));
        let overflows = sampled.overflows.load(Relaxed);
        samples += overflows;
        println!(
            "@counter workload={name} event=instructions counter=event{i} measured={counted} expected={expected}"
        );
        if counted == expected && overflows > 0 {
            right += 1;
        } else {
            wrong += 1;
        }
    }
    let all = rdmsr(FIXED_CTR0);
    let rotations = STATE.rotations.load(Relaxed);
    println!(
        "@samples taken={samples} interrupts={} without_overflow={} rotations={rotations} instructions={all}",
        STATE.interrupts.load(Relaxed),
        STATE.without_overflow.load(Relaxed),
    );
    println!("@result right={right} wrong={wrong}");
    wrong == 0 && rotates == (rotations > 0)
}

/// Something to do: a linear congruential generator and branches that depend on it.
pub fn work(iterations: u64) {
    let mut value = 1u64;
    for _ in 0..iterations {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if value >> 63 != 0 {
            value ^= value >> 7;
        }
        core::hint::black_box(value);
    }
}
