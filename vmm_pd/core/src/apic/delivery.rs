//! What arrives at the local APIC: from its own sources, from the I/O APIC, from itself (SDM vol. 3A, 11.5 to 11.8).

use super::{LVT_ERROR, LVT_LINT0, LVT_MASKED, LVT_PERFORMANCE_COUNTERS, LocalApic, Mode, access, vectors};
use crate::registers::low;

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

/// ICR: the destination is a logical one (11.6.1).
const COMMAND_LOGICAL: u32 = 1 << 11;

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

impl LocalApic {
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

    /// Whether the interrupt that the 8259A asks for reaches the processor: through LINT0, or directly while the APIC
    /// is switched off (11.4.3, 11.5.1).
    pub const fn accepts_external(&self) -> bool {
        let entry = self.lvt[LVT_LINT0];
        match self.mode {
            Mode::Disabled => true,
            _ => entry & LVT_MASKED == 0 && matches!(Delivery::of(entry), Delivery::External),
        }
    }

    /// Whether a performance-monitoring interrupt could still interrupt a halted processor by its vector.
    pub const fn accepts_performance_interrupt(&self) -> bool {
        self.accepts_performance_as(Delivery::Fixed)
    }

    /// The same as NMI.
    pub const fn accepts_performance_nmi(&self) -> bool {
        self.accepts_performance_as(Delivery::Nmi)
    }

    const fn accepts_performance_as(&self, delivery: Delivery) -> bool {
        let entry = self.lvt[LVT_PERFORMANCE_COUNTERS];
        let same = Delivery::of(entry) as u8 == delivery as u8;
        !matches!(self.mode, Mode::Disabled) && entry & LVT_MASKED == 0 && same
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
    pub(super) fn accept(&mut self, vector: u8, level: bool) -> bool {
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

    /// Whether a fixed interrupt that arrives now would be seen: one with this vector does not pend yet, or its error is a new
    /// one or interrupts anew.
    pub(super) fn is_news(&self, vector: u8) -> bool {
        if vector >= vectors::FIRST {
            return !self.requested.contains(vector);
        }
        let entry = self.lvt[LVT_ERROR];
        let [error, ..] = entry.to_le_bytes();
        let interrupts = entry & LVT_MASKED == 0 && error >= vectors::FIRST;
        self.errors & access::ERROR_RECEIVED_VECTOR == 0 || interrupts && !self.requested.contains(error)
    }

    /// 11.5.3: the error is kept, and interrupts unless its entry is masked.
    pub(super) fn error(&mut self, error: u32) {
        self.errors |= error;
        let entry = self.lvt[LVT_ERROR];
        let [vector, ..] = entry.to_le_bytes();
        if entry & LVT_MASKED == 0 && vector >= vectors::FIRST {
            self.accept(vector, false);
        }
    }

    /// 11.8.5.
    pub(super) fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.remove(vector);
            if self.level.contains(vector) {
                self.ended = Some(vector);
            }
        }
    }

    /// 11.6.1: an interrupt command that reaches this processor acts; every other has no receiver.
    pub(super) fn send(&mut self, command: u64) {
        let [vector, ..] = command.to_le_bytes();
        let word = low(command);
        let delivery = Delivery::of(word);
        if delivery == Delivery::Fixed && vector < vectors::FIRST {
            return self.error(access::ERROR_SENT_VECTOR);
        }
        let high = low(command >> 32);
        let high = if self.mode == Mode::X2Apic { high } else { high >> 24 };
        let to_self = match word >> 18 & 3 {
            0 => self.is_destination(word & COMMAND_LOGICAL != 0, high),
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
