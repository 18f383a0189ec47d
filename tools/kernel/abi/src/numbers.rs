//! Numbers that user level shares with the bundled kernel, generated from the kernel's build by
//! `cargo xtask kernel --abi`; do not edit.
#![allow(missing_docs)]

/// System calls.
pub mod syscall {
    pub const CALL: i64 = -1;
    pub const REPLY_RECV: i64 = -2;
    pub const SEND: i64 = -3;
    pub const NB_SEND: i64 = -4;
    pub const RECV: i64 = -5;
    pub const REPLY: i64 = -6;
    pub const YIELD: i64 = -7;
    pub const NB_RECV: i64 = -8;
    pub const DEBUG_PUT_CHAR: i64 = -9;
    pub const DEBUG_HALT: i64 = -10;
    pub const DEBUG_CAP_IDENTIFY: i64 = -11;
    pub const DEBUG_SNAPSHOT: i64 = -12;
    pub const DEBUG_NAME_THREAD: i64 = -13;
    pub const VM_ENTER: i64 = -22;
}

/// Labels of invocations.
pub mod label {
    pub const INVALID_INVOCATION: u64 = 0;
    pub const UNTYPED_RETYPE: u64 = 1;
    pub const TCB_READ_REGISTERS: u64 = 2;
    pub const TCB_WRITE_REGISTERS: u64 = 3;
    pub const TCB_COPY_REGISTERS: u64 = 4;
    pub const TCB_CONFIGURE: u64 = 5;
    pub const TCB_SET_PRIORITY: u64 = 6;
    pub const TCB_SET_MC_PRIORITY: u64 = 7;
    pub const TCB_SET_IPC_BUFFER: u64 = 8;
    pub const TCB_SET_SPACE: u64 = 9;
    pub const TCB_SUSPEND: u64 = 10;
    pub const TCB_RESUME: u64 = 11;
    pub const TCB_BIND_NOTIFICATION: u64 = 12;
    pub const TCB_UNBIND_NOTIFICATION: u64 = 13;
    pub const CNODE_REVOKE: u64 = 14;
    pub const CNODE_DELETE: u64 = 15;
    pub const CNODE_CANCEL_BADGED_SENDS: u64 = 16;
    pub const CNODE_COPY: u64 = 17;
    pub const CNODE_MINT: u64 = 18;
    pub const CNODE_MOVE: u64 = 19;
    pub const CNODE_MUTATE: u64 = 20;
    pub const CNODE_ROTATE: u64 = 21;
    pub const CNODE_SAVE_CALLER: u64 = 22;
    pub const IRQ_ISSUE_IRQ_HANDLER: u64 = 23;
    pub const IRQ_ACK_IRQ: u64 = 24;
    pub const IRQ_SET_IRQ_HANDLER: u64 = 25;
    pub const IRQ_CLEAR_IRQ_HANDLER: u64 = 26;
    pub const DOMAIN_SET_SET: u64 = 27;
    pub const X86_PDPT_MAP: u64 = 28;
    pub const X86_PDPT_UNMAP: u64 = 29;
    pub const X86_PAGE_DIRECTORY_MAP: u64 = 30;
    pub const X86_PAGE_DIRECTORY_UNMAP: u64 = 31;
    pub const X86_PAGE_DIRECTORY_GET_STATUS_BITS: u64 = 32;
    pub const X86_PAGE_TABLE_MAP: u64 = 33;
    pub const X86_PAGE_TABLE_UNMAP: u64 = 34;
    pub const X86_IO_PAGE_TABLE_MAP: u64 = 35;
    pub const X86_IO_PAGE_TABLE_UNMAP: u64 = 36;
    pub const X86_PAGE_MAP: u64 = 37;
    pub const X86_PAGE_REMAP: u64 = 38;
    pub const X86_PAGE_UNMAP: u64 = 39;
    pub const X86_PAGE_MAP_IO: u64 = 40;
    pub const X86_PAGE_GET_ADDRESS: u64 = 41;
    pub const X86_PAGE_MAP_EPT: u64 = 42;
    pub const X86_ASID_CONTROL_MAKE_POOL: u64 = 43;
    pub const X86_ASID_POOL_ASSIGN: u64 = 44;
    pub const X86_IO_PORT_IN8: u64 = 45;
    pub const X86_IO_PORT_IN16: u64 = 46;
    pub const X86_IO_PORT_IN32: u64 = 47;
    pub const X86_IO_PORT_OUT8: u64 = 48;
    pub const X86_IO_PORT_OUT16: u64 = 49;
    pub const X86_IO_PORT_OUT32: u64 = 50;
    pub const X86_IRQ_ISSUE_IRQ_HANDLER_IOAPIC: u64 = 51;
    pub const X86_IRQ_ISSUE_IRQ_HANDLER_MSI: u64 = 52;
    pub const TCB_SET_EPT_ROOT: u64 = 53;
    pub const X86_VCPU_SET_TCB: u64 = 54;
    pub const X86_VCPU_READ_VMCS: u64 = 55;
    pub const X86_VCPU_WRITE_VMCS: u64 = 56;
    pub const X86_VCPU_ENABLE_IO_PORT: u64 = 57;
    pub const X86_VCPU_DISABLE_IO_PORT: u64 = 58;
    pub const X86_VCPU_WRITE_REGISTERS: u64 = 59;
    pub const X86_VCPU_PMU_GET_GEOMETRY: u64 = 60;
    pub const X86_VCPU_PMU_SET_MODE: u64 = 61;
    pub const X86_VCPU_PMU_WRITE_MSR: u64 = 62;
    pub const X86_VCPU_PMU_APPROVE: u64 = 63;
    pub const X86_VCPU_PMU_WITHDRAW: u64 = 64;
    pub const X86_VCPU_PMU_GUEST_CONTROL: u64 = 65;
    pub const X86_VCPU_PMU_READ_MSR: u64 = 66;
    pub const X86_VCPU_WRITE_MSR: u64 = 67;
    pub const X86_VCPU_WRITE_XCR0: u64 = 68;
    pub const X86_VCPU_WRITE_CR2: u64 = 69;
    pub const X86_EPTPDPT_MAP: u64 = 70;
    pub const X86_EPTPDPT_UNMAP: u64 = 71;
    pub const X86_EPTPD_MAP: u64 = 72;
    pub const X86_EPTPD_UNMAP: u64 = 73;
    pub const X86_EPTPT_MAP: u64 = 74;
    pub const X86_EPTPT_UNMAP: u64 = 75;
}

