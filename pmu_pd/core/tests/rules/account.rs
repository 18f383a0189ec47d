//! Instructions that the VMM completes, on a kernel without the extension (volume 3C, 26.1; 20.2.1.1).

use crate::common::*;
use pmu_api::{Completion, Mode, Reply, Request};
use pmu_core::arch::*;
use pmu_core::vpmu::account::{counts_completion, fixed_counts_completion};
use pmu_core::{PortError, RawGeometry};

const OS: Completion = Completion { branch: false, user: false };
const INSTRUCTIONS: u64 = 0xC0;
const BRANCHES: u64 = 0xC4;
const ON: u64 = selector::ENABLE | selector::OS | selector::USR;

fn stock() -> RawGeometry {
    let raw = ice_lake();
    RawGeometry { flags: raw.flags | RawGeometry::WITHOUT_EXTENSION, ..raw }
}

fn guest() -> Bench {
    let mut bench = Bench::with(stock(), &policy(Mode::Mediated, version(5), allow_all()));
    bench.accepts(IA32_PERF_GLOBAL_CTRL, 0xF_0000_00FF);
    bench
}

impl Bench {
    fn complete(&mut self, completion: Completion) {
        assert_eq!(self.vpmu.account(&mut self.port, Some(completion)), Ok(false));
    }
}

/// Each condition of an event's count, from 20.2.1.1 (figure 20-1) and table 20-1.
#[test]
fn a_selector_counts_the_instruction_that_it_selects() {
    let user = Completion { user: true, ..OS };
    let branch = Completion { branch: true, ..OS };
    let one = |value: u64, completion, counts| {
        assert_eq!(counts_completion(value, completion), counts, "{value:#x} {completion:?}");
    };
    one(ON | INSTRUCTIONS, OS, true);
    one(ON | INSTRUCTIONS, branch, true);
    one(ON | BRANCHES, OS, false);
    one(ON | BRANCHES, branch, true);
    one(ON | 0x3C, branch, false);
    one(ON | 0x01C0, OS, false);
    one(ON & !selector::ENABLE | INSTRUCTIONS, OS, false);
    one(ON & !selector::OS | INSTRUCTIONS, OS, false);
    one(ON & !selector::OS | INSTRUCTIONS, user, true);
    one(ON & !selector::USR | INSTRUCTIONS, user, false);
    one(ON | selector::INT | INSTRUCTIONS, OS, true);
    one(ON | selector::EDGE | INSTRUCTIONS, OS, false);
    // A counter mask of 1 is reached by one event, of 2 is not; inverted, one event is not below 1. Without a mask, INV
    // has no effect.
    one(ON | 1 << 24 | INSTRUCTIONS, OS, true);
    one(ON | 2 << 24 | INSTRUCTIONS, OS, false);
    one(ON | 1 << 24 | selector::INVERT | INSTRUCTIONS, OS, false);
    one(ON | selector::INVERT | INSTRUCTIONS, OS, true);
}

/// Fixed counter 0 counts retired instructions in the rings of its field (20.2.2, table 20-2).
#[test]
fn fixed_counter_0_counts_in_its_rings() {
    let user = Completion { user: true, ..OS };
    for (control, kernel, application) in
        [(0, false, false), (1, true, false), (2, false, true), (0xB, true, true)]
    {
        assert_eq!(fixed_counts_completion(control, OS), kernel);
        assert_eq!(fixed_counts_completion(control, user), application);
        assert!(!fixed_counts_completion(control << 4, OS), "the others count something else");
    }
}

#[test]
fn every_counter_that_counts_gains_one() {
    let mut bench = guest();
    bench.accepts(EVENTSEL, ON | INSTRUCTIONS);
    bench.accepts(EVENTSEL + 1, ON | BRANCHES);
    bench.accepts(EVENTSEL + 7, ON | INSTRUCTIONS);
    bench.accepts(IA32_FIXED_CTR_CTRL, 0x33);
    bench.complete(OS);
    bench.complete(Completion { branch: true, ..OS });
    for (msr, count) in [(IA32_A_PMC0, 2), (IA32_A_PMC0 + 1, 1), (IA32_A_PMC0 + 7, 2), (IA32_A_PMC0 + 2, 0)] {
        assert_eq!(bench.port.get(msr), count, "{msr:#x}");
    }
    assert_eq!((bench.port.get(IA32_FIXED_CTR0), bench.port.get(IA32_FIXED_CTR0 + 1)), (2, 0));
}

