//! HLT: what ends it, and what is the end of the guest.

use super::double::*;
use crate::arch::Interruption;
use crate::registers::Gpr;
use crate::{Field, RawExit, Return, StopReason};
use pmu_api::{OverflowDecision, Reply, Request};

const NMI: u64 = 0x400;
const FIXED: u64 = 0x45;
/// In the interruptibility state: an NMI is in service.
const IN_SERVICE: u32 = 8;

fn delays(request: &Request) -> Option<Reply> {
    Some(match request {
        Request::Open => Reply::Opened(pmu_api::Configuration { report_overflow: true, ..configuration() }),
        Request::Overflow => Reply::Overflow(OverflowDecision::Delay { cycles: 2500 }),
        other => return usual(other),
    })
}

/// HLT with interrupts disabled.
fn hlt(interruptibility: u32) -> RawExit {
    RawExit { interruptibility, ..exit(12) }
}

const EXPIRED: RawExit = RawExit {
    reason: 52,
    rflags: 2,
    rip: RIP + 2,
    qualification: 0,
    instruction_length: 0,
    guest_physical: 0,
    interruptibility: 0,
    cr3: 0,
    injection: Interruption::NONE,
    registers: crate::Registers([0; crate::registers::REGISTERS]),
};

/// SDM vol. 3B, 20.5.4; vol. 3A, 6.7.1: a PMI that the policy delays comes as NMI, whatever IF, unless one is in service.
#[test]
fn a_delayed_pmi_as_nmi_ends_hlt_with_interrupts_disabled() {
    let halted = |lvtpc, interruptibility| {
        let exits = [pmi(2), hlt(interruptibility), EXPIRED, EXPIRED];
        run_with(delays, &[&apic_with_lvtpc(lvtpc)[..], &exits].concat())
    };
    let nmi = halted(NMI, 0);
    assert_eq!((nmi.stop, nmi.field(Field::GuestActivity)), (StopReason::TripleFault, 1));
    assert!(nmi.entries.iter().any(|entry| entry.injection == Interruption::nmi()));
    assert_eq!(halted(NMI, IN_SERVICE).stop, StopReason::Halted);
    assert_eq!(halted(FIXED, 0).stop, StopReason::Halted);
    assert_eq!(halted(1 << 16 | NMI, 0).stop, StopReason::Halted, "masked");
}

/// A PMI of HLT itself, or of what is before it, is in the kernel when the guest halts: it comes before a timer of 0.
#[test]
fn a_pmi_that_the_kernel_has_ends_hlt_with_interrupts_disabled() {
    let after = |exits: &[RawExit]| run(&[&apic_with_lvtpc(NMI)[..], &[hlt(0)], exits].concat());
    let there = after(&[RawExit { rip: RIP + 2, ..pmi(2) }]);
    assert_eq!(there.field(Field::PreemptionTimer), u64::from(u32::MAX), "no look any more");
    assert_eq!((there.entries[5].injection, there.entries[5].rip), (Interruption::nmi(), RIP + 2));
    let none = after(&[EXPIRED]);
    assert_eq!(
        (none.stop, none.field(Field::PreemptionTimer), none.entries.len()),
        (StopReason::Halted, 0, 5)
    );
    // The policy domain finds no overflow: the guest halts as before.
    let spurious = |request: &Request| match request {
        Request::Overflow => Some(Reply::Overflow(OverflowDecision::Spurious)),
        other => delays(other),
    };
    let exits = [hlt(0), pmi(2), EXPIRED];
    let ran = run_with(spurious, &[&apic_with_lvtpc(NMI)[..], &exits].concat());
    assert_eq!((ran.stop, ran.entries.len()), (StopReason::Halted, 6));
}