/// Object types, for `UntypedRetype`.
pub mod object {
    pub const UNTYPED: u64 = 0;
    pub const TCB: u64 = 1;
    pub const ENDPOINT: u64 = 2;
    pub const NOTIFICATION: u64 = 3;
    pub const CNODE: u64 = 4;
    pub const PDPT: u64 = 5;
    pub const PML4: u64 = 6;
    pub const PAGE_4K: u64 = 7;
    pub const PAGE_2M: u64 = 8;
    pub const PAGE_TABLE: u64 = 9;
    pub const PAGE_DIRECTORY: u64 = 10;
    pub const VCPU: u64 = 11;
    pub const EPT_PML4: u64 = 12;
    pub const EPT_PDPT: u64 = 13;
    pub const EPT_PD: u64 = 14;
    pub const EPT_PT: u64 = 15;
}

/// Sizes of objects, as powers of two.
pub mod size_bits {
    pub const SLOT: u8 = 5;
    pub const TCB: u8 = 11;
    pub const ENDPOINT: u8 = 4;
    pub const NOTIFICATION: u8 = 5;
    pub const PAGE_4K: u8 = 12;
    pub const PAGE_2M: u8 = 21;
    pub const PAGE_TABLE: u8 = 12;
    pub const PAGE_DIRECTORY: u8 = 12;
    pub const PDPT: u8 = 12;
    pub const PML4: u8 = 12;
    pub const ASID_POOL: u8 = 12;
    pub const VCPU: u8 = 14;
    pub const EPT_PML4: u8 = 12;
    pub const EPT_PDPT: u8 = 12;
    pub const EPT_PD: u8 = 12;
    pub const EPT_PT: u8 = 12;
    pub const MIN_UNTYPED: u8 = 4;
    pub const MAX_UNTYPED: u8 = 47;
}

/// Capabilities in the root task's CNode.
pub mod slot {
    pub const NULL: u64 = 0;
    pub const INIT_TCB: u64 = 1;
    pub const INIT_CNODE: u64 = 2;
    pub const INIT_VSPACE: u64 = 3;
    pub const IRQ_CONTROL: u64 = 4;
    pub const ASID_CONTROL: u64 = 5;
    pub const INIT_ASID_POOL: u64 = 6;
    pub const IO_PORT: u64 = 7;
    pub const IO_SPACE: u64 = 8;
    pub const BOOT_INFO_FRAME: u64 = 9;
    pub const INIT_IPC_BUFFER: u64 = 10;
    pub const DOMAIN: u64 = 11;
    pub const INITIAL_CAPS: u64 = 12;
}

