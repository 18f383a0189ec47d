//! A kernel without the PMU extension: what the extension does for a VMM, done by the VMM.
//!
//! Two layers over the seams, [`StockVcpu`] and [`StockLink`], leave the rest of the VMM as it is:
//!
//! - VM entry loads the guest's IA32_PERF_GLOBAL_CTRL from the VMCS (SDM vol. 3C, 25.8.1); its writes exit and are seen
//!   here on their way back from the policy domain.
//! - RDPMC exits unless the policy domain says that it is direct.
//! - Completed instructions are accounted for by the policy domain: accesses of the PMU with the answer, others by
//!   [`pmu_api::Request::Account`] before the entry. No exit takes more than one call.
//! - The kernel delivers no PMIs. While a counter that is to interrupt counts, the preemption timer ends the guest's run
//!   every [`PERIOD`] timer ticks, and after each exit the policy domain is asked whether one is due, by one of these
//!   calls: a PMI comes late by at most a period and is handed to the VMM as the exit that the extension makes of it.

mod link;
#[cfg(test)]
mod tests;

pub use link::{State, StockLink};

use crate::arch::{Field, entry_control, primary};
use crate::exit::RawExit;
use crate::exit::reason::PREEMPTION_TIMER;
use crate::pmu::{Pmu, PmuLink};
use crate::registers::{Registers, low};
use crate::switched::Switched;
use crate::vcpu::{Entry, Memory, Return, Vcpu};
use core::cell::Cell;
use pmu_api::Completion;

/// Ticks of the preemption timer between two looks at the counters' overflow.
pub const PERIOD: u64 = 1 << 11;
/// The vector that the exit of a PMI names; any external interrupt (32 and above) is one.
const PMI_VECTOR: u64 = 0xfe;
/// Basic exit reason (SDM vol. 3D, appendix C).
const EXTERNAL_INTERRUPT: u32 = 1;

/// The virtual CPU on a kernel without the extension.
#[derive(Debug)]
pub struct StockVcpu<'a, V, L> {
    vcpu: V,
    pmu: Pmu<L>,
    state: &'a Cell<State>,
    /// IA32_PERF_GLOBAL_CTRL in the VMCS.
    loaded: u64,
    /// The VMM's own preemption timer, while this layer uses the processor's.
    timer: Option<u64>,
    /// The guest's registers at the last exit.
    registers: Registers,
    /// Registers for the next entry, where a PMI came before one.
    kept: Option<Registers>,
    /// A PMI is due.
    pmi: bool,
    /// A counter that is to interrupt has counted, and the policy domain was not asked since.
    unseen: bool,
}

impl<'a, V: Vcpu, L: PmuLink> StockVcpu<'a, V, L> {
    /// The layer over `vcpu`; `link` leads to the policy domain, and `state` is that of the VMM's own link.
    pub const fn new(vcpu: V, link: L, state: &'a Cell<State>) -> Self {
        let registers = Registers([0; crate::registers::REGISTERS]);
        Self {
            vcpu,
            pmu: Pmu::new(link),
            state,
            loaded: 0,
            timer: None,
            registers,
            kept: None,
            pmi: false,
            unseen: false,
        }
    }

    /// Before an entry: the policy domain has accounted for what was completed, and said whether a PMI is due.
    fn settle(&mut self, completed: bool) {
        let mut state = self.state.get();
        self.pmi |= core::mem::take(&mut state.pmi);
        let accounted = core::mem::take(&mut state.accounted);
        self.state.set(state);
        let completed = completed && state.counts();
        if !accounted && (completed || self.unseen) {
            let completed = completed.then(|| {
                let [rights, ..] = self.vcpu.read(Field::GuestSsAccessRights).to_le_bytes();
                // SDM vol. 3C, table 25-2: the DPL of SS is the CPL. The VMM completes no branches.
                Completion { branch: false, user: rights >> 5 & 3 != 0 }
            });
            // A domain that refuses has no PMIs; its refusals of accesses are what the VMM reports.
            self.pmi |= self.pmu.account(completed).unwrap_or(false);
        }
        self.unseen = false;
    }

