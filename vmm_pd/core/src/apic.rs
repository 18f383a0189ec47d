//! The local APIC of the one virtual processor (SDM vol. 3A, chapter 11).

mod access;
mod delivery;
mod timer;
mod vectors;

use crate::arch::{APIC_BASE_ADDRESS, PAGE};
use crate::cpuid::PHYSICAL_ADDRESSES;
pub use delivery::{Message, Pmi};
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

/// Entries of the local vector table, in the order of their offsets from 0x320: timer, thermal sensor,
/// performance counters, LINT0, LINT1, error.
const LVT_TIMER: usize = 0;
const LVT_PERFORMANCE_COUNTERS: usize = 2;
const LVT_LINT0: usize = 3;
const LVT_LINT1: usize = 4;
const LVT_ERROR: usize = 5;
const LVT_ENTRIES: usize = 6;
/// LVT: the entry is masked (11.5.1).
const LVT_MASKED: u32 = 1 << 16;
/// LVT: delivery as the interrupt controller of a PC says, by its vector; as NMI (bits 10:8).
const LVT_EXTERNAL: u32 = 7 << 8;
const LVT_NMI: u32 = 4 << 8;
/// Spurious-interrupt vector register: the APIC is enabled by software (11.9).
const SVR_ENABLED: u32 = 1 << 8;
/// IA32_APIC_BASE (11.4.4, 11.12.1).
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;

/// The state of the local APIC. Its ID is 0.
#[derive(Debug, Clone)]
pub struct LocalApic {
    mode: Mode,
    /// Where its page is, and below which address it cannot be.
    address: u64,
    memory: u64,
    task_priority: u32,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    requested: Vectors,
    in_service: Vectors,
    /// Vectors whose interrupt is level-triggered (11.8.4).
    level: Vectors,
    /// The end of a level-triggered interrupt that the I/O APIC has not been told of.
    ended: Option<u8>,
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
            address: APIC_BASE_ADDRESS,
            memory: 0,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff,
            requested: Vectors::NONE,
            in_service: Vectors::NONE,
            level: Vectors::NONE,
            ended: None,
            errors: 0,
            errors_latched: 0,
            command: 0,
            lvt: [LVT_MASKED; LVT_ENTRIES],
            timer: Timer::new(),
            nmi: false,
        }
    }

    /// The state in which a PC's firmware leaves it: virtual wire mode (MultiProcessor Specification 1.4, 3.6.2.2), in
    /// which the 8259A's interrupts reach the processor through LINT0.
    pub const fn virtual_wire() -> Self {
        let mut apic = Self::new();
        apic.spurious |= SVR_ENABLED;
        apic.lvt[LVT_LINT0] = LVT_EXTERNAL;
        apic.lvt[LVT_LINT1] = LVT_NMI;
        apic
    }

    /// How the guest reaches the APIC.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Notes the size of the guest's memory in bytes: the page of the APIC cannot be in it, for accesses to memory do not
    /// exit.
    pub const fn set_memory(&mut self, size: u64) {
        self.memory = size;
    }

    /// The physical address of its page.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// IA32_APIC_BASE.
    pub const fn base(&self) -> u64 {
        self.address
            | BASE_BSP
            | match self.mode {
                Mode::Disabled => 0,
                Mode::XApic => BASE_ENABLED,
                Mode::X2Apic => BASE_ENABLED | BASE_X2APIC,
            }
    }

    /// A write of IA32_APIC_BASE: the mode changes along figure 11-27, and the page moves (11.4.5).
    ///
    /// # Errors
    /// A transition that does not exist, a reserved bit, or an address in memory.
    pub fn set_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let mode = match value & (BASE_ENABLED | BASE_X2APIC) {
            0 => Mode::Disabled,
            BASE_ENABLED => Mode::XApic,
            BASE_X2APIC => return Err(GeneralProtection),
            _ => Mode::X2Apic,
        };
        let address = value & !(BASE_BSP | BASE_ENABLED | BASE_X2APIC);
        if !address.is_multiple_of(PAGE) || !(self.memory..PHYSICAL_ADDRESSES).contains(&address) {
            return Err(GeneralProtection);
        }
        match (self.mode, mode) {
            (Mode::Disabled, Mode::X2Apic) | (Mode::X2Apic, Mode::XApic) => return Err(GeneralProtection),
            // 11.4.3: switched on again, the APIC is as after reset.
            // An NMI that pends is the processor's.
            (_, Mode::Disabled) => {
                *self = Self { mode, memory: self.memory, nmi: self.nmi, ..Self::new() };
            }
            _ => self.mode = mode,
        }
        self.address = address;
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

    /// Lets the timer's interrupt happen if its time has come. `now` in TSC cycles.
    pub fn tick(&mut self, now: u64) {
        let entry = self.lvt[LVT_TIMER];
        if self.timer.expire(now) && entry & LVT_MASKED == 0 {
            let [vector, ..] = entry.to_le_bytes();
            self.accept(vector, false);
        }
    }

    /// When the timer interrupts next, in TSC cycles; none if it does not run, or while its interrupt pends, of which a
    /// further one would be no other: a guest that takes none is not stopped for each.
    pub fn deadline(&self) -> Option<u64> {
        let [vector, ..] = self.lvt[LVT_TIMER].to_le_bytes();
        self.timer_deadline().filter(|_| self.is_news(vector))
    }

    /// When the timer runs out next, in TSC cycles; none if it does not run or cannot interrupt.
    pub fn timer_deadline(&self) -> Option<u64> {
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
}

#[cfg(test)]
mod tests;
