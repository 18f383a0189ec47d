//! RDMSR, WRMSR and RDPMC.

use crate::counting::{Counter, FIXED_SHIFT};
use crate::geometry::{MAX_FIXED, MAX_GP};
use crate::msr::{
    IA32_A_PMC0, IA32_DEBUGCTL, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_CAPABILITIES,
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_INUSE, IA32_PERF_GLOBAL_STATUS, IA32_PERF_GLOBAL_STATUS_RESET,
    IA32_PERF_GLOBAL_STATUS_SET, IA32_PERFEVTSEL0, IA32_PMC0,
};
use crate::pmu::{CTR_FRZ, Pmu};
use crate::registers::{DebugCtl, FixedCtrCtrl, FixedField, PerfCapabilities, PerfEvtSel};

/// Why an access to an MSR has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrError {
    /// The MSR is not one of the PMU's; another part of the processor may have it.
    NotPmu,
    /// The processor raises #GP(0).
    GeneralProtection,
}

/// The processor raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// The PMU's registers, as MSR numbers name them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Register {
    Pmc(usize),
    FullWidthPmc(usize),
    EvtSel(usize),
    Fixed(usize),
    FixedCtrl,
    Capabilities,
    DebugCtl,
    Status,
    Ctrl,
    StatusReset,
    StatusSet,
    InUse,
}

/// LBR_FRZ, CTR_FRZ and, below, the three status bits that are not of counters (SDM vol. 3B, 20.2.4).
const LBR_FRZ: u64 = 1 << 58;
const OVF_UNCORE: u64 = 1 << 61;
const OVF_BUF: u64 = 1 << 62;
const COND_CHGD: u64 = 1 << 63;
/// IA32_PERF_GLOBAL_INUSE.PMI_INUSE (SDM vol. 3B, 20.2.4.3).
const PMI_INUSE: u64 = 1 << 63;

fn index(msr: u32, base: u32, count: usize) -> Option<usize> {
    let i = usize::try_from(msr.checked_sub(base)?).ok()?;
    (i < count).then_some(i)
}

impl Pmu {
    /// The register behind an MSR number, if this geometry has it.
    ///
    /// A number that another geometry would use is [`MsrError::GeneralProtection`].
    fn register(&self, msr: u32) -> Result<Register, MsrError> {
        let version = self.geometry.version();
        let (register, exists) = if let Some(i) = index(msr, IA32_PMC0, MAX_GP) {
            (Register::Pmc(i), i < self.geometry.gp_counters())
        } else if let Some(i) = index(msr, IA32_A_PMC0, MAX_GP) {
            let full_width = self.capabilities.is_some_and(PerfCapabilities::full_width_write);
            let exists = i < self.geometry.gp_counters() && full_width;
            (Register::FullWidthPmc(i), exists)
        } else if let Some(i) = index(msr, IA32_PERFEVTSEL0, MAX_GP) {
            (Register::EvtSel(i), i < self.geometry.gp_counters())
        } else if let Some(i) = index(msr, IA32_FIXED_CTR0, MAX_FIXED) {
            (Register::Fixed(i), self.geometry.has_fixed(i))
        } else {
            match msr {
                IA32_FIXED_CTR_CTRL => (Register::FixedCtrl, version >= 2),
                IA32_PERF_CAPABILITIES => (Register::Capabilities, self.capabilities.is_some()),
                IA32_DEBUGCTL => (Register::DebugCtl, true),
                IA32_PERF_GLOBAL_STATUS => (Register::Status, version >= 2),
                IA32_PERF_GLOBAL_CTRL => (Register::Ctrl, version >= 2),
                IA32_PERF_GLOBAL_STATUS_RESET => (Register::StatusReset, version >= 2),
                IA32_PERF_GLOBAL_STATUS_SET => (Register::StatusSet, version >= 4),
                IA32_PERF_GLOBAL_INUSE => (Register::InUse, version >= 4),
                _ => return Err(MsrError::NotPmu),
            }
        };
        if exists { Ok(register) } else { Err(MsrError::GeneralProtection) }
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`MsrError::NotPmu`] for an MSR of another part, [`MsrError::GeneralProtection`] for one of the PMU's
    /// that this geometry does not have.
    pub fn rdmsr(&self, msr: u32) -> Result<u64, MsrError> {
        Ok(match self.register(msr)? {
            Register::Pmc(i) | Register::FullWidthPmc(i) => self.gp[i].value,
            Register::EvtSel(i) => self.evtsel[i].0,
            Register::Fixed(i) => self.fixed[i].value,
            Register::FixedCtrl => self.fixed_ctrl.0,
            Register::Capabilities => self.capabilities.unwrap_or_default().0,
            Register::DebugCtl => self.debugctl.0,
            Register::Status => self.global_status,
            Register::Ctrl => self.global_ctrl,
            // SDM vol. 4, table 2-2: write-only since they came; they read as 0 (KVM and hardware agree).
            Register::StatusReset | Register::StatusSet => 0,
            Register::InUse => self.in_use(),
        })
    }

    /// Whether WRMSR would succeed.
    ///
    /// # Errors
    /// As [`Pmu::wrmsr`].
    pub fn check_wrmsr(&self, msr: u32, value: u64) -> Result<(), MsrError> {
        let register = self.register(msr)?;
        if self.accepts(register, value) { Ok(()) } else { Err(MsrError::GeneralProtection) }
    }

