//! How long single accesses and a PMI take, in TSC ticks beyond those of the guest's own instructions: what is done
//! for the guest outside it, and what the cost model charges.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::cpu::{rdmsr, wrmsr};
use guest::interrupts::{self, vector};
use guest::pmu::{
    A_PMC0, EVENTS, FIXED_ALL_RINGS, FIXED_CTR_CTRL, GLOBAL_CTRL, GLOBAL_STATUS, GLOBAL_STATUS_RESET,
    Geometry, INSTRUCTIONS, PERFEVTSEL0, SELECT_ALL_RINGS, SELECT_INT, clear, full_width,
};
use guest::{apic, println};

guest::guest!(main);

/// Of so many repetitions the median counts: now and then the host's own timer interrupt is in one.
const ROUNDS: usize = 101;
/// PERFEVTSEL: EN.
const SELECT_EN: u64 = 1 << 22;
const SELECT: u64 = EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT;
/// Instructions from the enabling of the counter to its overflow.
const PERIOD: u64 = 1000;
/// Instructions of the handler before its RDTSC.
const HANDLER_PROLOGUE: u64 = 2;
/// Counters that count besides, as when perf samples six events, and the fixed one.
const COUNTERS: u32 = 6;
const ENABLE: u64 = ((1 << COUNTERS) - 1) | 1 << 32;
/// A vector and a time for the timer: it is armed, as an operating system's always is, and does not run out.
const TIMER: u8 = 0x40;
const FAR: u32 = u32::MAX;

/// TSC when the NMI handler began.
static HANDLER: AtomicU64 = AtomicU64::new(0);

/// TSC ticks from before an instruction with operands in ECX, EAX and EDX to after it.
macro_rules! ticks {
    ($instruction:literal, $ecx:expr, $value:expr) => {{
        let [a, b, c, d, e, f, g, h] = u64::to_le_bytes($value);
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let elapsed: u64;
        // SAFETY: only the registers that are named change; the instructions are those that this file passes:
        // CPUID, RDPMC, RDMSR, and WRMSR of PMU registers.
        unsafe {
            asm!(
                "mov r11, rbx",
                "rdtsc",
                "shl rdx, 32",
                "or rax, rdx",
                "mov r8, rax",
                "mov eax, r9d",
                "mov edx, r10d",
                $instruction,
                "rdtsc",
                "shl rdx, 32",
                "or rax, rdx",
                "sub rax, r8",
                "mov rbx, r11",
                inout("ecx") $ecx => _,
                in("r9") u64::from(low),
                in("r10") u64::from(high),
                out("rax") elapsed,
                out("rdx") _,
                out("r8") _,
                out("r11") _,
                options(nostack),
            );
        }
        elapsed
    }};
}

/// The median of what `step` returns, less `around`.
fn median(around: u64, mut step: impl FnMut(u64) -> u64) -> u64 {
    let mut all = [0; ROUNDS];
    for (i, one) in (0..).zip(&mut all) {
        *one = step(i);
    }
    all.sort_unstable();
    all[ROUNDS / 2].saturating_sub(around)
}

guest::handler!(after_pmi, acknowledge);

/// Notes the time, then does what a handler must.
#[unsafe(naked)]
unsafe extern "C" fn on_pmi() {
    naked_asm!(
        "push rax",
        "push rdx",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rip + {handler}], rax",
        "pop rdx",
        "pop rax",
        "jmp {rest}",
        handler = sym HANDLER,
        rest = sym after_pmi,
    )
}

extern "C" fn acknowledge() {
    wrmsr(GLOBAL_CTRL, 0);
    wrmsr(GLOBAL_STATUS_RESET, rdmsr(GLOBAL_STATUS));
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
}

/// TSC ticks from a counter's overflow to the handler's first instruction.
fn pmi() -> u64 {
    wrmsr(A_PMC0, PERIOD.wrapping_neg() & 0xffff_ffff_ffff);
    HANDLER.store(0, Relaxed);
    let [low, high] = [ENABLE & u64::from(u32::MAX), ENABLE >> 32];
    let enabled: u64;
    // SAFETY: enables counters; the loop is long enough for the overflow, whose handler keeps all registers.
    unsafe {
        asm!(
            "wrmsr",
            "rdtsc",
            "2: dec r8",
            "jnz 2b",
            "shl rdx, 32",
            "or rax, rdx",
            inout("ecx") GLOBAL_CTRL => _,
            inout("rax") low => enabled,
            inout("rdx") high => _,
            inout("r8") 4 * PERIOD => _,
        );
    }
    HANDLER.load(Relaxed).saturating_sub(enabled + PERIOD + HANDLER_PROLOGUE)
}

fn main() -> bool {
    interrupts::install();
    // An instruction without effect takes what is around the others.
    let around = median(0, |_| ticks!("nop", 0u32, 0));
    let cpuid = || median(around, |_| ticks!("cpuid", 0u32, 0));
    let idle = cpuid();
    let geometry = Geometry::read();
    if geometry.version == 0 {
        println!("@path cpuid_idle={idle}");
        return true;
    }
    if geometry.version < 2 || geometry.general < COUNTERS || geometry.fixed == 0 || !full_width() {
        println!("@panic this guest needs a PMU of version 2, {COUNTERS} counters and full-width writes");
        return false;
    }
    clear(&geometry);
    // Another value each time, which the policy has not seen: unit masks.
    let control = median(around, |i| ticks!("wrmsr", PERFEVTSEL0, SELECT | (i << 8)));
    // The same two values again and again, as when an event is stopped and started.
    for value in [SELECT, SELECT | SELECT_EN] {
        wrmsr(PERFEVTSEL0, value);
    }
    let known = median(around, |i| ticks!("wrmsr", PERFEVTSEL0, SELECT | ((i % 2) * SELECT_EN)));
    wrmsr(PERFEVTSEL0, SELECT | SELECT_EN);
    let write_counter = median(around, |i| ticks!("wrmsr", A_PMC0, i));
    let write_global = median(around, |i| ticks!("wrmsr", GLOBAL_CTRL, i % 2));
    let read_counter = median(around, |_| ticks!("rdmsr", A_PMC0, 0));
    let rdpmc = median(around, |_| ticks!("rdpmc", 0u32, 0));
    for counter in 1..COUNTERS {
        wrmsr(PERFEVTSEL0 + counter, SELECT | SELECT_EN);
    }
    wrmsr(FIXED_CTR_CTRL, FIXED_ALL_RINGS);
    wrmsr(GLOBAL_CTRL, ENABLE);
    let counting = cpuid();
    wrmsr(GLOBAL_CTRL, 0);
    interrupts::set(vector::NMI, on_pmi);
    apic::enable();
    apic::start_timer(TIMER, FAR);
    wrmsr(apic::LVT_PMI, apic::DELIVER_NMI);
    let pmi = median(0, |_| pmi());
    // The handler's last access, with the counters on as perf has them by then.
    wrmsr(GLOBAL_CTRL, ENABLE);
    let unmask = median(around, |_| ticks!("wrmsr", apic::LVT_PMI, apic::DELIVER_NMI));
    wrmsr(GLOBAL_CTRL, 0);
    apic::stop_timer();
    println!(
        "@path cpuid_idle={idle} cpuid_counting={counting} control_write={control} known_control_write={known} pmi={pmi} unmask={unmask}"
    );
    println!(
        "@access write_counter={write_counter} write_global={write_global} read_counter={read_counter} rdpmc={rdpmc}"
    );
    pmi > 0
}
