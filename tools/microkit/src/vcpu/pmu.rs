//! The performance counters of another protection domain's guest: the *PMU* right of a VCPU capability
//! (docs/architecture.md, "The kernel's PMU extension, seen from user level").

use crate::kernel::with_ipc;
use crate::slots::BASE_VCPU_PMU;
use crate::{Channel, Error};
pub use sel4_abi::invocations::GuestControl;
use sel4_abi::numbers::pmu;

/// How much of the PMU the guest reaches without an exit.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
#[repr(u64)]
pub enum Mode {
    /// Nothing counts; RDPMC and every PMU MSR exit.
    Off = pmu::MODE_OFF,
    /// RDPMC and every PMU MSR exit; the context counts while the guest runs.
    Trapped = pmu::MODE_TRAPPED,
    /// The data MSRs, GLOBAL_* and RDPMC do not exit.
    Direct = pmu::MODE_DIRECT,
    /// The control MSRs do not exit either.
    Raw = pmu::MODE_RAW,
}

/// What the hardware's PMU is.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq)]
pub struct Geometry {
    /// CPUID leaf 0xA, EAX (SDM volume 2, CPUID).
    pub eax: u32,
    /// CPUID leaf 0xA, EBX.
    pub ebx: u32,
    /// CPUID leaf 0xA, ECX.
    pub ecx: u32,
    /// CPUID leaf 0xA, EDX.
    pub edx: u32,
    /// IA32_PERF_CAPABILITIES (SDM 20.8); 0 where the processor has none.
    pub perf_capabilities: u64,
    /// Bit 0: VM exit can save IA32_PERF_GLOBAL_CTRL (exit control 30).
    pub flags: u64,
}

/// The PMU side of the VCPU of the virtual machine whose VMM is at the other end of a channel.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub struct VcpuPmu {
    channel: Channel,
}

impl VcpuPmu {
    /// The PMU side for `channel`. Where system.xml has no `<?pmu-authority?>` for the virtual machine, every
    /// invocation is refused.
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// What the hardware's PMU is.
    pub fn get_geometry(&self) -> Result<Geometry, Error> {
        let found = with_ipc(|ipc| ipc.vcpu_pmu_get_geometry(self.slot()))?;
        let [eax, ebx, ecx, edx] = found.leaf_0a;
        let (perf_capabilities, flags) = (found.perf_capabilities, found.flags);
        Ok(Geometry { eax, ebx, ecx, edx, perf_capabilities, flags })
    }

    /// Grants or withdraws direct access.
    pub fn set_mode(&self, mode: Mode) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_set_mode(self.slot(), mode as u64))
    }

    /// Writes a PMU MSR of the VCPU's context. A value that hardware would refuse is refused.
    pub fn write_msr(&self, msr: u32, value: u64) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_write_msr(self.slot(), msr.into(), value))
    }

    /// Programs `hardware` into a control register, makes `guest` the guest's value, and approves of the pair: from then
    /// on the kernel completes the guest's own writes of that value and its reads.
    pub fn approve(&self, msr: u32, guest: u64, hardware: u64) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_approve(self.slot(), msr.into(), guest, hardware))
    }

    /// Approves of no pair any more. The registers stay as they are.
    pub fn withdraw(&self) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_withdraw(self.slot()))
    }

    /// The control registers as the guest has written them, and how often the kernel completed its accesses.
    pub fn guest_control(&self) -> Result<GuestControl, Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_guest_control(self.slot()))
    }

    /// Reads a PMU MSR of the VCPU's context.
    pub fn read_msr(&self, msr: u32) -> Result<u64, Error> {
        with_ipc(|ipc| ipc.vcpu_pmu_read_msr(self.slot(), msr.into()))
    }

    fn slot(&self) -> u64 {
        BASE_VCPU_PMU + self.channel.index() as u64
    }
}
