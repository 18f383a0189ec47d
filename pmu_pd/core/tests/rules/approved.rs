//! Approved pairs: the kernel completes what was decided once, and nobody can tell.

use crate::common::*;
use crate::domain::{TestDomain, binary, cells, count, region, vm};
use pmu_api::{Direct, Mode, Request, Statistic};
use pmu_core::approved::{Approved, PAIRS};
use pmu_core::geometry::Wanted;
use pmu_core::registers::EventSelect;
use pmu_core::snapshot::{self, Buffer};
use pmu_core::vpmu::Trouble;
use pmu_core::{Domain, KernelMode, Vpmu};
use proptest::prelude::*;

const FIXED_CTRL: u32 = 0x38D;
const IN_USE: u32 = 0x392;
/// Instructions and branches retired, in all rings, enabled.
const INSTRUCTIONS: u64 = 0x43_00C0;
const BRANCHES: u64 = 0x43_00C4;

fn only_instructions() -> pmu_core::Filter<'static> {
    filter(|event, umask| (event, umask) == (0xC0, 0), 0b0010)
}

fn mediated(filter: pmu_core::Filter<'static>) -> Bench {
    Bench::with(ice_lake(), &policy(Mode::Mediated, version(5), filter))
}

/// The second write of a value does not reach the domain, which finds it out when it needs to.
#[test]
fn the_kernel_completes_what_was_decided() {
    let mut bench = mediated(only_instructions());
    bench.accepts(EVENTSEL, BRANCHES);
    bench.accepts(EVENTSEL, 0);
    assert!(bench.port.guest_writes(EVENTSEL, BRANCHES));
    assert_eq!(bench.port.get(EVENTSEL), BRANCHES & !(1 << 22), "the filter's value");
    assert_eq!(bench.port.guest_reads(EVENTSEL), Some(BRANCHES), "the guest's value");
    assert_eq!(bench.vpmu.selectors()[0], EventSelect(0), "nobody has told the domain");
    assert_eq!(bench.read(EVENTSEL), Ok(BRANCHES));
    assert_eq!(bench.vpmu.selectors()[0], EventSelect(BRANCHES));
    bench.accepts(FIXED_CTRL, 0x33);
    bench.accepts(FIXED_CTRL, 0);
    assert!(bench.port.guest_writes(FIXED_CTRL, 0x33));
    assert_eq!((bench.port.get(FIXED_CTRL), bench.read(FIXED_CTRL)), (0x30, Ok(0x33)));
    assert!(!bench.port.guest_writes(EVENTSEL + 1, BRANCHES), "another register");
}

/// 20.2.4.3: what is in use follows what the kernel completed.
#[test]
fn global_in_use_and_snapshots_see_approved_writes() {
    let mut bench = mediated(allow_all());
    bench.accepts(EVENTSEL + 2, INSTRUCTIONS);
    bench.accepts(EVENTSEL + 2, 0);
    assert_eq!(bench.read(IN_USE), Ok(0));
    assert!(bench.port.guest_writes(EVENTSEL + 2, INSTRUCTIONS));
    assert_eq!(bench.read(IN_USE), Ok(1 << 2));
    assert!(bench.port.guest_writes(EVENTSEL + 2, 0));
    assert!(bench.port.guest_writes(EVENTSEL + 2, INSTRUCTIONS));
    let saved = bench.vpmu.save(&mut bench.port).unwrap();
    let registers = snapshot::decode(bench.vpmu.geometry(), &saved).unwrap();
    assert_eq!(registers.selectors[2], EventSelect(INSTRUCTIONS));
}

/// A new filter decides anew about what the guest has now, and nothing of the old one holds.
#[test]
fn a_new_filter_withdraws() {
    let mut bench = mediated(allow_all());
    bench.accepts(EVENTSEL, BRANCHES);
    bench.accepts(EVENTSEL, 0);
    assert!(bench.port.guest_writes(EVENTSEL, BRANCHES));
    bench.vpmu.replace_filter(&mut bench.port, only_instructions()).unwrap();
    assert_eq!(bench.port.get(EVENTSEL), BRANCHES & !(1 << 22), "the value that the kernel had completed");
    assert!(bench.port.guest_writes(EVENTSEL, BRANCHES), "decided by the new filter");
    assert_eq!(bench.port.get(EVENTSEL), BRANCHES & !(1 << 22));
    assert!(!bench.port.guest_writes(EVENTSEL, 0), "not decided by the new filter");
}

