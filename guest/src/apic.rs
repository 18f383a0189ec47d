//! The local APIC, in x2APIC mode (SDM vol. 3A, 11.12).

use crate::cpu::{rdmsr, wrmsr};

const APIC_BASE: u32 = 0x1b;
const BASE_X2APIC: u64 = 1 << 10;
/// End of interrupt.
pub const EOI: u32 = 0x80b;
/// Spurious-interrupt vector.
const SVR: u32 = 0x80f;
/// Local vector table: timer.
pub const LVT_TIMER: u32 = 0x832;
/// Local vector table: performance counters.
pub const LVT_PMI: u32 = 0x834;
/// Timer: initial count.
pub const TIMER_INITIAL: u32 = 0x838;
/// Timer: divide configuration.
pub const TIMER_DIVIDE: u32 = 0x83e;

/// LVT: delivery as NMI.
pub const DELIVER_NMI: u64 = 4 << 8;
/// LVT: masked.
pub const MASKED: u64 = 1 << 16;
/// LVT of the timer: periodic.
pub const PERIODIC: u64 = 1 << 17;
/// Divide configuration: every TSC cycle.
const DIVIDE_BY_1: u64 = 0xb;
/// Spurious-interrupt vector register: enabled; vector 255.
const ENABLED: u64 = 0x1ff;

/// Switches the APIC to x2APIC mode and on.
pub fn enable() {
    wrmsr(APIC_BASE, rdmsr(APIC_BASE) | BASE_X2APIC);
    wrmsr(SVR, ENABLED);
}

/// Starts the timer: an interrupt `vector` every `cycles` of the TSC.
pub fn start_timer(vector: u8, cycles: u32) {
    wrmsr(TIMER_DIVIDE, DIVIDE_BY_1);
    wrmsr(LVT_TIMER, PERIODIC | u64::from(vector));
    wrmsr(TIMER_INITIAL, u64::from(cycles));
}

/// Stops the timer.
pub fn stop_timer() {
    wrmsr(TIMER_INITIAL, 0);
    wrmsr(LVT_TIMER, MASKED);
}
