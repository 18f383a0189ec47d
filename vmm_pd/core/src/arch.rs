//! Architectural facts of the processor that the VMM needs, each with its section of the SDM.

mod field;
mod interruption;

pub use field::Field;
pub use interruption::{Interruption, InterruptionType};

/// Pin-based controls (SDM vol. 3C, table 25-5).
pub mod pin {
    /// Virtual NMIs: NMI blocking belongs to the guest, and NMI windows exist.
    pub const VIRTUAL_NMIS: u64 = 1 << 5;
    /// Activate the VMX-preemption timer.
    pub const PREEMPTION_TIMER: u64 = 1 << 6;
}

/// Primary processor-based controls (table 25-6).
pub mod primary {
    /// Exit when the guest could take an interrupt.
    pub const INTERRUPT_WINDOW: u64 = 1 << 2;
    /// The guest's time-stamp counter has an offset.
    pub const TSC_OFFSETTING: u64 = 1 << 3;
    /// HLT exits.
    pub const HLT: u64 = 1 << 7;
    /// MWAIT exits.
    pub const MWAIT: u64 = 1 << 10;
    /// RDPMC exits.
    pub const RDPMC: u64 = 1 << 11;
    /// MOV to CR8 exits.
    pub const CR8_LOAD: u64 = 1 << 19;
    /// MOV from CR8 exits.
    pub const CR8_STORE: u64 = 1 << 20;
    /// Exit when the guest could take an NMI.
    pub const NMI_WINDOW: u64 = 1 << 22;
    /// MOV to and from debug registers exits.
    pub const MOV_DR: u64 = 1 << 23;
    /// Every I/O instruction exits.
    pub const UNCONDITIONAL_IO: u64 = 1 << 24;
    /// MONITOR exits.
    pub const MONITOR: u64 = 1 << 29;
    /// The secondary controls are in force.
    pub const SECONDARY: u64 = 1 << 31;
}

/// Secondary processor-based controls (table 25-7).
pub mod secondary {
    /// Extended page tables.
    pub const EPT: u64 = 1 << 1;
    /// RDTSCP does not fault.
    pub const RDTSCP: u64 = 1 << 3;
    /// Virtual processor identifiers.
    pub const VPID: u64 = 1 << 5;
    /// WBINVD exits.
    pub const WBINVD: u64 = 1 << 6;
    /// Unrestricted guest: real mode and unpaged protected mode.
    pub const UNRESTRICTED_GUEST: u64 = 1 << 7;
}

/// VM-exit controls (table 25-13).
pub mod exit_control {
    /// Save the preemption timer's value.
    pub const SAVE_PREEMPTION_TIMER: u64 = 1 << 22;
}

/// VM-entry controls (table 25-15).
pub mod entry_control {
    /// Load DR7 and IA32_DEBUGCTL.
    pub const LOAD_DEBUG: u64 = 1 << 2;
    /// The guest is in IA-32e mode.
    pub const IA32E_GUEST: u64 = 1 << 9;
    /// Load IA32_PERF_GLOBAL_CTRL.
    pub const LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 13;
    /// Load IA32_PAT.
    pub const LOAD_PAT: u64 = 1 << 14;
    /// Load IA32_EFER.
    pub const LOAD_EFER: u64 = 1 << 15;
}

/// Activity states (SDM vol. 3C, 25.4.2).
pub mod activity {
    /// Executing instructions.
    pub const ACTIVE: u64 = 0;
    /// Halted by HLT.
    pub const HLT: u64 = 1;
}

