//! INS and OUTS.

use super::double::*;
use crate::registers::Gpr;
use crate::report::StopReason;
use crate::switched::Switched;
use crate::vm::tests::double::run_on_vcpu;
use crate::{Field, Interruption, RawExit, Return, boot};

/// Instruction information: 64-bit addresses.
const ADDRESS_64: u64 = 2 << 7;
const ADDRESS_32: u64 = 1 << 7;
const INS: u64 = 1 << 3 | 1 << 4;
const OUTS: u64 = 1 << 4;
const REP: u64 = 1 << 5;

/// Runs string I/O on a port with element size 1, 2 or 4; the memory afterwards.
fn string(
    port: u64,
    bits: u64,
    bytes: u64,
    information: u64,
    (linear, registers): (u64, &[(Gpr, u64)]),
    rflags: u64,
) -> (Ran, Vec<u8>) {
    let mut memory = vec![0; 0x40_0000];
    boot::write_tables(&mut memory);
    memory[0x20_0000..0x20_0006].copy_from_slice(b"string");
    let select = with(RawExit { qualification: 0x510 << 16 | 1, ..exit(30) }, &[(Gpr::Rax, 0)]);
    let this = RawExit { qualification: port << 16 | bits | (bytes - 1), cr3: 0x1000, rflags, ..exit(30) };
    let exits = [select, with(this, registers)];
    let fields =
        [(Field::ExitInstructionInformation as u32, information), (Field::GuestLinearAddress as u32, linear)];
    run_machine(usual, exits.map(Return::Exit).into(), memory, fields.into())
}

fn registers(ran: &Ran) -> [u64; 3] {
    let values = ran.entries[2].registers.expect("they changed");
    [Gpr::Rcx, Gpr::Rsi, Gpr::Rdi].map(|register| values.get(register))
}

#[test]
fn rep_outsb_sends_a_string() {
    let setup = (0x20_0000, &[(Gpr::Rcx, 6), (Gpr::Rsi, 0x20_0000)][..]);
    let (ran, _) = string(0x3f8, OUTS | REP, 1, ADDRESS_64, setup, 2);
    assert_eq!(ran.seen.output, b"string");
    assert_eq!(registers(&ran), [0, 0x20_0006, 0]);
    assert!(ran.entries[2].completed);
}

#[test]
fn rep_insb_reads_the_firmware_configuration() {
    let setup = (0x30_0000, &[(Gpr::Rcx, 4), (Gpr::Rdi, 0x30_0000)][..]);
    let (ran, memory) = string(0x511, INS | REP, 1, ADDRESS_64, setup, 2);
    assert_eq!(&memory[0x30_0000..0x30_0005], b"QEMU\0");
    assert_eq!(registers(&ran), [0, 0, 0x30_0004]);
}

/// SDM vol. 2B, REP: the direction flag; vol. 1, 3.4.3.2.
#[test]
fn strings_go_down_with_the_direction_flag() {
    let setup = (0x20_0002, &[(Gpr::Rcx, 3), (Gpr::Rsi, 0x20_0002)][..]);
    let (ran, _) = string(0x3f8, OUTS | REP, 1, ADDRESS_64, setup, 2 | 1 << 10);
    assert_eq!(ran.seen.output, b"rts");
    assert_eq!(registers(&ran), [0, 0x1f_ffff, 0]);
}

#[test]
fn without_rep_one_element_moves_and_rcx_stays() {
    let setup = (0x20_0000, &[(Gpr::Rcx, 9), (Gpr::Rsi, 0x20_0000)][..]);
    let (ran, _) = string(0x3f8, OUTS, 1, ADDRESS_64, setup, 2);
    assert_eq!((ran.seen.output.as_slice(), registers(&ran)), (b"s".as_slice(), [9, 0x20_0001, 0]));
}

/// 32-bit addresses: the upper halves do not count, and become 0.
#[test]
fn short_addresses_use_the_low_halves() {
    let setup = (0x20_0000, &[(Gpr::Rcx, 7 << 32 | 2), (Gpr::Rsi, 7 << 32 | 0x20_0000)][..]);
    let (ran, _) = string(0x3f8, OUTS | REP, 1, ADDRESS_32, setup, 2);
    assert_eq!((ran.seen.output.as_slice(), registers(&ran)), (b"st".as_slice(), [0, 0x20_0002, 0]));
}

