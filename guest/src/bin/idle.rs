//! Does nothing but wait for a timer: what exits and time cost when nothing counts.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use guest::cpu::{wait_for_interrupt, wrmsr};
use guest::{apic, interrupts, println};

guest::guest!(main);

const TIMER: u8 = 0x40;
/// TSC cycles between two interrupts.
const PERIOD: u32 = 1_000_000;
/// Interrupts to wait for.
const TICKS: u64 = 20;

static TAKEN: AtomicU64 = AtomicU64::new(0);

guest::handler!(on_timer, timer);

extern "C" fn timer() {
    TAKEN.fetch_add(1, Ordering::Relaxed);
    wrmsr(apic::EOI, 0);
}

fn main() -> bool {
    interrupts::install();
    interrupts::set(TIMER, on_timer);
    apic::enable();
    apic::start_timer(TIMER, PERIOD);
    let start = guest::cpu::rdtsc();
    while TAKEN.load(Ordering::Relaxed) < TICKS {
        wait_for_interrupt();
    }
    let elapsed = guest::cpu::rdtsc() - start;
    apic::stop_timer();
    let right = elapsed >= (TICKS - 1) * u64::from(PERIOD);
    println!("@samples timer_interrupts={} cycles={elapsed}", TAKEN.load(Ordering::Relaxed));
    println!("@result right={} wrong={}", u32::from(right), u32::from(!right));
    right
}