    /// The exit of a PMI at `entry`, which has not happened.
    fn interrupted(&mut self, entry: &Entry) -> RawExit {
        if let Some(registers) = entry.registers {
            self.registers = registers;
            self.kept = entry.registers;
        }
        RawExit {
            reason: EXTERNAL_INTERRUPT,
            qualification: PMI_VECTOR,
            rip: entry.rip,
            rflags: self.vcpu.read(Field::GuestRflags),
            interruptibility: low(self.vcpu.read(Field::GuestInterruptibility)),
            cr3: self.vcpu.read(Field::GuestCr3),
            injection: entry.injection,
            registers: self.registers,
            ..RawExit::default()
        }
    }

    /// Puts the nearer of the VMM's timer and the end of the period into the VMCS; which it is.
    fn arm(&mut self, samples: bool) -> Option<u64> {
        match (samples, self.timer) {
            (false, None) => None,
            (false, Some(own)) => {
                self.timer = None;
                self.vcpu.write(Field::PreemptionTimer, own);
                None
            }
            (true, own) => {
                let own = own.unwrap_or_else(|| self.vcpu.read(Field::PreemptionTimer));
                self.timer = Some(own);
                let armed = own.min(PERIOD);
                self.vcpu.write(Field::PreemptionTimer, armed);
                Some(armed)
            }
        }
    }
}

impl<V: Vcpu, L: PmuLink> Vcpu for StockVcpu<'_, V, L> {
    fn enter(&mut self, entry: &Entry) -> Return {
        let mut entry = *entry;
        loop {
            self.settle(entry.completed);
            entry.completed = false;
            if core::mem::take(&mut self.pmi) {
                return Return::Exit(self.interrupted(&entry));
            }
            let state = self.state.get();
            if self.loaded != state.global_control {
                self.loaded = state.global_control;
                self.vcpu.write(Field::GuestPerfGlobalControl, self.loaded);
            }
            if state.direct_rdpmc {
                entry.primary_controls &= !primary::RDPMC;
            }
            entry.registers = entry.registers.or(self.kept.take());
            let armed = self.arm(state.interrupts());
            let result = self.vcpu.enter(&entry);
            if let Some(armed) = armed {
                let left = self.vcpu.read(Field::PreemptionTimer).min(armed);
                self.timer = self.timer.map(|own| own.saturating_sub(armed - left));
                self.unseen = true;
            }
            match result {
                Return::Exit(exit) => {
                    self.registers = exit.registers;
                    let ours = exit.reason == PREEMPTION_TIMER && self.timer.is_some_and(|own| own > 0);
                    if !ours {
                        return result;
                    }
                    entry = Entry {
                        rip: exit.rip,
                        primary_controls: entry.primary_controls,
                        injection: exit.injection,
                        completed: false,
                        registers: None,
                    };
                }
                Return::Notified { .. } => return result,
            }
        }
    }

    fn read(&mut self, field: Field) -> u64 {
        match (field, self.timer) {
            (Field::PreemptionTimer, Some(own)) => own,
            _ => self.vcpu.read(field),
        }
    }

    fn write(&mut self, field: Field, value: u64) {
        match field {
            Field::PreemptionTimer if self.timer.is_some() => self.timer = Some(value),
            Field::EntryControls => self.vcpu.write(field, value | entry_control::LOAD_PERF_GLOBAL_CTRL),
            _ => self.vcpu.write(field, value),
        }
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        self.vcpu.set(register, value)
    }

    fn now(&self) -> u64 {
        self.vcpu.now()
    }
}

impl<V: Memory, L> Memory for StockVcpu<'_, V, L> {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.vcpu.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.vcpu.write_memory(address, bytes)
    }
}
