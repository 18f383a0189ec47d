//! Events: what is injected, when, and what waits.

use super::double::*;
use crate::arch::{Interruption, primary};
use crate::registers::Gpr;
use crate::vm::tests::double::Ran;
use crate::{Field, RawExit, Return, StopReason};
use pmu_api::{OverflowDecision, Reply, Request};
use std::collections::VecDeque;

fn after(setup: &[RawExit], exits: &[RawExit]) -> Ran {
    run(&[setup, exits].concat())
}

const FIXED: u64 = 0x45;
const NMI: u64 = 0x400;

/// SDM vol. 3B, 20.5.4.
#[test]
fn a_pmi_is_injected_as_lvtpc_says() {
    let fixed = after(&apic_with_lvtpc(FIXED), &[pmi(IF | 2)]);
    assert_eq!(fixed.entries[4].injection, Interruption::external(0x45));
    assert!(!fixed.entries[4].completed);
    let nmi = after(&apic_with_lvtpc(NMI), &[pmi(2)]);
    assert_eq!(nmi.entries[4].injection, Interruption::nmi());
    let counts = nmi.vm.report(nmi.stop).statistics.pmi;
    assert_eq!((counts.raised, counts.delivered, counts.lost, counts.spurious), (1, 1, 0, 0));
}

#[test]
fn a_masked_pmi_is_counted_and_not_injected() {
    let ran = after(&apic_with_lvtpc(1 << 16 | NMI), &[pmi(2)]);
    assert!(!ran.entries[4].injection.is_valid());
    assert_eq!(ran.vm.report(ran.stop).statistics.pmi.spurious, 1);
}

/// SDM vol. 3C, 26.2: interrupt-window exiting.
#[test]
fn an_interrupt_waits_for_its_window() {
    let window = RawExit { rflags: IF | 2, instruction_length: 0, ..exit(7) };
    let ran = after(&apic_with_lvtpc(FIXED), &[pmi(2), window]);
    let (waiting, open) = (ran.entries[4], ran.entries[5]);
    assert!(!waiting.injection.is_valid());
    assert_ne!(waiting.primary_controls & primary::INTERRUPT_WINDOW, 0);
    assert_eq!(open.injection, Interruption::external(0x45));
    assert_eq!(open.primary_controls & primary::INTERRUPT_WINDOW, 0);
}

/// SDM vol. 3A, 6.8.3: not in the instruction after STI or MOV SS.
#[test]
fn blocking_by_sti_and_mov_ss_delays_interrupts_and_nmis() {
    for (lvtpc, window) in [(FIXED, primary::INTERRUPT_WINDOW), (NMI, primary::NMI_WINDOW)] {
        let ran = after(&apic_with_lvtpc(lvtpc), &[RawExit { interruptibility: 2, ..pmi(IF | 2) }]);
        assert!(!ran.entries[4].injection.is_valid());
        assert_ne!(ran.entries[4].primary_controls & window, 0, "LVTPC {lvtpc:#x}");
    }
    let sti = after(&apic_with_lvtpc(NMI), &[RawExit { interruptibility: 1, ..pmi(IF | 2) }]);
    assert_ne!(sti.entries[4].primary_controls & primary::INTERRUPT_WINDOW, 0);
}

/// SDM vol. 3A, 6.7.1: one NMI in service, one pending.
#[test]
fn an_nmi_waits_while_another_is_in_service() {
    let in_service = RawExit { interruptibility: 8, ..pmi(2) };
    let unmask = RawExit { interruptibility: 8, ..wrmsr(0x834, NMI) };
    let window = RawExit { instruction_length: 0, ..exit(8) };
    let ran = after(&apic_with_lvtpc(NMI), &[in_service, unmask, in_service, window]);
    assert!(!ran.entries[4].injection.is_valid());
    assert_ne!(ran.entries[4].primary_controls & primary::NMI_WINDOW, 0);
    assert_eq!(ran.entries[7].injection, Interruption::nmi());
    assert_eq!(ran.entries[7].primary_controls & primary::NMI_WINDOW, 0);
    let counts = ran.vm.report(ran.stop).statistics.pmi;
    assert_eq!((counts.raised, counts.delivered, counts.lost), (2, 1, 1), "the second merged with the first");
}

