//! Exceptions that the VMM injects, and what surrounds an instruction that it does: TF and RF.

use super::double::*;
use crate::arch::primary;
use crate::registers::Gpr;
use crate::{Field, Interruption, RawExit, Return, StopReason, boot};

const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;
const BS: u64 = 1 << 14;
const DB: Interruption = Interruption::exception(1);

/// A run in which the guest has set these fields before its first exit.
fn run_after(changes: &[(Field, u64)], exits: &[RawExit], memory: Vec<u8>) -> Ran {
    let on_enter = changes.iter().map(|(field, value)| (1, *field, *value)).collect();
    let exits = exits.iter().map(|exit| Return::Exit(*exit)).collect();
    run_on_vcpu(usual, Playback { exits, memory, on_enter, ..Playback::default() }).0
}

/// SDM vol. 3C, 27.2.1.3: an entry that delivers an error code in real-address mode fails.
#[test]
fn an_exception_in_real_mode_has_no_error_code() {
    for (cr0, injection) in [(0x31, GP), (0x30, Interruption::exception(13))] {
        let ran = run_after(&[(Field::GuestCr0, cr0)], &[rdmsr(0x123)], Vec::new());
        assert_eq!(ran.entries[1].injection, injection, "CR0 {cr0:#x}");
    }
}

/// SDM vol. 3C, 27.3.1.5: with TF, and STI or MOV SS blocking, the single step must pend; without TF it must not.
#[test]
fn a_debug_exception_under_blocking_is_given_back_with_its_step_pending() {
    for (rflags, interruptibility, pending) in
        [(TF, 1, BS), (TF, 2, BS), (TF, 0, 0), (TF, 8, 0), (0, 1, 0), (0, 2, 0)]
    {
        let exit = RawExit { rflags: rflags | 2, interruptibility, instruction_length: 0, ..exit(0) };
        let information = (Field::ExitInterruptionInformation, 1 << 31 | 3 << 8 | 1);
        let ran = run_after(&[information], &[exit], Vec::new());
        assert_eq!(ran.entries[1].injection, DB);
        assert_eq!(ran.field(Field::GuestPendingDebug), pending, "{rflags:#x} {interruptibility}");
    }
}

/// SDM vol. 3A, table 6-2: the trap of an instruction comes before an interrupt; vol. 3C, 27.7.3: an injected event would
/// take its place.
#[test]
fn a_single_step_comes_before_an_interrupt() {
    let self_ipi = RawExit { rflags: IF | TF | 2, ..wrmsr(0x83f, 0x33) };
    let debug = RawExit { rflags: IF | TF | 2, instruction_length: 0, rip: RIP + 2, ..exit(0) };
    let window = RawExit { rflags: IF | 2, instruction_length: 0, ..exit(7) };
    let information = (Field::ExitInterruptionInformation, 1 << 31 | 3 << 8 | 1);
    let exits = [&apic_with_lvtpc(0x45)[..], &[self_ipi, debug, window]].concat();
    let ran = run_after(&[information], &exits, Vec::new());
    let injected = [4, 5, 6].map(|entry| ran.entries[entry].injection);
    assert_eq!(injected, [Interruption::NONE, DB, Interruption::external(0x33)]);
    assert_eq!(ran.field(Field::GuestPendingDebug), BS);
    assert_ne!(ran.entries[4].primary_controls & primary::INTERRUPT_WINDOW, 0);
}

/// The instruction that the VMM completes may overflow a counter: the kernel then tells of the PMI before the guest goes
/// on, and the trap of that instruction still pends, before the NMI (SDM vol. 3A, table 6-2; vol. 3C, 27.7.3).
#[test]
fn a_pmi_before_the_entry_does_not_take_the_place_of_a_single_step() {
    let cpuid = RawExit { rflags: TF | 2, ..exit(10) };
    let overflow = RawExit { rip: RIP + 2, ..pmi(TF | 2) };
    let debug = RawExit { rflags: TF | 2, instruction_length: 0, rip: RIP + 2, ..exit(0) };
    let window = RawExit { instruction_length: 0, ..exit(8) };
    let information = (Field::ExitInterruptionInformation, 1 << 31 | 3 << 8 | 1);
    let exits = [&apic_with_lvtpc(0x400)[..], &[cpuid, overflow, overflow, debug, window]].concat();
    let ran = run_after(&[information], &exits, Vec::new());
    let injected = [4, 5, 6, 7, 8].map(|entry| ran.entries[entry].injection);
    let none = Interruption::NONE;
    assert_eq!(injected, [none, none, none, DB, Interruption::nmi()]);
    assert_ne!(ran.entries[5].primary_controls & primary::NMI_WINDOW, 0);
    // Where the guest has run since, nothing pends any more, and the NMI comes at once.
    let exits = [&apic_with_lvtpc(0x400)[..], &[cpuid, overflow]].concat().into_iter().map(Return::Exit);
    let on_enter = vec![(5, Field::GuestPendingDebug, 0)];
    let vcpu = Playback { exits: exits.collect(), on_enter, ..Playback::default() };
    assert_eq!(run_on_vcpu(usual, vcpu).0.entries[5].injection, Interruption::nmi());
}

