//! The guest's registers as operands of the instructions that the VMM does for it.

use super::Processor;
use crate::alu::mask;
use crate::arch::{Field, cr0};
use crate::control::is_long;
use crate::instruction::{CodeSize, Register, Source};
use crate::registers::{Gpr, Operand, Registers};
use crate::vcpu::Vcpu;

/// D bit of the CS access rights (SDM vol. 3C, table 25-2).
const CS_BIG: u64 = 1 << 14;

impl<V: Vcpu> Processor<'_, V> {
    /// The general-purpose registers.
    pub fn registers(&self) -> &Registers {
        self.changed.as_ref().unwrap_or(self.exited)
    }

    /// The same, to be changed.
    pub fn registers_mut(&mut self) -> &mut Registers {
        self.changed.get_or_insert(*self.exited)
    }

    /// How the guest's code is read.
    pub fn code_size(&mut self) -> CodeSize {
        if is_long(self.vcpu) {
            CodeSize::Bits64
        } else if self.vcpu.read(Field::GuestCsAccessRights) & CS_BIG != 0 {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        }
    }

    /// The current privilege level: the DPL of SS (SDM vol. 3C, table 25-2).
    pub fn privilege_level(&mut self) -> u8 {
        let [rights, ..] = self.vcpu.read(Field::GuestSsAccessRights).to_le_bytes();
        rights >> 5 & 3
    }

    /// Whether supervisor code may write read-only pages (SDM vol. 3A, 4.6.1).
    pub fn ignores_write_protection(&mut self) -> bool {
        self.privilege_level() < 3 && self.vcpu.read(Field::GuestCr0) & cr0::WP == 0
    }

    /// All of a register.
    pub fn full(&mut self, operand: Operand) -> u64 {
        match operand {
            Operand::Gpr(register) => self.registers().get(register),
            Operand::Rsp => self.vcpu.read(Field::GuestRsp),
        }
    }

    fn set_full(&mut self, operand: Operand, value: u64) {
        match operand {
            Operand::Gpr(register) => self.registers_mut().set(register, value),
            Operand::Rsp => self.vcpu.write(Field::GuestRsp, value),
        }
    }

    /// An operand of so many bytes.
    pub fn source(&mut self, source: Source, bytes: u8) -> u64 {
        match source {
            Source::Register(register) => self.register(register, bytes),
            Source::Immediate(value) => value & mask(bytes),
        }
    }

    /// So many bytes of a register.
    pub fn register(&mut self, register: Register, bytes: u8) -> u64 {
        self.full(register.operand) >> if register.high { 8 } else { 0 } & mask(bytes)
    }

    /// Writes so many bytes of a register: 4 clear the upper half, fewer keep the rest (SDM vol. 1, 3.4.1.1).
    pub fn set_register(&mut self, register: Register, bytes: u8, value: u64) {
        let shift = if register.high { 8 } else { 0 };
        let mask = mask(bytes) << shift;
        let kept = if bytes >= 4 { 0 } else { self.full(register.operand) & !mask };
        self.set_full(register.operand, kept | value << shift & mask);
    }

    /// Adds to rSI, rDI or rCX, of which so many bytes count.
    pub fn advance(&mut self, register: Gpr, step: u64, address_bytes: u8) {
        let operand = Register { operand: Operand::Gpr(register), high: false };
        let value = self.register(operand, address_bytes).wrapping_add(step);
        self.set_register(operand, address_bytes, value);
    }
}
