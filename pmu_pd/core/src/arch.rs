//! Architectural facts: register numbers, bits and events, each with its SDM section.

/// IA32_PMC0, legacy address of the first general-purpose counter (20.2.1.1).
pub const IA32_PMC0: u32 = 0xC1;
/// IA32_PERFEVTSEL0, first event selector (20.2.1.1).
pub const IA32_PERFEVTSEL0: u32 = 0x186;
/// IA32_FIXED_CTR0, first fixed-function counter (20.2.2).
pub const IA32_FIXED_CTR0: u32 = 0x309;
/// IA32_PERF_CAPABILITIES (20.2.6, 20.3.1.1.1).
pub const IA32_PERF_CAPABILITIES: u32 = 0x345;
/// IA32_FIXED_CTR_CTRL (20.2.2, figure 20-2).
pub const IA32_FIXED_CTR_CTRL: u32 = 0x38D;
/// IA32_PERF_GLOBAL_STATUS (20.2.2, 20.2.4.1).
pub const IA32_PERF_GLOBAL_STATUS: u32 = 0x38E;
/// IA32_PERF_GLOBAL_CTRL (20.2.2, figure 20-3).
pub const IA32_PERF_GLOBAL_CTRL: u32 = 0x38F;
/// IA32_PERF_GLOBAL_OVF_CTRL; from version 4 on IA32_PERF_GLOBAL_STATUS_RESET (20.2.2, 20.2.4.2).
pub const IA32_PERF_GLOBAL_STATUS_RESET: u32 = 0x390;
/// IA32_PERF_GLOBAL_STATUS_SET, version 4 (20.2.4.2).
pub const IA32_PERF_GLOBAL_STATUS_SET: u32 = 0x391;
/// IA32_PERF_GLOBAL_INUSE, version 4 (20.2.4.3).
pub const IA32_PERF_GLOBAL_INUSE: u32 = 0x392;
/// IA32_A_PMC0, full-width address of the first general-purpose counter (20.2.6).
pub const IA32_A_PMC0: u32 = 0x4C1;

/// MSRs by which a guest would reach beyond its own architectural counters: denied in every vPMU. They are in
/// no register map, so that an access gives #GP(0); the list is for tests and for readers.
pub const DENIED_MSRS: &[(u32, &str)] = &[
    (0x1A6, "MSR_OFFCORE_RSP_0: traffic of other cores (20.3.1.1.3)"),
    (0x1A7, "MSR_OFFCORE_RSP_1"),
    (0x1C8, "MSR_LBR_SELECT (18.9.2)"),
    (0x1C9, "MSR_LASTBRANCH_TOS"),
    (0x1D9, "IA32_DEBUGCTL: LBR, BTS, freeze bits (18.4.1)"),
    (0x329, "MSR_PERF_METRICS (20.3.9.3)"),
    (0x3F1, "IA32_PEBS_ENABLE (20.3.1.1.1)"),
    (0x3F2, "MSR_PEBS_DATA_CFG (20.9.2)"),
    (0x3F6, "MSR_PEBS_LD_LAT (20.3.1.1.2)"),
    (0x3F7, "MSR_PEBS_FRONTEND (20.3.8.2)"),
    (0x600, "IA32_DS_AREA (18.4.9)"),
    (0x680, "MSR_LASTBRANCH_0_FROM_IP"),
    (0x6C0, "MSR_LASTBRANCH_0_TO_IP"),
    (0x700, "uncore, Skylake server"),
    (0xE01, "uncore, client (20.3.1.2)"),
    (0x14CE, "IA32_LBR_CTL (19.1)"),
];

/// The most general-purpose counters that a vPMU has; a power of two.
pub const MAX_GENERAL: u8 = 8;
/// The most fixed-function counters that a vPMU has; a power of two.
pub const MAX_FIXED: u8 = 4;
/// Length of an array with an entry for each general-purpose counter.
pub const GENERAL_LEN: usize = MAX_GENERAL as usize;
/// Length of an array with an entry for each fixed-function counter.
pub const FIXED_LEN: usize = MAX_FIXED as usize;
/// The latest PMU version that a guest may have.
pub const MAX_VERSION: u8 = 5;

/// Bits of IA32_PERFEVTSELi (20.2.1.1, figure 20-1; 20.3.6.5 for the last two).
pub mod selector {
    /// Event select, bits 7:0, and unit mask, bits 15:8.
    pub const EVENT: u64 = 0xFFFF;
    /// Event select alone.
    pub const EVENT_SELECT: u64 = 0xFF;
    /// USR: counts at CPL 1 to 3.
    pub const USR: u64 = 1 << 16;
    /// OS: counts at CPL 0.
    pub const OS: u64 = 1 << 17;
    /// Edge detect.
    pub const EDGE: u64 = 1 << 18;
    /// Pin control; has no effect on today's hardware, and is accepted.
    pub const PIN_CONTROL: u64 = 1 << 19;
    /// APIC interrupt enable.
    pub const INT: u64 = 1 << 20;
    /// AnyThread (20.2.3; deprecated 20.2.5.1): counts the SMT sibling.
    pub const ANY_THREAD: u64 = 1 << 21;
    /// Position of EN.
    pub const ENABLE_SHIFT: u32 = 22;
    /// EN: the counter counts.
    pub const ENABLE: u64 = 1 << ENABLE_SHIFT;
    /// INV: invert the counter mask's comparison.
    pub const INVERT: u64 = 1 << 23;
    /// CMASK.
    pub const COUNTER_MASK: u64 = 0xFF << 24;
    /// IN_TX: only inside a transaction.
    pub const IN_TX: u64 = 1 << 32;
    /// IN_TXCP: not in aborted transactions.
    pub const IN_TXCP: u64 = 1 << 33;
    /// The only counter that has IN_TXCP.
    pub const IN_TXCP_COUNTER: usize = 2;
    /// Adaptive_Record (20.9.1): PEBS.
    pub const ADAPTIVE_RECORD: u64 = 1 << 34;
    /// What no vPMU lets a guest set, TSX apart.
    pub const RESERVED: u64 = 0xFFFF_FFFF_0020_0000;
}

