//! The time-stamp counter against the timers: all follow the simulated instructions a second.

use crate::report::Report;
use machine_kernels::cpu::{cpuid, rdtsc};
use x86::io::{inb, outb};

/// The programmable interval timer's input, in Hz.
const PIT_HZ: u64 = 1_193_182;
/// What is measured, in milliseconds.
const SPAN: u64 = 10;
const HPET: *mut u64 = 0xFED0_0000 as *mut u64;
const HPET_CONFIGURATION: usize = 0x10;
const HPET_COUNTER: usize = 0xF0;
const FEMTOSECONDS_A_MILLISECOND: u64 = 1_000_000_000_000;

/// `ips` are the instructions a second that the launcher configured.
pub fn check(report: &mut Report, ips: u64) {
    let [highest_leaf, ..] = cpuid(0);
    if highest_leaf >= 0x15 {
        let [denominator, numerator, crystal, _] = cpuid(0x15).map(u64::from);
        let frequency = crystal * numerator / denominator.max(1);
        report.check("CPUID leaf 0x15: the time-stamp counter's frequency", "18.7.3", frequency, ips);
    }
    if highest_leaf >= 0x16 {
        let [base, maximum, ..] = cpuid(0x16).map(u64::from);
        let megahertz = (ips + 500_000) / 1_000_000;
        report.check("CPUID leaf 0x16: base frequency in MHz", "CPUID", base, megahertz);
        report.check("CPUID leaf 0x16: maximum frequency in MHz", "CPUID", maximum, megahertz);
    }
    let percent = |stamps: u64| (100 * stamps + ips / 200 * SPAN / 10) / (ips / 1000 * SPAN);
    report.check(
        "10 ms of the interval timer, in percent of time stamps",
        "18.17",
        percent(interval_timer()),
        100,
    );
    report.check("10 ms of the HPET, in percent of time stamps", "18.17", percent(hpet()), 100);
}

/// Time stamps that pass while channel 2 counts down [`SPAN`] in mode 0.
fn interval_timer() -> u64 {
    const CONTROL: u16 = 0x61;
    const OUTPUT: u8 = 1 << 5;
    let [low, high, ..] = (PIT_HZ * SPAN / 1000).to_le_bytes();
    // SAFETY: the ports are the timer's and its gate's.
    unsafe {
        outb(CONTROL, inb(CONTROL) & !2 | 1);
        outb(0x43, 0xB0);
        outb(0x42, low);
        outb(0x42, high);
        let start = rdtsc();
        while inb(CONTROL) & OUTPUT == 0 {}
        rdtsc() - start
    }
}

/// Time stamps that pass while the HPET counts [`SPAN`].
fn hpet() -> u64 {
    // SAFETY: the page is the HPET's, with 64-bit registers.
    unsafe {
        let period = HPET.read_volatile() >> 32;
        let counter = HPET.byte_add(HPET_COUNTER);
        HPET.byte_add(HPET_CONFIGURATION).write_volatile(1);
        let (start, first) = (rdtsc(), counter.read_volatile());
        while counter.read_volatile() - first < SPAN * FEMTOSECONDS_A_MILLISECOND / period {}
        rdtsc() - start
    }
}
