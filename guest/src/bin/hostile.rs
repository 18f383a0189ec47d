//! Does to the PMU what a guest should not: every PMU register, every bit, every event select, writes while
//! counting, tiny periods, games with LVTPC, random storms. It expects nothing of the values; what must hold is
//! that it comes to its end, that what faults faults cleanly, and that its neighbour notices nothing.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use guest::cpu::{Fault, enable_interrupts, try_rdmsr, try_rdpmc, try_wrmsr, wrmsr};
use guest::interrupts::vector;
use guest::pmu::{
    A_PMC0, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL, GLOBAL_STATUS, GLOBAL_STATUS_RESET, PERF_CAPABILITIES,
    PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, SELECT_INT,
};
use guest::{apic, interrupts, println, workload};

guest::guest!(main);

/// The vector that LVTPC names when it does not deliver NMIs.
const INTERRUPT: u8 = 0x51;
/// IA32_PERF_GLOBAL_STATUS_SET, IA32_PERF_GLOBAL_INUSE, IA32_PEBS_ENABLE, MSR_PEBS_DATA_CFG, IA32_DS_AREA,
/// IA32_DEBUGCTL, MSR_OFFCORE_RSP_0 and 1, MSR_PEBS_LD_LAT, MSR_PEBS_FRONTEND, MSR_PERF_METRICS.
const OTHERS: [u32; 11] = [0x391, 0x392, 0x3f1, 0x3f2, 0x600, 0x1d9, 0x1a6, 0x1a7, 0x3f6, 0x3f7, 0x329];
/// How many [`registers`] there are.
const REGISTERS: u64 = 44;
/// Accesses of the random storm.
const STORM: u64 = 3000;
/// Unmasking LVTPC in a handler lets the next PMI come; after so many, the handler leaves it masked until the
/// storm unmasks it, so that a period of one instruction does not go on for ever.
const UNMASKED: u64 = 64;

static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(1);
/// GLOBAL_CTRL: eight general-purpose and three fixed counters.
const EVERY_COUNTER: u64 = 0x7_0000_00ff;

guest::handler!(on_nmi, nmi);
guest::handler!(on_interrupt, interrupt);

extern "C" fn nmi() {
    pmi(apic::DELIVER_NMI);
}

extern "C" fn interrupt() {
    pmi(u64::from(INTERRUPT));
    wrmsr(apic::EOI, 0);
}

/// Does not stop the counters, and starts the next period at once: a careless handler.
fn pmi(entry: u64) {
    let count = INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    wrmsr(GLOBAL_STATUS_RESET, EVERY_COUNTER);
    if !count.is_multiple_of(UNMASKED) {
        wrmsr(A_PMC0, (1 << 48) - PERIOD.load(Ordering::Relaxed));
        wrmsr(apic::LVT_PMI, entry);
    }
}

#[derive(Default)]
struct Tally {
    done: u64,
    faulted: u64,
}

impl Tally {
    fn note<T>(&mut self, result: Result<T, Fault>) {
        match result {
            Ok(_) => self.done += 1,
            Err(Fault) => self.faulted += 1,
        }
    }

    fn say(&self, what: &str) {
        println!("@hostile what={what} done={} faulted={}", self.done, self.faulted);
    }
}

fn registers() -> impl Iterator<Item = u32> {
    let ranges = [(PMC0, 8), (PERFEVTSEL0, 8), (FIXED_CTR0, 4), (A_PMC0, 8)];
    let ones = [PERF_CAPABILITIES, FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, GLOBAL_STATUS_RESET];
    ranges.into_iter().flat_map(|(first, count)| first..first + count).chain(ones).chain(OTHERS)
}

/// Numbers without pattern (a linear congruential generator, upper bits).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16 ^ self.0 << 40
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Every register, every single bit, all zeros and all ones.
fn every_bit() {
    let mut tally = Tally::default();
    for register in registers() {
        tally.note(try_rdmsr(register));
        for bit in 0..64 {
            tally.note(try_wrmsr(register, 1 << bit));
        }
        tally.note(try_wrmsr(register, u64::MAX));
        tally.note(try_wrmsr(register, 0));
    }
    tally.say("every-bit");
}

