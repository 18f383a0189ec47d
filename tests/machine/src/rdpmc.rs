//! A Linux program that reads its own counters in user mode: RDPMC by the page that perf_event_open's descriptor maps.
//! For each event it counts, [`ROUNDS`] times, a loop of known length between two RDPMC, and prints
//! `linux | rdpmc EVENT | COUNT` with the count if every round gave the same, else with the first that differs.
//!
//! From one RDPMC to the next there are 200,004 instructions: RDPMC, two MOV, MOV of the loop's counter, 100,000 times DEC
//! and JNZ. 100,000 are branches. The events count user mode alone.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, unused_imports, reason = "it has no tests and no main function"))]

use core::arch::asm;
use core::fmt::{self, Write};

/// Measurements of each event.
const ROUNDS: u32 = 100;
/// Tries to find a round in which the kernel did not move the event to another counter.
const TRIES: u32 = 10_000;
/// Times that the loop runs.
const TIMES: u32 = 100_000;

/// System calls.
const WRITE: usize = 1;
const MMAP: usize = 9;
const EXIT: usize = 60;
const PERF_EVENT_OPEN: usize = 298;

/// Linux's `struct perf_event_attr` as its first version had it.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    rest: [u64; 2],
}
/// Flags: pinned to a counter; user mode alone.
const PINNED: u64 = 1 << 2;
const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 3 << 5;

/// Linux's generic hardware events.
const EVENTS: [(&str, u64); 3] = [("cycles", 0), ("instructions", 1), ("branches", 4)];

/// The first words of Linux's `struct perf_event_mmap_page`, 32 bits each.
const LOCK: usize = 2;
const INDEX: usize = 3;
const CAPABILITIES: usize = 10;
const CAP_USER_RDPMC: u32 = 1 << 2;
const PAGE: usize = 4096;

/// Linux returns an error as a number between -4095 and -1.
fn failed(result: usize) -> bool {
    result > usize::MAX - 4095
}

fn system_call(number: usize, arguments: [usize; 6]) -> usize {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the callers pass numbers, and addresses of memory that lives during the call.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// What perf says of one counter.
#[derive(Clone, Copy)]
struct Counter(*const u32);

impl Counter {
    /// Opens an event of this process.
    fn open(config: u64) -> Option<Self> {
        let attributes = Attributes {
            kind: 0,
            size: u32::try_from(size_of::<Attributes>()).ok()?,
            config,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: PINNED | EXCLUDE_KERNEL_AND_HYPERVISOR,
            rest: [0; 2],
        };
        let none = usize::MAX;
        let file =
            system_call(PERF_EVENT_OPEN, [(&raw const attributes).expose_provenance(), 0, none, none, 0, 0]);
        // Readable, shared.
        let page = system_call(MMAP, [0, PAGE, 1, 1, file, 0]);
        (!failed(file) && !failed(page)).then(|| Self(core::ptr::with_exposed_provenance(page)))
    }

    fn word(self, index: usize) -> u32 {
        // SAFETY: the kernel has mapped a page there; the indices are within it.
        unsafe { self.0.add(index).read_volatile() }
    }

    /// Events between two RDPMC, if the kernel left the counter where it was.
    fn measure(self) -> Option<u64> {
        let lock = self.word(LOCK);
        let index = self.word(INDEX);
        if index == 0 || self.word(CAPABILITIES) & CAP_USER_RDPMC == 0 {
            return None;
        }
        let [low, high, low_after, high_after]: [u32; 4];
        // SAFETY: it changes the registers named. The page says that RDPMC of this counter is allowed.
        unsafe {
            asm!("rdpmc", "mov esi, eax", "mov edi, edx", "mov r8d, {times}", "2: dec r8d", "jnz 2b", "rdpmc",
                times = const TIMES, in("ecx") index - 1, out("eax") low_after, out("edx") high_after,
                out("esi") low, out("edi") high, out("r8d") _);
        }
        let value = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        (lock == self.word(LOCK)).then(|| value(low_after, high_after).wrapping_sub(value(low, high)))
    }
}

/// Standard output.
struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        system_call(WRITE, [1, text.as_ptr().expose_provenance(), text.len(), 0, 0, 0]);
        Ok(())
    }
}

fn measure(name: &str, config: u64) -> fmt::Result {
    let Some(counter) = Counter::open(config) else {
        return writeln!(Output, "linux | rdpmc {name} | the event cannot be opened");
    };
    let mut first = None;
    for _ in 0..ROUNDS {
        let Some(count) = (0..TRIES).find_map(|_| counter.measure()) else {
            return writeln!(Output, "linux | rdpmc {name} | RDPMC is not allowed");
        };
        if *first.get_or_insert(count) != count {
            first = Some(count);
            break;
        }
    }
    writeln!(Output, "linux | rdpmc {name} | {}", first.unwrap_or(0))
}

/// The first instruction comes with a stack that is a multiple of 16, which no caller's is.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn run() -> ! {
    for (name, config) in EVENTS {
        // Standard output takes everything.
        let _ = measure(name, config);
    }
    system_call(EXIT, [0; 6]);
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(not(test))]
core::arch::global_asm!(".globl _start", "_start: xor ebp, ebp", "call run", "ud2");

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
