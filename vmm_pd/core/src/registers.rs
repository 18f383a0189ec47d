//! The guest's general-purpose registers.

use core::fmt;

/// Registers that a VM exit hands over; RSP is in the VMCS.
pub const REGISTERS: usize = 15;

/// A general-purpose register other than RSP, in the order in which the kernel hands them over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the registers' own names")]
pub enum Gpr {
    Rax,
    Rbx,
    Rcx,
    Rdx,
    Rsi,
    Rdi,
    Rbp,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// The operand of an instruction, by its number in the instruction encoding (SDM vol. 3C, table 28-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register of [`Registers`].
    Gpr(Gpr),
    /// The stack pointer.
    Rsp,
}

impl Operand {
    /// The operand with this number; only bits 3:0 count.
    pub const fn from_number(number: u8) -> Self {
        use Gpr::*;
        match number & 0xf {
            0 => Self::Gpr(Rax),
            1 => Self::Gpr(Rcx),
            2 => Self::Gpr(Rdx),
            3 => Self::Gpr(Rbx),
            4 => Self::Rsp,
            5 => Self::Gpr(Rbp),
            6 => Self::Gpr(Rsi),
            7 => Self::Gpr(Rdi),
            8 => Self::Gpr(R8),
            9 => Self::Gpr(R9),
            10 => Self::Gpr(R10),
            11 => Self::Gpr(R11),
            12 => Self::Gpr(R12),
            13 => Self::Gpr(R13),
            14 => Self::Gpr(R14),
            _ => Self::Gpr(R15),
        }
    }
}

/// The values of the general-purpose registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers(pub [u64; REGISTERS]);

impl Registers {
    /// The value of one register.
    pub const fn get(&self, register: Gpr) -> u64 {
        self.0[register as usize]
    }

    /// Sets one register.
    pub const fn set(&mut self, register: Gpr, value: u64) {
        self.0[register as usize] = value;
    }

    /// Bits 31:0 of a register.
    pub const fn low(&self, register: Gpr) -> u32 {
        low(self.get(register))
    }

    /// EDX:EAX, as WRMSR and XSETBV read it.
    pub const fn edx_eax(&self) -> u64 {
        (self.low(Gpr::Rdx) as u64) << 32 | self.low(Gpr::Rax) as u64
    }

    /// EDX:EAX, as RDMSR and RDPMC write it: the upper halves become 0.
    pub const fn set_edx_eax(&mut self, value: u64) {
        self.set(Gpr::Rax, value & u32::MAX as u64);
        self.set(Gpr::Rdx, value >> 32);
    }
}

/// Bits 31:0.
pub const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl fmt::Display for Registers {
    /// `rax=.. rbx=..`, all fifteen, in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; REGISTERS] = [
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15",
        ];
        for (i, (name, value)) in NAMES.iter().zip(&self.0).enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{name}={value:#x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operand_numbers_are_those_of_the_instruction_encoding() {
        assert_eq!(Operand::from_number(1), Operand::Gpr(Gpr::Rcx));
        assert_eq!(Operand::from_number(3), Operand::Gpr(Gpr::Rbx));
        assert_eq!(Operand::from_number(4), Operand::Rsp);
        assert_eq!(Operand::from_number(15), Operand::Gpr(Gpr::R15));
    }

    #[test]
    fn edx_eax_ignores_and_clears_the_upper_halves() {
        let mut registers = Registers::default();
        registers.set(Gpr::Rax, 0xffff_ffff_1234_5678);
        registers.set(Gpr::Rdx, 0xffff_ffff_0000_9abc);
        assert_eq!(registers.edx_eax(), 0x9abc_1234_5678);
        registers.set_edx_eax(0x1_8000_0000);
        assert_eq!((registers.get(Gpr::Rax), registers.get(Gpr::Rdx)), (0x8000_0000, 1));
    }
}
