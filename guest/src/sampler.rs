//! A sampler as Linux's perf is one on x86: events of instructions with a period each, an NMI at each overflow, a
//! tick that stops and starts every event, and, with more events than counters, rotation. The register accesses are
//! perf's, in perf's order; docs/benchmark.md gives the reason for each.
//!
//! Exact: what all periods of an event add up to is what fixed counter 0 counted while the event had a counter.

mod event;

use crate::apic;
use crate::cpu::{rdmsr, rdpmc, rdtsc, wrmsr};
use crate::interrupts::{self, vector};
use crate::pmu::{
    A_PMC0, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL, GLOBAL_STATUS,
    GLOBAL_STATUS_RESET, Geometry, INSTRUCTIONS, PERFEVTSEL0, SELECT_ALL_RINGS, SELECT_INT, clear,
    full_width,
};
use crate::println;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use event::Event;

/// The most events.
pub const MAX_EVENTS: usize = 10;
/// The most counters that are used.
const MAX_COUNTERS: usize = 8;
/// RDPMC of fixed counter 0.
const RDPMC_FIXED0: u32 = 1 << 30;
/// The fixed counter in GLOBAL_CTRL.
const FIXED0: u64 = 1 << 32;
const SELECT: u64 = EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT;
/// PERFEVTSEL: EN.
const SELECT_EN: u64 = 1 << 22;
/// The vector of the timer.
const TIMER: u8 = 0x40;
/// How many times as long as starting every event a tick is at least.
const TICKS_OF_STARTS: u64 = 4;
/// By how much the periods of two events differ, so that their overflows do not keep step.
const PERIOD_STEP: u64 = 101;

/// What is sampled, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Events of instructions.
    pub events: u32,
    /// Counters that they share; with fewer counters than events, they are rotated.
    pub counters: u32,
    /// Instructions between two samples of an event, about.
    pub period: u64,
    /// TSC cycles between two ticks. Rotations come as often, in the middle between two ticks.
    pub tick: u32,
}

impl Scheme {
    const fn rotates(&self) -> bool {
        self.counters < self.events
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// Whether every event is exact.
    pub right: bool,
    /// TSC cycles of the work.
    pub cycles: u64,
    /// What the work returned.
    pub checksum: u64,
}

struct State {
    events: AtomicU32,
    counters: AtomicU32,
    /// The event that has had a counter for the longest time.
    first: AtomicU32,
    /// The event of each counter.
    assigned: [AtomicU32; MAX_COUNTERS],
    /// Counters whose event has been started.
    active: AtomicU64,
    /// The fixed counter when the events got their counters.
    since: AtomicU64,
    running: AtomicBool,
    timer_interrupts: AtomicU64,
    interrupts: AtomicU64,
    without_overflow: AtomicU64,
    rotations: AtomicU64,
    data_accesses: AtomicU64,
    control_writes: AtomicU64,
    sampled: [Event; MAX_EVENTS],
}

static STATE: State = State {
    events: AtomicU32::new(0),
    counters: AtomicU32::new(0),
    first: AtomicU32::new(0),
    assigned: [const { AtomicU32::new(0) }; MAX_COUNTERS],
    active: AtomicU64::new(0),
    since: AtomicU64::new(0),
    running: AtomicBool::new(false),
    timer_interrupts: AtomicU64::new(0),
    interrupts: AtomicU64::new(0),
    without_overflow: AtomicU64::new(0),
    rotations: AtomicU64::new(0),
    data_accesses: AtomicU64::new(0),
    control_writes: AtomicU64::new(0),
    sampled: [const { Event::new() }; MAX_EVENTS],
};

crate::handler!(on_pmi, pmi);
crate::handler!(on_timer, timer);

/// Accesses that a mediated guest does without an exit.
fn write(msr: u32, value: u64) {
    STATE.data_accesses.fetch_add(1, Relaxed);
    wrmsr(msr, value);
}

fn read(msr: u32) -> u64 {
    STATE.data_accesses.fetch_add(1, Relaxed);
    rdmsr(msr)
}

fn read_counter(counter: u32) -> u64 {
    STATE.data_accesses.fetch_add(1, Relaxed);
    rdpmc(counter)
}

/// A write that the policy decides.
fn select(counter: u32, value: u64) {
    STATE.control_writes.fetch_add(1, Relaxed);
    wrmsr(PERFEVTSEL0 + counter, value);
}

fn mask() -> u64 {
    (1 << STATE.counters.load(Relaxed)) - 1
}

/// The event that has this counter.
fn event_of(counter: u32) -> &'static Event {
    &STATE.sampled[STATE.assigned[counter as usize].load(Relaxed) as usize]
}