#[test]
fn reset_and_restore_withdraw_and_refusals_do_not() {
    let mut bench = mediated(allow_all());
    let empty = bench.vpmu.save(&mut bench.port).unwrap();
    bench.accepts(EVENTSEL, INSTRUCTIONS);
    assert!(bench.vpmu.restore(&mut bench.port, &Buffer::default()).is_err());
    assert!(bench.port.guest_writes(EVENTSEL, INSTRUCTIONS), "a refused snapshot changes nothing");
    bench.faults(EVENTSEL, 1 << 21);
    assert!(!bench.port.guest_writes(EVENTSEL, 1 << 21), "a value that faults is not approved");
    bench.vpmu.restore(&mut bench.port, &empty).unwrap();
    assert!(!bench.port.guest_writes(EVENTSEL, INSTRUCTIONS));
    assert_eq!((bench.port.get(EVENTSEL), bench.read(EVENTSEL)), (0, Ok(0)));
    bench.accepts(EVENTSEL, INSTRUCTIONS);
    bench.vpmu.reset(&mut bench.port).unwrap();
    assert!(!bench.port.guest_writes(EVENTSEL, INSTRUCTIONS));
    assert_eq!((bench.port.get(EVENTSEL), bench.read(EVENTSEL)), (0, Ok(0)));
}

/// A register that the guest lacks gives #GP for every value, also for the one that the hardware has.
#[test]
fn absent_registers_are_never_approved() {
    let fewer = Wanted { version: Some(2), general: Some(3), ..Wanted::default() };
    let mut bench = Bench::with(ice_lake(), &policy(Mode::Mediated, fewer, allow_all()));
    assert_eq!(bench.port.mode, Some(KernelMode::Trapped));
    bench.vpmu.replace_filter(&mut bench.port, only_instructions()).unwrap();
    assert!(bench.port.guest_writes(EVENTSEL + 2, 0), "the last one that it has");
    assert!(!bench.port.guest_writes(EVENTSEL + 3, 0));
    assert_eq!(bench.port.guest_reads(EVENTSEL + 3), None);
}

/// Only mediated VMs have approvals: in the other modes nothing counts, every access shall exit, or none does.
#[test]
fn other_modes_approve_nothing() {
    for mode in [Mode::Emulated, Mode::Passthrough, Mode::Off] {
        let mut bench = Bench::with(ice_lake(), &policy(mode, version(5), allow_all()));
        let expected = if mode == Mode::Off { Err(Trouble::Fault) } else { Ok(()) };
        assert_eq!(bench.write(EVENTSEL, INSTRUCTIONS).map(drop), expected);
        assert_eq!(bench.port.approved, Some(Approved::default()), "{mode:?}");
    }
    let tsx = Wanted { tsx: true, ..version(5) };
    let mut bench = Bench::with(ice_lake(), &policy(Mode::Mediated, tsx, allow_all()));
    bench.accepts(EVENTSEL, INSTRUCTIONS | 1 << 32);
    assert_eq!(bench.port.approved, Some(Approved::default()), "the table has 32 bits");
}

/// What the kernel refuses halfway leaves a VM in which nothing counts and nothing is approved.
#[test]
fn a_refusal_of_the_kernel_withdraws() {
    for budget in 0..12 {
        let mut bench = mediated(allow_all());
        bench.accepts(EVENTSEL, BRANCHES);
        bench.port.budget = Some(budget);
        let done = bench.vpmu.replace_filter(&mut bench.port, only_instructions());
        if done.is_err() {
            assert_eq!(bench.port.mode, Some(KernelMode::Off), "{budget}");
            assert!(!bench.port.guest_writes(EVENTSEL, BRANCHES), "{budget}");
        } else {
            assert_eq!(bench.port.get(EVENTSEL), BRANCHES & !(1 << 22));
        }
    }
}

/// A full table loses pairs and nothing else.
#[test]
fn a_full_table_forgets_the_oldest() {
    let mut table = Approved::default();
    (0..=PAIRS as u64).for_each(|i| table.add(EVENTSEL, i, 100 + i));
    assert_eq!(table.write(EVENTSEL, 0), None);
    (1..=PAIRS as u64).for_each(|i| assert_eq!(table.write(EVENTSEL, i), Some(100 + i)));
    table.add(EVENTSEL, 5, 7);
    assert_eq!(table.write(EVENTSEL, 5), Some(7));
    (1..=PAIRS as u64)
        .for_each(|i| assert!(table.write(EVENTSEL, i).is_some(), "{i} went for a known value"));
    assert!(!Approved::accepts(0x4C1, 0, 0) && !Approved::accepts(EVENTSEL, 1 << 32, 0));
}

