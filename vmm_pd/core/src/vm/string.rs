//! INS and OUTS: bytes between memory and a port (SDM vol. 2A, INS; vol. 2B, OUTS and REP).

use super::{IoOutcome, Observer, Outcome, Processor, Vm};
use crate::alu::mask;
use crate::arch::{Field, PAGE, rflags};
use crate::exit::{IoAccess, RawExit};
use crate::instruction::CodeSize;
use crate::paging::Paging;
use crate::pmu::PmuLink;
use crate::registers::Gpr;
use crate::report::StopReason;
use crate::vcpu::Vcpu;

/// Elements that one exit moves; the instruction then exits again for the rest.
const MOST: u64 = 256;
/// Bytes of the widest port.
const WIDEST: usize = 4;

/// Memory that the guest's instruction cannot reach. The fault that a processor raises needs an error code and CR2, which
/// the VMM cannot give.
const UNREACHABLE: Outcome =
    Outcome::Stop(StopReason::Unsupported("INS or OUTS of memory that is not there"));

/// The memory operand of an INS or OUTS.
#[derive(Debug, Clone, Copy)]
struct Elements {
    paging: Paging,
    /// The linear address of the next element, its size in bytes, and the distance to the one after it.
    linear: u64,
    bytes: usize,
    step: u64,
    /// The bits of a linear address that count.
    mask: u64,
    /// Memory is written.
    write: bool,
    /// Read-only pages may be written; pages of the supervisor may be used.
    writes_all: bool,
    supervisor: bool,
}

impl Elements {
    /// The guest-physical address of byte `i` of the element, if the guest may access it so.
    fn address<V: Vcpu>(&self, vcpu: &V, i: u64) -> Option<u64> {
        let to = self.paging.translate(vcpu, self.linear.wrapping_add(i) & self.mask)?;
        let allowed = (to.user || self.supervisor) && (!self.write || to.writable || self.writes_all);
        allowed.then_some(to.address)
    }

    /// The two ends of the element in guest-physical memory: one piece, or two where a page ends in it.
    fn pieces<V: Vcpu>(&self, vcpu: &V) -> Option<[(u64, usize); 2]> {
        let room = usize::try_from(PAGE - self.linear % PAGE).ok()?.min(self.bytes);
        let second = if room < self.bytes { self.address(vcpu, room as u64)? } else { 0 };
        Some([(self.address(vcpu, 0)?, room), (second, self.bytes - room)])
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
        let address_bytes = match cpu.vcpu.read(Field::ExitInstructionInformation) >> 7 & 7 {
            0 => 2,
            1 => 4,
            _ => 8,
        };
        let step = u64::from(access.bytes);
        let mut elements = Elements {
            paging: Paging::of(cpu.vcpu, exit.cr3),
            linear: cpu.vcpu.read(Field::GuestLinearAddress),
            bytes: usize::from(access.bytes),
            step: if exit.rflags & rflags::DF == 0 { step } else { step.wrapping_neg() },
            mask: if cpu.code_size() == CodeSize::Bits64 { u64::MAX } else { u64::from(u32::MAX) },
            write: access.input,
            writes_all: cpu.ignores_write_protection(),
            supervisor: cpu.privilege_level() < 3,
        };
        let index = if access.input { Gpr::Rdi } else { Gpr::Rsi };
        let left = if access.repeat { cpu.registers.get(Gpr::Rcx) & mask(address_bytes) } else { 1 };
        for done in 0..left.min(MOST) {
            // The offset wraps inside the segment: the processor finds the linear address anew.
            if done > 0 && cpu.registers.get(index) & mask(address_bytes) == 0 {
                return Outcome::Again;
            }
            let moved = if access.input {
                self.input(cpu, &elements, access)
            } else {
                self.output(cpu, observer, &elements, access)
            };
            match moved {
                Ok(()) => {}
                Err(UNREACHABLE) if done > 0 => return Outcome::Again,
                Err(outcome) => return outcome,
            }
            elements.linear = elements.linear.wrapping_add(elements.step) & elements.mask;
            cpu.advance(index, elements.step, address_bytes);
            if access.repeat {
                cpu.advance(Gpr::Rcx, u64::MAX, address_bytes);
            }
        }
        if left > MOST { Outcome::Again } else { Outcome::Completed(exit.instruction_length) }
    }

    fn input<V: Vcpu>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        elements: &Elements,
        access: IoAccess,
    ) -> Result<(), Outcome> {
        // The memory is looked at first: what a device has given cannot be put back.
        let pieces = elements.pieces(cpu.vcpu).ok_or(UNREACHABLE)?;
        let mut old = [0; WIDEST];
        if !pieces.iter().all(|(at, length)| *length == 0 || cpu.vcpu.read_memory(*at, &mut old[..*length])) {
            return Err(UNREACHABLE);
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
    ) -> Result<(), Outcome> {
        let pieces = elements.pieces(cpu.vcpu).ok_or(UNREACHABLE)?;
        let mut value = [0; WIDEST];
        let mut rest = &mut value[..elements.bytes];
        for (at, length) in pieces.into_iter().filter(|(_, length)| *length != 0) {
            let (piece, after) = rest.split_at_mut(length);
            if !cpu.vcpu.read_memory(at, piece) {
                return Err(UNREACHABLE);
            }
            rest = after;
        }
        match self.devices.write(access, u32::from_le_bytes(value), cpu.vcpu.now()) {
            IoOutcome::Written => Ok(()),
            IoOutcome::Output(byte) => {
                observer.output(byte);
                Ok(())
            }
            IoOutcome::Ended(stop) => Err(Outcome::Stop(stop)),
        }
    }
}
