//! EPT violations and the page walk before them.

use super::double::*;
use crate::exit::EptViolation;
use crate::registers::Gpr;
use crate::{Field, RawExit, Return, StopReason, Vcpu, boot, paging::Paging};

fn violation(address: u64, qualification: u64) -> RawExit {
    RawExit { qualification, guest_physical: address, cr3: 0x1000, ..exit(48) }
}

fn with_code(code: &[u8], exits: &[RawExit]) -> Ran {
    let mut memory = vec![0; 0x20_0000];
    boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0000 + code.len()].copy_from_slice(code);
    play(usual, exits.iter().map(|exit| Return::Exit(*exit)).collect(), memory)
}

#[test]
fn memory_that_is_not_there_ends_the_guest() {
    let ran = run(&[violation(0x8000_0000, 0x182)]);
    let StopReason::NoMemory(EptViolation { address, write, .. }) = ran.stop else { panic!("{}", ran.stop) };
    assert!(address == 0x8000_0000 && write);
    assert!(matches!(run(&[violation(0xfee0_0000, 0x184)]).stop, StopReason::NoMemory(_)), "fetch");
    assert!(matches!(run(&[violation(0xfee0_0000, 0x081)]).stop, StopReason::NoMemory(_)), "page walk");
}

#[test]
fn an_instruction_that_is_not_emulated_ends_the_guest_with_its_bytes() {
    let refused = |code: [u8; 3]| {
        let ran = with_code(&code, &[violation(0xfee0_0080, 0x183)]);
        let [a, b, c] = code;
        assert_eq!(ran.stop, StopReason::Mmio { address: 0xfee0_0080, bytes: [a, b, c, 0, 0, 0, 0, 0] });
    };
    refused([0x0f, 0x6f, 0x07]);
    // A store of 8 bytes, and of one: SDM vol. 3A, 11.4.1 leaves them undefined.
    refused([0x48, 0x89, 0x07]);
    refused([0x88, 0x07, 0]);
}

/// or [rdi], eax; test [rdi], eax; movzx ecx, byte [rdi]; xchg [rdi], edx, on the task priority.
#[test]
fn the_apic_in_memory_takes_arithmetic() {
    let value = |code: &[u8], registers: &[(Gpr, u64)]| {
        let mut set = with(violation(0xfee0_0080, 0x183), &[(Gpr::Rax, 0x51)]);
        set.rip = RIP + 0x10;
        let mut memory = vec![0x89, 0x07];
        memory.splice(0..0, code.iter().copied().chain(std::iter::repeat(0x90)).take(0x10));
        let then = with(violation(0xfee0_0080, 0x183), registers);
        let ran = with_code(&memory, &[set, then]);
        (ran.entries[2].registers, ran.field(Field::GuestRflags), ran)
    };
    let (_, flags, mut ran) = value(&[0x09, 0x07], &[(Gpr::Rax, 0x82)]);
    assert_eq!((ran.vm.apic.read_memory(0x80, 0), flags), (0xd3, 2));
    let (_, flags, mut ran) = value(&[0x85, 0x07], &[(Gpr::Rax, 0x82)]);
    assert_eq!((ran.vm.apic.read_memory(0x80, 0), flags), (0x51, 0x46), "ZF and PF");
    let (registers, ..) = value(&[0x0f, 0xb6, 0x0f], &[(Gpr::Rcx, u64::MAX)]);
    assert_eq!(registers.expect("a load").get(Gpr::Rcx), 0x51);
    let (registers, _, mut ran) = value(&[0x87, 0x17], &[(Gpr::Rdx, 0x20)]);
    assert_eq!((registers.expect("a load").get(Gpr::Rdx), ran.vm.apic.read_memory(0x80, 0)), (0x51, 0x20));
}

/// rep stosd of two elements: an exit for each.
#[test]
fn stos_goes_on_until_its_count_is_zero() {
    let registers = [(Gpr::Rcx, 2), (Gpr::Rdi, 0xfee0_0080), (Gpr::Rax, 0x20)];
    let first = with(violation(0xfee0_0080, 0x182), &registers);
    let second = with(first, &[(Gpr::Rcx, 1), (Gpr::Rdi, 0xfee0_0080), (Gpr::Rax, 0x30)]);
    let mut ran = with_code(&[0xf3, 0xab], &[first, second]);
    let after =
        |i: usize| ran.entries[i].registers.map(|values| (values.get(Gpr::Rcx), values.get(Gpr::Rdi)));
    assert_eq!((after(1), ran.entries[1].completed), (Some((1, 0xfee0_0084)), false));
    assert_eq!((after(2), ran.entries[2].completed), (Some((0, 0xfee0_0084)), true));
    assert_eq!(ran.vm.apic.read_memory(0x80, 0), 0x30);
}

