//! Accesses to model-specific registers, CPUID and RDPMC.

use super::{Access, Unit, vmcs};
use crate::bochs::Functions;
use pmu_model::{GeneralProtection, MsrError};

/// IA32_APIC_BASE.
const IA32_APIC_BASE: u32 = 0x1B;

impl Unit {
    /// WRMSR, or an entry of an MSR-load list, begins; every check of privilege and bitmaps has passed.
    pub fn wrmsr_begins(&mut self, msr: u32, value: u64) {
        if msr == IA32_APIC_BASE {
            self.cpu.allow_apic_enable(value);
        }
        if !self.in_transition {
            let pmu = self.processor.pmu.check_wrmsr(msr, value) != Err(MsrError::NotPmu);
            let costs = &self.processor.costs;
            let cost = if pmu { costs.wrmsr_pmu } else { costs.wrmsr_other };
            self.processor.charge(cost, self.cpu.slot());
        }
    }

    /// RDMSR begins.
    pub fn rdmsr_begins(&mut self) {
        self.charge_on_completion = self.processor.costs.rdmsr;
        self.attention |= self.charge_on_completion > 0;
    }

    /// An MSR list of a VM entry or exit has come to its turn: the registers of the other side are loaded.
    fn reach_msr_list(&mut self, slot: u64) {
        if self.in_transition {
            self.entry_succeeded(slot);
            if !self.cpu.in_guest() {
                self.processor.complete_exit(self.cpu.privilege());
            }
        }
    }

    /// Reads an MSR that Bochs does not have.
    pub fn rdmsr(&mut self, msr: u32) -> Access<u64> {
        let slot = self.cpu.slot();
        self.reach_msr_list(slot);
        self.processor.sync(slot);
        match self.processor.pmu.rdmsr(msr) {
            Ok(value) => Some(Ok(value)),
            Err(MsrError::GeneralProtection) => Some(Err(GeneralProtection)),
            Err(MsrError::NotPmu) => self.other.rdmsr(msr, self.processor.cycles()).map(Ok),
        }
    }

    /// Writes an MSR that Bochs does not have.
    pub fn wrmsr(&mut self, msr: u32, value: u64) -> Access<()> {
        let slot = self.cpu.slot();
        self.reach_msr_list(slot);
        match self.processor.pmu.check_wrmsr(msr, value) {
            Ok(()) => {
                // WRMSR itself retires before what it writes is in force; an entry of a list is no instruction.
                self.processor.sync(if self.in_transition { slot } else { slot + 1 });
                Some(self.processor.pmu.wrmsr(msr, value).map_err(|_| GeneralProtection))
            }
            Err(MsrError::GeneralProtection) => Some(Err(GeneralProtection)),
            Err(MsrError::NotPmu) => {
                self.processor.sync(slot);
                let written = self.other.wrmsr(msr, value, self.processor.cycles());
                written.map(|result| result.map_err(|_| GeneralProtection))
            }
        }
    }

    /// CPUID. Says whether it was done: leaves 0x15 and 0x16, where the CPU model has them, tell the frequency
    /// at which this machine's TSC runs. In VMX non-root operation CPUID exits, which Bochs does.
    pub fn cpuid(&mut self) -> bool {
        let (leaf, _) = self.cpu.cpuid_arguments();
        if leaf > self.last_leaf || self.cpu.in_guest() {
            return false;
        }
        let Some(words) = self.frequency.cpuid(leaf) else { return false };
        self.cpu.set_cpuid_results(words);
        true
    }

    /// RDPMC. `None` where it faults for its privilege or exits, which Bochs does right.
    pub fn rdpmc(&mut self, functions: &Functions) -> Access<()> {
        let exits = || {
            let controls = self.cpu.vmread32(functions, vmcs::PROCESSOR_CONTROLS);
            controls & vmcs::RDPMC_EXITING != 0
        };
        let allowed = self.cpu.privilege() == 0 || self.cpu.user_rdpmc();
        if !allowed || (self.cpu.in_guest() && exits()) {
            return None;
        }
        self.processor.sync(self.cpu.slot());
        let ecx = u32::try_from(self.cpu.counter_register() & 0xFFFF_FFFF).unwrap_or(0);
        Some(self.processor.pmu.rdpmc(ecx).map(|value| {
            self.cpu.set_edx_eax(value);
            self.charge_on_completion = self.processor.costs.rdpmc;
            self.attention |= self.charge_on_completion > 0;
        }))
    }
}
