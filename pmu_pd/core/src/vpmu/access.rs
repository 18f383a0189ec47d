//! RDMSR, WRMSR and RDPMC.

use super::{Trouble, Vpmu, Written};
use crate::arch::{
    GENERAL_LEN, IA32_A_PMC0, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_CAPABILITIES,
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_STATUS, IA32_PERFEVTSEL0, IA32_PMC0, rdpmc,
};
use crate::port::{Approval, PmuPort, PortError};
use crate::registers::{EventSelect, FixedControl, Register, global_in_use};
use crate::validity::{legacy_counter_value, selector_reserved};
use pmu_api::{Mode, Privilege};

/// Index into an array of [`GENERAL_LEN`] entries. The mask keeps a mispredicted access inside the array (Spectre
/// variant 1).
const fn clamp(index: u32) -> usize {
    index as usize & (GENERAL_LEN - 1)
}

/// Registers that exist even without a PMU, because the P6 family had them: they read 0 and writes are dropped.
const fn is_p6_register(msr: u32) -> bool {
    msr.wrapping_sub(IA32_PMC0) < 2 || msr.wrapping_sub(IA32_PERFEVTSEL0) < 2
}

/// Values outside `allowed` give #GP(0).
const fn check(value: u64, allowed: u64) -> Result<(), Trouble> {
    if value & !allowed == 0 { Ok(()) } else { Err(Trouble::Fault) }
}