/// Nothing was completed, the counter is disabled by IA32_PERF_GLOBAL_CTRL, or the filter denies the event.
#[test]
fn what_does_not_count_stays() {
    let mut bench = guest();
    bench.accepts(EVENTSEL, ON | INSTRUCTIONS);
    bench.accepts(IA32_FIXED_CTR_CTRL, 3);
    assert_eq!(bench.vpmu.account(&mut bench.port, None), Ok(false));
    bench.accepts(IA32_PERF_GLOBAL_CTRL, 0xE_0000_00FE);
    bench.complete(OS);
    assert_eq!((bench.port.get(IA32_A_PMC0), bench.port.get(IA32_FIXED_CTR0)), (0, 0));

    let denied = policy(Mode::Mediated, version(5), filter(|event, _| event != 0xC0, 0xE));
    let mut bench = Bench::with(stock(), &denied);
    bench.accepts(IA32_PERF_GLOBAL_CTRL, 0xF_0000_00FF);
    bench.accepts(EVENTSEL, ON | INSTRUCTIONS);
    bench.accepts(IA32_FIXED_CTR_CTRL, 3);
    bench.complete(OS);
    assert_eq!((bench.port.get(IA32_A_PMC0), bench.port.get(IA32_FIXED_CTR0)), (0, 0));
}

/// A counter that wraps sets its bit of IA32_PERF_GLOBAL_STATUS and goes on from 0 (20.2.2).
#[test]
fn an_overflow_sets_its_status_bit() {
    let mut bench = guest();
    bench.accepts(EVENTSEL + 3, ON | INSTRUCTIONS);
    bench.accepts(IA32_FIXED_CTR_CTRL, 3);
    bench.port.set(IA32_PERF_GLOBAL_STATUS, 1);
    // The second time the bits are set already, and stay.
    for _ in 0..2 {
        for msr in [IA32_A_PMC0 + 3, IA32_FIXED_CTR0] {
            bench.accepts(msr, (1 << 48) - 1);
        }
        bench.complete(OS);
        assert_eq!(bench.port.get(IA32_PERF_GLOBAL_STATUS), 1 << 32 | 1 << 3 | 1);
    }
    assert_eq!((bench.port.get(IA32_A_PMC0 + 3), bench.port.get(IA32_FIXED_CTR0)), (0, 0));
}

/// The SDM bounds a counter's width by that of its register alone (CPUID leaf 0xA): one of 64 bits wraps as well.
#[test]
fn a_counter_of_64_bits_wraps() {
    let leaf_a = stock().leaf_a;
    let raw = RawGeometry {
        leaf_a: [leaf_a[0] & !0xFF_0000 | 64 << 16, leaf_a[1], leaf_a[2], leaf_a[3]],
        ..stock()
    };
    let mut bench = Bench::with(raw, &policy(Mode::Mediated, version(5), allow_all()));
    bench.accepts(IA32_PERF_GLOBAL_CTRL, 1);
    bench.accepts(EVENTSEL, ON | INSTRUCTIONS);
    bench.accepts(IA32_A_PMC0, u64::MAX);
    bench.complete(OS);
    assert_eq!((bench.port.get(IA32_A_PMC0), bench.port.get(IA32_PERF_GLOBAL_STATUS)), (0, 1));
}

/// The bundled kernel accounts itself: to account twice is refused, and nothing changes.
#[test]
fn a_kernel_with_the_extension_refuses() {
    let mut bench = Bench::guest(5);
    bench.accepts(EVENTSEL, ON | INSTRUCTIONS);
    bench.accepts(IA32_PERF_GLOBAL_CTRL, 1);
    let before = bench.port.registers.clone();
    assert_eq!(bench.vpmu.account(&mut bench.port, Some(OS)), Err(PortError::ILLEGAL_OPERATION));
    assert_eq!(bench.port.registers, before);
}

