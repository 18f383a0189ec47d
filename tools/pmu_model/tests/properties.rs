//! Properties of every stream of events and register writes.

mod common;

use common::{CTR_FRZ, EN, FREEZE, GP, INT, MAX, OS, USR, pmu, status};
use pmu_model::{Events, Lvtpc, PmiRequest, Pmu, Ring, msr};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// What can happen to a PMU.
#[derive(Clone, Debug)]
enum Action {
    Step(Ring, Events),
    Write(u32, u64),
    Unmask,
}

fn ring() -> impl Strategy<Value = Ring> {
    prop_oneof![3 => Just(Ring::Kernel), 1 => Just(Ring::User)]
}

/// A step: an instruction of any kind, or cycles without one.
fn step() -> impl Strategy<Value = Events> {
    prop_oneof![
        8 => (any::<bool>(), any::<bool>(), 0..4_u64, 0..4_u64).prop_map(|(branch, miss, references, misses)| Events {
            branches: u64::from(branch),
            branch_misses: u64::from(branch && miss),
            llc_references: references,
            llc_misses: misses.min(references),
            ..Events::instruction()
        }),
        1 => (1..20_u64).prop_map(Events::idle),
    ]
}

fn selector() -> impl Strategy<Value = u64> {
    let event = prop::sample::select(vec![0x3C_u64, 0xC0, 0x13C, 0x4F2E, 0x412E, 0xC4, 0xC5, 0x1A4, 0x1234]);
    let bits = prop::sample::select(vec![OS, USR, OS | USR]);
    let compared = prop::sample::select(vec![0, 0, 0, 0, 1 << 24, 1 << 18, 3 << 24, 1 << 24 | 1 << 23]);
    (event, bits, compared, any::<bool>(), any::<bool>()).prop_map(|(event, bits, compared, int, enable)| {
        event | bits | compared | if int { INT } else { 0 } | if enable { EN } else { 0 }
    })
}

/// A counter value; near the top more often than not.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![3 => MAX - 40..=MAX, 1 => 0..=MAX]
}

