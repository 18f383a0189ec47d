//! Events: what is injected, when, and what waits.

use super::double::*;
use crate::arch::{Interruption, primary};
use crate::registers::Gpr;
use crate::vm::tests::double::Ran;
use crate::{Field, RawExit, Return, StopReason};
use pmu_api::{OverflowDecision, Reply, Request};

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
    exits.push_back(Return::Notified { rip: 0x5000, injection: Interruption::NONE });
    exits.push_back(Return::Notified { rip: 0x5001, injection: Interruption::nmi() });
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

/// The policy delays PMIs: they come by the timer, merged.
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
    assert_eq!((counts.raised, counts.delivered, counts.lost), (2, 1, 1));
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
        };
        let stop = vm.run(&mut vcpu, &mut Seen::default(), &crate::boot::Start::long(RIP, 0));
        (vcpu.entries.last().expect("entered").injection, stop)
    };
    let ac = 1 << 31 | 1 << 11 | 3 << 8 | 17;
    assert_eq!(run_exception(ac, 0).0, Interruption::exception_with_zero_code(17));
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
