//! MSR numbers and fields (SDM volume 4, table 2-2; fields: volume 3, chapter 20).

/// IA32_PMC0, written with sign extension of bit 31.
pub const IA32_PMC0: u32 = 0xC1;
/// IA32_PERFEVTSEL0.
pub const IA32_PERFEVTSEL0: u32 = 0x186;
/// IA32_FIXED_CTR0.
pub const IA32_FIXED_CTR0: u32 = 0x309;
/// IA32_PERF_CAPABILITIES.
pub const IA32_PERF_CAPABILITIES: u32 = 0x345;
/// IA32_FIXED_CTR_CTRL.
pub const IA32_FIXED_CTR_CTRL: u32 = 0x38D;
/// IA32_PERF_GLOBAL_STATUS.
pub const IA32_PERF_GLOBAL_STATUS: u32 = 0x38E;
/// IA32_PERF_GLOBAL_CTRL.
pub const IA32_PERF_GLOBAL_CTRL: u32 = 0x38F;
/// IA32_PERF_GLOBAL_STATUS_RESET (before version 4: IA32_PERF_GLOBAL_OVF_CTRL).
pub const IA32_PERF_GLOBAL_STATUS_RESET: u32 = 0x390;
/// IA32_PERF_GLOBAL_STATUS_SET, from version 4.
pub const IA32_PERF_GLOBAL_STATUS_SET: u32 = 0x391;
/// IA32_PERF_GLOBAL_INUSE, from version 4.
pub const IA32_PERF_GLOBAL_INUSE: u32 = 0x392;
/// IA32_A_PMC0: IA32_PMC0 in full width.
pub const IA32_A_PMC0: u32 = 0x4C1;
/// IA32_DEBUGCTL.
pub const IA32_DEBUGCTL: u32 = 0x1D9;
/// IA32_MISC_ENABLE.
pub const IA32_MISC_ENABLE: u32 = 0x1A0;

/// IA32_PERFEVTSELi: count in ring 1 to 3.
pub const USR: u64 = 1 << 16;
/// IA32_PERFEVTSELi: count in ring 0.
pub const OS: u64 = 1 << 17;
/// IA32_PERFEVTSELi: count transitions.
pub const EDGE: u64 = 1 << 18;
/// IA32_PERFEVTSELi: PMI on overflow.
pub const INT: u64 = 1 << 20;
/// IA32_PERFEVTSELi: enable.
pub const EN: u64 = 1 << 22;
/// IA32_PERFEVTSELi: invert the comparison with CMASK.
pub const INV: u64 = 1 << 23;
/// IA32_PERFEVTSELi: the lowest bit of CMASK.
pub const CMASK: u64 = 1 << 24;
/// IA32_DEBUGCTL: freeze the counters on a PMI.
pub const FREEZE_PERFMON_ON_PMI: u64 = 1 << 12;
/// IA32_PERF_GLOBAL_STATUS: branch records are frozen.
pub const LBR_FRZ: u64 = 1 << 58;
/// IA32_PERF_GLOBAL_STATUS: the counters are frozen.
pub const CTR_FRZ: u64 = 1 << 59;
/// IA32_PERF_GLOBAL_STATUS: an uncore counter overflowed.
pub const OVF_UNCORE: u64 = 1 << 61;
/// IA32_PERF_GLOBAL_STATUS: the DS buffer overflowed.
pub const OVF_BUF: u64 = 1 << 62;
/// IA32_PERF_GLOBAL_STATUS: the condition changed.
pub const COND_CHGD: u64 = 1 << 63;
/// IA32_PERF_CAPABILITIES: full-width writes to IA32_A_PMCi.
pub const FW_WRITE: u64 = 1 << 13;
/// IA32_PERF_GLOBAL_INUSE: a counter is programmed to cause PMIs.
pub const PMI_INUSE: u64 = 1 << 63;

/// UnHalted Core Cycles (SDM 20.2.1.2, as all that follow).
pub const CORE_CYCLES: u64 = 0x003C;
/// Instructions Retired.
pub const INSTRUCTIONS: u64 = 0x00C0;
/// UnHalted Reference Cycles.
pub const REFERENCE_CYCLES: u64 = 0x013C;
/// LLC References.
pub const LLC_REFERENCES: u64 = 0x4F2E;
/// LLC Misses.
pub const LLC_MISSES: u64 = 0x412E;
/// Branch Instructions Retired.
pub const BRANCHES: u64 = 0x00C4;
/// Branch Misses Retired.
pub const BRANCH_MISSES: u64 = 0x00C5;
/// Topdown Slots.
pub const SLOTS: u64 = 0x01A4;