/// SDM vol. 3A, 6.7.1: an NMI that pends waits for the end of the one in service, which a halted processor does not reach.
#[test]
fn an_nmi_does_not_end_hlt_while_another_is_in_service() {
    let to_self = wrmsr(0x830, 1 << 18 | NMI);
    let halted = |interruptibility| {
        let send = RawExit { interruptibility, ..to_self };
        run(&[&apic_with_lvtpc(1 << 16)[..], &[send, hlt(interruptibility)]].concat())
    };
    assert_eq!(halted(IN_SERVICE).stop, StopReason::Halted);
    // Without, it comes at once.
    assert_eq!(halted(0).entries[4].injection, Interruption::nmi());
}

/// A timer has run out to no effect, and nothing else can end HLT.
#[test]
fn a_timer_that_interrupted_nobody_leaves_the_guest_idle() {
    let halted = |mask, activity| {
        let timer = [out(0x21, mask), out(0x43, 0x30), out(0x40, 10), out(0x40, 0)];
        let hlt = RawExit { rflags: IF | 2, ..hlt(0) };
        let exits = [&timer[..], &[hlt], &[RawExit { rflags: IF | 2, ..EXPIRED }; 14]].concat();
        let on_enter = vec![(6, Field::GuestActivity, activity)];
        let exits = exits.into_iter().map(Return::Exit).collect();
        run_on_vcpu(usual, Playback { exits, on_enter, memory: vec![0; 0x20_0000], ..Playback::default() }).0
    };
    let masked = halted(0xff, 1);
    assert_eq!(masked.stop, StopReason::Idle);
    // 10 ticks of 838 ns from the fourth exit on, 1000 cycles, here ns, an exit: not before the timer has run out.
    assert_eq!(masked.entries.len(), 4 + 9);
    assert_eq!(halted(0xff, 0).stop, StopReason::TripleFault, "it is not halted any more");
}

/// A guest without counters waits for no PMI, whatever its LVTPC says.
#[test]
fn without_counters_no_pmi_ends_hlt() {
    let off = |request: &Request| match request {
        Request::Open => Some(Reply::Opened(pmu_api::Configuration { leaf_a: [0; 4], ..configuration() })),
        other => usual(other),
    };
    let idle = RawExit { rflags: IF | 2, ..hlt(0) };
    for lvtpc in [FIXED, NMI] {
        let exits = [&apic_with_lvtpc(lvtpc)[..], &[idle]].concat();
        assert_eq!(run_with(off, &exits).stop, StopReason::Idle);
        assert_eq!(run(&exits).stop, StopReason::TripleFault, "with counters one may come");
    }
}

fn out(port: u64, value: u64) -> RawExit {
    with(RawExit { qualification: port << 16, ..exit(30) }, &[(Gpr::Rax, value)])
}

/// 82093AA data sheet, 3.2.4: a timer by a pin that sends NMIs.
#[test]
fn a_timer_by_nmi_ends_hlt_with_interrupts_disabled() {
    let mut memory = vec![0; 0x20_0000];
    crate::boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0002].copy_from_slice(&[0x89, 0x07]);
    let store = |offset: u64, value| RawExit {
        qualification: 0x182,
        guest_physical: 0xfec0_0000 + offset,
        cr3: 0x1000,
        ..with(exit(48), &[(Gpr::Rax, value)])
    };
    let timer = [out(0x43, 0x30), out(0x40, 10), out(0x40, 0)];
    let halted = |entry| {
        let pin = [store(0, 0x14), store(0x10, entry)];
        let exits = [&timer[..], &pin, &[hlt(0)], &[EXPIRED; 8]].concat();
        play(usual, exits.into_iter().map(Return::Exit).collect(), memory.clone())
    };
    let nmi = halted(NMI);
    assert_eq!(nmi.stop, StopReason::TripleFault);
    assert!(nmi.entries.iter().any(|entry| entry.injection == Interruption::nmi()));
    assert_eq!(halted(FIXED).stop, StopReason::Halted);
    assert_eq!(halted(1 << 16 | NMI).stop, StopReason::Halted);
}