#[test]
fn an_injection_that_did_not_happen_is_submitted_again() {
    let before_entry = RawExit { injection: Interruption::external(0x60), ..pmi(IF | 2) };
    let ran = after(&apic_with_lvtpc(FIXED), &[before_entry]);
    let next = ran.entries[4];
    assert_eq!(next.injection, Interruption::external(0x60));
    assert_ne!(next.primary_controls & primary::INTERRUPT_WINDOW, 0, "the PMI waits");
}

/// A notification interrupts VMEnter: the guest's flags are not known, nothing new is injected.
#[test]
fn a_notification_keeps_the_injection_and_injects_nothing_new() {
    let mut exits: std::collections::VecDeque<Return> =
        apic_with_lvtpc(FIXED).into_iter().map(Return::Exit).collect();
    exits.push_back(Return::Exit(pmi(2)));
    exits.push_back(Return::Notified { rip: 0x5000, injection: Interruption::NONE, end: false });
    exits.push_back(Return::Notified { rip: 0x5001, injection: Interruption::nmi(), end: false });
    let ran = play(usual, exits, vec![0; 0x1_0000]);
    let first = ran.entries[5];
    assert_eq!((first.rip, first.injection.is_valid(), first.completed), (0x5000, false, false));
    assert_ne!(first.primary_controls & primary::INTERRUPT_WINDOW, 0);
    assert_eq!(ran.entries[6].injection, Interruption::nmi());
}

/// SDM vol. 3C, 25.4.2.
#[test]
fn hlt_waits_in_the_halt_state_unless_an_event_pends() {
    let idle = after(&apic_with_lvtpc(FIXED), &[RawExit { rflags: IF | 2, ..exit(12) }]);
    assert_eq!(idle.field(Field::GuestActivity), 1);
    assert_eq!((idle.entries[4].rip, idle.entries[4].completed), (RIP + 2, true));
    // A self-IPI pends behind CLI; STI and HLT: the interrupt comes at once.
    let pends = RawExit { rflags: IF | 2, interruptibility: 1, ..exit(12) };
    let woken = after(&apic_with_lvtpc(FIXED), &[wrmsr(0x83f, 0x33), pends]);
    assert_eq!(woken.field(Field::GuestActivity), 0);
    assert_eq!(woken.entries[5].injection, Interruption::external(0x33));
}

#[test]
fn halted_for_ever_is_an_end() {
    assert_eq!(run(&[exit(12)]).stop, StopReason::Halted);
    let idle = RawExit { rflags: IF | 2, ..exit(12) };
    assert_eq!(run(&[idle]).stop, StopReason::Idle, "no timer, no PMI, no device");
    assert_eq!(after(&apic_with_lvtpc(1 << 16 | FIXED), &[idle]).stop, StopReason::Idle, "LVTPC is masked");
    let timer = [wrmsr(0x832, 0x40), wrmsr(0x838, 64_000)];
    assert_eq!(run(&[&apic_with_lvtpc(1 << 16)[..], &timer, &[idle]].concat()).stop, StopReason::TripleFault);
}

#[test]
fn the_timer_interrupts_by_the_preemption_timer() {
    let timer = [wrmsr(0x83e, 0xb), wrmsr(0x832, 0x40), wrmsr(0x838, 64_000)];
    let expired = RawExit { rflags: IF | 2, instruction_length: 0, ..exit(52) };
    let ran = run(&[&apic_with_lvtpc(FIXED)[..], &timer, &[expired; 80]].concat());
    let injected = ran.entries.iter().filter(|e| e.injection == Interruption::external(0x40)).count();
    assert_eq!(injected, 1);
    assert_eq!(ran.field(Field::PreemptionTimer), u64::from(u32::MAX), "nothing to wait for any more");
}

