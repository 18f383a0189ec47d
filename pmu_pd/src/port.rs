//! The port on the VCPU capability with the PMU right (docs/architecture.md, "The kernel's PMU extension").

use pmu_core::arch::{IA32_PERFEVTSEL0, MAX_GENERAL, selector};
use pmu_core::{Approval, GuestControl, KernelMode, PmuPort, PortError, RawGeometry};
use sel4_microkit::vcpu::pmu::{Mode, VcpuPmu};
use sel4_microkit::{Channel, Error};

/// One VCPU's PMU context, by its capability.
#[derive(Debug)]
pub struct VcpuPort {
    vcpu: VcpuPmu,
}

impl VcpuPort {
    /// The port for the VM of the PD at the other end of `channel`. Without `<?pmu-authority?>` for it, every
    /// access is refused.
    pub fn new(channel: u8) -> Self {
        Self { vcpu: VcpuPmu::new(Channel::new(usize::from(channel))) }
    }
}

impl PmuPort for VcpuPort {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let raw = self.vcpu.get_geometry().map_err(number)?;
        Ok(RawGeometry {
            leaf_a: [raw.eax, raw.ebx, raw.ecx, raw.edx],
            perf_capabilities: raw.perf_capabilities,
            flags: raw.flags,
        })
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        let mode = match mode {
            KernelMode::Off => Mode::Off,
            KernelMode::Trapped => Mode::Trapped,
            KernelMode::Direct => Mode::Direct,
            KernelMode::Raw => Mode::Raw,
        };
        self.vcpu.set_mode(mode).map_err(number)
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.vcpu.read_msr(msr).map_err(number)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        self.vcpu.write_msr(msr, accepted(msr, value)).map_err(number)
    }

    #[inline(always)]
    fn approve(&mut self, approval: Approval) -> Result<Option<GuestControl>, PortError> {
        match approval {
            Approval::Add { msr, guest, hardware } => {
                self.vcpu.approve(msr, guest, accepted(msr, hardware)).map_err(number)?;
                return Ok(None);
            }
            Approval::Withdraw => self.vcpu.withdraw().map_err(number)?,
            Approval::Read => {}
        }
        let known = self.vcpu.guest_control().map_err(number)?;
        Ok(Some(GuestControl {
            selectors: known.selectors,
            fixed_control: known.fixed_control,
            approved_writes: known.approved_writes,
            approved_reads: known.approved_reads,
        }))
    }
}

/// Pin control has no effect, and the kernel does not take it, since not every processor does (20.2.1.1).
const fn accepted(msr: u32, value: u64) -> u64 {
    let is_selector = msr.wrapping_sub(IA32_PERFEVTSEL0) < MAX_GENERAL as u32;
    if is_selector { value & !selector::PIN_CONTROL } else { value }
}

/// seL4's error numbers, `seL4_Error`.
fn number(error: Error) -> PortError {
    PortError(match error {
        Error::InvalidArgument => 1,
        Error::InvalidCapability => 2,
        Error::IllegalOperation => 3,
        Error::RangeError => 4,
        Error::AlignmentError => 5,
        Error::FailedLookup => 6,
        Error::TruncatedMessage => 7,
        Error::DeleteFirst => 8,
        Error::RevokeFirst => 9,
        Error::NotEnoughMemory => 10,
        Error::Unknown(number) => number,
    })
}