/// RDPMC alone is direct without the extension, and passthrough cannot be.
#[test]
fn only_rdpmc_is_direct_and_passthrough_is_refused() {
    let direct = |raw, mode| {
        let vpmu = pmu_core::Vpmu::new(&raw, &policy(mode, version(5), allow_all()));
        vpmu.map(|vpmu| vpmu.configuration().direct)
    };
    use pmu_api::{Direct, UnavailableReason};
    assert_eq!(direct(stock(), Mode::Mediated), Ok(Direct::RDPMC));
    assert_eq!(direct(stock(), Mode::Emulated), Ok(Direct::empty()));
    assert_eq!(direct(stock(), Mode::Passthrough), Err(UnavailableReason::Geometry));
    let few = policy(Mode::Mediated, pmu_core::Wanted { general: Some(4), ..version(5) }, allow_all());
    let vpmu = pmu_core::Vpmu::new(&stock(), &few).unwrap();
    assert_eq!(
        vpmu.configuration().direct,
        Direct::empty(),
        "RDPMC would read counters that the guest has not"
    );
}

/// A PMI is due once for each overflow of a counter that is to interrupt (20.2.1.1 INT, 20.2.2 PMI), and no other.
#[test]
fn a_pmi_is_due_once_for_an_overflow_that_interrupts() {
    let mut bench = guest();
    bench.accepts(EVENTSEL, ON | selector::INT | INSTRUCTIONS);
    bench.accepts(EVENTSEL + 1, ON | INSTRUCTIONS);
    bench.accepts(IA32_FIXED_CTR_CTRL, 0xB0);
    let ask = |bench: &mut Bench| bench.vpmu.account(&mut bench.port, None).unwrap();
    for (status, due) in
        [(0, false), (2, false), (3, true), (3, false), (0, false), (1, true), (1 << 33 | 1, true)]
    {
        bench.port.set(IA32_PERF_GLOBAL_STATUS, status);
        assert_eq!(ask(&mut bench), due, "{status:#x}");
    }
    // The completed instruction itself can be what overflows.
    bench.accepts(IA32_PERF_GLOBAL_STATUS_RESET, 1);
    assert!(!ask(&mut bench));
    bench.accepts(IA32_A_PMC0, (1 << 48) - 1);
    assert_eq!(bench.vpmu.account(&mut bench.port, Some(OS)), Ok(true));
}

/// Each counter's INT is about its own overflow (20.2.1.1; 20.2.2, figure 20-2).
#[test]
fn the_overflow_of_each_counter_interrupts_by_its_own_control() {
    let general = (0..8).map(|i| (EVENTSEL + i, ON | selector::INT | INSTRUCTIONS, i));
    let fixed = (0..4).map(|i| (IA32_FIXED_CTR_CTRL, 0xB << (4 * i), 32 + i));
    for (msr, value, bit) in general.chain(fixed) {
        for overflowed in (0..8).chain(32..36) {
            let mut bench = guest();
            bench.accepts(msr, value);
            bench.port.set(IA32_PERF_GLOBAL_STATUS, 1 << overflowed);
            let due = bench.vpmu.account(&mut bench.port, None);
            assert_eq!(due, Ok(overflowed == bit), "{overflowed} with {msr:#x} = {value:#x}");
        }
    }
}

/// One overflow of a credit interrupts although its status bit was set before: each overflow does (20.2.2).
#[test]
fn a_completed_instruction_that_overflows_interrupts_whatever_the_status_was() {
    let mut bench = guest();
    bench.accepts(EVENTSEL, ON | selector::INT | INSTRUCTIONS);
    for _ in 0..2 {
        bench.accepts(IA32_A_PMC0, (1 << 48) - 1);
        assert_eq!(bench.vpmu.account(&mut bench.port, Some(OS)), Ok(true));
        assert_eq!(bench.vpmu.account(&mut bench.port, None), Ok(false));
    }
}