/// SDM vol. 3A, 11.8.4: an interrupt that pends is one, however often its timer runs out: the guest is stopped for it once.
#[test]
fn a_timer_whose_interrupt_pends_lets_the_guest_run() {
    let timer = [wrmsr(0x83e, 0xb), wrmsr(0x832, 1 << 17 | 0x40), wrmsr(0x838, 1)];
    let expired = RawExit { instruction_length: 0, ..exit(52) };
    let window = RawExit { rflags: IF | 2, instruction_length: 0, ..exit(7) };
    let exits = [&apic_with_lvtpc(FIXED)[..], &timer, &[expired]].concat();
    let ran = run(&exits);
    assert_eq!(ran.field(Field::PreemptionTimer), u64::from(u32::MAX), "it pends");
    // An entry takes 1000 cycles. What ran out while the interrupt pended was one with it: the next is the fourth.
    let timer = [wrmsr(0x83e, 0xb), wrmsr(0x832, 1 << 17 | 0x40), wrmsr(0x838, 10_000)];
    let exits = [&apic_with_lvtpc(FIXED)[..], &timer, &[exit(10); 32], &[window]].concat();
    let ran = run(&exits);
    assert_eq!(ran.entries.last().map(|entry| entry.injection), Some(Interruption::external(0x40)));
    let next = 6_000 + 4 * 10_000;
    assert_eq!(ran.field(Field::PreemptionTimer), (next - 39_000) >> 5);
}

/// The policy delays PMIs: they come by the timer as one, and none is lost.
#[test]
fn a_delayed_pmi_comes_when_its_time_has_come() {
    fn delays(request: &Request) -> Option<Reply> {
        Some(match request {
            Request::Open => {
                Reply::Opened(pmu_api::Configuration { report_overflow: true, ..configuration() })
            }
            Request::Overflow => Reply::Overflow(OverflowDecision::Delay { cycles: 2500 }),
            other => return usual(other),
        })
    }
    let expired = RawExit { instruction_length: 0, ..exit(52) };
    let setup = apic_with_lvtpc(NMI);
    let ran = run_with(delays, &[&setup[..], &[pmi(2), pmi(2), expired, expired, expired]].concat());
    let injected: Vec<bool> = ran.entries.iter().map(|e| e.injection == Interruption::nmi()).collect();
    assert_eq!(injected.iter().filter(|i| **i).count(), 1);
    assert!(!injected[4] && !injected[5], "not before its time");
    let counts = ran.vm.report(ran.stop).statistics.pmi;
    assert_eq!((counts.raised, counts.delivered, counts.lost, counts.joined), (2, 1, 0, 1));
}

#[test]
fn a_pmi_that_the_policy_domain_calls_spurious_is_dropped() {
    fn spurious(request: &Request) -> Option<Reply> {
        Some(match request {
            Request::Open => {
                Reply::Opened(pmu_api::Configuration { report_overflow: true, ..configuration() })
            }
            Request::Overflow => Reply::Overflow(OverflowDecision::Spurious),
            other => return usual(other),
        })
    }
    let ran = run_with(spurious, &[&apic_with_lvtpc(NMI)[..], &[pmi(2)]].concat());
    assert!(!ran.entries[4].injection.is_valid());
    assert_eq!(ran.vm.report(ran.stop).statistics.pmi.spurious, 1);
}