#[test]
fn a_long_string_takes_several_exits() {
    let setup = (0x20_0000, &[(Gpr::Rcx, 1000), (Gpr::Rsi, 0x20_0000)][..]);
    let (ran, _) = string(0x3f8, OUTS | REP, 1, ADDRESS_64, setup, 2);
    assert_eq!((ran.seen.output.len(), registers(&ran)), (256, [744, 0x20_0100, 0]));
    assert_eq!((ran.entries[2].completed, ran.entries[2].rip), (false, RIP));
}

/// A word that ends on the next page, with PIC masks as the device: 0x21 and its neighbour.
#[test]
fn an_element_may_cross_a_page() {
    let setup = (0x30_0fff, &[(Gpr::Rdi, 0x30_0fff)][..]);
    let (_, memory) = string(0x3fd, INS, 2, ADDRESS_64, setup, 2);
    assert_eq!(memory[0x30_0fff..0x30_1001], [0x60, 0xb0]);
}

#[test]
fn memory_that_is_not_there_ends_the_guest() {
    let far = 0x4000_0000;
    let (ran, _) = string(0x3f8, OUTS, 1, ADDRESS_64, (far, &[(Gpr::Rsi, far)]), 2);
    assert_eq!(ran.stop, StopReason::Unsupported("INS or OUTS of a physical address without memory"));
    // The first bytes go out before the end of memory.
    let end = (0x3f_fffe, &[(Gpr::Rcx, 4), (Gpr::Rsi, 0x3f_fffe)][..]);
    let (ran, _) = string(0x3f8, OUTS | REP, 1, ADDRESS_64, end, 2);
    assert_eq!(
        (ran.seen.output.len(), registers(&ran), ran.entries[2].completed),
        (2, [2, 0x40_0000, 0], false)
    );
    let (ran, memory) = string(0x511, INS, 4, ADDRESS_64, (0x3f_fffe, &[(Gpr::Rdi, 0x3f_fffe)]), 2);
    assert!(matches!(ran.stop, StopReason::Unsupported(_)));
    assert_eq!(memory[0x3f_fffe..], [0, 0], "nothing is written of an element that does not fit");
}

#[test]
fn an_exit_port_in_a_string_ends_the_guest() {
    let (ran, _) = string(0xf4, OUTS, 4, ADDRESS_64, (0x20_0000, &[(Gpr::Rsi, 0x20_0000)]), 2);
    assert_eq!(ran.stop, StopReason::Exit(u32::from_le_bytes(*b"stri")));
}

/// SDM vol. 3A, 4.6.1: a read-only page, by the supervisor with CR0.WP; without it the write goes through.
#[test]
fn ins_respects_write_protection() {
    let ins = |cr0: u64| {
        let mut memory = vec![0; 0x40_0000];
        boot::write_tables(&mut memory);
        // The 2 MiB page at 0x200000: present, large, not writable.
        memory[0x3008] = 0x81;
        let mov = with(RawExit { qualification: 0, ..exit(28) }, &[(Gpr::Rax, cr0)]);
        let this = RawExit { qualification: 0x21 << 16 | INS, cr3: 0x1000, ..exit(30) };
        let fields = [
            (Field::ExitInstructionInformation as u32, ADDRESS_64),
            (Field::GuestLinearAddress as u32, 0x30_0000),
        ];
        run_machine(usual, [mov, this].map(Return::Exit).into(), memory, fields.into()).0
    };
    assert!(matches!(ins(0x8001_0011).stop, StopReason::Unsupported(_)));
    assert!(ins(0x8000_0011).entries[2].completed);
}