/// A virtual machine on the stock kernel, asked as its VMM asks.
fn asked(raw: RawGeometry, scenario: impl FnOnce(&mut dyn FnMut(Request) -> Reply, &dyn Fn(u32, u64))) {
    asked_of(version(5), raw, scenario);
}

fn asked_of(
    wanted: pmu_core::Wanted,
    raw: RawGeometry,
    scenario: impl FnOnce(&mut dyn FnMut(Request) -> Reply, &dyn Fn(u32, u64)),
) {
    let statistics = pmu_core::RegionCells::new();
    let policy = policy(Mode::Mediated, wanted, allow_all());
    let vm = std::cell::RefCell::new(pmu_core::Vm::new(&policy, FakePort::new(raw), &statistics.vms()[0]));
    scenario(&mut |request| vm.borrow_mut().step(&request, 0), &|msr, value| {
        vm.borrow_mut().port().set(msr, value);
    });
}

fn write(msr: u32, value: u64) -> Request {
    Request::Write { msr, value }
}

const LOOK: Request = Request::Account { completed: None };

/// The request's answer says whether a PMI is due.
#[test]
fn the_answer_is_whether_a_pmi_is_due() {
    asked(stock(), |ask, hardware| {
        assert_eq!(ask(write(IA32_FIXED_CTR_CTRL, 0xB)), Reply::Done);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_CTRL, 1 << 32)), Reply::Done);
        assert_eq!(ask(LOOK), Reply::Done);
        hardware(IA32_PERF_GLOBAL_STATUS, 1 << 32);
        assert_eq!(ask(LOOK), Reply::DoneWithPmi);
        assert_eq!(ask(LOOK), Reply::Done);
    });
}

/// What the policy domain completes counts as retired after its effect: the write that enables a counter counts, the one
/// that disables it does not (volume 3C, 26.1). One that faults does not.
#[test]
fn an_access_is_accounted_for_with_its_answer() {
    asked(stock(), |ask, _| {
        let counter = Request::Read { msr: IA32_A_PMC0 };
        assert_eq!(ask(write(EVENTSEL, ON | INSTRUCTIONS)), Reply::Done);
        assert_eq!(ask(counter), Reply::Value { value: 1 });
        assert_eq!(ask(counter), Reply::Value { value: 2 });
        assert_eq!(ask(write(EVENTSEL, 1 << 63)), Reply::Fault);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_CTRL, 0)), Reply::Done);
        assert_eq!(ask(counter), Reply::Value { value: 3 });
        assert_eq!(ask(write(IA32_PERF_GLOBAL_CTRL, 1)), Reply::Done);
        assert_eq!(ask(write(IA32_A_PMC0, 100)), Reply::Done);
        assert_eq!(ask(counter), Reply::Value { value: 101 });
    });
    // The bundled kernel accounts itself.
    asked(ice_lake(), |ask, _| {
        assert_eq!(ask(write(EVENTSEL, ON | INSTRUCTIONS)), Reply::Done);
        assert_eq!(ask(Request::Read { msr: IA32_A_PMC0 }), Reply::Value { value: 0 });
    });
}

/// USR is CPL 1, 2 and 3, OS is CPL 0 (20.2.1.1).
#[test]
fn rdpmc_counts_in_the_ring_of_its_privilege() {
    asked(stock(), |ask, _| {
        assert_eq!(ask(write(EVENTSEL, ON & !selector::OS | INSTRUCTIONS)), Reply::Done);
        for (cpl, count) in [(0, 0), (1, 0), (2, 1), (3, 2), (0, 3), (0, 3)] {
            let privilege = pmu_api::Privilege::new(cpl, true, true);
            assert_eq!(ask(Request::Rdpmc { index: 0, privilege }), Reply::Value { value: count }, "{cpl}");
        }
    });
}

