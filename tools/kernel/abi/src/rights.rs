/// What a capability allows (seL4_CapRights_t). A copy never has more rights than its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Rights(u64);

impl Rights {
    /// Nothing.
    pub const NONE: Rights = Rights(0);
    /// Write; of a VCPU, the run right.
    pub const WRITE: Rights = Rights(1);
    /// Read.
    pub const READ: Rights = Rights(2);
    /// Grant; of a VCPU, the PMU right.
    pub const GRANT: Rights = Rights(4);
    /// Read and write.
    pub const READ_WRITE: Rights = Rights(3);
    /// Everything.
    pub const ALL: Rights = Rights(7);
    /// Of a VCPU: registers, VMCS, VMEnter.
    pub const VCPU_RUN: Rights = Rights::WRITE;
    /// Of a VCPU: the X86VCPUPmu invocations.
    pub const VCPU_PMU: Rights = Rights::GRANT;

    /// The rights of `self` and of `other`.
    #[must_use]
    pub const fn with(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// As the kernel takes it.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }
}
