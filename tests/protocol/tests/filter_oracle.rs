//! The policy compiler against KVM's arithmetic on the entries of `KVM_SET_PMU_EVENT_FILTER`, for every event.
#![allow(clippy::unwrap_used)]

mod common;

use common::Random;
use pmu_core::Policy;
use pmu_core::registers::EventSelect;
use pmu_policy::compile;
use std::sync::atomic::AtomicU64;

/// A masked entry of KVM's ABI: select in 7:0, match in 15:8, exclude in 55, mask in 63:56.
fn raw(event: u64, umask: u64, mask: u64, exclude: bool) -> u64 {
    event | umask << 8 | u64::from(exclude) << 55 | mask << 56
}

/// Whether one entry hits: the unit mask's bits under the mask are those to match.
fn hits(entry: u64, key: u64) -> bool {
    entry & 0xFF == key & 0xFF && (key >> 8 & entry >> 56) == (entry >> 8 & 0xFF)
}

fn kvm_permits(deny: bool, entries: &[u64], key: u64) -> bool {
    let included = entries.iter().any(|&e| e >> 55 & 1 == 0 && hits(e, key));
    let excluded = entries.iter().any(|&e| e >> 55 & 1 == 1 && hits(e, key));
    let in_list = included && !excluded;
    in_list != deny
}

fn kvm_permits_fixed(deny: bool, bitmap: u64, i: u64) -> bool {
    let set = bitmap >> i & 1 == 1;
    if deny { !set } else { set }
}

#[test]
fn every_event_is_decided_as_kvm_does() {
    let mut random = Random::new(1);
    for round in 0..60 {
        let deny = random.below(2) == 1;
        let bitmap = random.below(16);
        let count = if round == 0 { 300 } else { random.below(12) };
        let mut entries = Vec::new();
        let mut text = Vec::new();
        for _ in 0..count {
            // Few event selects, so that entries meet.
            let event = [0xC0, 0x2E, 0xD0, random.below(256)][random.index(4)];
            let masked = random.below(3) > 0;
            let mask = if masked { random.next() & 0xFF } else { 0xFF };
            let umask = random.next() & mask;
            let exclude = masked && random.below(3) == 0;
            entries.push(raw(event, umask, mask, exclude));
            let rest = if masked { format!(", mask = {mask}, exclude = {exclude}") } else { String::new() };
            text.push(format!("{{ event = {event}, umask = {umask}{rest} }}"));
        }
        let action = if deny { "deny" } else { "allow" };
        let fixed: Vec<String> = (0..4).filter(|i| bitmap >> i & 1 == 1).map(|i| i.to_string()).collect();
        let file = format!(
            "[[vm]]\nname = \"a\"\nchannel = 1\n[vm.filter]\naction = \"{action}\"\nevents = [{}]\nfixed = [{}]\n",
            text.join(", "),
            fixed.join(", ")
        );
        let words: Vec<AtomicU64> = compile(&file).unwrap().words.into_iter().map(AtomicU64::new).collect();
        let policy = Policy::parse(&words).unwrap();
        let filter = policy.vms[0].filter;
        for key in 0..65_536_u64 {
            let off_core = [0x01B7, 0x01BB, 0x012A, 0x012B].contains(&key);
            let expected = kvm_permits(deny, &entries, key) && !off_core;
            assert_eq!(filter.permits(EventSelect(key)), expected, "{key:#x}\n{file}");
        }
        for i in 0..4 {
            let written = filter.fixed_control(pmu_core::registers::FixedControl(0x1111)) >> (4 * i) & 1 == 1;
            assert_eq!(written, kvm_permits_fixed(deny, bitmap, i), "fixed {i}\n{file}");
        }
    }
}