fn write() -> impl Strategy<Value = (u32, u64)> {
    prop_oneof![
        4 => (0..4_u32, selector()).prop_map(|(i, v)| (msr::IA32_PERFEVTSEL0 + i, v)),
        4 => (0..4_u32, value()).prop_map(|(i, v)| (msr::IA32_A_PMC0 + i, v)),
        2 => (0..3_u32, value()).prop_map(|(i, v)| (msr::IA32_FIXED_CTR0 + i, v)),
        2 => (0..0x1000_u64).prop_map(|v| (msr::IA32_FIXED_CTR_CTRL, v & 0xBBB)),
        2 => (0..16_u64, 0..8_u64).prop_map(|(gp, fixed)| (msr::IA32_PERF_GLOBAL_CTRL, gp | fixed << 32)),
        2 => Just((msr::IA32_PERF_GLOBAL_STATUS_RESET, CTR_FRZ | 0x7_0000_000F)),
        1 => prop::sample::select(vec![0, FREEZE]).prop_map(|v| (msr::IA32_DEBUGCTL, v)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (ring(), step()).prop_map(|(ring, step)| Action::Step(ring, step)),
        2 => write().prop_map(|(number, value)| Action::Write(number, value)),
        1 => Just(Action::Unmask),
    ]
}

/// The version of the PMU (with and without streamlined freezing), and a stream.
fn stream() -> impl Strategy<Value = (u32, Vec<Action>)> {
    let set_up = vec(write().prop_map(|(number, value)| Action::Write(number, value)), 8);
    (2..=5_u32, set_up, vec(action(), 0..200)).prop_map(|(version, mut actions, rest)| {
        actions.extend(rest);
        (version, actions)
    })
}

/// Writes what exists in this version. Reserved bits that depend on the version are not in the stream.
fn apply(pmu: &mut Pmu, number: u32, value: u64) {
    let status_bits = if pmu.geometry().version() >= 4 { value } else { value & !CTR_FRZ };
    let value = if number == msr::IA32_PERF_GLOBAL_STATUS_RESET { status_bits } else { value };
    assert_eq!(pmu.wrmsr(number, value), Ok(()), "{number:#x} {value:#x}");
}

/// Every counter: its bit in IA32_PERF_GLOBAL_STATUS, its MSR, and whether its overflow asks for a PMI.
fn counters(pmu: &Pmu) -> Vec<(u64, u64, bool)> {
    let read = |number| pmu.rdmsr(number).expect("an MSR of versions 2 to 5");
    let gp = (0..4).map(|i| (1 << i, read(msr::IA32_PMC0 + i), read(msr::IA32_PERFEVTSEL0 + i) & INT != 0));
    let ctrl = read(msr::IA32_FIXED_CTR_CTRL);
    let fixed = (0..3).map(|i| (1 << (32 + i), read(msr::IA32_FIXED_CTR0 + i), ctrl >> (4 * i) & 8 != 0));
    gp.chain(fixed).collect()
}

/// Whether a counter may move: the rule written out again, from the registers alone.
fn enabled(pmu: &Pmu, index: usize, ring: Ring) -> bool {
    let read = |number| pmu.rdmsr(number).expect("an MSR of versions 2 to 5");
    if status(pmu) & CTR_FRZ != 0 {
        return false;
    }
    let i = u32::try_from(index).expect("few counters");
    let user = ring == Ring::User;
    if index < 4 {
        let selector = read(msr::IA32_PERFEVTSEL0 + i);
        let filter = if user { USR } else { OS };
        selector & (EN | filter) == EN | filter && read(msr::IA32_PERF_GLOBAL_CTRL) >> i & 1 == 1
    } else {
        let field = read(msr::IA32_FIXED_CTR_CTRL) >> (4 * (i - 4));
        let filter = if user { 2 } else { 1 };
        field & filter != 0 && read(msr::IA32_PERF_GLOBAL_CTRL) >> (32 + i - 4) & 1 == 1
    }
}

proptest! {
    /// SDM vol. 3B, 20.2.2: a step sets a status bit exactly when that counter wrapped; a disabled counter does
    /// not move; a PMI is requested exactly when a counter that asks for it overflowed; the local APIC delivers
    /// one for each request while the entry is unmasked.
    #[test]
    fn status_pmi_and_enables_agree((version, actions) in stream()) {
        let mut pmu = pmu(version, 4, 3);
        let mut lvtpc = Lvtpc(0x40);
        let (mut asked, mut delivered, mut masked) = (0, 0, 0);
        for action in actions {
            match action {
                Action::Write(number, value) => apply(&mut pmu, number, value),
                Action::Unmask => lvtpc.0 &= !Lvtpc::MASKED,
                Action::Step(ring, events) => {
                    let before = counters(&pmu);
                    let may_move: Vec<bool> = (0..7).map(|i| enabled(&pmu, i, ring)).collect();
                    let old_status = status(&pmu);
                    let request = pmu.advance(ring, &events);
                    let after = counters(&pmu);
                    let mut overflowed = 0;
                    let mut wants = false;
                    for (i, ((bit, old, int), (_, new, _))) in before.iter().zip(&after).enumerate() {
                        prop_assert!(may_move[i] || old == new, "disabled counter {} moved", i);
                        if new < old {
                            overflowed |= bit;
                            wants |= int;
                        }
                    }
                    prop_assert_eq!(status(&pmu) & !CTR_FRZ, (old_status & !CTR_FRZ) | overflowed);
                    prop_assert_eq!(request.is_some(), wants);
                    asked += u64::from(wants);
                    if let Some(request) = request {
                        let was_masked = lvtpc.0 & Lvtpc::MASKED != 0;
                        let result = lvtpc.deliver(request);
                        prop_assert_eq!(result.is_some(), !was_masked);
                        delivered += u64::from(result.is_some());
                        masked += u64::from(was_masked);
                    }
                }
            }
        }
        prop_assert_eq!(asked, delivered + masked);
    }

    /// A sum of steps within the headroom leaves the same state as the steps.
    #[test]
    fn batches_equal_steps((version, actions) in stream()) {
        let (mut one, mut many) = (pmu(version, 4, 3), pmu(version, 4, 3));
        let mut requests: (Vec<PmiRequest>, Vec<PmiRequest>) = (Vec::new(), Vec::new());
        let mut sum = Events::default();
        let mut in_ring = Ring::Kernel;
        for action in actions {
            let changes = !matches!(&action, Action::Step(ring, _) if *ring == in_ring);
            if changes {
                requests.1.extend(many.advance(in_ring, &std::mem::take(&mut sum)));
                prop_assert_eq!(counters(&one), counters(&many));
                prop_assert_eq!(status(&one), status(&many));
                prop_assert_eq!(&requests.0, &requests.1);
            }
            match action {
                Action::Unmask => {}
                Action::Write(number, value) => {
                    apply(&mut one, number, value);
                    apply(&mut many, number, value);
                }
                Action::Step(ring, events) => {
                    in_ring = ring;
                    requests.0.extend(one.advance(ring, &events));
                    sum += events;
                    let headroom = many.headroom();
                    if sum.core_cycles >= headroom.cycles || sum.llc_references >= headroom.llc_references {
                        requests.1.extend(many.advance(ring, &std::mem::take(&mut sum)));
                    }
                }
            }
        }
        requests.1.extend(many.advance(in_ring, &sum));
        prop_assert_eq!(counters(&one), counters(&many));
        prop_assert_eq!(status(&one), status(&many));
        prop_assert_eq!(requests.0, requests.1);
    }

    /// No write makes a register hold a value that the register refuses, and check_wrmsr says what wrmsr does.
    #[test]
    fn a_write_is_kept_or_refused(version in 1..=5_u32, number in prop::sample::select(vec![
        msr::IA32_PERFEVTSEL0, msr::IA32_A_PMC0, msr::IA32_FIXED_CTR0, msr::IA32_FIXED_CTR_CTRL,
        msr::IA32_PERF_GLOBAL_CTRL, msr::IA32_DEBUGCTL,
    ]), shift in 0..64_u32, low in any::<u64>()) {
        let mut pmu = pmu(version, 4, 3);
        let value = low >> shift;
        let before = pmu.rdmsr(number);
        let checked = pmu.check_wrmsr(number, value);
        prop_assert_eq!(pmu.wrmsr(number, value), checked);
        match checked {
            Ok(()) => prop_assert_eq!(pmu.rdmsr(number), Ok(value)),
            Err(error) => {
                prop_assert_eq!(error, GP);
                prop_assert_eq!(pmu.rdmsr(number), before);
            }
        }
    }
}