/// #AC is intercepted against an endless loop, and given back.
#[test]
fn intercepted_exceptions() {
    let run_exception = |information: u64, delivering: u64| {
        let mut vm = crate::Vm::new(Policy { asked: std::rc::Rc::default(), answer: usual }).expect("opens");
        let fields = [
            (Field::ExitInterruptionInformation as u32, information),
            (Field::IdtVectoringInformation as u32, delivering),
        ];
        let mut vcpu = Playback {
            exits: [Return::Exit(exit(0))].into(),
            fields: fields.into(),
            entries: Vec::new(),
            memory: Vec::new(),
            now: 0,
            ..Playback::default()
        };
        let stop = vm.run(&mut vcpu, &mut Seen::default(), &crate::boot::Start::long(RIP, 0));
        (vcpu.entries.last().expect("entered").injection, stop)
    };
    let ac = 1 << 31 | 1 << 11 | 3 << 8 | 17;
    assert_eq!(run_exception(ac, 0).0, Interruption::exception_with_code(17));
    assert_eq!(run_exception(ac, 1 << 31 | 3 << 8 | 17).1, StopReason::Delivery(Interruption(0x8000_0311)));
    assert_eq!(run_exception(1 << 31 | 3 << 8 | 18, 0).1, StopReason::MachineCheck);
    assert_eq!(
        run_exception(1 << 31 | 2 << 8 | 2, 0).1,
        StopReason::TripleFault,
        "a host NMI changes nothing"
    );
}

#[test]
fn an_mmio_read_of_the_apic_needs_no_register_but_its_own() {
    // mov eax, [rcx] at RIP; the page tables of `boot` map it one to one.
    let mut memory = vec![0; 0x20_0000];
    crate::boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0002].copy_from_slice(&[0x8b, 0x01]);
    let violation = RawExit {
        qualification: 0x181,
        guest_physical: 0xfee0_0030,
        cr3: 0x1000,
        ..with(exit(48), &[(Gpr::Rcx, 0xfee0_0030)])
    };
    let ran = play(usual, [Return::Exit(violation)].into(), memory);
    let next = ran.entries[1];
    assert_eq!(next.registers.expect("a load").get(Gpr::Rax), 0x5_0014);
    assert_eq!((next.rip, next.completed), (RIP + 2, true));
}

fn out(port: u64, value: u64) -> RawExit {
    with(RawExit { qualification: port << 16, ..exit(30) }, &[(Gpr::Rax, value)])
}

/// The 8259A with vectors from 0x20, the timer in mode 2 at its highest rate but one.
fn timer() -> Vec<RawExit> {
    let words = [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x43, 0x14), (0x40, 2)];
    words.map(|(port, value)| out(port, value)).into()
}

const WINDOW: RawExit = RawExit {
    reason: 7,
    rflags: IF | 2,
    rip: RIP,
    qualification: 0,
    instruction_length: 0,
    guest_physical: 0,
    interruptibility: 0,
    cr3: 0,
    injection: Interruption::NONE,
    registers: crate::Registers([0; crate::registers::REGISTERS]),
};

/// MultiProcessor Specification 1.4, 3.6.2.2: the 8259A's interrupt through LINT0, as a PC starts.
#[test]
fn the_timer_interrupts_through_the_8259a() {
    let ran = run(&[timer(), vec![RawExit { rflags: IF | 2, ..exit(12) }; 4]].concat());
    let injected = ran.entries.iter().find(|entry| entry.injection.is_valid()).expect("the timer interrupts");
    assert_eq!(injected.injection, Interruption::external(0x20));
    // It is in service: no other comes before its end.
    assert_eq!(ran.entries.iter().filter(|entry| entry.injection.is_valid()).count(), 1);
    let mut waits = timer();
    waits.extend([exit(10), exit(10), exit(10), WINDOW]);
    let ran = run(&waits);
    let last = ran.entries.len() - 1;
    assert_ne!(ran.entries[last - 1].primary_controls & primary::INTERRUPT_WINDOW, 0, "IF is clear");
    assert_eq!(ran.entries[last].injection, Interruption::external(0x20));
}

