//! Interrupts of the local APIC in x2APIC mode: its timer, IPIs with priorities, NMIs, PMIs.

use crate::Checks;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::apic::{DELIVER_NMI, EOI, LVT_PMI, LVT_TIMER, MASKED, TIMER_DIVIDE, TIMER_INITIAL};
use guest::cpu::{cpuid, disable_interrupts, enable_interrupts, rdtsc, wait_for_interrupt, wrmsr};
use guest::interrupts::{set, vector};
use guest::multiboot::Information;
use guest::pmu::{
    EVENTS, GLOBAL_CTRL, GLOBAL_STATUS_RESET, Geometry, INSTRUCTIONS, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS,
    SELECT_INT, clear,
};

/// The self-IPI register, the interrupt command register (SDM vol. 3A, 11.12.9), to the processor itself; and the deadline of the timer.
const SELF_IPI: u32 = 0x83f;
const ICR: u32 = 0x830;
const TO_SELF: u64 = 1 << 18;
const TSC_DEADLINE: u32 = 0x6e0;
/// LVT of the timer: mode TSC-deadline, mode periodic.
const DEADLINE: u64 = 2 << 17;
const PERIODIC: u64 = 1 << 17;
/// CPUID leaf 1, ECX: the timer has a deadline mode.
const HAS_DEADLINE: u32 = 1 << 24;
const DIVIDE_BY_1: u64 = 0xb;
const CYCLES: u64 = 20_000;

const TIMER: u8 = 0x60;
const LOW: u8 = 0x71;
const HIGH: u8 = 0x91;
const PMI: u8 = 0xa1;

static TIMERS: AtomicU64 = AtomicU64::new(0);
static NMIS: AtomicU64 = AtomicU64::new(0);
static PMIS: AtomicU64 = AtomicU64::new(0);
/// The vectors that were delivered, the last one in bits 7:0.
static ORDER: AtomicU64 = AtomicU64::new(0);

guest::handler!(on_timer, timer);
guest::handler!(on_nmi, nmi);
guest::handler!(on_low, low);
guest::handler!(on_high, high);
guest::handler!(on_pmi, pmi);

extern "C" fn timer() {
    TIMERS.fetch_add(1, Relaxed);
    wrmsr(EOI, 0);
}

extern "C" fn nmi() {
    NMIS.fetch_add(1, Relaxed);
}

fn delivered(vector: u8) {
    ORDER.store(ORDER.load(Relaxed) << 8 | u64::from(vector), Relaxed);
    wrmsr(EOI, 0);
}

extern "C" fn low() {
    delivered(LOW);
}

extern "C" fn high() {
    delivered(HIGH);
}

extern "C" fn pmi() {
    PMIS.fetch_add(1, Relaxed);
    wrmsr(EOI, 0);
}

fn send(vector: u8) {
    wrmsr(ICR, TO_SELF | u64::from(vector));
}

fn set_task_priority(class: u64) {
    // SAFETY: only delays interrupts.
    unsafe { asm!("mov cr8, {}", in(reg) class, options(nomem, nostack)) }
}

/// With interrupts on for some instructions.
fn interrupts_on() {
    enable_interrupts();
    // SAFETY: nothing.
    unsafe { asm!("nop", "nop", "nop") };
    disable_interrupts();
}

pub fn check(checks: &mut Checks, _: &Information) {
    for (vector, handler) in [
        (TIMER, on_timer as guest::interrupts::Handler),
        (vector::NMI, on_nmi),
        (LOW, on_low),
        (HIGH, on_high),
        (PMI, on_pmi),
    ] {
        set(vector, handler);
    }
    guest::apic::enable();
    timers(checks);
    priorities(checks);
    wrmsr(ICR, TO_SELF | DELIVER_NMI);
    checks.equal("nmi-to-itself", NMIS.load(Relaxed), 1);
    performance(checks);
}

