//! The time-stamp counter is the guest's to write (SDM vol. 3B, 18.17), and its deadline follows (vol. 3A, 11.5.4.1).

use crate::Checks;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::apic::{EOI, LVT_TIMER, MASKED};
use guest::cpu::{cpuid_count, rdmsr, rdtsc, wait_for_interrupt, wrmsr};
use guest::interrupts::set;
use guest::multiboot::Information;

const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;
const TSC_DEADLINE: u32 = 0x6e0;
/// CPUID leaf 7, EBX: IA32_TSC_ADJUST.
const HAS_ADJUST: u32 = 1 << 1;
/// LVT of the timer: mode TSC-deadline.
const DEADLINE: u64 = 2 << 17;
const VECTOR: u8 = 0x62;
/// Later than this machine runs, and what a few instructions with their exits take at most, in cycles.
const FAR: u64 = 1 << 50;
const SOON: u64 = 10_000_000;
const CYCLES: u64 = 20_000;

static TIMERS: AtomicU64 = AtomicU64::new(0);

guest::handler!(on_timer, timer);

extern "C" fn timer() {
    TIMERS.fetch_add(1, Relaxed);
    wrmsr(EOI, 0);
}

pub fn check(checks: &mut Checks, _: &Information) {
    checks.equal("cpuid-tsc-adjust", u64::from(cpuid_count(7, 0)[1] & HAS_ADJUST), HAS_ADJUST.into());
    checks.equal("adjust-at-first", rdmsr(TSC_ADJUST), 0);
    let before = rdtsc();
    wrmsr(TSC, FAR);
    let after = rdtsc();
    checks.is("written", (FAR..FAR + SOON).contains(&after));
    checks.is("rdmsr-agrees", (after..after + SOON).contains(&rdmsr(TSC)));
    let adjust = rdmsr(TSC_ADJUST);
    checks.is("adjust-follows", (FAR - before - SOON..=FAR - before).contains(&adjust));

    set(VECTOR, on_timer);
    guest::apic::enable();
    wrmsr(LVT_TIMER, DEADLINE | u64::from(VECTOR));
    let deadline = rdtsc() + CYCLES;
    wrmsr(TSC_DEADLINE, deadline);
    wait_for_interrupt();
    checks.equal("deadline", TIMERS.swap(0, Relaxed), 1);
    checks.is("deadline-not-early", (deadline..deadline + SOON).contains(&rdtsc()));
    wrmsr(LVT_TIMER, MASKED);

    wrmsr(TSC_ADJUST, 0);
    checks.is("back", (before..before + 2 * SOON).contains(&rdtsc()));
}
