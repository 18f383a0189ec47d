//! EPT violations: accesses to the registers of the local APIC and the I/O APIC.

use super::dispatch::is_long;
use super::{Outcome, Processor, Vm};
use crate::apic::Mode;
use crate::arch::{APIC_BASE_ADDRESS, Field, IOAPIC_ADDRESS, Interruption, LONGEST_INSTRUCTION, PAGE};
use crate::exit::{EptViolation, RawExit};
use crate::mmio::{Action, decode};
use crate::paging::Paging;
use crate::pmu::PmuLink;
use crate::registers::{Operand, low};
use crate::report::StopReason;
use crate::vcpu::Vcpu;

/// D bit of the CS access rights (SDM vol. 3C, table 25-2).
const CS_BIG: u64 = 1 << 14;

/// A device with registers in memory.
#[derive(Debug, Clone, Copy)]
enum Device {
    LocalApic,
    IoApic,
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
            APIC_BASE_ADDRESS if self.apic.mode() == Mode::XApic => Device::LocalApic,
            IOAPIC_ADDRESS => Device::IoApic,
            _ => return Outcome::Stop(StopReason::NoMemory(violation)),
        };
        if violation.fetch || !violation.linear {
            return Outcome::Stop(StopReason::NoMemory(violation));
        }
        let mut code = [0; LONGEST_INSTRUCTION];
        let fetched = fetch(cpu.vcpu, exit, &mut code);
        let Some(mov) = decode(&code[..fetched], is_long(cpu.vcpu)) else {
            let [a, b, c, d, e, f, g, h, ..] = code;
            let bytes = [a, b, c, d, e, f, g, h];
            return Outcome::Stop(StopReason::Mmio { address: violation.address, bytes });
        };
        let offset = low(violation.address & (PAGE - 1));
        let now = cpu.vcpu.now();
        match mov.action {
            Action::Load(operand) => {
                let value = u64::from(self.load(device, offset, now));
                match operand {
                    Operand::Gpr(register) => {
                        cpu.registers.set(register, value);
                        cpu.changed = true;
                    }
                    Operand::Rsp => cpu.vcpu.write(Field::GuestRsp, value),
                }
            }
            Action::Store(Operand::Gpr(register)) => {
                self.store(device, offset, cpu.registers.low(register), now);
            }
            Action::Store(Operand::Rsp) => {
                let value = low(cpu.vcpu.read(Field::GuestRsp));
                self.store(device, offset, value, now);
            }
            Action::StoreImmediate(value) => self.store(device, offset, value, now),
        }
        Outcome::Completed(u64::from(mov.length))
    }

    fn load(&mut self, device: Device, offset: u32, now: u64) -> u32 {
        match device {
            Device::LocalApic => self.apic.read_memory(offset, now),
            Device::IoApic => self.ioapic.read(offset),
        }
    }

    fn store(&mut self, device: Device, offset: u32, value: u32, now: u64) {
        match device {
            Device::LocalApic => self.apic.write_memory(offset, value, now),
            Device::IoApic => self.ioapic.write(offset, value),
        }
    }
}

/// Copies the instruction at RIP; how many bytes of it could be read. 16-bit code is not fetched.
fn fetch<V: Vcpu>(vcpu: &mut V, exit: &RawExit, code: &mut [u8; LONGEST_INSTRUCTION]) -> usize {
    let long = is_long(vcpu);
    if !long && vcpu.read(Field::GuestCsAccessRights) & CS_BIG == 0 {
        return 0;
    }
    let base = if long { 0 } else { vcpu.read(Field::GuestCsBase) };
    let paging = Paging::of(vcpu, exit.cr3);
    let start = base.wrapping_add(exit.rip);
    let mut fetched = 0;
    for (i, byte) in (0..).zip(code) {
        let at = paging.translate(vcpu, start.wrapping_add(i));
        if !at.is_some_and(|at| vcpu.read_memory(at, core::slice::from_mut(byte))) {
            break;
        }
        fetched += 1;
    }
    fetched
}
