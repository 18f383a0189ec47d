use super::*;
use crate::registers::Gpr;

const fn low(gpr: Gpr) -> Register {
    Register { operand: Operand::Gpr(gpr), high: false }
}

const EAX: Register = low(Gpr::Rax);
const R9: Register = low(Gpr::R9);

fn load(into: Register, bytes: u8) -> Action {
    Action::Load { into, bytes, signed: false }
}

fn store(register: Register) -> Action {
    Action::Store(Source::Register(register))
}

fn check(code: &[u8], size: CodeSize, action: Action, bytes: u8) {
    let length = u8::try_from(code.len()).expect("an instruction");
    let mut longer = code.to_vec();
    longer.extend([0xcc; 20]);
    assert_eq!(decode(&longer, size), Some(Instruction { action, bytes, length }), "{code:02x?}");
    for cut in 0..code.len() {
        assert_eq!(decode(&code[..cut], size), None, "{code:02x?} cut off after {cut}");
    }
}

use CodeSize::{Bits16, Bits32, Bits64};

#[test]
fn the_forms_of_mov() {
    // mov [rdi], eax; mov eax, [rdi + 0x340]; mov [rax + rcx * 4 + 8], r9d
    check(&[0x89, 0x07], Bits64, store(EAX), 4);
    check(&[0x8b, 0x87, 0x40, 3, 0, 0], Bits64, load(EAX, 4), 4);
    check(&[0x44, 0x89, 0x4c, 0x88, 8], Bits64, store(R9), 4);
    // mov dword [0xfee000b0], 0 by SIB without base; mov dword [rip + 0], 7
    let absolute = [0xc7, 0x04, 0x25, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0];
    check(&absolute, Bits64, Action::Store(Source::Immediate(0)), 4);
    check(&[0xc7, 0x05, 0, 0, 0, 0, 7, 0, 0, 0], Bits64, Action::Store(Source::Immediate(7)), 4);
    // mov eax, [moffs] in three modes; with a segment override
    check(&[0xa1, 0x20, 0, 0xe0, 0xfe, 0, 0, 0, 0], Bits64, load(EAX, 4), 4);
    check(&[0xa1, 0x20, 0, 0xe0, 0xfe], Bits32, load(EAX, 4), 4);
    check(&[0xa3, 0x20, 0], Bits16, store(EAX), 2);
    check(&[0x3e, 0x89, 0x07], Bits32, store(EAX), 4);
    check(&[0x67, 0xa1, 0x20, 0, 0xe0, 0xfe], Bits64, load(EAX, 4), 4);
}

/// SDM vol. 2A, 2.1.1 and table 3-2: operand sizes; vol. 1, 3.4.1: byte registers.
#[test]
fn every_size_of_operand() {
    check(&[0x48, 0x8b, 0x07], Bits64, load(EAX, 8), 8);
    check(&[0x66, 0x89, 0x07], Bits64, store(EAX), 2);
    check(&[0x89, 0x07], Bits16, store(EAX), 2);
    check(&[0x66, 0x89, 0x07], Bits16, store(EAX), 4);
    check(&[0x88, 0x27], Bits32, store(Register { high: true, ..EAX }), 1);
    check(&[0x40, 0x88, 0x27], Bits64, store(Register { operand: Operand::Rsp, high: false }), 1);
    check(&[0x8a, 0x1f], Bits64, load(low(Gpr::Rbx), 1), 1);
    check(&[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], Bits64, Action::Store(Source::Immediate(u64::MAX)), 8);
    check(&[0x66, 0xc7, 0x07, 0x34, 0x12], Bits32, Action::Store(Source::Immediate(0x1234)), 2);
}

/// SDM vol. 2A, table 2-1.
#[test]
fn sixteen_bit_addresses() {
    check(&[0x8b, 0x07], Bits16, load(EAX, 2), 2);
    check(&[0x8b, 0x06, 0x34, 0x12], Bits16, load(EAX, 2), 2);
    check(&[0x8b, 0x47, 1], Bits16, load(EAX, 2), 2);
    check(&[0x8b, 0x87, 1, 2], Bits16, load(EAX, 2), 2);
    check(&[0x67, 0x66, 0x8b, 0x04, 0x25, 0, 0, 0, 0], Bits16, load(EAX, 4), 4);
    check(&[0x67, 0x8b, 0x07], Bits32, load(EAX, 4), 4);
}