impl Vpmu<'_> {
    /// WRMSR of `value` to `msr` (20.2; volume 2D, WRMSR). It takes effect before the completed instruction is credited.
    ///
    /// # Errors
    /// [`Trouble`]; nothing changed.
    pub fn write(&mut self, port: &mut impl PmuPort, msr: u32, value: u64) -> Result<Written, Trouble> {
        match self.locate(msr)? {
            None => Ok(Written::Data),
            Some(Register::EventSelect(i)) => self.write_selector(port, i, value),
            Some(Register::FixedControl) => self.write_fixed_control(port, value),
            Some(register) => {
                self.write_data(port, register, value)?;
                Ok(Written::Data)
            }
        }
    }

    fn write_selector(&mut self, port: &mut impl PmuPort, i: u32, value: u64) -> Result<Written, Trouble> {
        check(value, !selector_reserved(clamp(i), self.geometry.tsx()))?;
        let hardware = self.filter.selector(EventSelect(value));
        self.decide(port, IA32_PERFEVTSEL0 + i, value, hardware)?;
        self.selectors[clamp(i)] = EventSelect(value);
        Ok(Written::Control { denied: hardware != value })
    }

    /// Recomputes every field, not only those that change: a denied counter stays denied whatever the guest
    /// rewrites.
    fn write_fixed_control(&mut self, port: &mut impl PmuPort, value: u64) -> Result<Written, Trouble> {
        check(value, self.fixed_control_allowed)?;
        let hardware = self.filter.fixed_control(FixedControl(value));
        self.decide(port, IA32_FIXED_CTR_CTRL, value, hardware)?;
        self.fixed_control = FixedControl(value);
        Ok(Written::Control { denied: hardware != value })
    }

    /// Programs `hardware` for the guest's value `guest` of control register `msr`, which the guest has. The decision
    /// depends on nothing else than the crate's documentation says, so that it may hold for the next time.
    pub(super) fn decide(
        &self,
        port: &mut impl PmuPort,
        msr: u32,
        guest: u64,
        hardware: u64,
    ) -> Result<(), PortError> {
        if self.approves {
            port.approve(Approval::Add { msr, guest, hardware }).map(drop)
        } else {
            port.write(msr, hardware)
        }
    }

    fn write_data(&self, port: &mut impl PmuPort, register: Register, value: u64) -> Result<(), Trouble> {
        let geometry = &self.geometry;
        match register {
            Register::LegacyCounter(i) => {
                port.write(IA32_A_PMC0 + i, legacy_counter_value(value, geometry.width_mask()))?;
            }
            Register::FullWidthCounter(i) => {
                check(value, geometry.width_mask())?;
                port.write(IA32_A_PMC0 + i, value)?;
            }
            // Bits above the width are ignored, as KVM does.
            Register::FixedCounter(i) => {
                port.write(IA32_FIXED_CTR0 + i, value & geometry.fixed_width_mask())?
            }
            Register::GlobalControl => {
                check(value, geometry.counter_bits())?;
                port.write(IA32_PERF_GLOBAL_CTRL, value)?;
            }
            Register::StatusReset => {
                check(value, self.status_allowed())?;
                let status = self.status(port)?;
                port.write(IA32_PERF_GLOBAL_STATUS, status & !value)?;
            }
            Register::StatusSet => {
                check(value, self.status_allowed())?;
                let status = self.status(port)?;
                port.write(IA32_PERF_GLOBAL_STATUS, (status | value) & geometry.counter_bits())?;
            }
            Register::EventSelect(_)
            | Register::FixedControl
            | Register::GlobalStatus
            | Register::InUse
            | Register::Capabilities => return Err(Trouble::Fault),
        }
        Ok(())
    }

    /// RDMSR of `msr` (20.2; volume 2B, RDMSR).
    ///
    /// # Errors
    /// [`Trouble`]; nothing that the guest sees changes in any case.
    pub fn read(&mut self, port: &mut impl PmuPort, msr: u32) -> Result<u64, Trouble> {
        let Some(register) = self.locate(msr)? else { return Ok(0) };
        if matches!(register, Register::EventSelect(_) | Register::FixedControl | Register::InUse) {
            self.refresh(port, false)?;
        }
        Ok(match register {
            Register::EventSelect(i) => self.selectors[clamp(i)].0,
            Register::LegacyCounter(i) | Register::FullWidthCounter(i) => {
                port.read(IA32_A_PMC0 + i)? & self.geometry.width_mask()
            }
            Register::FixedCounter(i) => port.read(IA32_FIXED_CTR0 + i)? & self.geometry.fixed_width_mask(),
            Register::FixedControl => self.fixed_control.0,
            Register::GlobalStatus => self.status(port)?,
            Register::GlobalControl => port.read(IA32_PERF_GLOBAL_CTRL)? & self.geometry.counter_bits(),
            // Write-only in effect (20.2.2, 20.2.4.2).
            Register::StatusReset | Register::StatusSet => 0,
            Register::InUse => global_in_use(&self.selectors, self.fixed_control),
            Register::Capabilities => self.geometry.perf_capabilities(),
        })
    }

    /// RDPMC with the guest's ECX (volume 2B, RDPMC). The exit came before the instruction's own checks, so they are
    /// made here.
    ///
    /// # Errors
    /// [`Trouble`]; nothing changes in any case.
    pub fn rdpmc(&self, port: &mut impl PmuPort, ecx: u32, privilege: Privilege) -> Result<u64, Trouble> {
        let Privilege { protection_enabled, counters_enabled, .. } = privilege;
        if !counters_enabled && privilege.cpl() != 0 && protection_enabled || !self.has_counters() {
            return Err(Trouble::Fault);
        }
        let index = ecx & rdpmc::INDEX;
        match ecx >> rdpmc::TYPE_SHIFT {
            rdpmc::GENERAL if index < u32::from(self.geometry.general_counters()) => {
                Ok(port.read(IA32_A_PMC0 + index)? & self.geometry.width_mask())
            }
            rdpmc::FIXED if self.geometry.has_fixed(index) => {
                Ok(port.read(IA32_FIXED_CTR0 + index)? & self.geometry.fixed_width_mask())
            }
            _ => Err(Trouble::Fault),
        }
    }

    /// The register that `msr` names; `None` for one that reads 0 and ignores writes.
    fn locate(&self, msr: u32) -> Result<Option<Register>, Trouble> {
        if self.mode == Mode::Off {
            return Err(Trouble::Fault);
        }
        match Register::locate(msr, &self.geometry) {
            Some(register) => Ok(Some(register)),
            None if self.geometry.version() == 0 && is_p6_register(msr) => Ok(None),
            None => Err(Trouble::Fault),
        }
    }

    /// IA32_PERF_GLOBAL_STATUS: the overflow bits of the guest's counters.
    pub(super) fn status(&self, port: &mut impl PmuPort) -> Result<u64, PortError> {
        Ok(port.read(IA32_PERF_GLOBAL_STATUS)? & self.geometry.counter_bits())
    }
}

/// Reads that need no counter to exist are the only ones that a vPMU without counters serves.
const _: () =
    assert!(is_p6_register(0xC2) && is_p6_register(0x187) && !is_p6_register(IA32_PERF_CAPABILITIES));
