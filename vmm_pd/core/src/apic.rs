//! The local APIC of the one virtual processor (SDM vol. 3A, chapter 11).

mod access;
mod timer;
mod vectors;

use crate::arch::{APIC_BASE_ADDRESS, PAGE};
use crate::cpuid::PHYSICAL_ADDRESSES;
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

/// An interrupt message of the I/O APIC (82093AA data sheet, table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The vector.
    pub vector: u8,
    /// Delivery mode, as in an LVT entry's bits 10:8.
    pub mode: u8,
    /// Level-triggered: the I/O APIC is told of the end of the interrupt.
    pub level: bool,
    /// The destination is a logical one.
    pub logical: bool,
    /// The destination.
    pub destination: u8,
}

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
/// ICR: the destination is a logical one (11.6.1).
const COMMAND_LOGICAL: u32 = 1 << 11;
/// IA32_APIC_BASE (11.4.4, 11.12.1).
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;

/// How an LVT entry or the ICR delivers (bits 10:8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Fixed,
    Nmi,
    /// The vector is the 8259A's.
    External,
    /// SMI, INIT and start-up: nothing on this machine acts on them.
    Ignored,
}

impl Delivery {
    const fn of(word: u32) -> Self {
        match word >> 8 & 7 {
            0 | 1 => Self::Fixed,
            4 => Self::Nmi,
            7 => Self::External,
            _ => Self::Ignored,
        }
    }
}

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
            (_, Mode::Disabled) => *self = Self { mode, memory: self.memory, ..Self::new() },
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
                    self.error(access::ERROR_RECEIVED_VECTOR);
                    return Pmi::Masked;
                }
                self.level.remove(vector);
                !self.requested.insert(vector)
            }
            Delivery::Nmi => core::mem::replace(&mut self.nmi, true),
            Delivery::External | Delivery::Ignored => return Pmi::Masked,
        };
        self.lvt[LVT_PERFORMANCE_COUNTERS] |= LVT_MASKED;
        if pended { Pmi::Merged } else { Pmi::Delivered }
    }

    /// Lets the timer's interrupt happen if its time has come. `now` in TSC cycles.
    pub fn tick(&mut self, now: u64) {
        let entry = self.lvt[LVT_TIMER];
        if self.timer.expire(now) && entry & LVT_MASKED == 0 {
            let [vector, ..] = entry.to_le_bytes();
            self.accept(vector, false);
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

    /// Whether the interrupt that the 8259A asks for reaches the processor: through LINT0, or directly while the APIC
    /// is switched off (11.4.3, 11.5.1).
    pub const fn accepts_external(&self) -> bool {
        let entry = self.lvt[LVT_LINT0];
        match self.mode {
            Mode::Disabled => true,
            _ => entry & LVT_MASKED == 0 && matches!(Delivery::of(entry), Delivery::External),
        }
    }

    /// Whether a performance-monitoring interrupt could still interrupt a halted processor.
    pub const fn accepts_performance_interrupt(&self) -> bool {
        let entry = self.lvt[LVT_PERFORMANCE_COUNTERS];
        let delivers = matches!(Delivery::of(entry), Delivery::Fixed | Delivery::Nmi);
        !matches!(self.mode, Mode::Disabled) && entry & LVT_MASKED == 0 && delivers
    }

    /// A message of the I/O APIC arrives; whether it is for this processor, which takes it.
    pub fn receive(&mut self, message: Message) -> bool {
        let high = u32::from(message.destination);
        let high = if self.mode == Mode::X2Apic && high == 0xff { u32::MAX } else { high };
        if self.mode == Mode::Disabled || !self.is_destination(message.logical, high) {
            return false;
        }
        match Delivery::of(u32::from(message.mode) << 8) {
            Delivery::Fixed => self.accept(message.vector, message.level),
            Delivery::Nmi => {
                self.nmi = true;
                true
            }
            Delivery::External | Delivery::Ignored => false,
        }
    }

    /// Whether [`LocalApic::take_ended`] has something to tell.
    pub const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The end of a level-triggered interrupt, for the I/O APIC: its vector, told once (11.8.5).
    pub const fn take_ended(&mut self) -> Option<u8> {
        self.ended.take()
    }

    /// A fixed interrupt arrives; whether it is taken.
    fn accept(&mut self, vector: u8, level: bool) -> bool {
        if vector < vectors::FIRST {
            self.error(access::ERROR_RECEIVED_VECTOR);
            return false;
        }
        if self.enabled() {
            self.requested.insert(vector);
            if level {
                self.level.insert(vector);
            } else {
                self.level.remove(vector);
            }
        }
        self.enabled()
    }

    /// 11.5.3: the error is kept, and interrupts unless its entry is masked.
    fn error(&mut self, error: u32) {
        self.errors |= error;
        let entry = self.lvt[LVT_ERROR];
        let [vector, ..] = entry.to_le_bytes();
        if entry & LVT_MASKED == 0 && vector >= vectors::FIRST {
            self.accept(vector, false);
        }
    }

    /// 11.8.5.
    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.remove(vector);
            if self.level.contains(vector) {
                self.ended = Some(vector);
            }
        }
    }

    /// 11.6.1: an interrupt command that reaches this processor acts; every other has no receiver.
    fn send(&mut self, command: u64) {
        let [vector, ..] = command.to_le_bytes();
        let low = crate::registers::low(command);
        let delivery = Delivery::of(low);
        if delivery == Delivery::Fixed && vector < vectors::FIRST {
            return self.error(access::ERROR_SENT_VECTOR);
        }
        let high = crate::registers::low(command >> 32);
        let high = if self.mode == Mode::X2Apic { high } else { high >> 24 };
        let to_self = match low >> 18 & 3 {
            0 => self.is_destination(low & COMMAND_LOGICAL != 0, high),
            1 | 2 => true,
            _ => false,
        };
        if !to_self {
            return;
        }
        match delivery {
            Delivery::Fixed => {
                self.accept(vector, false);
            }
            Delivery::Nmi => self.nmi = true,
            Delivery::External | Delivery::Ignored => {}
        }
    }

    /// Whether this processor is meant (11.6.2, 11.12.9): 8 bits of destination in xAPIC mode, 32 in x2APIC mode.
    const fn is_destination(&self, logical: bool, destination: u32) -> bool {
        match (self.mode, logical) {
            (Mode::X2Apic, true) => destination == u32::MAX || destination >> 16 == 0 && destination & 1 != 0,
            (Mode::X2Apic, false) => destination == u32::MAX || destination == 0,
            (_, false) => destination == 0xff || destination == 0,
            (_, true) => {
                let own = self.logical_destination >> 24;
                let flat = self.destination_format >> 28 == 0xf;
                // The cluster model: bits 7:4 name the cluster, 0xf all of them.
                let cluster = destination >> 4 == own >> 4 || destination >> 4 == 0xf;
                let bits = if flat { 0xff } else { 0xf };
                destination == 0xff || (flat || cluster) && destination & own & bits != 0
            }
        }
    }
}

#[cfg(test)]
mod tests;