/// SDM vol. 3A, 11.5.1: LINT0 masked, or of another mode, lets nothing of the 8259A through; 11.4.3: without the APIC it
/// comes directly.
#[test]
fn lint0_decides_about_the_8259a() {
    let x2apic = [wrmsr(0x1b, 0xfee0_0d00), wrmsr(0x80f, 0x1ff)];
    let injections = |setup: &[RawExit]| {
        let ran = run(&[setup, &timer(), &[WINDOW; 4]].concat());
        ran.entries.iter().filter(|entry| entry.injection == Interruption::external(0x20)).count()
    };
    assert_eq!(injections(&x2apic), 1);
    assert_eq!(injections(&[&x2apic[..], &[wrmsr(0x835, 0x1_0700)]].concat()), 0, "masked");
    assert_eq!(injections(&[&x2apic[..], &[wrmsr(0x835, 0x30)]].concat()), 0, "fixed");
    assert_eq!(injections(&[wrmsr(0x1b, 0xfee0_0100)]), 1, "APIC switched off");
}

/// A level on pin 14 of the I/O APIC comes again after each end of interrupt, until it is gone (82093AA data sheet,
/// 3.2.4; SDM vol. 3A, 11.8.5).
#[test]
fn a_level_comes_again_after_the_end_of_interrupt() {
    let mut memory = vec![0; 0x20_0000];
    crate::boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0002].copy_from_slice(&[0x89, 0x07]);
    let store = |offset: u64, value| RawExit {
        qualification: 0x182,
        guest_physical: 0xfec0_0000 + offset,
        cr3: 0x1000,
        ..with(exit(48), &[(Gpr::Rax, value)])
    };
    let raise = |level| out(0x200e, level);
    let end = wrmsr(0x80b, 0);
    let exits = [
        wrmsr(0x1b, 0xfee0_0d00),
        wrmsr(0x80f, 0x1ff),
        store(0, 0x2c),
        store(0x10, 0x8055),
        raise(1),
        WINDOW,
        WINDOW,
        end,
        WINDOW,
        raise(0),
        end,
        WINDOW,
    ];
    let ran = play(usual, exits.map(Return::Exit).into(), memory);
    let injected: Vec<usize> =
        (0..).zip(&ran.entries).filter(|(_, e)| e.injection.is_valid()).map(|(i, _)| i).collect();
    assert_eq!(injected, [6, 9], "after the level, and after the first end");
    assert_eq!(ran.entries[6].injection, Interruption::external(0x55));
}

/// SDM vol. 3A, 11.5.1 and table 11-1: a message of the I/O APIC may be an NMI; it wakes a halted processor.
#[test]
fn an_nmi_of_the_io_apic_is_injected() {
    let mut memory = vec![0; 0x20_0000];
    crate::boot::write_tables(&mut memory);
    memory[0x10_0000..0x10_0002].copy_from_slice(&[0x89, 0x07]);
    let store = |offset: u64, value| RawExit {
        qualification: 0x182,
        guest_physical: 0xfec0_0000 + offset,
        cr3: 0x1000,
        ..with(exit(48), &[(Gpr::Rax, value)])
    };
    let exits = [store(0, 0x2c), store(0x10, 0x455), out(0x200e, 1)];
    let ran = play(usual, exits.map(Return::Exit).into(), memory);
    assert_eq!(ran.entries[3].injection, Interruption::nmi());
}

/// SDM vol. 3C, 26.5.1: with a timer of 0 the guest exits before its next instruction; the report has where it is.
#[test]
fn a_request_ends_the_guest_where_it_is() {
    let mut last = with(exit(52), &[(Gpr::Rbx, 0xb)]);
    last.rip = 0x7777;
    let mut exits = VecDeque::from([Return::Exit(exit(10))]);
    exits.push_back(Return::Notified { rip: 0x7777, injection: Interruption::NONE, end: true });
    exits.push_back(Return::Exit(last));
    exits.push_back(Return::Exit(exit(10)));
    let ran = play(usual, exits, vec![0; 0x20_0000]);
    assert_eq!((ran.stop, ran.field(Field::PreemptionTimer)), (StopReason::TimeLimit, 0));
    assert_eq!((ran.entries.len(), ran.entries[2].rip), (3, 0x7777));
    let report = ran.vm.report(ran.stop).to_string();
    assert!(report.contains("@registers rip=0x7777") && report.contains("rbx=0xb "), "{report}");
    assert!(report.contains("the guest was stopped at the time limit"), "{report}");
}
