//! Instructions that access a device's registers in memory: where the operands are, and what is done with them. The
//! forms are those that compilers and kernels use for such registers (SDM vol. 2, instruction format and opcode map).

mod bytes;

use crate::alu::Operation;
use crate::registers::Operand;
use bytes::Bytes;

/// How the processor reads code: the default sizes of operands and addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeSize {
    /// Real mode, and protected mode with CS.D clear.
    Bits16,
    /// CS.D set.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// A general-purpose register, or a byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// The register.
    pub operand: Operand,
    /// Bits 15:8 of it: AH, CH, DH, BH.
    pub high: bool,
}

/// An operand that is not the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Register(Register),
    /// A constant, sign-extended.
    Immediate(u64),
}

/// Where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the memory operand.
    Memory,
    /// To this register.
    Register(Register),
    /// Nowhere: the flags are the result.
    Flags,
}

/// What an instruction does with its memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// MOV, MOVZX, MOVSX to a register of `bytes` bytes.
    Load {
        /// The register.
        into: Register,
        /// Its size in bytes.
        bytes: u8,
        /// The value is extended with its sign.
        signed: bool,
    },
    /// MOV from a register or constant.
    Store(Source),
    /// XCHG.
    Exchange(Register),
    /// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST.
    Combine {
        /// What is done.
        operation: Operation,
        /// The memory operand is the first one.
        memory_first: bool,
        /// The other operand.
        other: Source,
        /// Where the result goes.
        target: Target,
    },
    /// STOS: the accumulator to memory at rDI.
    StoreString {
        /// REP.
        repeat: bool,
        /// Bytes of rCX and rDI that count.
        address_bytes: u8,
    },
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub action: Action,
    /// Bytes of the memory operand: 1, 2, 4 or 8.
    pub bytes: u8,
    /// Its length in bytes.
    pub length: u8,
}

/// REX prefix bits (SDM vol. 2A, 2.2.1).
const REX: u8 = 0x40;
const REX_W: u8 = 8;
const REX_R: u8 = 4;
/// The accumulator.
const ACCUMULATOR: u8 = 0;

/// Prefixes, and what follows from them.
#[derive(Debug, Clone, Copy)]
struct Prefixes {
    rex: u8,
    repeat: bool,
    /// Bytes of an operand that is not a byte, and of an address.
    operand_bytes: u8,
    address_bytes: u8,
}

impl Prefixes {
    /// Reads prefixes up to the opcode, which it returns with them.
    fn read(code: &mut Bytes<'_>, size: CodeSize) -> Option<(Self, u8)> {
        let (mut operand, mut address, mut repeat) = (false, false, false);
        let mut byte = code.byte()?;
        loop {
            match byte {
                0x66 => operand = true,
                0x67 => address = true,
                0xf2 | 0xf3 => repeat = true,
                // Segments change nothing about a known physical address; nothing else accesses a device meanwhile.
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 => {}
                _ => break,
            }
            byte = code.byte()?;
        }
        let mut rex = 0;
        if size == CodeSize::Bits64 && byte & 0xf0 == REX {
            rex = byte;
            byte = code.byte()?;
        }
        let operand_bytes = match (size, operand) {
            _ if rex & REX_W != 0 => 8,
            (CodeSize::Bits16, false) | (CodeSize::Bits32 | CodeSize::Bits64, true) => 2,
            _ => 4,
        };
        let address_bytes = match (size, address) {
            (CodeSize::Bits64, false) => 8,
            (CodeSize::Bits16, false) | (CodeSize::Bits32, true) => 2,
            _ => 4,
        };
        Some((Self { rex, repeat, operand_bytes, address_bytes }, byte))
    }

    /// The register with this number in an operand of this size (SDM vol. 2A, table 2-2).
    const fn register(self, number: u8, bytes: u8) -> Register {
        if bytes == 1 && self.rex == 0 && number & 0xc == 4 {
            return Register { operand: Operand::from_number(number & 3), high: true };
        }
        Register { operand: Operand::from_number(number), high: false }
    }
}

/// Decodes the instruction at the start of `code`; [`None`] if it is cut off or of no form that is emulated.
pub fn decode(code: &[u8], size: CodeSize) -> Option<Instruction> {
    let mut code = Bytes::new(code);
    let (prefixes, opcode) = Prefixes::read(&mut code, size)?;
    let (action, bytes) =
        if opcode == 0x0f { two_bytes(&mut code, prefixes)? } else { one_byte(&mut code, prefixes, opcode)? };
    Some(Instruction { action, bytes, length: code.position() })
}

