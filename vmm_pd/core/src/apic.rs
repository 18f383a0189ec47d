//! The local APIC of the one virtual processor (SDM vol. 3A, chapter 11).

mod access;
mod timer;
mod vectors;

use crate::arch::APIC_BASE_ADDRESS;
use timer::Timer;
use vectors::Vectors;

/// How the guest reaches the APIC (SDM vol. 3A, 11.12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Switched off by IA32_APIC_BASE.
    Disabled,
    /// By memory at [`APIC_BASE_ADDRESS`].
    XApic,
    /// By MSRs.
    X2Apic,
}

/// An access that the architecture answers with #GP(0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralProtection;

/// What became of a performance-monitoring interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pmi {
    /// It now pends as the guest's LVTPC says.
    Delivered,
    /// An earlier one still pends: the two are one to the guest.
    Merged,
    /// The guest's LVTPC is masked or names a delivery mode that cannot deliver.
    Masked,
}

/// Entries of the local vector table, in the order of their offsets from 0x320: timer, thermal sensor,
/// performance counters, LINT0, LINT1, error.
const LVT_TIMER: usize = 0;
const LVT_PERFORMANCE_COUNTERS: usize = 2;
const LVT_ENTRIES: usize = 6;
/// LVT: the entry is masked (11.5.1).
const LVT_MASKED: u32 = 1 << 16;
/// Spurious-interrupt vector register: the APIC is enabled by software (11.9).
const SVR_ENABLED: u32 = 1 << 8;
/// IA32_APIC_BASE (11.4.4, 11.12.1).
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;

/// How an LVT entry or the ICR delivers (bits 10:8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Fixed,
    Nmi,
    /// SMI, INIT, start-up and ExtINT: nothing on this machine acts on them.
    Ignored,
}

impl Delivery {
    const fn of(word: u32) -> Self {
        match word >> 8 & 7 {
            0 | 1 => Self::Fixed,
            4 => Self::Nmi,
            _ => Self::Ignored,
        }
    }
}

/// The state of the local APIC. Its ID is 0.
#[derive(Debug, Clone)]
pub struct LocalApic {
    mode: Mode,
    task_priority: u32,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    requested: Vectors,
    in_service: Vectors,
    errors: u32,
    errors_latched: u32,
    command: u64,
    lvt: [u32; LVT_ENTRIES],
    timer: Timer,
    nmi: bool,
}

impl Default for LocalApic {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalApic {
    /// The state after reset: xAPIC mode, software-disabled (11.4.7.1).
    pub const fn new() -> Self {
        Self {
            mode: Mode::XApic,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff,
            requested: Vectors::NONE,
            in_service: Vectors::NONE,
            errors: 0,
            errors_latched: 0,
            command: 0,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            timer: Timer::new(),
            nmi: false,
        }
    }

    /// How the guest reaches the APIC.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// IA32_APIC_BASE.
    pub const fn base(&self) -> u64 {
        APIC_BASE_ADDRESS
            | BASE_BSP
            | match self.mode {
                Mode::Disabled => 0,
                Mode::XApic => BASE_ENABLED,
                Mode::X2Apic => BASE_ENABLED | BASE_X2APIC,
            }
    }

    /// A write of IA32_APIC_BASE: the mode changes along figure 11-27; the address stays.
    ///
    /// # Errors
    /// A transition that does not exist, a reserved bit, or another address (this machine has only one).
    pub fn set_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let mode = match value & (BASE_ENABLED | BASE_X2APIC) {
            0 => Mode::Disabled,
            BASE_ENABLED => Mode::XApic,
            BASE_X2APIC => return Err(GeneralProtection),
            _ => Mode::X2Apic,
        };
        let address_and_reserved = value & !(BASE_BSP | BASE_ENABLED | BASE_X2APIC);
        if address_and_reserved != APIC_BASE_ADDRESS {
            return Err(GeneralProtection);
        }
        match (self.mode, mode) {
            (Mode::Disabled, Mode::X2Apic) | (Mode::X2Apic, Mode::XApic) => return Err(GeneralProtection),
            // 11.4.3: switched on again, the APIC is as after reset.
            (_, Mode::Disabled) => *self = Self { mode, ..Self::new() },
            _ => self.mode = mode,
        }
        Ok(())
    }

    /// CR8: bits 7:4 of the task priority (11.8.6).
    pub const fn cr8(&self) -> u64 {
        (self.task_priority >> 4) as u64
    }

