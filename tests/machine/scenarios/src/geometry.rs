//! What CPUID leaf 0xA says.

/// CPUID leaf 0xA (SDM volume 2, CPUID).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The architectural version.
    pub version: u32,
    /// General-purpose counters.
    pub general: u32,
    /// Their width in bits.
    pub width: u32,
    /// Fixed counters, contiguous from 0.
    pub fixed: u32,
    /// The fixed counters' width in bits.
    pub fixed_width: u32,
    /// Bit n: predefined event n is available.
    pub events: u32,
    /// AnyThread is deprecated: its bits are reserved.
    pub any_thread_deprecated: bool,
}

impl Geometry {
    /// Decodes EAX, EBX and EDX of the leaf.
    pub const fn from_cpuid(eax: u32, ebx: u32, edx: u32) -> Self {
        let length = eax >> 24;
        Self {
            version: eax & 0xFF,
            general: eax >> 8 & 0xFF,
            width: eax >> 16 & 0xFF,
            fixed: edx & 0x1F,
            fixed_width: edx >> 5 & 0xFF,
            events: !ebx & ((1 << length) - 1),
            any_thread_deprecated: edx >> 15 & 1 == 1,
        }
    }

    /// The bits of a general-purpose counter.
    pub const fn counter_mask(&self) -> u64 {
        (1 << self.width) - 1
    }

    /// The bits of a fixed counter.
    pub const fn fixed_mask(&self) -> u64 {
        (1 << self.fixed_width) - 1
    }

    /// The bits of all counters in IA32_PERF_GLOBAL_CTRL and _STATUS.
    pub const fn all_counters(&self) -> u64 {
        ((1 << self.general) - 1) | (((1 << self.fixed) - 1) << 32)
    }
}