fn one_byte(code: &mut Bytes<'_>, prefixes: Prefixes, opcode: u8) -> Option<(Action, u8)> {
    // Bit 0 of most opcodes: the operand is not a byte.
    let bytes = if opcode & 1 == 0 { 1 } else { prefixes.operand_bytes };
    let accumulator = prefixes.register(ACCUMULATOR, bytes);
    let action = match opcode {
        // The eight operations with a register.
        0..0x40 if opcode & 7 < 4 => {
            let register = register(code, prefixes, bytes)?;
            let memory_first = opcode & 2 == 0;
            let target = if memory_first { Target::Memory } else { Target::Register(register) };
            combine(Operation::from_number(opcode >> 3), memory_first, Source::Register(register), target)
        }
        0x80 | 0x81 | 0x83 => {
            let number = extension(code, prefixes)?;
            let constant = code.immediate(if opcode == 0x81 { bytes.min(4) } else { 1 })?;
            combine(Operation::from_number(number), true, Source::Immediate(constant), Target::Memory)
        }
        0x84 | 0x85 => {
            let register = register(code, prefixes, bytes)?;
            combine(Operation::And, true, Source::Register(register), Target::Flags)
        }
        0x86 | 0x87 => Action::Exchange(register(code, prefixes, bytes)?),
        0x88 | 0x89 => Action::Store(Source::Register(register(code, prefixes, bytes)?)),
        0x8a | 0x8b => Action::Load { into: register(code, prefixes, bytes)?, bytes, signed: false },
        0xa0..=0xa3 => {
            code.skip(prefixes.address_bytes)?;
            if opcode < 0xa2 {
                Action::Load { into: accumulator, bytes, signed: false }
            } else {
                Action::Store(Source::Register(accumulator))
            }
        }
        0xaa | 0xab => Action::StoreString { repeat: prefixes.repeat, address_bytes: prefixes.address_bytes },
        0xc6 | 0xc7 => match extension(code, prefixes)? {
            0 => Action::Store(Source::Immediate(code.immediate(bytes.min(4))?)),
            _ => return None,
        },
        0xf6 | 0xf7 => match extension(code, prefixes)? {
            0 => {
                let constant = Source::Immediate(code.immediate(bytes.min(4))?);
                combine(Operation::And, true, constant, Target::Flags)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some((action, bytes))
}

fn two_bytes(code: &mut Bytes<'_>, prefixes: Prefixes) -> Option<(Action, u8)> {
    let (bytes, signed) = match code.byte()? {
        0xb6 => (1, false),
        0xb7 => (2, false),
        0xbe => (1, true),
        0xbf => (2, true),
        _ => return None,
    };
    let into = register(code, prefixes, prefixes.operand_bytes)?;
    Some((Action::Load { into, bytes: prefixes.operand_bytes, signed }, bytes))
}

/// CMP has no result but the flags.
fn combine(operation: Operation, memory_first: bool, other: Source, target: Target) -> Action {
    let target = if operation == Operation::Compare { Target::Flags } else { target };
    Action::Combine { operation, memory_first, other, target }
}

/// Reads the addressing form: the register operand.
fn register(code: &mut Bytes<'_>, prefixes: Prefixes, bytes: u8) -> Option<Register> {
    let high = if prefixes.rex & REX_R != 0 { 8 } else { 0 };
    Some(prefixes.register(extension(code, prefixes)? | high, bytes))
}

/// Reads ModR/M, SIB and displacement (SDM vol. 2A, tables 2-1 to 2-3): bits 5:3 of ModR/M. A register in place of
/// memory is not read.
fn extension(code: &mut Bytes<'_>, prefixes: Prefixes) -> Option<u8> {
    let modrm = code.byte()?;
    let (mode, number, memory) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    if prefixes.address_bytes == 2 {
        match (mode, memory) {
            (0, 6) | (2, _) => code.skip(2)?,
            (0, _) => {}
            (1, _) => code.skip(1)?,
            _ => return None,
        }
        return Some(number);
    }
    let base = if mode < 3 && memory == 4 { code.byte()? & 7 } else { memory };
    match (mode, base) {
        (0, 5) | (2, _) => code.skip(4)?,
        (0, _) => {}
        (1, _) => code.skip(1)?,
        _ => return None,
    }
    Some(number)
}

#[cfg(test)]
mod tests;