    /// MOV to CR8.
    ///
    /// # Errors
    /// A reserved bit (63:4).
    pub fn set_cr8(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let class = u32::try_from(value).ok().filter(|class| *class < 16).ok_or(GeneralProtection)?;
        self.task_priority = class << 4;
        Ok(())
    }

    /// A performance-monitoring interrupt: what the guest's LVTPC says; delivery masks the entry (SDM vol. 3B,
    /// 20.5.4 and vol. 3A, 11.5.1).
    pub fn performance_interrupt(&mut self) -> Pmi {
        let entry = self.lvt[LVT_PERFORMANCE_COUNTERS];
        if self.mode == Mode::Disabled || entry & LVT_MASKED != 0 {
            return Pmi::Masked;
        }
        let pended = match Delivery::of(entry) {
            Delivery::Fixed => {
                let [vector, ..] = entry.to_le_bytes();
                if vector < vectors::FIRST {
                    self.errors |= access::ERROR_RECEIVED_VECTOR;
                    return Pmi::Masked;
                }
                !self.requested.insert(vector)
            }
            Delivery::Nmi => core::mem::replace(&mut self.nmi, true),
            Delivery::Ignored => return Pmi::Masked,
        };
        self.lvt[LVT_PERFORMANCE_COUNTERS] |= LVT_MASKED;
        if pended { Pmi::Merged } else { Pmi::Delivered }
    }

    /// Lets the timer's interrupt happen if its time has come. `now` in TSC cycles.
    pub fn tick(&mut self, now: u64) {
        let entry = self.lvt[LVT_TIMER];
        if self.timer.expire(now) && entry & LVT_MASKED == 0 {
            let [vector, ..] = entry.to_le_bytes();
            self.accept(vector);
        }
    }

    /// When the timer runs out next, in TSC cycles; none if it does not run or cannot interrupt.
    pub fn deadline(&self) -> Option<u64> {
        if self.lvt[LVT_TIMER] & LVT_MASKED != 0 { None } else { self.timer.deadline() }
    }

    /// The interrupt that the processor should take now if it accepts interrupts: the highest that is above
    /// the processor priority (11.8.3.1).
    pub fn pending(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        (self.enabled() && vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    /// The processor takes the interrupt `vector`.
    pub fn acknowledge(&mut self, vector: u8) {
        self.requested.remove(vector);
        self.in_service.insert(vector);
    }

    /// Whether an NMI pends.
    pub const fn nmi_pending(&self) -> bool {
        self.nmi
    }

    /// The processor takes the NMI.
    pub const fn acknowledge_nmi(&mut self) {
        self.nmi = false;
    }

    const fn enabled(&self) -> bool {
        !matches!(self.mode, Mode::Disabled) && self.spurious & SVR_ENABLED != 0
    }

    /// 11.8.3.1: the larger class of the task priority and of the highest interrupt in service.
    fn processor_priority(&self) -> u8 {
        let [task, ..] = self.task_priority.to_le_bytes();
        let service = self.in_service.highest().unwrap_or(0) & 0xf0;
        if task & 0xf0 >= service { task } else { service }
    }

    /// A fixed interrupt arrives.
    fn accept(&mut self, vector: u8) {
        if vector < vectors::FIRST {
            self.errors |= access::ERROR_RECEIVED_VECTOR;
        } else if self.enabled() {
            self.requested.insert(vector);
        }
    }

    /// 11.8.5.
    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.remove(vector);
        }
    }

    /// 11.6.1: an interrupt command that reaches this processor acts; every other has no receiver.
    fn send(&mut self, command: u64) {
        let [vector, ..] = command.to_le_bytes();
        let low = crate::registers::low(command);
        let to_self = match low >> 18 & 3 {
            0 => self.is_destination(low, command),
            1 | 2 => true,
            _ => false,
        };
        if !to_self {
            return;
        }
        match Delivery::of(low) {
            Delivery::Fixed => self.accept(vector),
            Delivery::Nmi => self.nmi = true,
            Delivery::Ignored => {}
        }
    }

    fn is_destination(&self, low: u32, command: u64) -> bool {
        let logical = low & 1 << 11 != 0;
        let high = crate::registers::low(command >> 32);
        match (self.mode, logical) {
            (Mode::X2Apic, true) => high == u32::MAX || high >> 16 == 0 && high & 1 != 0,
            (Mode::X2Apic, false) => high == u32::MAX || high == 0,
            (_, true) => high >> 24 & self.logical_destination >> 24 != 0,
            (_, false) => high >> 24 == 0xff || high >> 24 == 0,
        }
    }
}

#[cfg(test)]
mod tests;
