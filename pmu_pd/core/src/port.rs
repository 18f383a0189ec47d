//! The seam to the hardware: one VCPU's PMU context.

use crate::arch::GENERAL_LEN;

/// The kernel (or a double) refused: seL4's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortError(pub u64);

impl PortError {
    /// `seL4_InvalidArgument`.
    pub const INVALID_ARGUMENT: Self = Self(1);
    /// `seL4_IllegalOperation`.
    pub const ILLEGAL_OPERATION: Self = Self(3);
}

/// How the kernel serves a VCPU's PMU (docs/architecture.md, the kernel's PMU extension).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum KernelMode {
    /// RDPMC and every PMU MSR exit; nothing counts.
    Off = 0,
    /// The same exits; the context counts while the guest runs.
    Trapped = 1,
    /// Data MSRs, the global registers and RDPMC do not exit.
    Direct = 2,
    /// Neither do control MSRs.
    Raw = 3,
}

/// The hardware's PMU as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawGeometry {
    /// CPUID leaf 0xA: EAX, EBX, ECX, EDX.
    pub leaf_a: [u32; 4],
    /// IA32_PERF_CAPABILITIES.
    pub perf_capabilities: u64,
    /// Bit 0: VM exits can save IA32_PERF_GLOBAL_CTRL (exit control 30). Bit 1: modes other than off are accepted.
    /// Bit 2: selectors take IN_TX and IN_TXCP. Bit 3: the kernel has no PMU extension.
    pub flags: u64,
}

impl RawGeometry {
    /// Bit of `flags`: VM exits can save IA32_PERF_GLOBAL_CTRL.
    pub const SAVES_GLOBAL_CONTROL: u64 = 1;
    /// Bit of `flags`: the kernel gives this machine's PMU to a VM.
    pub const USABLE: u64 = 1 << 1;
    /// Bit of `flags`: the kernel takes IN_TX and IN_TXCP in selectors.
    pub const SELECTS_TRANSACTIONS: u64 = 1 << 2;
    /// Bit of `flags`: the kernel has no PMU extension. Every PMU MSR exits in every mode, RDPMC may be direct, and
    /// completed instructions and PMIs are this domain's to account for ([`Vpmu::account`](crate::Vpmu::account)).
    pub const WITHOUT_EXTENSION: u64 = 1 << 3;
}

/// What the domain tells the kernel about the guest's control registers (docs/architecture.md, approved pairs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Program `hardware` into the control register `msr` and make `guest` the guest's value. From now on the kernel may
    /// complete the guest's writes of `guest` and its reads: nobody here sees them.
    Add {
        /// IA32_PERFEVTSELi or IA32_FIXED_CTR_CTRL.
        msr: u32,
        /// What the guest writes and reads, at most 32 bits.
        guest: u64,
        /// What the hardware gets, at most 32 bits.
        hardware: u64,
    },
    /// Approve of nothing any more.
    Withdraw,
    /// Only tell.
    Read,
}

/// The control registers as the guest last wrote them, and how many of its accesses the kernel has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestControl {
    /// IA32_PERFEVTSELi.
    pub selectors: [u64; GENERAL_LEN],
    /// IA32_FIXED_CTR_CTRL.
    pub fixed_control: u64,
    /// Completed writes, since the VCPU exists.
    pub approved_writes: u64,
    /// Completed reads, since the VCPU exists.
    pub approved_reads: u64,
}

/// One VCPU's PMU context. Reads and writes name MSRs by the SDM's numbers: IA32_PERFEVTSELi,
/// IA32_FIXED_CTR_CTRL, IA32_A_PMCi, IA32_FIXED_CTRi, IA32_PERF_GLOBAL_STATUS (read and written whole) and
/// IA32_PERF_GLOBAL_CTRL.
pub trait PmuPort {
    /// The hardware's PMU.
    ///
    /// # Errors
    /// [`PortError`] if the kernel refuses the invocation.
    fn geometry(&mut self) -> Result<RawGeometry, PortError>;

    /// Chooses what exits and whether anything counts. Withdraws every approval.
    ///
    /// # Errors
    /// [`PortError`] if the hardware cannot do it.
    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError>;

    /// The value of `msr` in the context.
    ///
    /// # Errors
    /// [`PortError`] if the context has no such register.
    fn read(&mut self, msr: u32) -> Result<u64, PortError>;

    /// Sets `msr` in the context; it holds from the next VM entry on. Of a control register, withdraws the approvals.
    ///
    /// # Errors
    /// [`PortError`] if the context has no such register or the hardware would refuse the value.
    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError>;

    /// Approves or withdraws. The guest's control registers after [`Approval::Withdraw`] and [`Approval::Read`]; `None`
    /// where the kernel completes no access, so that the domain has seen every one.
    ///
    /// # Errors
    /// [`PortError`] if the context has no such control register or the hardware would refuse the value.
    fn approve(&mut self, approval: Approval) -> Result<Option<GuestControl>, PortError> {
        match approval {
            Approval::Add { msr, hardware, .. } => self.write(msr, hardware).map(|()| None),
            Approval::Withdraw | Approval::Read => Ok(None),
        }
    }
}
