//! INS and OUTS: bytes between memory and a port (SDM vol. 2A, INS; vol. 2B, OUTS and REP).

use super::segment::Segment;
use super::{IoOutcome, Observer, Outcome, Processor, Vm};
use crate::alu::mask;
use crate::arch::{Field, Interruption, PAGE, rflags, vector};
use crate::exit::{IoAccess, RawExit};
use crate::instruction::CodeSize;
use crate::paging::{Paging, Translation};
use crate::pmu::PmuLink;
use crate::registers::Gpr;
use crate::report::StopReason;
use crate::switched::Switched;
use crate::vcpu::Vcpu;

/// Elements that one exit moves; the instruction then exits again for the rest.
const MOST: u64 = 256;
/// Bytes of the widest port.
const WIDEST: usize = 4;

/// Error code of a page fault (SDM vol. 3A, 4.7): the page is present; a write; at CPL 3.
const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;

/// Why an element does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotMoved {
    /// Its segment does not allow the access.
    Segment(Interruption),
    /// The address is not mapped for the access: a page fault with this error code.
    PageFault { linear: u64, code: u64 },
    /// Where the address leads, there is no memory.
    NoMemory,
    /// The device ends the guest.
    Ended(StopReason),
}

const NO_MEMORY: Outcome =
    Outcome::Stop(StopReason::Unsupported("INS or OUTS of a physical address without memory"));

/// The memory operand of an INS or OUTS.
#[derive(Debug, Clone, Copy)]
struct Elements {
    paging: Paging,
    segment: Segment,
    /// The linear address of offset 0, and the bits of a linear address that count.
    origin: u64,
    mask: u64,
    /// The offset of the next element, its size in bytes.
    offset: u64,
    bytes: usize,
    /// Memory is written.
    write: bool,
    /// Read-only pages may be written; pages of the supervisor may be used.
    writes_all: bool,
    supervisor: bool,
}

impl Elements {
    /// The linear address of byte `i` of the element.
    const fn linear(&self, i: u64) -> u64 {
        self.origin.wrapping_add(self.offset).wrapping_add(i) & self.mask
    }

    /// The guest-physical address of byte `i` of the element, if the guest may access it so.
    fn address<V: Vcpu>(&self, vcpu: &mut V, i: u64) -> Result<u64, NotMoved> {
        let linear = self.linear(i);
        let found = self.paging.translate(vcpu, linear);
        let allowed = |to: &Translation| {
            (to.user || self.supervisor) && (!self.write || to.writable || self.writes_all)
        };
        let Some(to) = found.filter(allowed) else {
            let bit = |holds, bit| if holds { bit } else { 0 };
            let code = bit(found.is_some(), PRESENT) | bit(self.write, WRITE) | bit(!self.supervisor, USER);
            return Err(NotMoved::PageFault { linear, code });
        };
        if !to.accessed || self.write && !to.dirty {
            self.paging.mark(vcpu, linear, self.write);
        }
        Ok(to.address)
    }

    /// The two ends of the element in guest-physical memory: one piece, or two where a page ends in it.
    fn pieces<V: Vcpu>(&self, vcpu: &mut V) -> Result<[(u64, usize); 2], NotMoved> {
        let linear = self.linear(0);
        self.segment.check(self.offset, linear, self.bytes as u64).map_err(NotMoved::Segment)?;
        let room = usize::try_from(PAGE - linear % PAGE).map_or(self.bytes, |room| room.min(self.bytes));
        let first = self.address(vcpu, 0)?;
        let second = if room < self.bytes { self.address(vcpu, room as u64)? } else { 0 };
        Ok([(first, room), (second, self.bytes - room)])
    }
}

