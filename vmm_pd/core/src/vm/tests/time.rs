//! The time-stamp counter and the debug registers, on a kernel that takes what belongs to them and on one that does not.

use super::double::*;
use crate::arch::{msr, primary};
use crate::registers::Gpr;
use crate::{Field, Interruption, RawExit, Return};
use std::collections::HashMap;

const LVT_TIMER: u32 = 0x832;
const TSC_DEADLINE_MODE: u64 = 2 << 17;

fn value(ran: &Ran, entry: usize) -> u64 {
    let registers = ran.entries[entry].registers.expect("they changed");
    registers.get(Gpr::Rdx) << 32 | registers.get(Gpr::Rax)
}

/// SDM vol. 3B, 18.17.3; vol. 3C, 26.3: the offset is what RDTSC adds. An entry takes 1000 cycles here.
#[test]
fn a_guest_moves_its_time_stamp_counter() {
    let exits = [
        rdmsr(msr::TSC),
        wrmsr(msr::TSC, 5_000_000),
        rdmsr(msr::TSC),
        rdmsr(msr::TSC_ADJUST),
        wrmsr(msr::TSC_ADJUST, 0),
        rdmsr(msr::TSC),
    ];
    let (ran, _) = run_bundled(&exits, HashMap::new());
    assert_eq!([1, 3, 4].map(|entry| value(&ran, entry)), [1000, 5_001_000, 5_000_000 - 2000]);
    assert_eq!(value(&ran, 6), 6000, "the processor's own again");
    assert_eq!(ran.field(Field::TscOffset), 0);
    let offset = |entry: usize| ran.entries[entry].primary_controls & primary::TSC_OFFSETTING != 0;
    assert_eq!([1, 2, 6].map(offset), [false, true, true]);

    let ran = run(&[wrmsr(msr::TSC, 0), rdmsr(msr::TSC_ADJUST)]);
    assert_eq!([1, 2].map(|entry| ran.entries[entry].injection), [GP; 2], "a kernel without offsets");
}

/// SDM vol. 3A, 11.5.4.1: the timer interrupts when the counter that the guest sees reaches the deadline.
#[test]
fn a_deadline_is_by_the_guest_s_counter() {
    let apic = [wrmsr(0x1b, 0xfee0_0d00), wrmsr(0x80f, 0x1ff), wrmsr(LVT_TIMER, TSC_DEADLINE_MODE | 0x60)];
    let timer = |ran: &Ran| ran.field(Field::PreemptionTimer) << 5;
    for (first, second) in [
        // The counter goes back after the deadline was set, and before.
        (wrmsr(msr::TSC_DEADLINE, 1_000_000), wrmsr(msr::TSC, 360_000)),
        (wrmsr(msr::TSC, 359_000), wrmsr(msr::TSC_DEADLINE, 1_000_000)),
    ] {
        let exits = [apic.as_slice(), &[first, second, rdmsr(msr::TSC_DEADLINE)]].concat();
        let (ran, _) = run_bundled(&exits, HashMap::new());
        assert_eq!(value(&ran, 6), 1_000_000);
        // The counter is at 361,000 now; the timer's ticks are 32 cycles.
        assert_eq!(timer(&ran), 639_000 / 32 * 32);
    }
    // A deadline that the write leaves behind is due.
    let exits =
        [apic.as_slice(), &[wrmsr(msr::TSC_DEADLINE, 1_000_000), wrmsr(msr::TSC, 2_000_000)]].concat();
    let (ran, _) = run_bundled(&exits, HashMap::new());
    assert_ne!(ran.entries[5].primary_controls & primary::INTERRUPT_WINDOW, 0);
}

/// SDM vol. 3C, 26.1.3: without MOV-DR exiting the debug registers are the guest's.
#[test]
fn debug_registers_exit_only_where_nothing_switches_them() {
    let exits = |ran: &Ran| ran.entries.iter().all(|entry| entry.primary_controls & primary::MOV_DR != 0);
    let (ran, _) = run_bundled(&[exit(10)], HashMap::new());
    assert!(ran.entries.iter().all(|entry| entry.primary_controls & primary::MOV_DR == 0));
    assert!(exits(&run(&[exit(10)])));
}

/// SDM vol. 3B, 18.4.3: with BTF an instruction that is no branch does not trap.
#[test]
fn a_completed_instruction_traps_by_single_step() {
    const BS: u64 = 1 << 14;
    for (debugctl, pending) in [(0, BS), (2, 0)] {
        let mut cpuid = exit(10);
        cpuid.rflags |= 1 << 8;
        let ran = run(&[wrmsr(msr::DEBUGCTL, debugctl), cpuid]);
        assert_eq!(ran.field(Field::GuestPendingDebug), pending, "IA32_DEBUGCTL {debugctl}");
    }
}

/// SDM vol. 3C, table 28-1: an intercepted debug exception is the guest's own; DR7.GD is clear in its handler.
#[test]
fn a_debug_exception_is_given_back() {
    const DB: u32 = 1;
    let at = |information: u64, length: u64| {
        let fields = [
            (Field::ExitInterruptionInformation as u32, 1 << 31 | information << 8 | 1),
            (Field::IdtVectoringInformation as u32, 0),
        ];
        let exit = RawExit { instruction_length: length, ..exit(0) };
        // The guest's DR7 is written before the exit.
        let vcpu = Playback { on_enter: vec![(1, Field::GuestDr7, 0x2402)], ..Playback::default() };
        let vcpu = Playback { takes: |_, _| true, fields: fields.into(), ..vcpu };
        run_on_vcpu(
            usual,
            Playback { exits: [Return::Exit(exit)].into(), memory: vec![0; 0x20_0000], ..vcpu },
        )
    };
    let (ran, _) = at(3, 0);
    let next = ran.entries[1];
    assert_eq!((next.rip, next.completed, next.injection), (RIP, false, Interruption::exception(1)));
    assert_eq!(ran.field(Field::GuestDr7), 0x402);
    assert_eq!(ran.field(Field::GuestDebugctl), 0, "vol. 3B, 18.4.3");
    assert_ne!(ran.field(Field::ExceptionBitmap) & 1 << DB, 0);
    assert!(!ran.fields.contains_key(&(Field::GuestRflags as u32)) || ran.field(Field::GuestRflags) == 2);
    // INT1 comes after its instruction.
    let (ran, _) = at(5, 1);
    assert_eq!((ran.entries[1].rip, ran.entries[1].injection), (RIP + 1, Interruption::exception(1)));
    let (ran, _) = run_on_vcpu(usual, Playback { memory: vec![0; 0x20_0000], ..Playback::default() });
    assert_eq!(ran.field(Field::ExceptionBitmap) & 1 << DB, 0, "a kernel that does not switch them");
}
