//! Memory-mapped devices: what the instruction at RIP does with the device's register. Device registers are
//! 32 bits wide and reached by plain MOV (SDM vol. 3A, 11.4.1).

use crate::arch::LONGEST_INSTRUCTION;
use crate::registers::Operand;

/// What a MOV does with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads into a register.
    Load(Operand),
    /// Writes a register's bits 31:0.
    Store(Operand),
    /// Writes a constant.
    StoreImmediate(u32),
}

/// A decoded MOV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mov {
    /// What it does.
    pub action: Action,
    /// Its length in bytes.
    pub length: u8,
}

/// The bytes of an instruction, read one after another.
struct Bytes<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.position += count;
        (self.position <= self.bytes.len()).then_some(())
    }

    fn immediate(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes([self.next()?, self.next()?, self.next()?, self.next()?]))
    }
}

/// REX prefix bits (SDM vol. 2A, 2.2.1).
const REX_W: u8 = 8;
const REX_R: u8 = 4;

/// Decodes the 32-bit MOV at the start of `bytes`, in 64-bit mode or else in 32-bit mode. None for every other
/// instruction, and for a MOV of another size.
pub fn decode(bytes: &[u8], long: bool) -> Option<Mov> {
    let bytes = &bytes[..bytes.len().min(LONGEST_INSTRUCTION)];
    let mut code = Bytes { bytes, position: 0 };
    let mut opcode = code.next()?;
    let mut short_addresses = false;
    // Segment overrides and the address size change nothing about a known physical address but its encoding.
    while let 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 = opcode {
        short_addresses |= opcode == 0x67;
        opcode = code.next()?;
    }
    let mut rex = 0;
    if long && opcode & 0xf0 == 0x40 {
        rex = opcode;
        opcode = code.next()?;
    }
    if rex & REX_W != 0 || short_addresses && !long {
        return None;
    }
    let action = match opcode {
        0x89 => Action::Store(operand(&mut code, rex)?.0),
        0x8b => Action::Load(operand(&mut code, rex)?.0),
        0xc7 => match operand(&mut code, rex)? {
            (_, 0) => Action::StoreImmediate(code.immediate()?),
            _ => return None,
        },
        0xa1 | 0xa3 => {
            code.skip(if long && !short_addresses { 8 } else { 4 })?;
            let eax = Operand::from_number(0);
            if opcode == 0xa1 { Action::Load(eax) } else { Action::Store(eax) }
        }
        _ => return None,
    };
    Some(Mov { action, length: u8::try_from(code.position).ok()? })
}

/// Reads ModR/M, SIB and displacement (SDM vol. 2A, tables 2-2 and 2-3): the register operand, and its bits 2:0
/// without REX.
fn operand(code: &mut Bytes<'_>, rex: u8) -> Option<(Operand, u8)> {
    let modrm = code.next()?;
    let (mode, register, memory) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    if mode == 3 {
        return None;
    }
    let base = if memory == 4 { code.next()? & 7 } else { memory };
    match mode {
        0 if base == 5 => code.skip(4)?,
        0 => {}
        1 => code.skip(1)?,
        _ => code.skip(4)?,
    }
    let high = if rex & REX_R != 0 { 8 } else { 0 };
    Some((Operand::from_number(register | high), register))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::Gpr;

    fn mov(action: Action, length: u8) -> Option<Mov> {
        Some(Mov { action, length })
    }

    #[test]
    fn the_forms_of_mov() {
        let (eax, r9) = (Operand::Gpr(Gpr::Rax), Operand::Gpr(Gpr::R9));
        // mov [rdi], eax; mov eax, [rdi + 0x340]; mov [rax + rcx * 4 + 8], r9d
        assert_eq!(decode(&[0x89, 0x07], true), mov(Action::Store(eax), 2));
        assert_eq!(decode(&[0x8b, 0x87, 0x40, 3, 0, 0], true), mov(Action::Load(eax), 6));
        assert_eq!(decode(&[0x44, 0x89, 0x4c, 0x88, 8], true), mov(Action::Store(r9), 5));
        // mov dword [0xfee000b0], 0 by SIB without base; mov dword [rip + 0], 7
        let absolute = [0xc7, 0x04, 0x25, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0];
        assert_eq!(decode(&absolute, true), mov(Action::StoreImmediate(0), 11));
        assert_eq!(decode(&[0xc7, 0x05, 0, 0, 0, 0, 7, 0, 0, 0], true), mov(Action::StoreImmediate(7), 10));
        // mov eax, [moffs] in both modes; with a segment override
        assert_eq!(decode(&[0xa1, 0x20, 0, 0xe0, 0xfe, 0, 0, 0, 0], true), mov(Action::Load(eax), 9));
        assert_eq!(decode(&[0xa1, 0x20, 0, 0xe0, 0xfe], false), mov(Action::Load(eax), 5));
        assert_eq!(decode(&[0x3e, 0x89, 0x07], false), mov(Action::Store(eax), 3));
    }

    #[test]
    fn every_other_instruction_is_refused() {
        assert_eq!(decode(&[0x48, 0x89, 0x07], true), None, "64-bit operand");
        assert_eq!(decode(&[0x66, 0x89, 0x07], true), None, "16-bit operand");
        assert_eq!(decode(&[0x88, 0x07], true), None, "8-bit operand");
        assert_eq!(decode(&[0x89, 0xc7], true), None, "register operand");
        assert_eq!(decode(&[0xc7, 0x4f, 0, 0, 0, 0, 0], true), None, "C7 /1");
        assert_eq!(decode(&[0x01, 0x07], true), None, "ADD");
        assert_eq!(decode(&[0x67, 0x89, 0x07], false), None, "16-bit addressing");
        assert_eq!(decode(&[0x89], true), None, "cut off");
        assert_eq!(decode(&[0x8b, 0x87, 0x40, 3], true), None, "cut off in the displacement");
        assert_eq!(decode(&[0x3e; 20], true), None, "longer than an instruction may be");
        assert_eq!(decode(&[], true), None);
    }
}
