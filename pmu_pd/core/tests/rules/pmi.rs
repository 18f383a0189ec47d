//! PMIs: whose they are, and the rate limit.

use crate::common::{Bench, allow_all, ice_lake, policy, version};
use pmu_api::{Mode, OverflowDecision::*};
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::pmi::{Limiter, PmiLimit};

/// 20.2.2: software may clear the status between the overflow and its interrupt; the interrupt comes all the same.
#[test]
fn a_pmi_is_delivered_whatever_the_status_says_by_now() {
    for mode in [Mode::Mediated, Mode::Emulated, Mode::Passthrough] {
        let wanted = if mode == Mode::Passthrough { Wanted::default() } else { version(4) };
        let mut guest = Bench::with(ice_lake(), &policy(mode, wanted, allow_all()));
        for status in [0, 1 << 2, 1 << 33] {
            guest.port.set(IA32_PERF_GLOBAL_STATUS, status);
            assert_eq!(guest.vpmu.overflow(0), Deliver);
        }
    }
}

#[test]
fn a_guest_without_counters_has_no_pmis() {
    for (mode, wanted) in [(Mode::Off, Wanted::default()), (Mode::Mediated, version(0))] {
        let mut guest = Bench::with(ice_lake(), &policy(mode, wanted, allow_all()));
        guest.port.set(IA32_PERF_GLOBAL_STATUS, 1);
        assert_eq!(guest.vpmu.overflow(0), Spurious);
    }
}

#[test]
fn the_limit_is_the_policys() {
    let mut limited = policy(Mode::Mediated, version(4), allow_all());
    assert!(!Bench::with(ice_lake(), &limited).vpmu.configuration().report_overflow);
    limited.pmi_limit = Some(PmiLimit { count: 1, cycles: 100 });
    let mut guest = Bench::with(ice_lake(), &limited);
    assert!(guest.vpmu.configuration().report_overflow);
    assert_eq!(guest.vpmu.overflow(1000), Deliver);
    assert_eq!(guest.vpmu.overflow(1001), Delay { cycles: 99 });
    limited.mode = Mode::Off;
    assert!(!Bench::with(ice_lake(), &limited).vpmu.configuration().report_overflow);
}

#[test]
fn a_window_delivers_its_count_and_delays_the_rest() {
    let mut limiter = Limiter::new(Some(PmiLimit { count: 3, cycles: 100 }));
    assert!(limiter.is_limited());
    for now in [1000, 1000, 1050] {
        assert_eq!(limiter.decide(now), Deliver);
    }
    assert_eq!(limiter.decide(1060), Delay { cycles: 40 });
    assert_eq!(limiter.decide(1099), Delay { cycles: 1 });
    // The delayed ones merged, were delivered at 1100, and count there.
    assert_eq!(limiter.decide(1120), Deliver);
    assert_eq!(limiter.decide(1130), Deliver);
    assert_eq!(limiter.decide(1130), Delay { cycles: 70 });
    // Long after, the window starts where the PMI comes.
    assert_eq!(limiter.decide(5000), Deliver);
    assert_eq!(limiter.decide(5001), Deliver);
    assert_eq!(limiter.decide(5002), Deliver);
    assert_eq!(limiter.decide(5003), Delay { cycles: 97 });
}

#[test]
fn without_delay_a_new_window_starts_at_its_first_pmi() {
    let mut limiter = Limiter::new(Some(PmiLimit { count: 2, cycles: 10 }));
    assert_eq!([1000, 1009, 1010, 1019, 1020].map(|now| limiter.decide(now)), [Deliver; 5]);
    assert_eq!([1029, 1029, 1030].map(|now| limiter.decide(now)), [Deliver, Delay { cycles: 1 }, Deliver]);
    // 1030 began with the delayed one: one more was left.
    assert_eq!(limiter.decide(1031), Delay { cycles: 9 });
}

#[test]
fn time_that_runs_backwards_opens_a_window() {
    let mut limiter = Limiter::new(Some(PmiLimit { count: 1, cycles: 100 }));
    assert_eq!(limiter.decide(1000), Deliver);
    assert_eq!(limiter.decide(5), Deliver);
    assert_eq!(limiter.decide(6), Delay { cycles: 99 });
    let mut limiter = Limiter::new(Some(PmiLimit { count: 1, cycles: u64::MAX }));
    assert_eq!(limiter.decide(u64::MAX), Deliver);
    assert_eq!(limiter.decide(u64::MAX), Delay { cycles: u64::MAX });
}

#[test]
fn without_a_limit_every_pmi_is_delivered() {
    let mut limiter = Limiter::new(None);
    assert!(!limiter.is_limited());
    assert!((0..10_000).all(|now| limiter.decide(now / 100) == Deliver));
}

/// Over any run of PMIs, no window of the limit's length sees more than twice the count (the bound of a fixed-window
/// limiter), and delayed PMIs are delivered when the VMM was told.
#[test]
fn the_rate_is_bounded() {
    let limit = PmiLimit { count: 5, cycles: 1000 };
    let mut limiter = Limiter::new(Some(limit));
    let mut delivered: Vec<u64> = Vec::new();
    let mut pending: Option<u64> = None;
    let mut random = 12345_u64;
    let mut now = 10_000;
    for _ in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        now += random >> 55;
        if let Some(due) = pending.filter(|&due| due <= now) {
            delivered.push(due);
            pending = None;
        }
        match limiter.decide(now) {
            Deliver => delivered.push(now),
            Delay { cycles } => pending = Some(now + cycles),
            Spurious => unreachable!(),
        }
    }
    for (i, &start) in delivered.iter().enumerate() {
        let in_window = delivered[i..].iter().take_while(|&&t| t < start + limit.cycles).count();
        assert!(in_window <= 10, "{in_window} from {start}");
    }
    assert!(delivered.len() > 5000);
}

/// The delayed PMI counts in the window at whose start it was delivered, and in no later one.
#[test]
fn a_delayed_pmi_counts_in_one_window() {
    let mut limiter = Limiter::new(Some(PmiLimit { count: 1, cycles: 100 }));
    assert_eq!([1000, 1001].map(|now| limiter.decide(now)), [Deliver, Delay { cycles: 99 }]);
    // Delivered at 1100; the window from there ends at 1200.
    let mut late = limiter;
    assert_eq!(late.decide(1199), Delay { cycles: 1 });
    assert_eq!(limiter.decide(1200), Deliver);
    assert_eq!(limiter.decide(1201), Delay { cycles: 99 });
}
