pub mod syscall {
    pub const CALL: i64 = -1;
    pub const REPLY_RECV: i64 = -2;
    pub const SEND: i64 = -3;
    pub const RECV: i64 = -5;
    pub const REPLY: i64 = -6;
    pub const DEBUG_PUT_CHAR: i64 = -9;
    pub const VM_ENTER: i64 = -22;
}
pub mod label {
    pub const IRQ_ACK_IRQ: u64 = 26;
    pub const X86_IO_PORT_IN8: u64 = 45;
    pub const X86_IO_PORT_OUT8: u64 = 48;
    pub const X86_VCPU_READ_VMCS: u64 = 55;
    pub const X86_VCPU_WRITE_VMCS: u64 = 56;
    pub const X86_VCPU_ENABLE_IO_PORT: u64 = 57;
    pub const X86_VCPU_DISABLE_IO_PORT: u64 = 58;
    pub const X86_VCPU_WRITE_REGISTERS: u64 = 59;
    pub const X86_VCPU_PMU_GET_GEOMETRY: u64 = 70;
    pub const X86_VCPU_PMU_SET_MODE: u64 = 71;
    pub const X86_VCPU_PMU_WRITE_MSR: u64 = 72;
    pub const X86_VCPU_PMU_READ_MSR: u64 = 73;
}
