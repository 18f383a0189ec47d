//! What an exit and a switch cost, in simulated instructions (the simulated machine's TSC counts instructions).

use super::Shared;
use crate::guest::CODE;
use crate::programs;
use crate::root::Root;
use crate::vm::Vm;
use crate::vmcs::exit;
use core::arch::x86_64::_rdtsc;
use sel4_abi::numbers::pmu;

const EXITS: u64 = 2_000;

fn now() -> u64 {
    // SAFETY: RDTSC is always there on x86-64, and user level may read it.
    unsafe { _rdtsc() }
}

/// Exits by CPUID, each completed.
fn exits(root: &mut Root, vms: &mut [&mut Vm], bind: bool) -> u64 {
    let rounds = EXITS / vms.len() as u64;
    let start = now();
    for _ in 0..rounds {
        for vm in vms.iter_mut() {
            if bind {
                vm.bind(root);
            }
            let left = vm.enter(root);
            assert_eq!(left.reason, exit::CPUID);
            vm.complete(&left);
        }
    }
    (now() - start) / EXITS
}

/// Prints the figures.
pub fn figures(root: &mut Root, _: &Shared) {
    let mut a = Vm::new(root, 0);
    let mut b = Vm::new(root, 0x400);
    for (i, vm) in [&mut a, &mut b].into_iter().enumerate() {
        vm.load_at(root, CODE + 0x400 * i, programs::cpuids());
        vm.bind(root);
        let left = vm.enter(root);
        vm.complete(&left);
    }
    a.bind(root);
    let plain = exits(root, &mut [&mut a], false);
    a.set_mode(root, pmu::MODE_DIRECT);
    let idle = exits(root, &mut [&mut a], false);
    let alone = exits(root, &mut [&mut a, &mut b], true);
    b.set_mode(root, pmu::MODE_DIRECT);
    let unchanged = exits(root, &mut [&mut a, &mut b], true);
    for i in 0..8 {
        a.write_msr(root, 0x4c1 + i.min(3), 1);
        a.write_msr(root, 0x186 + i.min(3), 0x43_00c0);
        b.write_msr(root, 0x4c1 + i.min(3), 2);
        b.write_msr(root, 0x186 + i.min(3), 0x43_00c4);
    }
    let changed = exits(root, &mut [&mut a, &mut b], true);
    a.write_msr(root, 0x38f, 1);
    a.bind(root);
    let counting = exits(root, &mut [&mut a], false);
    for (name, value) in [
        ("exit-without-pmu", plain),
        ("exit-pmu-idle", idle),
        ("exit-pmu-counting", counting),
        ("switch-unchanged", unchanged - alone),
        ("switch-four-counters", changed - alone),
    ] {
        root.line(format_args!("number {name} {value}"));
    }
    a.set_mode(root, pmu::MODE_OFF);
    b.set_mode(root, pmu::MODE_OFF);
}