/// Adds up what the counter has counted.
fn update(counter: u32) {
    event_of(counter).update(read_counter(counter));
}

/// Lets the counter overflow at the end of its event's period. Whether a period is over.
fn set_period(counter: u32) -> bool {
    let (preset, over) = event_of(counter).next_period();
    write(A_PMC0 + counter, preset);
    over
}

extern "C" fn pmi() {
    write(GLOBAL_CTRL, 0);
    STATE.interrupts.fetch_add(1, Relaxed);
    let mut status = read(GLOBAL_STATUS);
    if status == 0 {
        STATE.without_overflow.fetch_add(1, Relaxed);
    }
    while status != 0 {
        write(GLOBAL_STATUS_RESET, status);
        let overflowed = status & STATE.active.load(Relaxed);
        for counter in (0..STATE.counters.load(Relaxed)).filter(|i| overflowed & 1 << i != 0) {
            update(counter);
            if set_period(counter) {
                event_of(counter).sample(rdtsc());
            }
        }
        status = read(GLOBAL_STATUS);
    }
    if STATE.running.load(Relaxed) {
        write(GLOBAL_CTRL, mask() | FIXED0);
    }
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
}

/// Stops the counter's event. Nothing counts.
fn stop(counter: u32) {
    select(counter, SELECT & !SELECT_EN);
    STATE.active.fetch_and(!(1 << counter), Relaxed);
    update(counter);
}

/// Starts the counter's event. Nothing counts.
fn start(counter: u32) {
    if set_period(counter) {
        event_of(counter).late.fetch_add(1, Relaxed);
    }
    STATE.active.fetch_or(1 << counter, Relaxed);
    select(counter, SELECT);
}

/// What fixed counter 0 has counted is what each event on a counter should have.
fn settle() {
    let now = rdpmc(RDPMC_FIXED0);
    let interval = now.wrapping_sub(STATE.since.swap(now, Relaxed)) & event::WIDTH;
    for counter in 0..STATE.counters.load(Relaxed) {
        event_of(counter).expected.fetch_add(interval, Relaxed);
    }
}

/// Stops everything, as perf does before it changes anything.
fn disable() {
    STATE.running.store(false, Relaxed);
    write(GLOBAL_CTRL, 0);
}

fn enable() {
    STATE.running.store(true, Relaxed);
    write(GLOBAL_CTRL, mask() | FIXED0);
}

/// The tick: perf looks at what each event has counted, to choose its period; ours keeps it.
fn tick() {
    disable();
    for counter in 0..STATE.counters.load(Relaxed) {
        stop(counter);
        start(counter);
    }
    enable();
}

/// The event that has had a counter for the longest time gives it to the one that has waited for the longest.
fn rotate() {
    disable();
    STATE.rotations.fetch_add(1, Relaxed);
    let (events, counters) = (STATE.events.load(Relaxed), STATE.counters.load(Relaxed));
    (0..counters).for_each(stop);
    settle();
    let first = STATE.first.load(Relaxed);
    if let Some(counter) = STATE.assigned[..counters as usize].iter().find(|e| e.load(Relaxed) == first) {
        counter.store((first + counters) % events, Relaxed);
    }
    STATE.first.store((first + 1) % events, Relaxed);
    (0..counters).for_each(start);
    enable();
}

extern "C" fn timer() {
    wrmsr(apic::EOI, 0);
    let before = STATE.timer_interrupts.fetch_add(1, Relaxed);
    let (events, counters) = (STATE.events.load(Relaxed), STATE.counters.load(Relaxed));
    if counters < events && before.is_multiple_of(2) {
        rotate();
    } else if counters > 0 {
        tick();
    }
}

/// Interrupts and the timer, which is started by `start_timer`.
fn prepare() {
    interrupts::install();
    interrupts::set(vector::NMI, on_pmi);
    interrupts::set(TIMER, on_timer);
    apic::enable();
}