impl<L: PmuLink> Vm<L> {
    pub(super) fn string_io<V: Vcpu, O: Observer>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        observer: &mut O,
        exit: &RawExit,
        access: IoAccess,
    ) -> Outcome {
        // SDM vol. 3C, table 28-8: bits 9:7 of the instruction information are the size of addresses.
        let information = cpu.vcpu.read(Field::ExitInstructionInformation);
        let address_bytes = match information >> 7 & 7 {
            0 => 2,
            1 => 4,
            _ => 8,
        };
        let step = u64::from(access.bytes);
        let step = if exit.rflags & rflags::DF == 0 { step } else { step.wrapping_neg() };
        let index = if access.input { Gpr::Rdi } else { Gpr::Rsi };
        let offset = cpu.registers().get(index) & mask(address_bytes);
        let size = cpu.code_size();
        let mut elements = Elements {
            paging: Paging::of(cpu.vcpu, exit.cr3),
            segment: Segment::of(cpu, size, access.input, information),
            origin: cpu.vcpu.read(Field::GuestLinearAddress).wrapping_sub(offset),
            offset,
            bytes: usize::from(access.bytes),
            mask: if size == CodeSize::Bits64 { u64::MAX } else { u64::from(u32::MAX) },
            write: access.input,
            writes_all: cpu.ignores_write_protection(),
            supervisor: cpu.privilege_level() < 3,
        };
        let left = if access.repeat { cpu.registers().get(Gpr::Rcx) & mask(address_bytes) } else { 1 };
        // A single step is an iteration.
        let most = if exit.rflags & rflags::TF == 0 { MOST } else { 1 };
        for done in 0..left.min(most) {
            let moved = if access.input {
                self.input(cpu, &elements, access)
            } else {
                self.output(cpu, observer, &elements, access)
            };
            match moved {
                Ok(()) => {}
                Err(NotMoved::Ended(stop)) => return Outcome::Stop(stop),
                // The instruction exits again, and begins with this element.
                Err(_) if done > 0 => return Outcome::Iterated,
                Err(NotMoved::Segment(fault)) => return Outcome::Fault(fault),
                Err(NotMoved::PageFault { linear, code }) => return self.page_fault(cpu.vcpu, linear, code),
                Err(NotMoved::NoMemory) => return NO_MEMORY,
            }
            // The offset wraps inside the segment.
            elements.offset = elements.offset.wrapping_add(step) & mask(address_bytes);
            cpu.advance(index, step, address_bytes);
            if access.repeat {
                cpu.advance(Gpr::Rcx, u64::MAX, address_bytes);
            }
        }
        if left > most { Outcome::Iterated } else { Outcome::Completed(exit.instruction_length) }
    }

    /// The instruction raises a page fault (SDM vol. 3A, 4.7), if the kernel takes what belongs to it.
    fn page_fault<V: Vcpu>(&mut self, vcpu: &mut V, linear: u64, code: u64) -> Outcome {
        if !self.switched.bundled() || !vcpu.set(Switched::Cr2, linear) {
            return Outcome::Stop(StopReason::Unsupported("a page fault of INS or OUTS on this kernel"));
        }
        self.error_code = true;
        vcpu.write(Field::EntryErrorCode, code);
        Outcome::Fault(Interruption::exception_with_code(vector::PF))
    }

    fn input<V: Vcpu>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        elements: &Elements,
        access: IoAccess,
    ) -> Result<(), NotMoved> {
        // The memory is looked at first: what a device has given cannot be put back.
        let pieces = elements.pieces(cpu.vcpu)?;
        let mut old = [0; WIDEST];
        if !pieces.iter().all(|(at, length)| *length == 0 || cpu.vcpu.read_memory(*at, &mut old[..*length])) {
            return Err(NotMoved::NoMemory);
        }
        let value = self.devices.read(access, cpu.vcpu.now()).to_le_bytes();
        let mut rest = &value[..elements.bytes];
        for (at, length) in pieces.into_iter().filter(|(_, length)| *length != 0) {
            let (piece, after) = rest.split_at(length);
            cpu.vcpu.write_memory(at, piece);
            rest = after;
        }
        Ok(())
    }

    fn output<V: Vcpu, O: Observer>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        observer: &mut O,
        elements: &Elements,
        access: IoAccess,
    ) -> Result<(), NotMoved> {
        let pieces = elements.pieces(cpu.vcpu)?;
        let mut value = [0; WIDEST];
        let mut rest = &mut value[..elements.bytes];
        for (at, length) in pieces.into_iter().filter(|(_, length)| *length != 0) {
            let (piece, after) = rest.split_at_mut(length);
            if !cpu.vcpu.read_memory(at, piece) {
                return Err(NotMoved::NoMemory);
            }
            rest = after;
        }
        match self.devices.write(access, u32::from_le_bytes(value), cpu.vcpu.now()) {
            IoOutcome::Written => Ok(()),
            IoOutcome::Output(byte) => {
                observer.output(byte);
                Ok(())
            }
            IoOutcome::Ended(stop) => Err(NotMoved::Ended(stop)),
        }
    }
}
