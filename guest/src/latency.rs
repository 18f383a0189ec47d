//! How long a PMI takes to reach its handler.

use crate::apic::{DELIVER_NMI, LVT_PMI};
use crate::cpu::wrmsr;
use crate::interrupts::{self, vector};
use crate::known::TAKEN;
use crate::pmu::{
    EVENTS, GLOBAL_CTRL, GLOBAL_STATUS_RESET, INSTRUCTIONS, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, SELECT_INT,
};
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// PMIs over which the latency is the mean. Their periods differ by one, so that they hit each place of the loop.
const ROUNDS: u32 = 64;
/// Instructions before the first overflow: enough for the loop to run.
const PERIOD: u32 = 100;

/// TSC cycles from the loop's last look at the clock to the handler's.
static ELAPSED: AtomicU32 = AtomicU32::new(0);

/// The handler: R8D holds the time of the last look.
#[unsafe(naked)]
unsafe extern "C" fn on_pmi() {
    naked_asm!(
        "push rax",
        "push rdx",
        "rdtsc",
        "sub eax, r8d",
        "mov [rip + {elapsed}], eax",
        "pop rdx",
        "pop rax",
        "iretq",
        elapsed = sym ELAPSED,
    )
}

/// TSC cycles from the overflow of a counter to its handler, an NMI's, in the mean; at most nine of them are the guest's
/// own instructions. The APIC is on.
pub fn pmi_cycles() -> u64 {
    interrupts::install();
    interrupts::set(vector::NMI, on_pmi);
    wrmsr(PERFEVTSEL0, EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS | SELECT_INT);
    let total: u64 = (0..ROUNDS).map(|round| u64::from(once(PERIOD + round))).sum();
    total / u64::from(ROUNDS)
}

fn once(period: u32) -> u32 {
    wrmsr(GLOBAL_STATUS_RESET, 1);
    wrmsr(PMC0, u64::from(period.wrapping_neg()));
    wrmsr(LVT_PMI, DELIVER_NMI);
    ELAPSED.store(0, Relaxed);
    // SAFETY: WRMSR lets counter 0 count; the loop ends when the handler, which keeps every register, has written the
    // word.
    unsafe {
        asm!(
            "wrmsr",
            "2: rdtsc",
            "mov r8d, eax",
            "cmp dword ptr [rip + {elapsed}], 0",
            "je 2b",
            elapsed = sym ELAPSED,
            inout("ecx") GLOBAL_CTRL => _,
            inout("eax") 1 => _,
            inout("edx") 0 => _,
            out("r8") _,
            options(nostack),
        );
    }
    wrmsr(GLOBAL_CTRL, 0);
    TAKEN.fetch_add(1, Relaxed);
    ELAPSED.load(Relaxed)
}