fn timers(checks: &mut Checks) {
    wrmsr(TIMER_DIVIDE, DIVIDE_BY_1);
    wrmsr(LVT_TIMER, TIMER.into());
    let start = rdtsc();
    wrmsr(TIMER_INITIAL, CYCLES);
    wait_for_interrupt();
    checks.equal("one-shot", TIMERS.swap(0, Relaxed), 1);
    checks.is("not-early", rdtsc() - start >= CYCLES);

    wrmsr(LVT_TIMER, PERIODIC | u64::from(TIMER));
    wrmsr(TIMER_INITIAL, CYCLES);
    while TIMERS.load(Relaxed) < 3 {
        wait_for_interrupt();
    }
    wrmsr(TIMER_INITIAL, 0);
    interrupts_on();
    checks.is("periodic", TIMERS.swap(0, Relaxed) >= 3);

    // A period of one cycle: while interrupts are off all of them are one, and the program goes on.
    wrmsr(TIMER_INITIAL, 1);
    for _ in 0..1000 {
        core::hint::spin_loop();
    }
    wrmsr(TIMER_INITIAL, 0);
    interrupts_on();
    checks.equal("shortest-period", TIMERS.swap(0, Relaxed), 1);

    if cpuid(1)[2] & HAS_DEADLINE != 0 {
        wrmsr(LVT_TIMER, DEADLINE | u64::from(TIMER));
        let deadline = rdtsc() + CYCLES;
        wrmsr(TSC_DEADLINE, deadline);
        wait_for_interrupt();
        checks.equal("deadline", TIMERS.swap(0, Relaxed), 1);
        checks.is("deadline-not-early", rdtsc() >= deadline);
    }
    wrmsr(LVT_TIMER, MASKED);
}

/// SDM vol. 3A, 11.8.3: classes of priority, and TPR.
fn priorities(checks: &mut Checks) {
    send(LOW);
    send(HIGH);
    checks.equal("none-while-off", ORDER.load(Relaxed), 0);
    interrupts_on();
    checks.equal("the-higher-first", ORDER.swap(0, Relaxed), u64::from(HIGH) << 8 | u64::from(LOW));

    wrmsr(SELF_IPI, LOW.into());
    checks.equal("self-ipi-waits", ORDER.load(Relaxed), 0);
    interrupts_on();
    checks.equal("self-ipi", ORDER.swap(0, Relaxed), LOW.into());

    set_task_priority(u64::from(LOW) >> 4);
    send(LOW);
    send(HIGH);
    interrupts_on();
    checks.equal("only-above-the-task-priority", ORDER.swap(0, Relaxed), HIGH.into());
    set_task_priority(0);
    interrupts_on();
    checks.equal("then-the-other", ORDER.swap(0, Relaxed), LOW.into());
}

/// An overflow interrupts as the LVT entry says, and masks it (SDM vol. 3A, 11.5.1).
fn performance(checks: &mut Checks) {
    let geometry = Geometry::read();
    if geometry.version < 2 {
        return;
    }
    NMIS.store(0, Relaxed);
    for (entry, count, what) in [(u64::from(PMI), &PMIS, "pmi-by-vector"), (DELIVER_NMI, &NMIS, "pmi-as-nmi")]
    {
        clear(&geometry);
        wrmsr(LVT_PMI, entry);
        wrmsr(PERFEVTSEL0, EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT);
        // Sign-extended: a hundred instructions before the overflow.
        wrmsr(PMC0, 0xffff_ff9c);
        enable_interrupts();
        wrmsr(GLOBAL_CTRL, 1);
        for _ in 0..1000 {
            core::hint::spin_loop();
        }
        wrmsr(GLOBAL_CTRL, 0);
        disable_interrupts();
        checks.equal(what, count.load(Relaxed), 1);
        checks.equal("pmi-masks-its-entry", guest::cpu::rdmsr(LVT_PMI) & MASKED, MASKED);
        wrmsr(GLOBAL_STATUS_RESET, geometry.all());
    }
    clear(&geometry);
}
