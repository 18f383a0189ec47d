//! The manager: filters replaced at run time, whole or not at all.

use super::domain::{Entry, SELECTOR, TestDomain, ask, binary, cells, count, region, vm};
use crate::common::{FakePort, ice_lake, table};
use pmu_api::*;
use pmu_core::{Domain, RegionCells};

fn managed(update: Vec<u64>) -> (TestDomain, &'static RegionCells) {
    let mut off = vm(3);
    off.mode = Mode::Off;
    let policy = region(binary(Some(9), &[vm(1), vm(2), off]));
    let statistics = cells();
    (Domain::new(policy, region(update), statistics, |_| FakePort::new(ice_lake())), statistics)
}

fn strict_update() -> Vec<u64> {
    let strict = |channel| Entry { table: table(|_, _| false), fixed: 0, ..vm(channel) };
    binary(None, &[strict(1), strict(2), strict(3)])
}

#[test]
fn the_manager_replaces_a_filter_while_counters_run() {
    let (mut domain, statistics) = managed(strict_update());
    for channel in [1, 2] {
        ask(&mut domain, channel, SELECTOR);
        ask(&mut domain, channel, Request::Write { msr: 0x38D, value: 0xBBBB });
    }
    assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm: 1 }), Reply::Replaced);
    assert_eq!(domain.vms_mut()[1].port().get(0x186), 0x03_00C0);
    assert_eq!(domain.vms_mut()[1].port().get(0x38D), 0);
    assert_eq!(domain.vms_mut()[0].port().get(0x186), 0x43_00C0, "the other VM's is untouched");
    assert_eq!(domain.vms_mut()[0].port().get(0x38D), 0xBBBB);
    assert_eq!(ask(&mut domain, 2, Request::Read { msr: 0x186 }), Reply::Value { value: 0x43_00C0 });
    let replaced = |i| count(statistics, i, Statistic::FiltersReplaced);
    assert_eq!((replaced(0), replaced(1)), (0, 1));
}

#[test]
fn a_filter_is_replaced_whole_or_not_at_all() {
    let refused = |reason| Reply::Refused(Refusal::Filter(reason));
    let invalid = {
        let mut words = strict_update();
        words[40] ^= 1;
        words
    };
    let swapped = binary(None, &[vm(2), vm(1), vm(3)]);
    let short = binary(None, &[vm(1)]);
    for (update, vm, reason) in [
        (vec![], 0, FilterReason::Invalid),
        (invalid, 0, FilterReason::Invalid),
        (strict_update(), 3, FilterReason::NoVm),
        (strict_update(), u32::MAX, FilterReason::NoVm),
        (short, 1, FilterReason::NoVm),
        (swapped, 0, FilterReason::NoVm),
        (strict_update(), 2, FilterReason::Mode),
    ] {
        let (mut domain, _) = managed(update);
        ask(&mut domain, 1, SELECTOR);
        assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm }), refused(reason));
        assert_eq!(domain.vms_mut()[0].port().get(0x186), 0x43_00C0);
    }
}

#[test]
fn a_filter_that_the_kernel_refuses_stops_the_vm() {
    let (mut domain, _) = managed(strict_update());
    domain.vms_mut()[0].port().budget = Some(1);
    let hardware = Reply::Refused(Refusal::Filter(FilterReason::Hardware));
    assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm: 0 }), hardware);
    domain.vms_mut()[0].port().budget = None;
    let stopped = Reply::Refused(Refusal::Unavailable(UnavailableReason::Authority));
    assert_eq!(ask(&mut domain, 1, SELECTOR), stopped);
    assert!(matches!(ask(&mut domain, 1, Request::Open), Reply::Opened(_)));
    ask(&mut domain, 1, SELECTOR);
    assert_eq!(domain.vms_mut()[0].port().get(0x186), 0x03_00C0, "the new filter is in force");
}

/// A VMM may not replace filters, and the manager may do nothing else.
#[test]
fn the_manager_and_vmms_have_their_own_requests() {
    let (mut domain, statistics) = managed(strict_update());
    let reply = ask(&mut domain, 1, Request::ReplaceFilter { vm: 0 });
    assert_eq!(reply, Reply::Refused(Refusal::NotManager));
    for request in [Request::Open, SELECTOR, Request::Overflow, Request::Statistics { first: 0 }] {
        assert_eq!(ask(&mut domain, 9, request), Reply::Refused(Refusal::NotVmm));
    }
    let reply = domain.handle(9, &Message::received(0x120, &[]), 0);
    let malformed = Malformed::Length { expected: 1, found: 0 };
    assert_eq!(Reply::decode(&reply), Ok(Reply::Malformed(malformed)));
    assert_eq!(statistics.read().strangers, 1);
}

/// VMs without counters and in passthrough have no filter to replace.
#[test]
fn filters_of_other_modes_cannot_be_replaced() {
    let mut none = vm(1);
    none.wanted.version = Some(0);
    let mut raw = vm(2);
    raw.mode = Mode::Passthrough;
    let mut emulated = vm(3);
    emulated.mode = Mode::Emulated;
    let policy = region(binary(Some(9), &[none, raw, emulated]));
    let update = region(strict_update());
    let mut domain: TestDomain = Domain::new(policy, update, cells(), |_| FakePort::new(ice_lake()));
    let mode = Reply::Refused(Refusal::Filter(FilterReason::Mode));
    assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm: 0 }), mode);
    assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm: 1 }), mode);
    assert_eq!(ask(&mut domain, 9, Request::ReplaceFilter { vm: 2 }), Reply::Replaced);
}