/// A repeated access in 32-bit code by a segment of this limit and these access rights; twice, so that what is left comes.
fn by_segment(
    [limit, rights]: [(Field, u64); 2],
    information: u64,
    bits: u64,
    [linear, index, count]: [u64; 3],
    rflags: u64,
) -> Ran {
    let mut memory = vec![0; 0x40_0000];
    boot::write_tables(&mut memory);
    memory[0x20_0000..0x20_0004].copy_from_slice(b"text");
    memory[0x20_fffe..0x21_0000].copy_from_slice(b"up");
    let exit = RawExit { qualification: 0x3f8 << 16 | bits, cr3: 0x1000, rflags, ..exit(30) };
    let exit = with(exit, &[(Gpr::Rcx, count), (Gpr::Rsi, index), (Gpr::Rdi, index)]);
    let fields =
        [(Field::ExitInstructionInformation as u32, information), (Field::GuestLinearAddress as u32, linear)];
    // The guest loads its segments after the start.
    let loads = [(Field::GuestCsAccessRights, 0xc09b), limit, rights];
    let on_enter = loads.map(|(field, value)| (1, field, value)).into();
    let exits = [Return::Exit(exit); 2].into();
    let vcpu = Playback { exits, fields: fields.into(), memory, ..Playback::default() };
    run_on_vcpu(usual, Playback { on_enter, ..vcpu }).0
}

const ALL: u64 = u32::MAX as u64;
const SS_FAULT: Interruption = Interruption::exception_with_code(12);

/// SDM vol. 3A, 5.3 and 3.4.5.1; vol. 2B, OUTS: an offset beyond the limit, a segment that cannot be read.
#[test]
fn outs_keeps_to_its_segment() {
    use Field::*;
    let outs = |number: u64, limit, rights, [offset, count]: [u64; 2]| {
        let at = [0x20_0000 + offset, offset, count];
        by_segment([limit, rights], number << 15 | ADDRESS_32, OUTS | REP, at, 2)
    };
    let ds = |limit, rights, at| outs(3, (GuestDsLimit, limit), (GuestDsAccessRights, rights), at);
    let all = ds(3, 0xc093, [0, 4]);
    assert_eq!((all.seen.output.as_slice(), all.entries[1].completed), (b"texttext".as_slice(), true));
    // Two elements are inside, and the exit for the rest begins outside.
    let part = ds(1, 0xc093, [0, 4]);
    assert_eq!((&part.seen.output[..2], part.entries[1].injection.is_valid()), (b"te".as_slice(), false));
    assert_eq!(part.entries[1].registers.expect("they changed").get(Gpr::Rcx), 2);
    // Offsets of a segment that expands down are above its limit.
    assert_eq!(ds(1, 0xc097, [2, 2]).seen.output, b"xtxt");
    for (ran, fault) in [
        (ds(1, 0xc093, [2, 1]), GP),
        (ds(ALL, 1 << 16, [0, 1]), GP),
        (ds(1, 0xc097, [1, 1]), GP),
        (ds(1, 0x8097, [0x1_0000, 1]), GP),
        (outs(1, (GuestCsLimit, ALL), (GuestCsAccessRights, 0xc099), [0, 1]), GP),
        (outs(2, (GuestSsLimit, 1), (GuestSsAccessRights, 0xc093), [2, 1]), SS_FAULT),
    ] {
        assert_eq!((ran.entries[1].injection, ran.seen.output.len()), (fault, 0));
    }
}

/// SDM vol. 2A, INS: the destination is ES, which must be writable.
#[test]
fn ins_needs_a_writable_segment() {
    for (rights, injection) in [(0xc093, Interruption::NONE), (0xc091, GP), (0xc09b, GP)] {
        let es = [(Field::GuestEsLimit, ALL), (Field::GuestEsAccessRights, rights)];
        let ran = by_segment(es, 2 << 15 | ADDRESS_32, INS, [0x30_0000, 0x30_0000, 1], 2);
        assert_eq!(ran.entries[1].injection, injection, "{rights:#x}");
    }
}

/// SDM vol. 1, 3.3.7.1: in 64-bit mode an address that is not canonical faults, by the stack segment as #SS.
#[test]
fn the_address_of_a_string_is_canonical() {
    for (information, fault) in [(3 << 15, GP), (2 << 15, SS_FAULT)] {
        for (address, bytes) in [(1 << 47, 1), ((1 << 47) - 1, 2), ((u64::MAX << 47) - 1, 1)] {
            let setup = (address, &[(Gpr::Rsi, address)][..]);
            let (ran, _) = string(0x3f8, OUTS, bytes, information | ADDRESS_64, setup, 2);
            assert_eq!(ran.entries.get(2).map(|entry| entry.injection), Some(fault), "{address:#x}");
        }
    }
}