/// IA32_FIXED_CTR_CTRL has a field of four bits for each fixed counter (20.2.2, figure 20-2).
pub mod fixed_control {
    /// Bits in a field.
    pub const FIELD_BITS: u32 = 4;
    /// A whole field.
    pub const FIELD: u64 = 0xF;
    /// Counts at CPL 0.
    pub const OS: u64 = 1;
    /// Counts at CPL 1 to 3.
    pub const USR: u64 = 1 << 1;
    /// AnyThread (20.2.3).
    pub const ANY_THREAD: u64 = 1 << 2;
    /// PMI on overflow.
    pub const PMI: u64 = 1 << 3;
    /// What a guest may set in a field: all but AnyThread.
    pub const ALLOWED: u64 = OS | USR | PMI;
}

/// Bits of IA32_PERF_GLOBAL_CTRL, _STATUS, _STATUS_RESET, _STATUS_SET and _INUSE (20.2.2, 20.2.4).
pub mod global {
    /// Fixed counter i has bit `FIXED_SHIFT + i`; general-purpose counter i has bit i.
    pub const FIXED_SHIFT: u32 = 32;
    /// OvfBuf in IA32_PERF_GLOBAL_STATUS: of the DS save area, never set in a vPMU.
    pub const OVERFLOW_BUFFER: u64 = 1 << 62;
    /// CondChgd in IA32_PERF_GLOBAL_STATUS.
    pub const CONDITION_CHANGED: u64 = 1 << 63;
    /// PMI_InUse in IA32_PERF_GLOBAL_INUSE (20.2.4.3).
    pub const PMI_IN_USE: u64 = 1 << 63;
}

/// Bits of IA32_PERF_CAPABILITIES.
pub mod capabilities {
    /// FW_WRITE: full-width writes to IA32_A_PMCi (20.2.6).
    pub const FW_WRITES: u64 = 1 << 13;
}

/// The guest's ECX of RDPMC (volume 2B, RDPMC).
pub mod rdpmc {
    /// Position of the counter's type.
    pub const TYPE_SHIFT: u32 = 16;
    /// Type of a general-purpose counter.
    pub const GENERAL: u32 = 0;
    /// Type of a fixed-function counter.
    pub const FIXED: u32 = 0x4000;
    /// The counter's index.
    pub const INDEX: u32 = 0xFFFF;
}

/// CPUID leaf 0xA (volume 2A, CPUID; 20.2).
pub mod leaf_a {
    /// EDX bits 4:0: how many fixed counters there are without a gap.
    pub const LISTED_FIXED: u8 = 0x1F;
    /// EDX bit 15: AnyThread is deprecated (20.2.5.1).
    pub const ANY_THREAD_DEPRECATED: u32 = 1 << 15;
    /// Version from which on ECX is the bitmap of fixed counters (20.2.5.2).
    pub const BITMAP_VERSION: u8 = 5;
    /// Version from which on there are fixed counters and the global registers (20.2.2).
    pub const GLOBAL_VERSION: u8 = 2;
    /// Version with IA32_PERF_GLOBAL_STATUS_SET and _INUSE (20.2.4).
    pub const STATUS_SET_VERSION: u8 = 4;
}

/// An architectural event: its bit in CPUID leaf 0xA EBX is its place in [`ARCHITECTURAL_EVENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchitecturalEvent {
    /// Its name in the policy file.
    pub name: &'static str,
    /// Event select in bits 7:0, unit mask in bits 15:8.
    pub key: u16,
    /// It tells about a resource that other VMs share: the last-level cache.
    pub shared: bool,
}

const fn event(name: &'static str, select: u8, unit_mask: u8, shared: bool) -> ArchitecturalEvent {
    ArchitecturalEvent { name, key: u16::from_le_bytes([select, unit_mask]), shared }
}

/// The pre-defined architectural events in the order of CPUID leaf 0xA EBX (20.2.1.2, table 20-1).
pub const ARCHITECTURAL_EVENTS: [ArchitecturalEvent; 8] = [
    event("core-cycles", 0x3C, 0x00, false),
    event("instructions", 0xC0, 0x00, false),
    event("reference-cycles", 0x3C, 0x01, false),
    event("llc-references", 0x2E, 0x4F, true),
    event("llc-misses", 0x2E, 0x41, true),
    event("branches", 0xC4, 0x00, false),
    event("branch-misses", 0xC5, 0x00, false),
    event("topdown-slots", 0xA4, 0x01, false),
];

/// Events that only mean something with [`DENIED_MSRS`] 0x1A6 and 0x1A7: off-core responses (20.3.1.1.3 and the
/// event lists of later cores). No filter may permit them.
pub const OFFCORE_EVENTS: [u16; 4] = [0x01B7, 0x01BB, 0x012A, 0x012B];
