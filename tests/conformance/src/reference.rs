//! One guest's vPMU, written from the specification, with no thought for speed.

use crate::filter::EventFilter;
use crate::hardware::advance;
use crate::registers::{Answer, FIXED, GENERAL, Geometry, Op, Registers, credit, fixed_credit};
use crate::system::VmConfig;
use pmu_api::Mode;
use pmu_core::pmi::PmiLimit;
use std::rc::Rc;

/// The index of the filter of a VM that has none.
const NO_FILTER: usize = usize::MAX;

/// What is known of the PMIs in a window of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Window {
    start: u64,
    delivered: u32,
    delayed: bool,
}

/// Why a write is not carried out.
struct Invalid;

/// One guest's vPMU.
#[derive(Clone, Debug)]
pub struct Reference {
    geometry: Geometry,
    filters: Rc<[EventFilter]>,
    /// Index of the filter in force.
    pub filter: usize,
    /// It has counters and a policy.
    mediated: bool,
    limit: Option<PmiLimit>,
    window: Window,
    /// The registers as the guest sees them.
    pub registers: Registers,
}

const fn low(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

impl Reference {
    /// After reset, as `config` says.
    pub fn new(geometry: Geometry, filters: Rc<[EventFilter]>, config: &VmConfig) -> Self {
        let passthrough = config.mode == Mode::Passthrough;
        let mut reference = Self::of(geometry, Registers::default());
        reference.filters = filters;
        reference.filter = if passthrough { NO_FILTER } else { config.filter };
        reference.mediated = geometry.version > 0 && !passthrough;
        reference.limit = config.pmi_limit;
        reference.registers.global_control = reference.general_bits();
        reference
    }

    /// The hardware itself: no policy.
    pub fn of(geometry: Geometry, registers: Registers) -> Self {
        let (filters, window) = (Rc::new([]), Window::default());
        Self { geometry, filters, filter: NO_FILTER, mediated: false, limit: None, window, registers }
    }

    fn general_bits(&self) -> u64 {
        (1 << self.geometry.general) - 1
    }

    fn counter_bits(&self) -> u64 {
        self.general_bits() | u64::from(self.geometry.fixed) << 32
    }

    fn fixed_control_bits(&self) -> u64 {
        (0..FIXED).filter(|i| self.geometry.has_fixed(*i)).fold(0, |bits, i| bits | 0xB << (4 * i))
    }

    fn selector_bits(&self, index: usize) -> u64 {
        let mut bits = 0xFFDF_FFFF;
        if self.geometry.tsx {
            bits |= 1 << 32;
            if index == 2 {
                bits |= 1 << 33;
            }
        }
        bits
    }

    /// Carries out one operation.
    pub fn step(&mut self, op: &Op) -> Answer {
        match *op {
            Op::Open => {
                self.registers = Registers { global_control: self.general_bits(), ..Registers::default() };
                Answer::Done
            }
            Op::Read(msr) | Op::DirectRead(msr) => self.read(msr).map_or(Answer::Fault, Answer::Value),
            Op::Write(msr, value) | Op::DirectWrite(msr, value) => match self.write(msr, value) {
                Ok(()) => Answer::Done,
                Err(Invalid) => Answer::Fault,
            },
            Op::Rdpmc(ecx, cpl, pe, pce) => {
                self.rdpmc(ecx, cpl, pe, pce).map_or(Answer::Fault, Answer::Value)
            }
            Op::GuestRead(msr) => self.read(msr).map_or(Answer::Fault, |value| self.completed(Some(value))),
            Op::GuestWrite(msr, value) => match self.write(msr, value) {
                Ok(()) => self.completed(None),
                Err(Invalid) => Answer::Fault,
            },
            Op::Filter(_) | Op::Save | Op::Restore(_) if !self.mediated => Answer::Refused,
            Op::Overflow(now) => self.overflow(now),
            Op::Complete(user, branch) if self.complete(user, branch) => Answer::Pmi,
            Op::Complete(..) => Answer::Quiet,
            Op::Filter(index) => {
                self.filter = index;
                Answer::Done
            }
            Op::Save => {
                let mut saved = self.registers;
                if self.geometry.version < 2 {
                    saved.status = 0;
                }
                Answer::Saved(saved)
            }
            Op::Restore(registers) => {
                if self.is_possible(&registers) {
                    self.registers = registers;
                    Answer::Done
                } else {
                    Answer::Refused
                }
            }
            Op::Count(general, fixed) => {
                if self.count(&general, &fixed) {
                    Answer::Pmi
                } else {
                    Answer::Quiet
                }
            }
        }
    }

    /// The access is completed in ring 0, after its effect, and counts.
    fn completed(&mut self, value: Option<u64>) -> Answer {
        Answer::Completed { value, pmi: self.complete(false, false) }
    }

    /// An instruction is completed and counts; whether it raises a PMI.
    fn complete(&mut self, user: bool, branch: bool) -> bool {
        let hardware = self.context();
        let general = hardware.selectors.map(|selector| credit(selector, user, branch));
        self.count(&general, &fixed_credit(hardware.fixed_control, user))
    }

    /// The counter or selector of a block of registers from `base` on.
    fn indexed(msr: u32, base: u32, count: usize) -> Option<usize> {
        (0..count).find(|i| u32::try_from(*i).is_ok_and(|i| msr == base + i))
    }

    fn fixed_index(&self, number: u32, base: u32) -> Option<usize> {
        Self::indexed(number, base, FIXED).filter(|i| self.geometry.has_fixed(*i))
    }

    fn is_p6(&self, msr: u32) -> bool {
        self.geometry.version == 0 && self.geometry.p6 && [0xC1, 0xC2, 0x186, 0x187].contains(&msr)
    }

    fn has_full_width(&self) -> bool {
        self.geometry.capabilities >> 13 & 1 != 0
    }

    /// RDMSR; `None` is #GP.
    pub fn read(&self, msr: u32) -> Option<u64> {
        let Geometry { version, general, .. } = self.geometry;
        let registers = &self.registers;
        if let Some(i) = Self::indexed(msr, 0x186, general) {
            return Some(registers.selectors[i]);
        }
        let full = Self::indexed(msr, 0x4C1, general).filter(|_| self.has_full_width());
        if let Some(i) = Self::indexed(msr, 0xC1, general).or(full) {
            return Some(registers.general[i]);
        }
        if let Some(i) = self.fixed_index(msr, 0x309) {
            return Some(registers.fixed[i]);
        }
        match msr {
            _ if self.is_p6(msr) => Some(0),
            0x345 if version > 0 || self.geometry.p6 => Some(self.geometry.capabilities),
            0x38D if version >= 2 => Some(registers.fixed_control),
            0x38E if version >= 2 => Some(registers.status),
            0x38F if version >= 2 => Some(registers.global_control),
            0x390 if version >= 2 => Some(0),
            0x391 if version >= 4 => Some(0),
            0x392 if version >= 4 => Some(self.in_use()),
            _ => None,
        }
    }

    fn in_use(&self) -> u64 {
        let mut bits = 0;
        for (i, selector) in self.registers.selectors.iter().enumerate() {
            bits |= u64::from(selector & 0xFF != 0) << i;
            bits |= (selector >> 20 & 1) << 63;
        }
        for i in 0..FIXED {
            let field = self.registers.fixed_control >> (4 * i) & 0xF;
            bits |= u64::from(field & 3 != 0) << (32 + i);
            bits |= (field >> 3) << 63;
        }
        bits
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), Invalid> {
        let Geometry { version, general, width, fixed_width, .. } = self.geometry;
        let only = |mask: u64| if value & !mask == 0 { Ok(value) } else { Err(Invalid) };
        if let Some(i) = Self::indexed(msr, 0x186, general) {
            self.registers.selectors[i] = only(self.selector_bits(i))?;
            return Ok(());
        }
        if let Some(i) = Self::indexed(msr, 0xC1, general) {
            let low32 = value & 0xFFFF_FFFF;
            let extended = if low32 & 0x8000_0000 != 0 { low32 | 0xFFFF_FFFF_0000_0000 } else { low32 };
            self.registers.general[i] = extended & low(width);
            return Ok(());
        }
        if let Some(i) = Self::indexed(msr, 0x4C1, general).filter(|_| self.has_full_width()) {
            self.registers.general[i] = only(low(width))?;
            return Ok(());
        }
        if let Some(i) = self.fixed_index(msr, 0x309) {
            self.registers.fixed[i] = value & low(fixed_width);
            return Ok(());
        }
        let status_bits = self.counter_bits() | 3 << 62;
        match msr {
            _ if self.is_p6(msr) => {}
            0x38D if version >= 2 => self.registers.fixed_control = only(self.fixed_control_bits())?,
            0x38F if version >= 2 => self.registers.global_control = only(self.counter_bits())?,
            0x390 if version >= 2 => self.registers.status &= !only(status_bits)?,
            0x391 if version >= 4 => self.registers.status |= only(status_bits)? & self.counter_bits(),
            _ => return Err(Invalid),
        }
        Ok(())
    }

    fn rdpmc(&self, ecx: u32, cpl: u8, pe: bool, pce: bool) -> Option<u64> {
        if !pce && cpl > 0 && pe {
            return None;
        }
        let general = Self::indexed(ecx, 0, self.geometry.general).map(|i| self.registers.general[i]);
        general.or_else(|| self.fixed_index(ecx, 0x4000_0000).map(|i| self.registers.fixed[i]))
    }

    /// Whether a guest could have brought its registers to these values.
    fn is_possible(&self, registers: &Registers) -> bool {
        let Geometry { version, width, fixed_width, .. } = self.geometry;
        let fits = |value: u64, mask: u64| value & !mask == 0;
        registers.selectors.iter().enumerate().all(|(i, x)| fits(*x, self.selector_bits(i)))
            && fits(registers.fixed_control, self.fixed_control_bits())
            && fits(registers.global_control, self.counter_bits())
            && (version >= 2 || registers.global_control == self.general_bits())
            && fits(registers.status, self.counter_bits())
            && (version >= 2 || registers.status == 0)
            && registers.general.iter().all(|x| fits(*x, low(width)))
            && registers
                .fixed
                .iter()
                .enumerate()
                .all(|(i, x)| fits(*x, if self.geometry.has_fixed(i) { low(fixed_width) } else { 0 }))
    }

    /// The registers as hardware gets them.
    pub fn context(&self) -> Registers {
        let mut context = self.registers;
        let Some(filter) = self.filters.get(self.filter) else { return context };
        for selector in &mut context.selectors {
            if !filter.permits(*selector) {
                *selector &= !(1 << 22);
            }
        }
        context.fixed_control = 0;
        for i in (0..FIXED).filter(|i| filter.permits_fixed(*i)) {
            context.fixed_control |= self.registers.fixed_control & 0xF << (4 * i);
        }
        context
    }

    /// What to do with a PMI: at most the limit's count in each window, the rest at the start of the next.
    fn overflow(&mut self, now: u64) -> Answer {
        if self.geometry.version == 0 {
            return Answer::Spurious;
        }
        let Some(PmiLimit { count, cycles }) = self.limit else { return Answer::Deliver };
        let end = self.window.start.wrapping_add(cycles);
        if now.wrapping_sub(self.window.start) >= cycles {
            // What was delayed came at the end of its window, which is the start of one.
            let there = self.window.delayed && now.wrapping_sub(end) < cycles;
            self.window =
                Window { start: if there { end } else { now }, delivered: u32::from(there), delayed: false };
        }
        if self.window.delivered == count {
            self.window.delayed = true;
            return Answer::Delay(self.window.start.wrapping_add(cycles).wrapping_sub(now));
        }
        self.window.delivered += 1;
        Answer::Deliver
    }

    fn count(&mut self, general: &[u64; GENERAL], fixed: &[u64; FIXED]) -> bool {
        let context = self.context();
        let registers = &mut self.registers;
        let mut pmi = false;
        for (i, events) in general.iter().enumerate().take(self.geometry.general) {
            let selector = context.selectors[i];
            if context.global_control >> i & 1 != 0 && selector >> 22 & 1 != 0 {
                let (value, wrapped) = advance(registers.general[i], *events, self.geometry.width);
                registers.general[i] = value;
                registers.status |= u64::from(wrapped) << i;
                pmi |= wrapped && selector >> 20 & 1 != 0;
            }
        }
        for (i, events) in fixed.iter().enumerate().filter(|(i, _)| self.geometry.has_fixed(*i)) {
            let field = context.fixed_control >> (4 * i) & 0xF;
            if context.global_control >> (32 + i) & 1 != 0 && field & 3 != 0 {
                let (value, wrapped) = advance(registers.fixed[i], *events, self.geometry.fixed_width);
                registers.fixed[i] = value;
                registers.status |= u64::from(wrapped) << (32 + i);
                pmi |= wrapped && field & 8 != 0;
            }
        }
        pmi
    }
}
