//! VMCS fields (SDM appendix B) and what is in them (SDM chapters 25 to 28), as far as the tests use them.

#![allow(dead_code, reason = "the SDM's table")]

/// The first of the eight selectors (ES, CS, SS, DS, FS, GS, LDTR, TR), limits, access rights and bases.
pub const GUEST_ES_SELECTOR: u64 = 0x800;
pub const GUEST_ES_LIMIT: u64 = 0x4800;
pub const GUEST_ES_ACCESS_RIGHTS: u64 = 0x4814;
pub const GUEST_ES_BASE: u64 = 0x6806;
pub const TSC_OFFSET: u64 = 0x2010;
pub const GUEST_DEBUGCTL: u64 = 0x2802;
pub const GUEST_PAT: u64 = 0x2804;
pub const GUEST_EFER: u64 = 0x2806;
pub const GUEST_PERF_GLOBAL_CTRL: u64 = 0x2808;
pub const PIN_CONTROLS: u64 = 0x4000;
pub const PRIMARY_CONTROLS: u64 = 0x4002;
pub const EXCEPTION_BITMAP: u64 = 0x4004;
pub const EXIT_CONTROLS: u64 = 0x400c;
pub const ENTRY_CONTROLS: u64 = 0x4012;
pub const SECONDARY_CONTROLS: u64 = 0x401e;
pub const INSTRUCTION_ERROR: u64 = 0x4400;
pub const GUEST_GDTR_LIMIT: u64 = 0x4810;
pub const GUEST_IDTR_LIMIT: u64 = 0x4812;
pub const GUEST_INTERRUPTIBILITY: u64 = 0x4824;
pub const GUEST_ACTIVITY: u64 = 0x4826;
pub const CR0_MASK: u64 = 0x6000;
pub const CR4_MASK: u64 = 0x6002;
pub const CR4_SHADOW: u64 = 0x6006;
pub const GUEST_CR0: u64 = 0x6800;
pub const GUEST_CR3: u64 = 0x6802;
pub const GUEST_CR4: u64 = 0x6804;
pub const GUEST_GDTR_BASE: u64 = 0x6816;
pub const GUEST_IDTR_BASE: u64 = 0x6818;
pub const GUEST_DR7: u64 = 0x681a;
pub const GUEST_RSP: u64 = 0x681c;
pub const GUEST_RIP: u64 = 0x681e;
pub const GUEST_RFLAGS: u64 = 0x6820;
pub const GUEST_PENDING_DEBUG: u64 = 0x6822;
pub const PREEMPTION_TIMER: u64 = 0x482e;

pub const PIN_PREEMPTION_TIMER: u64 = 1 << 6;

pub const PRIMARY_INTERRUPT_WINDOW: u64 = 1 << 2;
pub const PRIMARY_TSC_OFFSETTING: u64 = 1 << 3;
pub const PRIMARY_HLT_EXITING: u64 = 1 << 7;
pub const PRIMARY_RDPMC_EXITING: u64 = 1 << 11;
pub const SECONDARY_UNRESTRICTED_GUEST: u64 = 1 << 7;
pub const SECONDARY_EPT: u64 = 1 << 1;
pub const SECONDARY_RDTSCP: u64 = 1 << 3;
pub const EXIT_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 12;
pub const EXIT_SAVE_PERF_GLOBAL_CTRL: u64 = 1 << 30;
pub const ENTRY_LOAD_DEBUG: u64 = 1 << 2;
pub const ENTRY_IA32E: u64 = 1 << 9;
pub const ENTRY_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 13;
pub const ENTRY_LOAD_PAT: u64 = 1 << 14;
pub const ENTRY_LOAD_EFER: u64 = 1 << 15;

/// VM-entry interruption information: an external interrupt (type 0), valid.
pub const INJECT_VALID: u64 = 1 << 31;

pub mod exit {
    pub const EXCEPTION: u64 = 0;
    pub const EXTERNAL_INTERRUPT: u64 = 1;
    pub const INTERRUPT_WINDOW: u64 = 7;
    pub const CPUID: u64 = 10;
    pub const HLT: u64 = 12;
    pub const RDPMC: u64 = 15;
    pub const VMCALL: u64 = 18;
    pub const CONTROL_REGISTER: u64 = 28;
    pub const IO: u64 = 30;
    pub const RDMSR: u64 = 31;
    pub const WRMSR: u64 = 32;
    pub const EPT_VIOLATION: u64 = 48;
    pub const PREEMPTION_TIMER: u64 = 52;
    pub const XSETBV: u64 = 55;
    /// VMLAUNCH or VMRESUME itself failed.
    pub const ENTRY_FAILED: u64 = 0xffff_ffff;
    pub const INVALID_GUEST_STATE: u64 = 33 | 1 << 31;
}
