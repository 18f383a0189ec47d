//! The PMU as a guest finds it (SDM vol. 3B, chapter 20).

use crate::cpu::{cpuid, rdmsr, wrmsr};

/// IA32_PMC0, written sign-extended from 32 bits.
pub const PMC0: u32 = 0xc1;
/// IA32_PERFEVTSEL0.
pub const PERFEVTSEL0: u32 = 0x186;
/// IA32_FIXED_CTR0.
pub const FIXED_CTR0: u32 = 0x309;
/// IA32_PERF_CAPABILITIES.
pub const PERF_CAPABILITIES: u32 = 0x345;
/// IA32_FIXED_CTR_CTRL.
pub const FIXED_CTR_CTRL: u32 = 0x38d;
/// IA32_PERF_GLOBAL_STATUS.
pub const GLOBAL_STATUS: u32 = 0x38e;
/// IA32_PERF_GLOBAL_CTRL.
pub const GLOBAL_CTRL: u32 = 0x38f;
/// IA32_PERF_GLOBAL_STATUS_RESET, once called IA32_PERF_GLOBAL_OVF_CTRL.
pub const GLOBAL_STATUS_RESET: u32 = 0x390;
/// IA32_A_PMC0, written at full width.
pub const A_PMC0: u32 = 0x4c1;

/// PERFEVTSEL: USR, OS and EN.
pub const SELECT_ALL_RINGS: u64 = 1 << 16 | 1 << 17 | 1 << 22;
/// PERFEVTSEL: interrupt on overflow.
pub const SELECT_INT: u64 = 1 << 20;
/// FIXED_CTR_CTRL, a counter's field: both rings.
pub const FIXED_ALL_RINGS: u64 = 3;

/// An architectural event (SDM vol. 3B, table 20-1), in the order of CPUID leaf 0xA EBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// A name that can be a value in a report.
    pub name: &'static str,
    /// Unit mask and event select: bits 15:0 of PERFEVTSEL.
    pub code: u64,
}

/// Instructions retired: the place in [`EVENTS`].
pub const INSTRUCTIONS: usize = 1;
/// Last-level cache references: the place in [`EVENTS`].
pub const LLC_REFERENCES: usize = 3;
/// Last-level cache misses: the place in [`EVENTS`].
pub const LLC_MISSES: usize = 4;
/// Branch instructions retired: the place in [`EVENTS`].
pub const BRANCHES: usize = 5;
/// Branch misses retired: the place in [`EVENTS`].
pub const BRANCH_MISSES: usize = 6;
/// Topdown slots: the place in [`EVENTS`].
pub const SLOTS: usize = 7;

/// The architectural events.
pub const EVENTS: [Event; 8] = [
    Event { name: "core-cycles", code: 0x003c },
    Event { name: "instructions", code: 0x00c0 },
    Event { name: "reference-cycles", code: 0x013c },
    Event { name: "llc-references", code: 0x4f2e },
    Event { name: "llc-misses", code: 0x412e },
    Event { name: "branches", code: 0x00c4 },
    Event { name: "branch-misses", code: 0x00c5 },
    Event { name: "slots", code: 0x01a4 },
];

/// What CPUID says about the PMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Version, 0 without a PMU.
    pub version: u32,
    /// General-purpose counters.
    pub general: u32,
    /// Fixed counters that exist, from counter 0 on without a gap.
    pub fixed: u32,
    /// Events of [`EVENTS`] that exist, as a bit set.
    pub events: u32,
}

impl Geometry {
    /// CPUID leaf 0xA (SDM vol. 2A, CPUID).
    pub fn read() -> Self {
        let [eax, ebx, ecx, edx] = cpuid(0xa);
        let length = (eax >> 24).min(8);
        let fixed = (0..32).take_while(|i| edx & 0x1f > *i || ecx & 1 << i != 0);
        Self {
            version: eax & 0xff,
            general: eax >> 8 & 0xff,
            fixed: u32::try_from(fixed.count()).unwrap_or(0),
            events: !ebx & ((1 << length) - 1),
        }
    }

    /// Whether an event of [`EVENTS`] exists.
    pub const fn has(&self, event: usize) -> bool {
        self.events & 1 << event != 0
    }

    /// GLOBAL_CTRL with every counter enabled.
    pub const fn all(&self) -> u64 {
        ((1 << self.general) - 1) | ((1 << self.fixed) - 1) << 32
    }
}

/// Whether full-width writes exist: CPUID PDCM and IA32_PERF_CAPABILITIES bit 13.
pub fn full_width() -> bool {
    cpuid(1)[2] & 1 << 15 != 0 && rdmsr(PERF_CAPABILITIES) & 1 << 13 != 0
}

/// Stops every counter and sets all of them to 0.
pub fn clear(geometry: &Geometry) {
    wrmsr(GLOBAL_CTRL, 0);
    for i in 0..geometry.general {
        wrmsr(PERFEVTSEL0 + i, 0);
        wrmsr(PMC0 + i, 0);
    }
    wrmsr(FIXED_CTR_CTRL, 0);
    for i in 0..geometry.fixed {
        wrmsr(FIXED_CTR0 + i, 0);
    }
    wrmsr(GLOBAL_STATUS_RESET, geometry.all());
}