/// mov [rdi], eax to the APIC's spurious vector, LVTPC, then a PMI.
#[test]
fn the_apic_in_memory_takes_lvtpc() {
    let store = |address, value| with(violation(address, 0x182), &[(Gpr::Rax, value)]);
    let exits = [store(0xfee0_00f0, 0x1ff), store(0xfee0_0340, 0x400), pmi(2)];
    let ran = with_code(&[0x89, 0x07], &exits);
    assert_eq!(ran.entries[3].injection, crate::Interruption::nmi());
}

#[test]
fn the_io_apic_keeps_its_registers() {
    let store = |address, value| with(violation(address, 0x182), &[(Gpr::Rax, value)]);
    let ran = with_code(&[0x89, 0x07], &[store(0xfec0_0000, 0x10), store(0xfec0_0010, 0x1234)]);
    assert!(ran.entries[2].completed);
}

#[test]
fn a_disabled_apic_is_not_in_memory() {
    // SDM vol. 3A, 11.4.3: its page is memory that is not there, which reads ones.
    let mut code = vec![0x90; 0x12];
    code[..2].copy_from_slice(&[0x89, 0x07]);
    code[0x10..].copy_from_slice(&[0x8b, 0x07]);
    let read = RawExit { rip: RIP + 0x10, ..violation(0xfee0_0080, 0x181) };
    for base in [0xfee0_0100, 0xfee0_0d00] {
        let mut ran = with_code(
            &code,
            &[wrmsr(0x1b, base), with(violation(0xfee0_0080, 0x182), &[(Gpr::Rax, 0x20)]), read],
        );
        assert_eq!(ran.entries[3].registers.expect("a load").get(Gpr::Rax), 0xffff_ffff);
        assert_eq!(ran.vm.apic.cr8(), 0, "the write went nowhere");
        assert_eq!(ran.vm.apic.set_base(0xfee0_0100), Ok(()));
    }
}

#[test]
fn an_event_that_could_not_be_delivered_ends_the_guest() {
    let mut memory = vec![0; 0x20_0000];
    boot::write_tables(&mut memory);
    let mut vm = crate::Vm::new(Policy { asked: std::rc::Rc::default(), answer: usual }).expect("opens");
    let mut vcpu = Playback {
        exits: [Return::Exit(violation(0xfee0_0000, 0x182))].into(),
        fields: [(Field::IdtVectoringInformation as u32, 0x8000_0045)].into(),
        entries: Vec::new(),
        memory,
        now: 0,
        ..Playback::default()
    };
    let stop = vm.run(&mut vcpu, &mut Seen::default(), &boot::Start::long(RIP, 0));
    assert_eq!(stop, StopReason::Delivery(crate::Interruption(0x8000_0045)));
}

/// SDM vol. 3A, 3.3: in compatibility mode base and EIP add up to 32 bits.
#[test]
fn code_beyond_4_gib_is_at_the_start_of_memory() {
    let mut memory = vec![0; 0x20_0000];
    boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0002].copy_from_slice(&[0x8b, 0x07]);
    let violation = RawExit { rip: 0x11_0000, ..violation(0xfee0_0030, 0x181) };
    let on_enter = vec![(1, Field::GuestCsAccessRights, 0xc09b), (1, Field::GuestCsBase, 0xffff_0000)];
    let exits = [Return::Exit(violation)].into();
    let (ran, _) = run_on_vcpu(usual, Playback { exits, memory, on_enter, ..Playback::default() });
    assert_eq!(ran.entries[1].registers.map(|values| values.low(Gpr::Rax)), Some(0x5_0014));
}

fn translate(
    cr0: u64,
    cr4: u64,
    efer: u64,
    cr3: u64,
    tables: &[(usize, u64, usize)],
    linear: u64,
) -> Option<u64> {
    let mut memory = vec![0; 0x1_0000];
    for (address, entry, bytes) in tables {
        memory[*address..address + bytes].copy_from_slice(&entry.to_le_bytes()[..*bytes]);
    }
    let fields =
        [(Field::GuestCr0 as u32, cr0), (Field::GuestCr4 as u32, cr4), (Field::GuestEfer as u32, efer)];
    let mut vcpu = Playback {
        exits: [].into(),
        fields: fields.into(),
        entries: Vec::new(),
        memory,
        now: 0,
        ..Playback::default()
    };
    let paging = Paging::of(&mut vcpu, cr3);
    assert_eq!(vcpu.now(), 0);
    paging.translate(&vcpu, linear).map(|translation| translation.address)
}

const PG: u64 = 0x8000_0001;
const PAE: u64 = 0x20;
const PSE: u64 = 0x10;
const LMA: u64 = 0x500;

/// SDM vol. 3A, 4.3.
#[test]
fn thirty_two_bit_paging() {
    let tables = [(0x1000 + 4, 0x2003, 4), (0x2000 + 8, 0xabcd_e003, 4)];
    assert_eq!(translate(PG, 0, 0, 0x1000, &tables, 0x0040_2123), Some(0xabcd_e123));
    assert_eq!(translate(PG, 0, 0, 0x1000, &tables, 0x0080_2123), None, "not present");
    let large = [(0x1000 + 4, 0x0140_0083, 4)];
    assert_eq!(translate(PG, PSE, 0, 0x1000, &large, 0x0041_2345), Some(0x0141_2345));
}

