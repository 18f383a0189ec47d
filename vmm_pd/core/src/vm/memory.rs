//! EPT violations: accesses to the registers of the local APIC and the I/O APIC.

use super::{Outcome, Processor, Vm};
use crate::alu;
use crate::apic::Mode;
use crate::arch::{Field, IOAPIC_ADDRESS, Interruption, LONGEST_INSTRUCTION, PAGE, rflags};
use crate::exit::{EptViolation, RawExit};
use crate::instruction::{Action, CodeSize, Instruction, Register, Source, Target, decode};
use crate::paging::Paging;
use crate::pmu::PmuLink;
use crate::registers::{Gpr, Operand, low};
use crate::report::StopReason;
use crate::vcpu::Vcpu;

/// Registers of both APICs are 4 bytes wide, every 16 bytes (SDM vol. 3A, 11.4.1).
const REGISTER: u8 = 4;
const STEP: u32 = 16;

/// A page with a device's registers.
#[derive(Debug, Clone, Copy)]
enum Device {
    LocalApic,
    /// The local APIC's page while the local APIC is not there.
    Nothing,
    IoApic,
}

/// A store that the device has no meaning for.
struct NoSuchStore;

/// A device's register, and when it is accessed.
#[derive(Debug, Clone, Copy)]
struct Place {
    device: Device,
    offset: u32,
    now: u64,
}

impl<L: PmuLink> Vm<L> {
    pub(super) fn ept_violation<V: Vcpu>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        exit: &RawExit,
        violation: EptViolation,
    ) -> Outcome {
        let event = Interruption(low(cpu.vcpu.read(Field::IdtVectoringInformation)));
        if event.is_valid() {
            return Outcome::Stop(StopReason::Delivery(event));
        }
        let device = match violation.address & !(PAGE - 1) {
            page if page == self.apic.address() && self.apic.mode() == Mode::XApic => Device::LocalApic,
            page if page == self.apic.address() => Device::Nothing,
            IOAPIC_ADDRESS => Device::IoApic,
            _ => return Outcome::Stop(StopReason::NoMemory(violation)),
        };
        if violation.fetch || !violation.linear {
            return Outcome::Stop(StopReason::NoMemory(violation));
        }
        let mut code = [0; LONGEST_INSTRUCTION];
        let size = cpu.code_size();
        let fetched = fetch(cpu.vcpu, exit, size, &mut code);
        let place = Place { device, offset: low(violation.address & (PAGE - 1)), now: cpu.vcpu.now() };
        let done = decode(&code[..fetched], size).and_then(|code| self.access(cpu, exit, code, place).ok());
        done.unwrap_or_else(|| {
            let [a, b, c, d, e, f, g, h, ..] = code;
            let bytes = [a, b, c, d, e, f, g, h];
            Outcome::Stop(StopReason::Mmio { address: violation.address, bytes })
        })
    }

    /// Does what the instruction does.
    fn access<V: Vcpu>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        exit: &RawExit,
        Instruction { action, bytes, length }: Instruction,
        place: Place,
    ) -> Result<Outcome, NoSuchStore> {
        match action {
            Action::Load { into, bytes: wide, signed } => {
                let value = self.load(place, bytes);
                let sign = alu::mask(bytes) ^ alu::mask(bytes) >> 1;
                let extended = if signed && value & sign != 0 { value | !alu::mask(bytes) } else { value };
                cpu.set_register(into, wide, extended);
            }
            Action::Store(source) => self.store(place, bytes, cpu.source(source, bytes))?,
            Action::Exchange(register) => {
                let value = self.load(place, bytes);
                self.store(place, bytes, cpu.register(register, bytes))?;
                cpu.set_register(register, bytes, value);
            }
            Action::Combine { operation, memory_first, other, target } => {
                let (memory, other) = (self.load(place, bytes), cpu.source(other, bytes));
                let (first, second) = if memory_first { (memory, other) } else { (other, memory) };
                let (result, flags) = alu::compute(operation, first, second, bytes, exit.rflags);
                match target {
                    Target::Memory => self.store(place, bytes, result)?,
                    Target::Register(register) => cpu.set_register(register, bytes, result),
                    Target::Flags => {}
                }
                cpu.vcpu.write(Field::GuestRflags, flags);
            }
            Action::StoreString { repeat, address_bytes } => {
                let accumulator = Register { operand: Operand::Gpr(Gpr::Rax), high: false };
                let value = cpu.source(Source::Register(accumulator), bytes);
                self.store(place, bytes, value)?;
                let step = u64::from(bytes);
                let step = if exit.rflags & rflags::DF == 0 { step } else { step.wrapping_neg() };
                cpu.advance(Gpr::Rdi, step, address_bytes);
                if repeat {
                    cpu.advance(Gpr::Rcx, u64::MAX, address_bytes);
                    let left = cpu.registers().get(Gpr::Rcx) & alu::mask(address_bytes);
                    if left != 0 {
                        return Ok(Outcome::Iterated);
                    }
                }
            }
        }
        Ok(Outcome::Completed(length.into()))
    }

    /// What a read brings. Bytes beyond a register's four read 0.
    fn load(&mut self, Place { device, offset, now }: Place, bytes: u8) -> u64 {
        let register = offset / STEP * STEP;
        let value = match device {
            Device::LocalApic => self.apic.read_memory(register, now),
            Device::IoApic => self.devices.ioapic.read(register),
            Device::Nothing => return alu::mask(bytes),
        };
        u64::from(value).checked_shr(8 * (offset % STEP)).unwrap_or(0) & alu::mask(bytes)
    }

    fn store(
        &mut self,
        Place { device, offset, now }: Place,
        bytes: u8,
        value: u64,
    ) -> Result<(), NoSuchStore> {
        match device {
            Device::LocalApic if bytes == REGISTER && offset.is_multiple_of(STEP) => {
                self.apic.write_memory(offset, low(value), now);
            }
            Device::IoApic if bytes <= REGISTER && offset.is_multiple_of(STEP) => {
                self.devices.ioapic.write(offset, low(value));
            }
            Device::Nothing => {}
            Device::LocalApic | Device::IoApic => return Err(NoSuchStore),
        }
        Ok(())
    }
}

/// Copies the instruction at RIP; how many bytes of it could be read.
fn fetch<V: Vcpu>(
    vcpu: &mut V,
    exit: &RawExit,
    size: CodeSize,
    code: &mut [u8; LONGEST_INSTRUCTION],
) -> usize {
    // SDM vol. 3A, 3.3: outside 64-bit code linear addresses have 32 bits.
    let (base, mask) = match size {
        CodeSize::Bits64 => (0, u64::MAX),
        _ => (vcpu.read(Field::GuestCsBase), u64::from(u32::MAX)),
    };
    let paging = Paging::of(vcpu, exit.cr3);
    let start = base.wrapping_add(exit.rip);
    let mut fetched = 0;
    for (i, byte) in (0..).zip(code) {
        let at = paging.translate(vcpu, start.wrapping_add(i) & mask);
        if !at.is_some_and(|at| vcpu.read_memory(at.address, core::slice::from_mut(byte))) {
            break;
        }
        fetched += 1;
    }
    fetched
}