/// The counts are the kernel's, as of the request for statistics.
#[test]
fn statistics_bring_the_kernels_counts() {
    let (region, words) = (cells(), region(binary(None, &[vm(1)])));
    let mut domain: TestDomain = Domain::new(words, &[], region, |_| FakePort::new(ice_lake()));
    let vm = &mut domain.vms_mut()[0];
    vm.step(&Request::Open, 0);
    vm.step(&Request::Write { msr: EVENTSEL, value: INSTRUCTIONS }, 0);
    assert!(vm.port().guest_writes(EVENTSEL, INSTRUCTIONS) && vm.port().guest_reads(EVENTSEL).is_some());
    assert!(vm.port().guest_writes(EVENTSEL, INSTRUCTIONS));
    let counts = || {
        [Statistic::ControlWrites, Statistic::ApprovedWrites, Statistic::ApprovedReads]
            .map(|s| count(region, 0, s))
    };
    assert_eq!(counts(), [1, 0, 0]);
    vm.step(&Request::Statistics { first: 0 }, 0);
    assert_eq!(counts(), [1, 2, 1]);
}

/// What can happen to a VM.
#[derive(Clone, Debug)]
enum Step {
    Write(u32, u64),
    Read(u32),
    Filter(bool),
    Reset,
    Save,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let msr = prop_oneof![4 => EVENTSEL..EVENTSEL + 9, 2 => Just(FIXED_CTRL), 1 => Just(IN_USE)];
    // Few values, so that they come again.
    let value = prop_oneof![
        Just(0),
        Just(INSTRUCTIONS),
        Just(BRANCHES),
        Just(INSTRUCTIONS | 1 << 20),
        Just(0x33),
        Just(0xB0),
        Just(1 << 21),
    ];
    prop_oneof![
        12 => (msr.clone(), value).prop_map(|(msr, value)| Step::Write(msr, value)),
        4 => msr.prop_map(Step::Read),
        1 => any::<bool>().prop_map(Step::Filter),
        1 => Just(Step::Reset),
        1 => Just(Step::Save),
        1 => Just(Step::Restore),
    ]
}

/// One VM and what its last snapshot was.
struct Twin {
    vpmu: Vpmu<'static>,
    port: FakePort,
    saved: Option<Buffer>,
}

impl Twin {
    fn new(wanted: Wanted, approved: Option<Approved>) -> Self {
        let policy = policy(Mode::Mediated, wanted, allow_all());
        let mut port = FakePort { approved, ..FakePort::new(ice_lake()) };
        let mut vpmu = Vpmu::new(&ice_lake(), &policy).unwrap();
        vpmu.reset(&mut port).unwrap();
        Self { vpmu, port, saved: None }
    }

    /// What the guest gets: a value, or #GP.
    fn take(&mut self, step: &Step) -> Result<u64, Trouble> {
        let Self { vpmu, port, saved } = self;
        match *step {
            Step::Write(msr, value) if port.guest_writes(msr, value) => Ok(0),
            Step::Write(msr, value) => vpmu.write(port, msr, value).map(|_| 0),
            Step::Read(msr) => port.guest_reads(msr).map_or_else(|| vpmu.read(port, msr), Ok),
            Step::Filter(all) => {
                let new = if all { allow_all() } else { only_instructions() };
                Ok(vpmu.replace_filter(port, new).map(|()| 0)?)
            }
            Step::Reset => Ok(vpmu.reset(port).map(|()| 0)?),
            Step::Save => {
                *saved = vpmu.save(port).ok();
                Ok(0)
            }
            Step::Restore => {
                saved.iter().for_each(|buffer| vpmu.restore(port, buffer).unwrap());
                Ok(0)
            }
        }
    }
}

proptest! {
    /// With a kernel that completes accesses and with one that does not, a guest sees the same, and so does the
    /// hardware.
    #[test]
    fn approvals_change_nothing_but_the_number_of_exits(
        steps in prop::collection::vec(step(), 0..200),
        few in any::<bool>(),
    ) {
        let wanted = Wanted { general: few.then_some(3), ..version(5) };
        let mut with = Twin::new(wanted, Some(Approved::default()));
        let mut without = Twin::new(wanted, None);
        for step in &steps {
            prop_assert_eq!(with.take(step), without.take(step), "{:?}", step);
            prop_assert_eq!(&with.port.registers, &without.port.registers, "{:?}", step);
            prop_assert_eq!(&with.saved, &without.saved, "{:?}", step);
        }
    }
}

/// The direct accesses that the VMM is told of are the same as before: approvals are none of its business.
#[test]
fn the_configuration_does_not_name_approvals() {
    let bench = mediated(allow_all());
    assert!(!bench.vpmu.configuration().direct.contains(Direct::CONTROL));
}