/// SDM vol. 3A, 4.4.
#[test]
fn pae_paging() {
    let tables = [(0x1020 + 8, 0x2001, 8), (0x2000 + 8, 0x3003, 8), (0x3000 + 16, 0xf_abcd_e003, 8)];
    assert_eq!(translate(PG, PAE, 0, 0x1020, &tables, 0x4020_2123), Some(0xf_abcd_e123));
    let large = [(0x1020 + 8, 0x2001, 8), (0x2000 + 8, 0x0160_0083, 8)];
    assert_eq!(translate(PG, PAE, 0, 0x1020, &large, 0x4021_2345), Some(0x0161_2345));
}

/// SDM vol. 3A, 4.5.
#[test]
fn four_level_paging() {
    let levels = [
        (0x1000 + 8, 0x2003, 8),
        (0x2000 + 16, 0x3003, 8),
        (0x3000 + 24, 0x4003, 8),
        (0x4000 + 32, 0x5003, 8),
    ];
    let linear = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x567;
    assert_eq!(translate(PG, PAE, LMA, 0x1000, &levels, linear), Some(0x5567));
    let gigabyte = [(0x1000 + 8, 0x2003, 8), (0x2000 + 16, 0x4000_0083, 8)];
    assert_eq!(translate(PG, PAE, LMA, 0x1000, &gigabyte, linear), Some(0x4000_0000 | linear & 0x3fff_ffff));
    assert_eq!(translate(PG, PAE, LMA, 0x9_0000, &levels, linear), None, "a table outside memory");
}

/// SDM vol. 3A, 4.6: every entry on the way must allow it.
#[test]
fn rights_are_those_of_every_entry() {
    let rights = |upper: u64, lower: u64| {
        let mut memory = vec![0; 0x4000];
        memory[0x1000..0x1008].copy_from_slice(&(0x2000 | upper).to_le_bytes());
        memory[0x2000..0x2008].copy_from_slice(&(0x3000 | upper).to_le_bytes());
        memory[0x3000..0x3008].copy_from_slice(&(0x80 | lower).to_le_bytes());
        let fields =
            [(Field::GuestCr0 as u32, PG), (Field::GuestCr4 as u32, PAE), (Field::GuestEfer as u32, LMA)];
        let mut vcpu = Playback {
            exits: [].into(),
            fields: fields.into(),
            entries: Vec::new(),
            memory,
            now: 0,
            ..Playback::default()
        };
        let paging = Paging::of(&mut vcpu, 0x1000);
        paging.translate(&vcpu, 0).map(|translation| (translation.writable, translation.user))
    };
    assert_eq!(rights(7, 7), Some((true, true)));
    assert_eq!([rights(5, 7), rights(7, 5)], [Some((false, true)); 2]);
    assert_eq!([rights(3, 7), rights(7, 3)], [Some((true, false)); 2]);
    assert_eq!(rights(7, 6), None);
}

/// SDM vol. 3A, 4.8: flags in 32-bit entries, and in those of PAE paging, whose first level has none.
#[test]
fn flags_are_set_in_each_kind_of_paging() {
    let marked = |cr4: u64, tables: &[(usize, u64, usize)], linear: u64| {
        let mut memory = vec![0; 0x1_0000];
        for (address, entry, bytes) in tables {
            memory[*address..address + bytes].copy_from_slice(&entry.to_le_bytes()[..*bytes]);
        }
        let fields = [(Field::GuestCr0 as u32, PG), (Field::GuestCr4 as u32, cr4)].into();
        let mut vcpu = Playback { fields, memory, ..Playback::default() };
        let paging = Paging::of(&mut vcpu, 0x1020 & if cr4 & PAE == 0 { !0xfff } else { !0 });
        paging.mark(&mut vcpu, linear, true);
        let all = paging.translate(&vcpu, linear).map(|to| (to.accessed, to.dirty));
        assert_eq!(all, Some((true, true)));
        tables.iter().map(|(address, ..)| vcpu.memory[*address]).collect::<Vec<_>>()
    };
    let tables = [(0x1000 + 4, 0x2003, 4), (0x2000 + 8, 0xabcd_e003, 4)];
    assert_eq!(marked(0, &tables, 0x0040_2123), [0x23, 0x63]);
    assert_eq!(marked(PSE, &[(0x1000 + 4, 0x0140_0083, 4)], 0x0041_2345), [0xe3]);
    let tables = [(0x1020 + 8, 0x2001, 8), (0x2000 + 8, 0x3003, 8), (0x3000 + 16, 0xf_abcd_e003, 8)];
    assert_eq!(marked(PAE, &tables, 0x4020_2123), [0x01, 0x23, 0x63]);
}

#[test]
fn without_paging_an_address_is_itself() {
    assert_eq!(translate(1, 0, 0, 0, &[], 0x1_2345_6789), Some(0x2345_6789));
}