/// CR0 bits (SDM vol. 3A, 2.5).
pub mod cr0 {
    /// Protection enable.
    pub const PE: u64 = 1 << 0;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Extension type, always 1.
    pub const ET: u64 = 1 << 4;
    /// Numeric error; VMX operation demands 1.
    pub const NE: u64 = 1 << 5;
    /// Write protect.
    pub const WP: u64 = 1 << 16;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Cache disable.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// CR4 bits (SDM vol. 3A, 2.5).
pub mod cr4 {
    /// Time-stamp disable: RDTSC at CPL 0 only.
    pub const TSD: u64 = 1 << 2;
    /// Debugging extensions: I/O breakpoints, and DR4 and DR5 are no other names.
    pub const DE: u64 = 1 << 3;
    /// Page size extensions.
    pub const PSE: u64 = 1 << 4;
    /// Physical address extension.
    pub const PAE: u64 = 1 << 5;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// RDPMC at every privilege level.
    pub const PCE: u64 = 1 << 8;
    /// FXSAVE and SSE.
    pub const OSFXSR: u64 = 1 << 9;
    /// SIMD floating-point exceptions.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// VMX; VMX operation demands 1.
    pub const VMXE: u64 = 1 << 13;
    /// XSAVE and XCR0.
    pub const OSXSAVE: u64 = 1 << 18;
}

/// IA32_EFER bits (SDM vol. 3A, 2.2.1).
pub mod efer {
    /// SYSCALL enable.
    pub const SCE: u64 = 1 << 0;
    /// IA-32e mode enable.
    pub const LME: u64 = 1 << 8;
    /// IA-32e mode active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute pages.
    pub const NXE: u64 = 1 << 11;
}

/// XCR0 bits (SDM vol. 1, 13.3).
pub mod xcr0 {
    /// x87 state.
    pub const X87: u64 = 1 << 0;
    /// XMM registers and MXCSR.
    pub const SSE: u64 = 1 << 1;
    /// Upper halves of the YMM registers.
    pub const AVX: u64 = 1 << 2;
}

/// RFLAGS bits (SDM vol. 1, 3.4.3).
pub mod rflags {
    /// Bit 1, always set.
    pub const FIXED: u64 = 1 << 1;
    /// Trap flag: single step.
    pub const TF: u64 = 1 << 8;
    /// Resume flag: no instruction breakpoint at the next instruction.
    pub const RF: u64 = 1 << 16;
    /// Direction flag: strings go down.
    pub const DF: u64 = 1 << 10;
    /// Interrupt flag.
    pub const IF: u64 = 1 << 9;
}

/// Interruptibility state (SDM vol. 3C, table 25-3).
pub mod interruptibility {
    /// The instruction after STI.
    pub const STI: u32 = 1 << 0;
    /// The instruction after MOV SS or POP SS.
    pub const MOV_SS: u32 = 1 << 1;
    /// Inside a system-management interrupt.
    pub const SMI: u32 = 1 << 2;
    /// An NMI is in service.
    pub const NMI: u32 = 1 << 3;
}

/// IA32_DEBUGCTL: single-step on branches (SDM vol. 3B, 18.4.1).
pub const DEBUGCTL_BTF: u64 = 1 << 1;
/// Pending debug exceptions: single step (SDM vol. 3C, table 25-4).
pub const PENDING_DEBUG_BS: u64 = 1 << 14;

/// Exception and interrupt vectors (SDM vol. 3A, table 6-1).
pub mod vector {
    /// Debug exception.
    pub const DB: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// Invalid opcode.
    pub const UD: u8 = 6;
    /// Stack-segment fault.
    pub const SS: u8 = 12;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// Alignment check.
    pub const AC: u8 = 17;
    /// Machine check.
    pub const MC: u8 = 18;
}

/// Model-specific registers that are not the PMU's (SDM vol. 4).
pub mod msr {
    /// Time-stamp counter.
    pub const TSC: u32 = 0x10;
    /// What the time-stamp counter was moved by.
    pub const TSC_ADJUST: u32 = 0x3b;
    /// Local APIC base and mode.
    pub const APIC_BASE: u32 = 0x1b;
    /// Microcode revision.
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    /// Miscellaneous features.
    pub const MISC_ENABLE: u32 = 0x1a0;
    /// Debug control.
    pub const DEBUGCTL: u32 = 0x1d9;
    /// Page attribute table.
    pub const PAT: u32 = 0x277;
    /// Deadline of the local APIC timer.
    pub const TSC_DEADLINE: u32 = 0x6e0;
    /// First register of the x2APIC.
    pub const X2APIC_FIRST: u32 = 0x800;
    /// Last register of the x2APIC.
    pub const X2APIC_LAST: u32 = 0x8ff;
    /// Selectors of SYSCALL and SYSRET.
    pub const STAR: u32 = 0xc000_0081;
    /// Target of SYSCALL in 64-bit mode.
    pub const LSTAR: u32 = 0xc000_0082;
    /// Target of SYSCALL in compatibility mode, where processors with VMX have none.
    pub const CSTAR: u32 = 0xc000_0083;
    /// Flags that SYSCALL clears.
    pub const FMASK: u32 = 0xc000_0084;
    /// What RDTSCP reads besides the time.
    pub const TSC_AUX: u32 = 0xc000_0103;
    /// Extended features.
    pub const EFER: u32 = 0xc000_0080;
    /// Base of FS.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// Base of GS.
    pub const GS_BASE: u32 = 0xc000_0101;
}

/// The largest value of the VMX-preemption timer, which has 32 bits (SDM vol. 3C, 25.4.2).
pub const PREEMPTION_TIMER_LONGEST: u64 = u32::MAX as u64;
/// IA32_PAT after reset (SDM vol. 3A, 12.12.4).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// DR7 after reset (SDM vol. 3B, 18.2.4).
pub const DR7_RESET: u64 = 0x400;
/// DR7: accesses of debug registers trap.
pub const DR7_GD: u64 = 1 << 13;
/// DR6 after reset (SDM vol. 3A, table 10-1).
pub const DR6_RESET: u64 = 0xffff_0ff0;
pub use crate::devices::described::{APIC_BASE_ADDRESS, IOAPIC_ADDRESS};
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Longest instruction in bytes (SDM vol. 2A, 2.3.11).
pub const LONGEST_INSTRUCTION: usize = 15;
