//! VM entries and exits (SDM vol. 3C, 27.3 and 28.3 to 28.5): which PMU registers they switch.
//!
//! The MSR lists of the VMCS go through [`Pmu::rdmsr`] and [`Pmu::wrmsr`], after the state described here.

use crate::pmu::Pmu;
use crate::registers::DebugCtl;

/// What a VM entry loads from the guest-state area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestLoads {
    /// The guest's IA32_PERF_GLOBAL_CTRL, with VM-entry control "load IA32_PERF_GLOBAL_CTRL" (bit 13).
    pub perf_global_ctrl: Option<u64>,
    /// The guest's IA32_DEBUGCTL, with VM-entry control "load debug controls" (bit 2).
    pub debugctl: Option<u64>,
}

/// What a VM exit loads from the host-state area. IA32_DEBUGCTL becomes 0 at every VM exit (28.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitLoads {
    /// The host's IA32_PERF_GLOBAL_CTRL, with VM-exit control "load IA32_PERF_GLOBAL_CTRL" (bit 12).
    pub perf_global_ctrl: Option<u64>,
}

/// What a VM exit may save: with VM-exit controls "save IA32_PERF_GLOBAL_CTRL" (bit 30) and "save debug
/// controls" (bit 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// IA32_PERF_GLOBAL_CTRL as the guest left it.
    pub perf_global_ctrl: u64,
    /// IA32_DEBUGCTL as the guest left it.
    pub debugctl: u64,
}

/// A field of the VMCS has a reserved bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidState {
    /// IA32_PERF_GLOBAL_CTRL.
    PerfGlobalCtrl,
    /// IA32_DEBUGCTL.
    DebugCtl,
}

impl Pmu {
    /// The checks of the guest-state area (SDM vol. 3C, 27.3.1.1). A VM entry that fails them ends as a VM
    /// exit with reason 0x80000021.
    ///
    /// # Errors
    /// [`InvalidState`] for the first field that is wrong.
    pub fn check_guest_state(&self, loads: &GuestLoads) -> Result<(), InvalidState> {
        if loads.debugctl.is_some_and(|v| DebugCtl(v).has_reserved(&self.geometry)) {
            return Err(InvalidState::DebugCtl);
        }
        self.check_global_ctrl(loads.perf_global_ctrl)
    }

    /// The checks of the host-state area (SDM vol. 3C, 27.2.2). A VM entry that fails them is VMfail with
    /// error 8.
    ///
    /// # Errors
    /// [`InvalidState`] for the first field that is wrong.
    pub fn check_host_state(&self, loads: &ExitLoads) -> Result<(), InvalidState> {
        self.check_global_ctrl(loads.perf_global_ctrl)
    }

    fn check_global_ctrl(&self, value: Option<u64>) -> Result<(), InvalidState> {
        match value {
            Some(value) if !self.valid_global_ctrl(value) => Err(InvalidState::PerfGlobalCtrl),
            _ => Ok(()),
        }
    }

    /// A VM entry loads the guest's registers; `loads` has passed [`Pmu::check_guest_state`].
    pub fn vm_entry(&mut self, loads: &GuestLoads) {
        if let Some(value) = loads.debugctl {
            self.debugctl = DebugCtl(value);
        }
        if let Some(value) = loads.perf_global_ctrl {
            self.global_ctrl = value;
        }
        self.refresh();
    }

    /// What a VM exit finds in the guest's registers, before [`Pmu::vm_exit`].
    #[must_use]
    pub fn saved_state(&self) -> SavedState {
        SavedState { perf_global_ctrl: self.global_ctrl, debugctl: self.debugctl.0 }
    }

    /// A VM exit, or a failed VM entry, loads the host's registers.
    pub fn vm_exit(&mut self, loads: &ExitLoads) {
        self.debugctl = DebugCtl::default();
        if let Some(value) = loads.perf_global_ctrl {
            self.global_ctrl = value;
        }
        self.refresh();
    }
}