/// Every counter number, and numbers that no counter has.
fn every_counter() {
    let mut tally = Tally::default();
    for kind in [0u32, 0x2000_0000, 0x4000_0000, 0x8000_0000, 0xffff_0000] {
        for index in [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 255, 0xffff] {
            tally.note(try_rdpmc(kind | index));
        }
    }
    tally.say("every-counter");
}

/// Every event select with every eighth unit mask, while counting.
fn every_event() {
    let mut tally = Tally::default();
    tally.note(try_wrmsr(GLOBAL_CTRL, 0xff));
    for code in (0..=0xffffu64).filter(|code| code >> 8 & 7 == code & 7) {
        tally.note(try_wrmsr(PERFEVTSEL0 + 1, code | SELECT_ALL_RINGS));
    }
    tally.say("every-event");
}

/// Periods of 1 to 64 instructions with interrupts, as NMI, as interrupt and as what cannot be delivered.
fn tiny_periods() {
    let mut tally = Tally::default();
    let entries =
        [apic::DELIVER_NMI, u64::from(INTERRUPT), 2 << 8, 5 << 8, 7 << 8 | 0x20, 0x0f, apic::MASKED];
    for period in [1u64, 2, 3, 5, 8, 13, 21, 34, 64] {
        PERIOD.store(period, Ordering::Relaxed);
        for entry in entries {
            tally.note(try_wrmsr(apic::LVT_PMI, entry));
            tally.note(try_wrmsr(GLOBAL_CTRL, 0));
            tally.note(try_wrmsr(PERFEVTSEL0, 0xc0 | SELECT_ALL_RINGS | SELECT_INT));
            tally.note(try_wrmsr(A_PMC0, (1 << 48) - period));
            tally.note(try_wrmsr(GLOBAL_CTRL, 1));
            workload::mix(20);
        }
    }
    tally.say("tiny-periods");
}

/// Any access to any register with any value, counters running.
fn storm() {
    let mut tally = Tally::default();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..STORM {
        let place = usize::try_from(random.below(REGISTERS)).unwrap_or(0);
        let register = registers().nth(place).unwrap_or(PMC0);
        // Sparse, dense and close to overflow.
        let value = match random.below(4) {
            0 => random.next() & random.next() & random.next(),
            1 => random.next(),
            2 => random.next() & 0x0f_00ff | 0x0043_0000,
            _ => (1 << 48) - random.below(2000),
        };
        match random.below(8) {
            0 => tally.note(try_rdmsr(register)),
            1 => tally.note(try_rdpmc(guest_index(random.next()))),
            2 => tally.note(try_wrmsr(GLOBAL_CTRL, random.next() & 0xf_0000_00ff)),
            3 => tally.note(try_wrmsr(
                apic::LVT_PMI,
                [apic::DELIVER_NMI, u64::from(INTERRUPT)][usize::from(value & 1 == 0)],
            )),
            _ => tally.note(try_wrmsr(register, value)),
        }
    }
    tally.say("storm");
}

fn guest_index(random: u64) -> u32 {
    let [a, b, c, d, ..] = random.to_le_bytes();
    u32::from_le_bytes([a & 0xf, b & 1, c & 1, d])
}

fn main() -> bool {
    interrupts::install();
    interrupts::set(vector::NMI, on_nmi);
    interrupts::set(INTERRUPT, on_interrupt);
    apic::enable();
    enable_interrupts();
    every_counter();
    every_bit();
    every_event();
    tiny_periods();
    storm();
    let _ = try_wrmsr(GLOBAL_CTRL, 0);
    println!("@samples interrupts={}", INTERRUPTS.load(Ordering::Relaxed));
    println!("@result right=1 wrong=0");
    true
}
