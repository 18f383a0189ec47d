//! Control registers of guests that are not in 64-bit mode.

use super::double::Playback;
use crate::apic::LocalApic;
use crate::control::{ControlFault, control_register};
use crate::exit::ControlRegisterAccess;
use crate::registers::{Gpr, Operand, Registers};
use crate::{Field, Vcpu};
use std::collections::HashMap;

const PDPTES: [Field; 4] = [Field::GuestPdpte0, Field::GuestPdpte1, Field::GuestPdpte2, Field::GuestPdpte3];
const TABLE: usize = 0x2_0020;
const PAE: u64 = 1 << 5;

/// What a control register access of a guest in 32-bit mode brings, in a machine whose PAE table has these entries.
fn access(
    access: ControlRegisterAccess,
    rax: u64,
    state: &[(Field, u64)],
    entries: [u64; 4],
) -> (Result<(), ControlFault>, HashMap<Field, u64>) {
    let mut memory = vec![0; 0x4_0000];
    for (place, entry) in memory[TABLE..].chunks_mut(8).zip(entries) {
        place.copy_from_slice(&entry.to_le_bytes());
    }
    let start = [(Field::GuestCr0, 0x31), (Field::Cr0ReadShadow, 0x11), (Field::GuestCr4, 0x2000)];
    let fields = start.iter().chain(state).map(|(field, value)| (*field as u32, *value)).collect();
    let mut vcpu =
        Playback { exits: [].into(), fields, entries: Vec::new(), memory, now: 0, ..Playback::default() };
    let mut registers = Registers::default();
    registers.set(Gpr::Rax, rax);
    let done = control_register(&mut vcpu, &mut LocalApic::new(), &mut registers, OSXSAVE, access);
    let looked_at = PDPTES.into_iter().chain([Field::GuestCr0, Field::GuestCr4, Field::Cr4ReadShadow]);
    (done, looked_at.map(|field| (field, vcpu.read(field))).collect())
}

/// MOV to CR0 or CR4: the result, the table that is loaded, the register.
fn mov(
    register: u8,
    value: u64,
    state: &[(Field, u64)],
    entries: [u64; 4],
) -> (Result<(), ControlFault>, [u64; 4], u64) {
    let write = ControlRegisterAccess::Write { register, source: Operand::Gpr(Gpr::Rax) };
    let (done, fields) = access(write, value, state, entries);
    let field = if register == 0 { Field::GuestCr0 } else { Field::GuestCr4 };
    (done, PDPTES.map(|field| fields[&field]), fields[&field])
}

/// SDM vol. 3A, 2.5: CR4.OSXSAVE where there is XSAVE; the guest reads it back from the shadow.
#[test]
fn osxsave_is_offered_with_xsave() {
    let write = ControlRegisterAccess::Write { register: 4, source: Operand::Gpr(Gpr::Rax) };
    let (done, fields) = access(write, OSXSAVE | 0x200, &[], ENTRIES);
    assert_eq!((done, fields[&Field::GuestCr4], fields[&Field::Cr4ReadShadow]), (Ok(()), 0x4_2200, OSXSAVE));
}

const OSXSAVE: u64 = 1 << 18;
const FAULT: Result<(), ControlFault> = Err(ControlFault::GeneralProtection);
const ENTRIES: [u64; 4] = [0x3001, 0, 0x4001, 0x5019];
const CR3: (Field, u64) = (Field::GuestCr3, TABLE as u64);

/// SDM vol. 3A, 4.4.1 and vol. 3C, 27.3.2.4.
#[test]
fn paging_with_pae_loads_the_table() {
    let extended = [CR3, (Field::GuestCr4, 0x2000 | PAE)];
    assert_eq!(mov(0, 0xc000_0011, &extended, ENTRIES), (Ok(()), ENTRIES, 0x8000_0031));
    assert_eq!(mov(0, 0x8000_0011, &[CR3], ENTRIES).1, [0; 4], "32-bit paging has no such table");
    assert_eq!(mov(0, 0x4000_0011, &extended, ENTRIES).1, [0; 4], "no paging, no table");
}

#[test]
fn a_reserved_bit_in_the_table_is_a_general_protection_fault() {
    let extended = [CR3, (Field::GuestCr4, 0x2000 | PAE)];
    for reserved in [1, 2, 5, 6, 7, 8, 36, 63] {
        let entries = [0x3001, 0, 0x4001 | 1 << reserved, 0];
        assert_eq!(mov(0, 0x8000_0011, &extended, entries), (FAULT, [0; 4], 0x31), "bit {reserved}");
    }
    assert_eq!(
        mov(0, 0x8000_0011, &extended, [1 << 40, 0, 0, 0]).0,
        Ok(()),
        "not present: nothing is reserved"
    );
    let nowhere = [(Field::GuestCr3, 0x8000_0000), (Field::GuestCr4, 0x2000 | PAE)];
    assert_eq!(mov(0, 0x8000_0011, &nowhere, ENTRIES).0, FAULT);
}

#[test]
fn pae_switched_on_under_paging_loads_the_table() {
    let paged = [CR3, (Field::GuestCr0, 0x8000_0031)];
    assert_eq!(mov(4, PAE, &paged, ENTRIES), (Ok(()), ENTRIES, 0x2020));
    assert_eq!(mov(4, 0x10, &paged, ENTRIES), (Ok(()), [0; 4], 0x2010));
}

/// SDM vol. 2B, MOV to control registers: 32 bits outside 64-bit mode.
#[test]
fn the_upper_half_of_a_register_is_no_part_of_a_32_bit_move() {
    assert_eq!(mov(0, 7 << 32 | 0x4000_0011, &[], ENTRIES), (Ok(()), [0; 4], 0x31));
    let long =
        [(Field::GuestEfer, 0x500), (Field::GuestCsAccessRights, 0xa09b), (Field::GuestCr0, 0x8000_0031)];
    assert_eq!(mov(0, 7 << 32 | 0xc000_0011, &long, ENTRIES).0, FAULT);
}

/// SDM vol. 2A, LMSW and CLTS.
#[test]
fn lmsw_sets_protection_and_never_clears_it() {
    let after = |operation, before| {
        let (done, fields) = access(operation, 0, &[(Field::GuestCr0, before)], ENTRIES);
        assert_eq!(done, Ok(()));
        fields[&Field::GuestCr0]
    };
    assert_eq!(after(ControlRegisterAccess::Lmsw(0xfff0), 0x31), 0x31);
    assert_eq!(after(ControlRegisterAccess::Lmsw(0x000e), 0x31), 0x3f);
    assert_eq!(after(ControlRegisterAccess::Lmsw(1), 0x30), 0x31);
    assert_eq!(after(ControlRegisterAccess::Clts, 0x3f), 0x37);
}
