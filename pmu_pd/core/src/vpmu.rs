//! One vPMU: the state machine behind every PMU access of a guest.

mod access;
pub mod account;
mod context;

pub use context::SnapshotError;

use crate::arch::{GENERAL_LEN, IA32_FIXED_CTR_CTRL, IA32_PERFEVTSEL0};
use crate::filter::Filter;
use crate::geometry::{Geometry, Hardware};
use crate::pmi::Limiter;
use crate::policy::VmPolicy;
use crate::port::{Approval, GuestControl, KernelMode, PmuPort, PortError, RawGeometry};
use crate::registers::{EventSelect, FixedControl};
use crate::validity::{fixed_control_allowed, status_allowed};
use pmu_api::{Configuration, Direct, Mode, UnavailableReason};

/// Why an access did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// #GP(0) in the guest.
    Fault,
    /// The kernel refused; nothing changed.
    Port(PortError),
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Trouble::Port(error)
    }
}

/// What a completed write was, for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A control register.
    Control {
        /// The filter keeps something of it from counting.
        denied: bool,
    },
    /// A data or global register.
    Data,
}

/// The vPMU of one VM. Counters, IA32_PERF_GLOBAL_CTRL and _STATUS live in the VCPU's context, which the guest may
/// change directly; the control registers live here, and the kernel's copy is newer where it completes accesses to them
/// ([`Vpmu::refresh`]).
#[derive(Debug)]
pub struct Vpmu<'a> {
    mode: Mode,
    kernel_mode: KernelMode,
    /// The kernel may complete control accesses once they are decided.
    approves: bool,
    hardware: Hardware,
    geometry: Geometry,
    /// IA32_FIXED_CTR_CTRL bits that the guest may set.
    fixed_control_allowed: u64,
    filter: Filter<'a>,
    selectors: [EventSelect; GENERAL_LEN],
    fixed_control: FixedControl,
    limiter: Limiter,
    /// IA32_PERF_GLOBAL_STATUS when [`Vpmu::account`] last looked.
    reported: u64,
}

impl<'a> Vpmu<'a> {
    /// The vPMU that `policy` gives on the hardware `raw`. It serves nothing before [`Vpmu::reset`].
    ///
    /// # Errors
    /// [`UnavailableReason`] if the hardware cannot do it.
    pub fn new(raw: &RawGeometry, policy: &VmPolicy<'a>) -> Result<Self, UnavailableReason> {
        let (hardware, geometry) = match policy.mode {
            Mode::Off => (Hardware::NONE, Geometry::NONE),
            Mode::Mediated | Mode::Emulated | Mode::Passthrough => {
                let hardware = Hardware::new(raw)?;
                (hardware, hardware.geometry(policy.wanted)?)
            }
        };
        let kernel_mode = match policy.mode {
            _ if geometry.version() == 0 => KernelMode::Off,
            Mode::Off => KernelMode::Off,
            Mode::Emulated => KernelMode::Trapped,
            Mode::Mediated if hardware.allows_direct(&geometry) => KernelMode::Direct,
            Mode::Mediated => KernelMode::Trapped,
            // Without the extension every PMU MSR exits.
            Mode::Passthrough if hardware.is_without_extension() => return Err(UnavailableReason::Geometry),
            Mode::Passthrough if hardware.allows_passthrough(&geometry) => KernelMode::Raw,
            Mode::Passthrough => return Err(UnavailableReason::Geometry),
        };
        Ok(Self {
            mode: policy.mode,
            kernel_mode,
            // The other modes have no use for it: nothing counts, every access shall exit, or none does. The kernel's
            // table has no room for TSX bits; without the extension there is none.
            approves: policy.mode == Mode::Mediated
                && kernel_mode != KernelMode::Off
                && !geometry.tsx()
                && !hardware.is_without_extension(),
            hardware,
            geometry,
            fixed_control_allowed: fixed_control_allowed(u64::from(geometry.fixed_counters())),
            filter: policy.filter,
            selectors: [EventSelect(0); GENERAL_LEN],
            fixed_control: FixedControl(0),
            limiter: Limiter::new(policy.pmi_limit),
            reported: 0,
        })
    }

    /// The guest's geometry.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// How the VM is served.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The filter in force.
    pub const fn filter(&self) -> &Filter<'a> {
        &self.filter
    }

    /// Brings the domain's copy of the guest's control registers up to date, and withdraws every approval if `withdraw`
    /// says so. What the kernel knows, if it completes accesses.
    ///
    /// # Errors
    /// [`PortError`]; the copy is as it was.
    pub fn refresh(
        &mut self,
        port: &mut impl PmuPort,
        withdraw: bool,
    ) -> Result<Option<GuestControl>, PortError> {
        if !self.approves {
            if self.kernel_mode == KernelMode::Raw {
                self.read_control(port)?;
            }
            return Ok(None);
        }
        let known = port.approve(if withdraw { Approval::Withdraw } else { Approval::Read })?;
        if let Some(guest) = known {
            self.selectors = guest.selectors.map(EventSelect);
            self.fixed_control = FixedControl(guest.fixed_control);
        }
        Ok(known)
    }

    /// Takes over the hardware's control registers: in passthrough they are the guest's, which writes them itself.
    fn read_control(&mut self, port: &mut impl PmuPort) -> Result<(), PortError> {
        let general = u32::from(self.geometry.general_counters());
        for (msr, selector) in (IA32_PERFEVTSEL0..IA32_PERFEVTSEL0 + general).zip(&mut self.selectors) {
            *selector = EventSelect(port.read(msr)?);
        }
        if self.geometry.fixed_counters() != 0 {
            self.fixed_control = FixedControl(port.read(IA32_FIXED_CTR_CTRL)?);
        }
        Ok(())
    }

    /// The guest's IA32_PERFEVTSELi, all [`GENERAL_LEN`], as of the last trap or [`Vpmu::refresh`]; those that the
    /// geometry lacks are 0.
    pub const fn selectors(&self) -> &[EventSelect; GENERAL_LEN] {
        &self.selectors
    }

    /// The guest's IA32_FIXED_CTR_CTRL, as of the last trap or [`Vpmu::refresh`].
    pub const fn fixed_control(&self) -> FixedControl {
        self.fixed_control
    }

    /// What `Open` returns.
    pub fn configuration(&self) -> Configuration {
        let data = Direct::LEGACY_COUNTERS | Direct::FIXED_COUNTERS | Direct::GLOBAL | Direct::RDPMC;
        let full_width =
            if self.geometry.full_width_writes() { Direct::FULL_WIDTH_COUNTERS } else { Direct::empty() };
        let direct = match self.kernel_mode {
            KernelMode::Off | KernelMode::Trapped => Direct::empty(),
            _ if self.hardware.is_without_extension() => Direct::RDPMC,
            KernelMode::Direct => data | full_width,
            KernelMode::Raw => data | full_width | Direct::CONTROL,
        };
        let perf_capabilities = self.geometry.perf_capabilities();
        Configuration {
            mode: self.mode,
            direct,
            leaf_a: self.hardware.guest_leaf_a(&self.geometry, self.filter.denied_architectural()),
            perf_capabilities,
            pdcm: perf_capabilities != 0,
            report_overflow: self.limiter.is_limited() && self.has_counters(),
        }
    }

    /// Whether the guest has any counter.
    pub const fn has_counters(&self) -> bool {
        self.geometry.version() > 0
    }

    /// Status bits that IA32_PERF_GLOBAL_STATUS_RESET and _SET take.
    const fn status_allowed(&self) -> u64 {
        status_allowed(self.geometry.counter_bits())
    }
}