    /// WRMSR. A refused write changes nothing.
    ///
    /// # Errors
    /// As [`Pmu::rdmsr`], and [`MsrError::GeneralProtection`] for a reserved bit, a value wider than the
    /// counter and a read-only register.
    pub fn wrmsr(&mut self, msr: u32, value: u64) -> Result<(), MsrError> {
        self.check_wrmsr(msr, value)?;
        match self.register(msr)? {
            // SDM 20.2.1.1: the write has 32 bits, which are sign-extended to the counter's width.
            Register::Pmc(i) => self.gp[i].value = sign_extend(value) & self.geometry.gp_mask(),
            Register::FullWidthPmc(i) => self.gp[i].value = value,
            Register::EvtSel(i) => {
                self.evtsel[i] = PerfEvtSel(value);
                self.gp[i].asserted = false;
            }
            Register::Fixed(i) => self.fixed[i] = Counter { value, asserted: false },
            Register::FixedCtrl => self.fixed_ctrl = FixedCtrCtrl(value),
            Register::DebugCtl => self.debugctl = DebugCtl(value),
            Register::Ctrl => self.global_ctrl = value,
            Register::StatusReset => self.global_status &= !value,
            Register::StatusSet => self.global_status |= value,
            Register::Capabilities | Register::Status | Register::InUse => {}
        }
        self.refresh();
        Ok(())
    }

    /// Whether WRMSR of `value` is legal.
    fn accepts(&self, register: Register, value: u64) -> bool {
        match register {
            // The upper half is ignored: SDM 20.2.8 describes only the lower 32 bits as written.
            Register::Pmc(_) => true,
            Register::FullWidthPmc(_) => value <= self.geometry.gp_mask(),
            Register::EvtSel(_) => !PerfEvtSel(value).has_reserved(&self.geometry),
            Register::Fixed(_) => value <= self.geometry.fixed_mask(),
            Register::FixedCtrl => !FixedCtrCtrl(value).has_reserved(&self.geometry),
            Register::DebugCtl => !DebugCtl(value).has_reserved(&self.geometry),
            Register::Ctrl => self.valid_global_ctrl(value),
            Register::StatusReset => value & !self.status_bits() == 0,
            // SDM figure 20-12: bit 63 cannot be set by software.
            Register::StatusSet => value & !(self.status_bits() & !COND_CHGD) == 0,
            // SDM vol. 4, table 2-2: read-only.
            Register::Capabilities | Register::Status | Register::InUse => false,
        }
    }

    /// Whether IA32_PERF_GLOBAL_CTRL can hold `value` (SDM vol. 3B, 20.2.2: other bits are reserved).
    #[must_use]
    pub fn valid_global_ctrl(&self, value: u64) -> bool {
        self.geometry.version() >= 2 && value & !self.geometry.counter_bits() == 0
    }

    /// The bits of IA32_PERF_GLOBAL_STATUS (SDM vol. 3B, figures 20-3, 20-7 and 20-10).
    fn status_bits(&self) -> u64 {
        let version = self.geometry.version();
        let third = if version >= 3 { OVF_UNCORE } else { 0 };
        let fourth = if version >= 4 { LBR_FRZ | CTR_FRZ } else { 0 };
        self.geometry.counter_bits() | OVF_BUF | COND_CHGD | third | fourth
    }

    /// IA32_PERF_GLOBAL_INUSE (SDM vol. 3B, 20.2.4.3): an event select that is not 0, an enabled fixed
    /// counter, and whether any counter asks for a PMI.
    fn in_use(&self) -> u64 {
        let mut value = 0;
        for (i, selector) in self.evtsel.iter().enumerate() {
            value |= u64::from(selector.event_select() != 0) << i;
            if selector.has(PerfEvtSel::INT) {
                value |= PMI_INUSE;
            }
        }
        for i in 0..MAX_FIXED {
            let field = self.fixed_ctrl.field(i);
            value |= u64::from(field.enabled()) << (FIXED_SHIFT + i);
            if field.has(FixedField::PMI) {
                value |= PMI_INUSE;
            }
        }
        value
    }

    /// RDPMC of the counter that ECX names, once privilege and VM-exit checks have passed (SDM vol. 2B,
    /// RDPMC): type 0 general-purpose, type 0x4000 fixed-function.
    ///
    /// # Errors
    /// [`GeneralProtection`] for every other number.
    pub fn rdpmc(&self, ecx: u32) -> Result<u64, GeneralProtection> {
        let [low, second, third, fourth] = ecx.to_le_bytes();
        let i = usize::from(u16::from_le_bytes([low, second]));
        match u16::from_le_bytes([third, fourth]) {
            0 if i < self.geometry.gp_counters() => Ok(self.gp[i].value),
            0x4000 if self.geometry.has_fixed(i) => Ok(self.fixed[i].value),
            _ => Err(GeneralProtection),
        }
    }
}

/// The low 32 bits of `value`, sign-extended.
fn sign_extend(value: u64) -> u64 {
    let low = value & 0xFFFF_FFFF;
    if low & (1 << 31) == 0 { low } else { low | 0xFFFF_FFFF_0000_0000 }
}
