//! The VCPU's whole context: reset, filter change, PMI, snapshot.

use super::Vpmu;
use crate::arch::{
    IA32_A_PMC0, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_STATUS,
    IA32_PERFEVTSEL0, MAX_FIXED,
};
use crate::filter::Filter;
use crate::port::{KernelMode, PmuPort, PortError};
use crate::registers::Register;
use crate::snapshot::{self, Buffer, Registers};
use pmu_api::{OverflowDecision, SnapshotReason};

/// Why a snapshot was not taken or not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// The snapshot does not fit; nothing changed.
    Reason(SnapshotReason),
    /// The kernel refused an access; after a restore, nothing counts.
    Port(PortError),
}

impl From<PortError> for SnapshotError {
    fn from(error: PortError) -> Self {
        SnapshotError::Port(error)
    }
}

impl<'a> Vpmu<'a> {
    /// Every register as after power-up (volume 3A, table 10-1), and the mode in force. Counters that only the
    /// hardware has are cleared as well.
    ///
    /// # Errors
    /// [`PortError`]; nothing counts then.
    pub fn reset(&mut self, port: &mut impl PmuPort) -> Result<(), PortError> {
        port.set_mode(KernelMode::Off)?;
        let global_control = self.geometry.reset_global_control();
        self.load(port, &Registers { global_control, ..Registers::default() })?;
        port.set_mode(self.kernel_mode)
    }

    /// Writes the whole context and takes over the control registers.
    fn load(&mut self, port: &mut impl PmuPort, registers: &Registers) -> Result<(), PortError> {
        let hardware = self.hardware;
        for (i, value) in (0..hardware.general_counters()).zip(registers.general) {
            port.write(IA32_A_PMC0 + i, value)?;
        }
        for (i, value) in (0..MAX_FIXED as u32).zip(registers.fixed) {
            if hardware.fixed_counters() >> i & 1 != 0 {
                port.write(IA32_FIXED_CTR0 + i, value)?;
            }
        }
        if hardware.version() >= crate::arch::leaf_a::GLOBAL_VERSION {
            port.write(IA32_PERF_GLOBAL_STATUS, registers.status)?;
        }
        self.selectors = registers.selectors;
        self.fixed_control = registers.fixed_control;
        self.reported = registers.status;
        self.program(port)?;
        if hardware.version() >= crate::arch::leaf_a::GLOBAL_VERSION {
            port.write(IA32_PERF_GLOBAL_CTRL, registers.global_control)?;
        }
        Ok(())
    }

    /// Programs every control register of the hardware from the guest's values and the filter.
    fn program(&self, port: &mut impl PmuPort) -> Result<(), PortError> {
        let selectors = (IA32_PERFEVTSEL0..IA32_PERFEVTSEL0 + self.hardware.general_counters())
            .zip(self.selectors)
            .map(|(msr, guest)| (msr, guest.0, self.filter.selector(guest)));
        let fixed = (self.hardware.fixed_counters() != 0).then(|| {
            (IA32_FIXED_CTR_CTRL, self.fixed_control.0, self.filter.fixed_control(self.fixed_control))
        });
        for (msr, guest, hardware) in selectors.chain(fixed) {
            // A register that the guest lacks gives #GP for every value.
            if Register::locate(msr, &self.geometry).is_some() {
                self.decide(port, msr, guest, hardware)?;
            } else {
                port.write(msr, hardware)?;
            }
        }
        Ok(())
    }

    /// Puts `filter` in force; counters that run are recomputed at once. If the kernel refuses a value, the VM is
    /// switched off.
    ///
    /// # Errors
    /// [`PortError`]; nothing counts then.
    pub fn replace_filter(&mut self, port: &mut impl PmuPort, filter: Filter<'a>) -> Result<(), PortError> {
        // First: what was approved is what the old filter decided.
        self.refresh(port, true).inspect_err(|_| self.stop(port))?;
        self.filter = filter;
        self.program(port).inspect_err(|_| self.stop(port))
    }

    /// Switches counting off after a refusal midway.
    fn stop(&self, port: &mut impl PmuPort) {
        // Nothing is left to do if even this is refused; the first refusal is reported.
        let _ = port.set_mode(KernelMode::Off);
    }

    /// What to do with a PMI at TSC time `now`. The kernel has given it to this VM; the status does not tell whether it
    /// is due, because the guest may have cleared it directly between the overflow and the interrupt, which comes
    /// all the same (20.2.2).
    pub fn overflow(&mut self, now: u64) -> OverflowDecision {
        if self.has_counters() { self.limiter.decide(now) } else { OverflowDecision::Spurious }
    }

    /// A snapshot of what the guest sees.
    ///
    /// # Errors
    /// [`SnapshotReason::Mode`] for a VM without counters or in passthrough; the port's refusal.
    pub fn save(&mut self, port: &mut impl PmuPort) -> Result<Buffer, SnapshotError> {
        if !self.is_saved() {
            return Err(SnapshotError::Reason(SnapshotReason::Mode));
        }
        self.refresh(port, false)?;
        let mut registers = Registers {
            selectors: self.selectors,
            fixed_control: self.fixed_control,
            global_control: self.geometry.reset_global_control(),
            ..Registers::default()
        };
        let general = u32::from(self.geometry.general_counters());
        for (i, value) in (0..general).zip(&mut registers.general) {
            *value = port.read(IA32_A_PMC0 + i)? & self.geometry.width_mask();
        }
        for (i, value) in (0..).zip(&mut registers.fixed).filter(|(i, _)| self.geometry.has_fixed(*i)) {
            *value = port.read(IA32_FIXED_CTR0 + i)? & self.geometry.fixed_width_mask();
        }
        if self.geometry.has_global() {
            registers.status = port.read(IA32_PERF_GLOBAL_STATUS)? & self.geometry.counter_bits();
            registers.global_control = port.read(IA32_PERF_GLOBAL_CTRL)? & self.geometry.counter_bits();
        }
        Ok(snapshot::encode(&self.geometry, &registers))
    }

    /// Restores a snapshot, whole or not at all. If the kernel refuses a value midway, the VM is switched off.
    ///
    /// # Errors
    /// What is wrong with the snapshot; the port's refusal.
    pub fn restore(&mut self, port: &mut impl PmuPort, buffer: &Buffer) -> Result<(), SnapshotError> {
        if !self.is_saved() {
            return Err(SnapshotError::Reason(SnapshotReason::Mode));
        }
        let registers = snapshot::decode(&self.geometry, buffer).map_err(SnapshotError::Reason)?;
        self.refresh(port, true).inspect_err(|_| self.stop(port))?;
        self.load(port, &registers).inspect_err(|_| self.stop(port))?;
        Ok(())
    }

    /// Whether snapshots make sense: the guest has counters, and its control registers are here.
    fn is_saved(&self) -> bool {
        self.has_counters() && self.kernel_mode != KernelMode::Raw
    }
}