/// An overflow interrupts when its counter's INT is set at that time (20.2.1.1), and not when it is set afterwards.
#[test]
fn an_overflow_before_int_is_set_does_not_interrupt() {
    let counts = ON | 0x3C;
    for others in [0, selector::INT] {
        asked(stock(), |ask, hardware| {
            assert_eq!(ask(write(EVENTSEL, counts)), Reply::Done);
            assert_eq!(ask(write(EVENTSEL + 1, counts | others)), Reply::Done);
            hardware(IA32_PERF_GLOBAL_STATUS, 1);
            assert_eq!(ask(write(EVENTSEL, counts | selector::INT)), Reply::Done);
            assert_eq!(ask(LOOK), Reply::Done);
            hardware(IA32_PERF_GLOBAL_STATUS, 3);
            let due = if others == 0 { Reply::Done } else { Reply::DoneWithPmi };
            assert_eq!(ask(LOOK), due);
        });
    }
}

/// What overflowed before an access is told, also when the access clears the status or disables the counter (20.2.2).
#[test]
fn an_access_does_not_hide_an_overflow() {
    let enabled = ON | selector::INT | 0x3C;
    let hides =
        [write(IA32_PERF_GLOBAL_STATUS_RESET, 1), write(IA32_PERF_GLOBAL_CTRL, 0), write(EVENTSEL, 0)];
    for access in hides {
        asked(stock(), |ask, hardware| {
            assert_eq!(ask(write(EVENTSEL, enabled)), Reply::Done);
            hardware(IA32_PERF_GLOBAL_STATUS, 1);
            assert_eq!(ask(access), Reply::DoneWithPmi, "{access:?}");
            assert_eq!(ask(LOOK), Reply::Done, "once");
        });
    }
    asked(stock(), |ask, hardware| {
        assert_eq!(ask(write(EVENTSEL, enabled)), Reply::Done);
        hardware(IA32_PERF_GLOBAL_STATUS, 1);
        assert_eq!(ask(Request::Read { msr: IA32_PERF_GLOBAL_STATUS }), Reply::ValueWithPmi { value: 1 });
        // A fault has no such answer: the next look finds it.
        hardware(IA32_PERF_GLOBAL_STATUS, 0);
        assert_eq!(ask(LOOK), Reply::Done);
        hardware(IA32_PERF_GLOBAL_STATUS, 1);
        assert_eq!(ask(write(EVENTSEL, 1 << 63)), Reply::Fault);
        assert_eq!(ask(LOOK), Reply::DoneWithPmi);
    });
}

/// IA32_PERF_GLOBAL_STATUS_SET sets a status bit, which is no overflow (20.2.4.2); a bit that was reset may be set again,
/// also when nothing counted meanwhile.
#[test]
fn what_the_guest_does_to_its_status_is_no_overflow() {
    asked(stock(), |ask, hardware| {
        assert_eq!(ask(write(EVENTSEL, ON | selector::INT | 0x3C)), Reply::Done);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_STATUS_SET, 1)), Reply::Done);
        assert_eq!(ask(LOOK), Reply::Done);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_CTRL, 0)), Reply::Done);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_STATUS_RESET, 1)), Reply::Done);
        assert_eq!(ask(write(IA32_PERF_GLOBAL_CTRL, 1)), Reply::Done);
        hardware(IA32_PERF_GLOBAL_STATUS, 1);
        assert_eq!(ask(LOOK), Reply::DoneWithPmi);
    });
}

/// Before version 2 a guest has no register to clear the status by (20.2.1): each overflow interrupts all the same, told by a
/// look or by an access's answer, and one that an access would have told which faults.
#[test]
fn every_overflow_of_a_guest_without_a_status_interrupts() {
    asked_of(version(1), stock(), |ask, hardware| {
        assert_eq!(ask(write(EVENTSEL, ON | selector::INT | 0x3C)), Reply::Done);
        for _ in 0..2 {
            hardware(IA32_PERF_GLOBAL_STATUS, 1);
            assert_eq!(ask(LOOK), Reply::DoneWithPmi);
            assert_eq!(ask(LOOK), Reply::Done);
            hardware(IA32_PERF_GLOBAL_STATUS, 1);
            assert_eq!(ask(write(IA32_PMC0, 0)), Reply::DoneWithPmi);
            hardware(IA32_PERF_GLOBAL_STATUS, 1);
            assert_eq!(ask(write(EVENTSEL, 1 << 63)), Reply::Fault);
            assert_eq!(ask(LOOK), Reply::DoneWithPmi);
        }
    });
}