/// SDM vol. 1, 3.3.7: 16-bit addresses wrap at 64 KiB of their segment.
#[test]
fn an_offset_wraps_inside_its_segment() {
    let ds = [(Field::GuestDsLimit, 0xffff), (Field::GuestDsAccessRights, 0x93)];
    let outs = |index, rflags| {
        let ran = by_segment(ds, 3 << 15, OUTS | REP, [0x20_0000 + index, index, 2], rflags);
        (ran.seen.output, ran.entries[1].registers.expect("they changed").get(Gpr::Rsi))
    };
    assert_eq!(outs(0xffff, 2), (b"ptpt".into(), 1));
    assert_eq!(outs(0, 2 | 1 << 10), (b"tptp".into(), 0xfffe));
}

/// SDM vol. 3A, 4.8: each entry on the way is accessed, the last one dirty if it is written.
#[test]
fn an_access_marks_the_entries_on_its_way() {
    let setup = (0x20_0000, &[(Gpr::Rcx, 1), (Gpr::Rsi, 0x20_0000), (Gpr::Rdi, 0x20_0000)][..]);
    for (bits, marks) in [(OUTS, 0x20), (INS, 0x60)] {
        let (ran, memory) = string(0x3fd, bits, 1, ADDRESS_64, setup, 2);
        assert!(ran.entries[2].completed);
        let entries = [0x1000, 0x2000, 0x3000, 0x3008].map(|at| memory[at]);
        assert_eq!(entries, [0x23, 0x23, 0x83, 0x83 | marks], "{bits:#x}");
    }
}

/// SDM vol. 3A, 4.7: the error code says what the access was and whether the page is there, CR2 has the address.
#[test]
fn an_address_that_is_not_mapped_is_a_page_fault() {
    const PF: Interruption = Interruption::exception_with_code(14);
    let fault = |entry: u8, bits: u64, bytes: u64, linear: u64, cpl: u64| {
        let mut memory = vec![0; 0x80_0000];
        boot::write_tables(&mut memory);
        // The 2 MiB page at 0x400000.
        memory[0x3010] = entry;
        let this = RawExit { qualification: 0x3f8 << 16 | bits | (bytes - 1), cr3: 0x1000, ..exit(30) };
        // An instruction that does not exist faults with error code 0 afterwards.
        let exits = [with(this, &[(Gpr::Rcx, 9)]), wrmsr(0x123, 0)].map(Return::Exit).into();
        let fields = [
            (Field::ExitInstructionInformation as u32, ADDRESS_64),
            (Field::GuestLinearAddress as u32, linear),
        ];
        let vcpu =
            Playback { exits, memory, fields: fields.into(), takes: |_, _| true, ..Playback::default() };
        let (ran, vcpu) = run_on_vcpu(
            usual,
            Playback { on_enter: vec![(1, Field::GuestSsAccessRights, cpl << 5)], ..vcpu },
        );
        let code = vcpu.written.iter().filter(|(field, _)| *field == Field::EntryErrorCode as u32);
        let code: Vec<u64> = code.map(|(_, value)| *value).collect();
        (
            ran.entries[1].injection,
            ran.entries[1].rip,
            code,
            vcpu.switched.last().copied(),
            ran.entries[2].injection,
        )
    };
    let cr2 = |address| Some((Switched::Cr2, address));
    for (entry, bits, bytes, linear, cpl, code, address) in [
        (0, OUTS, 1, 0x40_0010, 0, 0, 0x40_0010),
        (0, INS, 1, 0x40_0010, 0, 2, 0x40_0010),
        (0, OUTS | REP, 4, 0x40_0010, 3, 4, 0x40_0010),
        (0x81, INS, 1, 0x40_0010, 0, 3, 0x40_0010),
        (0x83, OUTS, 2, 0x40_0010, 3, 5, 0x40_0010),
        (0x83, INS, 2, 0x40_0010, 3, 7, 0x40_0010),
        // The second page of an element.
        (0, OUTS, 4, 0x3f_fffe, 0, 0, 0x40_0000),
    ] {
        assert_eq!(
            fault(entry, bits, bytes, linear, cpl),
            (PF, RIP, vec![code, 0], cr2(address), GP),
            "entry {entry:#x}, {bits:#x} at {linear:#x}, CPL {cpl}"
        );
    }
}