#[test]
fn loads_that_extend() {
    check(&[0x0f, 0xb6, 0x07], Bits64, load(EAX, 4), 1);
    check(&[0x48, 0x0f, 0xb7, 0x07], Bits64, load(EAX, 8), 2);
    check(&[0x0f, 0xbe, 0x07], Bits32, Action::Load { into: EAX, bytes: 4, signed: true }, 1);
    check(&[0x0f, 0xbf, 0x4f, 4], Bits32, Action::Load { into: low(Gpr::Rcx), bytes: 4, signed: true }, 2);
}

#[test]
fn arithmetic_with_memory() {
    let combine =
        |operation, memory_first, other, target| Action::Combine { operation, memory_first, other, target };
    let register = Source::Register(EAX);
    check(&[0x01, 0x07], Bits64, combine(Operation::Add, true, register, Target::Memory), 4);
    check(&[0x0b, 0x07], Bits64, combine(Operation::Or, false, register, Target::Register(EAX)), 4);
    check(&[0x39, 0x07], Bits64, combine(Operation::Compare, true, register, Target::Flags), 4);
    check(&[0x85, 0x07], Bits64, combine(Operation::And, true, register, Target::Flags), 4);
    let or = combine(Operation::Or, true, Source::Immediate(0x100), Target::Memory);
    check(&[0x81, 0x0f, 0, 1, 0, 0], Bits32, or, 4);
    let and = combine(Operation::And, true, Source::Immediate(u64::MAX), Target::Memory);
    check(&[0xf0, 0x83, 0x27, 0xff], Bits64, and, 4);
    let test = combine(Operation::And, true, Source::Immediate(0x1000), Target::Flags);
    check(&[0xf7, 0x07, 0, 0x10, 0, 0], Bits64, test, 4);
    check(&[0x87, 0x07], Bits64, Action::Exchange(EAX), 4);
}

#[test]
fn stos() {
    let stos = |repeat, address_bytes| Action::StoreString { repeat, address_bytes };
    check(&[0xab], Bits64, stos(false, 8), 4);
    check(&[0xf3, 0xab], Bits32, stos(true, 4), 4);
    check(&[0xf3, 0x67, 0xaa], Bits64, stos(true, 4), 1);
    check(&[0xf3, 0x48, 0xab], Bits64, stos(true, 8), 8);
    check(&[0xab], Bits16, stos(false, 2), 2);
}

#[test]
fn every_other_instruction_is_refused() {
    assert_eq!(decode(&[0x89, 0xc7], Bits64), None, "register operand");
    assert_eq!(decode(&[0x66, 0x67, 0x89, 0xc7], Bits32), None, "register operand, 16-bit address");
    assert_eq!(decode(&[0xc7, 0x4f, 0, 0, 0, 0, 0], Bits64), None, "C7 /1");
    assert_eq!(decode(&[0xf7, 0x17], Bits64), None, "NOT");
    assert_eq!(decode(&[0xa5], Bits64), None, "MOVS");
    assert_eq!(decode(&[0xff, 0x07], Bits64), None, "INC");
    assert_eq!(decode(&[0x0f, 0x6f, 0x07], Bits64), None, "MMX");
    assert_eq!(decode(&[0x3e; 20], Bits64), None, "longer than an instruction may be");
    assert_eq!(decode(&[], Bits64), None);
}

/// Any bytes: at most an instruction as long as they are.
#[test]
fn any_bytes_decode_or_not() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bytes = [state, state.rotate_left(29) ^ state >> 7].map(u64::to_le_bytes);
        for size in [Bits16, Bits32, Bits64] {
            let decoded = decode(bytes.as_flattened(), size);
            assert!(decoded.is_none_or(|instruction| instruction.length <= 15));
        }
    }
}