/// The work alone, with a timer interrupt every `tick` TSC cycles as when it is sampled. Touches no PMU register.
pub fn without(tick: u32, work: impl FnOnce() -> u64) -> Sampled {
    prepare();
    let (cycles, checksum) = timed(tick, || (), work);
    println!("@samples ticks={}", STATE.timer_interrupts.load(Relaxed));
    Sampled { right: true, cycles, checksum }
}

/// Runs the work with timer interrupts, after `begin`; the cycles that it took.
fn timed(interval: u32, begin: fn(), work: impl FnOnce() -> u64) -> (u64, u64) {
    apic::start_timer(TIMER, interval);
    crate::cpu::enable_interrupts();
    let start = rdtsc();
    begin();
    let checksum = work();
    let cycles = rdtsc() - start;
    crate::cpu::disable_interrupts();
    apic::stop_timer();
    (cycles, checksum)
}

/// Samples while `work` runs, and prints what came of it.
pub fn run(scheme: &Scheme, work: impl FnOnce() -> u64) -> Sampled {
    let &Scheme { events, counters, period, tick, .. } = scheme;
    let geometry = Geometry::read();
    if geometry.general < counters || geometry.fixed == 0 || !full_width() {
        println!("@panic this guest needs {counters} counters, a fixed one and full-width writes");
        return Sampled { right: false, cycles: 0, checksum: 0 };
    }
    assert!(events as usize <= MAX_EVENTS && counters as usize <= MAX_COUNTERS && counters <= events);
    STATE.events.store(events, Relaxed);
    STATE.counters.store(counters, Relaxed);
    for (i, event) in (0..u64::from(events)).zip(&STATE.sampled) {
        // The events are evenly out of step, so that each overflow is an interrupt of its own.
        event.open(period + PERIOD_STEP * i, period * i / u64::from(events));
    }
    for (i, assigned) in (0..counters).zip(&STATE.assigned) {
        assigned.store(i, Relaxed);
    }
    prepare();
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
    clear(&geometry);
    wrmsr(FIXED_CTR_CTRL, FIXED_ALL_RINGS);
    let before = rdtsc();
    (0..counters).for_each(start);
    // Where each access exits and is dear, ticks of that length would leave no time for the work: a tick stops and starts
    // every event, which is about twice what this took.
    let least = u32::try_from((rdtsc() - before) * TICKS_OF_STARTS).unwrap_or(u32::MAX);
    let interval = if scheme.rotates() { tick / 2 } else { tick }.max(least);
    let (cycles, checksum) = timed(interval, enable, work);
    disable();
    (0..counters).for_each(stop);
    settle();
    Sampled { right: judge(scheme), cycles, checksum }
}

fn judge(scheme: &Scheme) -> bool {
    let (mut right, mut wrong) = (0, 0);
    let (mut taken, mut expected, mut late) = (0, 0, 0);
    let name = if scheme.rotates() { "multiplex" } else { "sampling" };
    for (i, event) in (0..scheme.events).zip(&STATE.sampled) {
        let (counted, truth) = (event.counted.load(Relaxed), event.expected.load(Relaxed));
        println!(
            "@counter workload={name} event=instructions counter=event{i} measured={counted} expected={truth}"
        );
        if counted == truth && event.samples.load(Relaxed) > 0 {
            right += 1;
        } else {
            wrong += 1;
        }
        taken += event.samples.load(Relaxed);
        expected += event.periods();
        late += event.late.load(Relaxed);
    }
    let all = rdmsr(FIXED_CTR0);
    let [interrupts, without_overflow, rotations, timers] =
        [&STATE.interrupts, &STATE.without_overflow, &STATE.rotations, &STATE.timer_interrupts]
            .map(|count| count.load(Relaxed));
    println!(
        "@samples taken={taken} expected={expected} late={late} interrupts={interrupts} without_overflow={without_overflow} ticks={} rotations={rotations} instructions={all}",
        timers - rotations
    );
    println!(
        "@accesses data={} control={}",
        STATE.data_accesses.load(Relaxed),
        STATE.control_writes.load(Relaxed)
    );
    println!("@result right={right} wrong={wrong}");
    wrong == 0 && scheme.rotates() == (rotations > 0)
}
