//! What an exit and a switch cost, in simulated instructions (the simulated machine's TSC counts instructions).

use super::Shared;
use crate::guest::CODE;
use crate::programs;
use crate::root::Root;
use crate::vm::{PERFEVTSEL0, Vm};
use crate::vmcs::exit;
use core::arch::x86_64::_rdtsc;
use sel4_abi::numbers::{guest_register as reg, pmu};

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

/// Rounds of the guest that writes.
const WRITES: u64 = 1_000;

/// WRMSR of EDI and WRMSR of ESI to PERFEVTSEL0 for R8 rounds, seen from the guest: instructions beyond the guest's own
/// five for each write.
fn approved_write(root: &mut Root, values: [u64; 2]) -> u64 {
    /// MOV ECX, 0x186; XOR EDX, EDX; then MOV EAX, EDI; WRMSR; MOV EAX, ESI; WRMSR; DEC R8; JNZ; HLT.
    const PROGRAM: &[u8] = &[
        0xb9, 0x86, 0x01, 0x00, 0x00, 0x31, 0xd2, 0x89, 0xf8, 0x0f, 0x30, 0x89, 0xf0, 0x0f, 0x30, 0x49, 0xff,
        0xc8, 0x75, 0xf3, 0xf4,
    ];
    /// Of the guest in a round: two moves, two WRMSRs, a decrement and a jump.
    const OWN: u64 = 6;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    values.iter().for_each(|value| vm.approve(root, PERFEVTSEL0, *value, *value));
    vm.load(root, PROGRAM);
    for (register, value) in [(reg::EDI, values[0]), (reg::ESI, values[1]), (reg::R8, WRITES)] {
        vm.set(register, value);
    }
    let start = now();
    assert_eq!(vm.enter(root).reason, exit::HLT, "an approved write exits");
    let taken = now() - start;
    assert_eq!(vm.guest_control(root).approved_writes, 2 * WRITES);
    vm.set_mode(root, pmu::MODE_OFF);
    (taken - OWN * WRITES) / (2 * WRITES)
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
        ("approved-write", approved_write(root, [0x43_00c0, 0x43_00c4])),
        ("approved-write-same-value", approved_write(root, [0x43_00c0, 0x43_00c0])),
    ] {
        root.line(format_args!("number {name} {value}"));
    }
    a.set_mode(root, pmu::MODE_OFF);
    b.set_mode(root, pmu::MODE_OFF);
}