/// Errors of invocations.
pub mod error {
    pub const NO_ERROR: u64 = 0;
    pub const INVALID_ARGUMENT: u64 = 1;
    pub const INVALID_CAPABILITY: u64 = 2;
    pub const ILLEGAL_OPERATION: u64 = 3;
    pub const RANGE_ERROR: u64 = 4;
    pub const ALIGNMENT_ERROR: u64 = 5;
    pub const FAILED_LOOKUP: u64 = 6;
    pub const TRUNCATED_MESSAGE: u64 = 7;
    pub const DELETE_FIRST: u64 = 8;
    pub const REVOKE_FIRST: u64 = 9;
    pub const NOT_ENOUGH_MEMORY: u64 = 10;
}

/// Labels of fault messages.
pub mod fault {
    pub const NULL: u64 = 0;
    pub const CAP: u64 = 1;
    pub const UNKNOWN_SYSCALL: u64 = 2;
    pub const USER_EXCEPTION: u64 = 3;
    pub const VM: u64 = 5;
}

/// Sizes and limits.
pub mod limit {
    pub const MESSAGE_LENGTH: usize = 120;
    pub const EXTRA_CAPS: usize = 3;
    pub const BOOT_INFO_UNTYPED: usize = 230;
    pub const RETYPE_FAN_OUT: usize = 256;
    pub const PRIORITIES: usize = 256;
    pub const TIMER_TICK_MS: usize = 2;
    pub const IRQ_MAX: usize = 126;
    pub const IPC_BUFFER_SIZE: usize = 1024;
    pub const BOOT_INFO_SIZE: usize = 2929;
    pub const BOOT_INFO_UNTYPED_LIST: usize = 169;
}

/// Positions in `TCBReadRegisters` and `TCBWriteRegisters`.
pub mod thread_register {
    pub const FAULT_IP: usize = 0;
    pub const RSP: usize = 1;
    pub const FLAGS: usize = 2;
    pub const RAX: usize = 3;
    pub const RBX: usize = 4;
    pub const RCX: usize = 5;
    pub const RDX: usize = 6;
    pub const RSI: usize = 7;
    pub const RDI: usize = 8;
    pub const RBP: usize = 9;
    pub const R8: usize = 10;
    pub const R9: usize = 11;
    pub const R10: usize = 12;
    pub const R11: usize = 13;
    pub const R12: usize = 14;
    pub const R13: usize = 15;
    pub const R14: usize = 16;
    pub const R15: usize = 17;
    pub const TLS_BASE: usize = 18;
}

/// Positions in `X86VCPUWriteRegisters`.
pub mod guest_register {
    pub const EAX: usize = 0;
    pub const EBX: usize = 1;
    pub const ECX: usize = 2;
    pub const EDX: usize = 3;
    pub const ESI: usize = 4;
    pub const EDI: usize = 5;
    pub const EBP: usize = 6;
    pub const R8: usize = 7;
    pub const R9: usize = 8;
    pub const R10: usize = 9;
    pub const R11: usize = 10;
    pub const R12: usize = 11;
    pub const R13: usize = 12;
    pub const R14: usize = 13;
    pub const R15: usize = 14;
}

/// Message registers of `VMEnter`.
pub mod vm_enter {
    pub const RESULT_NOTIFICATION: usize = 0;
    pub const RESULT_FAULT: usize = 1;
    pub const CALL_RIP: usize = 0;
    pub const CALL_PRIMARY_CONTROLS: usize = 1;
    pub const CALL_INTERRUPT_INFO: usize = 2;
    pub const CALL_TIMER: usize = 3;
    pub const SET_TIMER: usize = 4;
    pub const TIMER_SHIFT: usize = 32;
    pub const FAULT_REASON: usize = 3;
    pub const FAULT_QUALIFICATION: usize = 4;
    pub const FAULT_INSTRUCTION_LENGTH: usize = 5;
    pub const FAULT_GUEST_PHYSICAL: usize = 6;
    pub const FAULT_RFLAGS: usize = 7;
    pub const FAULT_GUEST_INTERRUPTIBILITY: usize = 8;
    pub const FAULT_CR3: usize = 9;
    pub const FAULT_REGISTERS: usize = 10;
}

/// The PMU extension.
pub mod pmu {
    pub const MODE_OFF: u64 = 0;
    pub const MODE_TRAPPED: u64 = 1;
    pub const MODE_DIRECT: u64 = 2;
    pub const MODE_RAW: u64 = 3;
    pub const FLAG_SAVE_GLOBAL_CTRL: u64 = 1;
    pub const GEOMETRY_WORDS: u64 = 6;
    pub const GUEST_CONTROL_WORDS: u64 = 11;
    pub const PAIRS: u64 = 16;
    pub const WAYS: u64 = 4;
    pub const COMPLETED_MR: u64 = 3;
    pub const COMPLETED_INSTRUCTION: u64 = 1;
    pub const COMPLETED_BRANCH: u64 = 2;
    pub const VECTOR: u64 = 158;
}