/// SDM vol. 3A, 6.8.3: a data breakpoint that MOV SS has held back comes after the next instruction, before an interrupt.
#[test]
fn a_breakpoint_that_mov_ss_held_back_comes_before_an_interrupt() {
    for (pending, injection) in [(1 << 12 | 1, Interruption::NONE), (0, Interruption::external(0x33))] {
        let self_ipi = RawExit { rflags: IF | 2, interruptibility: 2, ..wrmsr(0x83f, 0x33) };
        let exits = [&apic_with_lvtpc(0x45)[..], &[self_ipi]].concat();
        let ran = run_after(&[(Field::GuestPendingDebug, pending)], &exits, Vec::new());
        assert_eq!((ran.entries[4].injection, ran.field(Field::GuestPendingDebug)), (injection, pending));
    }
}

/// SDM vol. 3C, 27.7.3: the trap after HLT makes the processor active again.
#[test]
fn a_single_step_ends_hlt() {
    let ran = run(&[RawExit { rflags: TF | 2, ..exit(12) }]);
    assert_eq!((ran.stop, ran.field(Field::GuestActivity)), (StopReason::TripleFault, 0));
    assert_eq!((ran.field(Field::GuestPendingDebug), ran.entries[1].rip), (BS, RIP + 2));
}

/// SDM vol. 3C, 28.3.3: an EPT violation saves RF as 1; vol. 3B, 18.3.1.1: the instruction's end clears it.
#[test]
fn an_access_to_a_device_clears_rf() {
    for (code, flags) in [([0x8b, 0x01], 0x202), ([0x0b, 0x01], 0x206)] {
        let mut memory = vec![0; 0x20_0000];
        boot::write_tables(&mut memory);
        memory[0x10_0000..0x10_0002].copy_from_slice(&code);
        let violation = RawExit {
            qualification: 0x181,
            guest_physical: 0xfee0_0030,
            cr3: 0x1000,
            rflags: RF | 0x202,
            ..with(exit(48), &[(Gpr::Rcx, 0xfee0_0030)])
        };
        let ran = run_after(&[(Field::GuestRflags, RF | 0x202)], &[violation], memory);
        assert_eq!((ran.entries[1].rip, ran.field(Field::GuestRflags)), (RIP + 2, flags), "{code:x?}");
    }
}

/// OUTS of this many bytes with these flags.
fn outs(count: u64, rflags: u64) -> Ran {
    let mut memory = vec![0; 0x40_0000];
    boot::write_tables(&mut memory);
    let exit = RawExit { qualification: 0x3f8 << 16 | 3 << 4, cr3: 0x1000, rflags, ..exit(30) };
    let exit = with(exit, &[(Gpr::Rcx, count), (Gpr::Rsi, 0x20_0000)]);
    let changes = [
        (Field::ExitInstructionInformation, 2 << 7 | 3 << 15),
        (Field::GuestLinearAddress, 0x20_0000),
        (Field::GuestRflags, rflags),
    ];
    run_after(&changes, &[exit], memory)
}

/// SDM vol. 3B, 18.3.1.1: RF is 1 between iterations, so that a breakpoint at the instruction is met once; exits by
/// instructions save it as 0 (vol. 3C, 28.3.3).
#[test]
fn a_string_that_goes_on_has_rf() {
    let (part, all) = (outs(257, 2), outs(256, 2));
    assert_eq!((part.entries[1].completed, part.field(Field::GuestRflags)), (false, RF | 2));
    assert_eq!((all.entries[1].completed, all.field(Field::GuestRflags)), (true, 2));
}

/// A single step of a repeated string instruction is an iteration.
#[test]
fn each_iteration_is_a_single_step() {
    let ran = outs(3, TF | 2);
    let next = ran.entries[1];
    assert_eq!((ran.seen.output.len(), next.rip, next.completed), (1, RIP, false));
    assert_eq!(next.registers.expect("they changed").get(Gpr::Rcx), 2);
    assert_eq!(ran.field(Field::GuestPendingDebug), BS);
}

/// SDM vol. 3C, 26.1.3: MOV DR exits at every privilege level; vol. 2C, XSETBV.
#[test]
fn what_exits_before_the_privilege_level_is_checked_is_checked_here() {
    let mov = with(RawExit { qualification: 0, ..exit(29) }, &[(Gpr::Rax, 0x1234)]);
    let xsetbv = with(exit(55), &[(Gpr::Rax, 3)]);
    for (cpl, faults) in [(0, false), (3, true)] {
        let on_enter = vec![(1, Field::GuestSsAccessRights, 0xc093 | cpl << 5)];
        let exits = [mov, xsetbv].map(Return::Exit).into();
        let (ran, vcpu) =
            run_on_vcpu(usual, Playback { exits, on_enter, takes: |_, _| true, ..Playback::default() });
        assert_eq!([1, 2].map(|entry| ran.entries[entry].injection == GP), [faults; 2], "CPL {cpl}");
        assert_eq!(vcpu.switched.last().map(|(_, value)| *value == 3), Some(!faults));
    }
}
