//! What is counted: nothing of the host, and of the guest what it and the VMM for it completes.

use super::Shared;
use crate::programs;
use crate::root::Root;
use crate::vm::{FIXED_CTR_CTRL, PERFEVTSEL0, Vm};
use crate::vmcs::{self, exit};
use sel4_abi::numbers::{guest_register as reg, pmu};

/// From the WRMSR that enables to the one that disables: itself, the guest's instructions, three moves and the
/// disabling WRMSR, which counts nothing.
const AROUND: u64 = 4;
const CPUIDS: u64 = 1_000;

fn direct(root: &mut Root) -> Vm {
    let vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    vm
}

/// Instructions that exit are not retired (SDM 26.1); completed ones count once, control writes after their effect.
pub fn completed(root: &mut Root, _: &Shared) {
    let mut vm = direct(root);
    let around = AROUND + 1;
    vm.credit = false;
    vm.load(root, programs::cpuid());
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!((vm.registers[reg::R8], vm.registers[reg::R9]), (2 * CPUIDS + around, 2 * CPUIDS + around));
    vm.credit = true;
    vm.load(root, programs::cpuid());
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!((vm.registers[reg::R8], vm.registers[reg::R9]), (3 * CPUIDS + around, 3 * CPUIDS + around));
    assert_eq!(vm.counts.cpuid, CPUIDS);
    // The enabling write counts 1, the disabling 0.
    vm.load(root, programs::control());
    assert_eq!(vm.run(root), exit::HLT);
    let first = 1 + 4 + 1 + 4 + 1 + 3;
    assert_eq!((vm.registers[reg::R8], vm.registers[reg::EBX]), (first, 1 + 1 + 3));
    vm.set_mode(root, pmu::MODE_OFF);
}

/// A completed instruction obeys the selector: ring and CMASK (SDM 20.2.1.1); a branch only counts as one.
pub fn filters(root: &mut Root, _: &Shared) {
    let mut vm = direct(root);
    vm.load(root, programs::user_ring());
    assert_eq!(vm.run(root), exit::HLT);
    let [all, user, cmask1, cmask2] = [reg::R8, reg::R9, reg::R10, reg::R11].map(|i| vm.registers[i]);
    assert_eq!((all, user, cmask1, cmask2), (3 * CPUIDS + 5, 0, 3 * CPUIDS + 5, 0));
    // As a branch, and not: on a counter of branches.
    for (what, counts) in [
        (pmu::COMPLETED_INSTRUCTION, 0),
        (pmu::COMPLETED_BRANCH, 0),
        (pmu::COMPLETED_INSTRUCTION | pmu::COMPLETED_BRANCH, 1),
    ] {
        vm.write_msr(root, PERFEVTSEL0, 0x43_00c4);
        vm.write_msr(root, 0x4c1, 0);
        vm.write_msr(root, 0x38f, 1);
        vm.load(root, &[0xf4]);
        assert_eq!(vm.enter_with(root, what).reason, exit::HLT);
        assert_eq!(vm.read_msr(root, 0x4c1), counts, "completed {what}");
    }
    // Overflow as if retired: the status bit, and a PMI where INT is set.
    for (selector, fixed, pmi) in
        [(0x43_00c0, 0, false), (0x53_00c0, 0, true), (0, 0x3, false), (0, 0xb, true)]
    {
        vm.write_msr(root, PERFEVTSEL0, selector);
        vm.write_msr(root, FIXED_CTR_CTRL, fixed);
        vm.write_msr(root, 0x4c1, 0xffff_ffff_ffff);
        vm.write_msr(root, 0x309, 0xffff_ffff_ffff);
        vm.write_msr(root, 0x38e, 0);
        vm.write_msr(root, 0x38f, 1 << 32 | 1);
        vm.load(root, &[0xf4]);
        let wanted = if pmi { exit::EXTERNAL_INTERRUPT } else { exit::HLT };
        assert_eq!(
            vm.enter_with(root, pmu::COMPLETED_INSTRUCTION).reason,
            wanted,
            "{selector:#x} {fixed:#x}"
        );
        let status = if selector == 0 { 1 << 32 } else { 1 };
        assert_eq!(vm.read_msr(root, 0x38e), status, "{selector:#x} {fixed:#x}");
        if pmi {
            assert_eq!(vm.enter_with(root, 0).reason, exit::HLT, "the PMI comes once");
        }
    }
    vm.set_mode(root, pmu::MODE_OFF);
}

/// USR means CPL 1, 2 and 3, OS CPL 0 (SDM 20.2.1.1, 20.2.2); the CPL is the DPL of SS (SDM 25.4.1).
pub fn rings(root: &mut Root, _: &Shared) {
    /// Exits at every CPL; where it cannot be fetched it faults. Neither retires.
    const CPUID: &[u8] = &[0x0f, 0xa2];
    /// CS and SS, counted from ES.
    const SEGMENTS: [u64; 2] = [1, 2];
    let mut vm = direct(root);
    for dpl in 0..4 {
        for (selector, fixed, counts) in [(0x41_00c0, 0x2, dpl != 0), (0x42_00c0, 0x1, dpl == 0)] {
            vm.load(root, CPUID);
            for segment in SEGMENTS {
                let (name, rights) =
                    (vmcs::GUEST_ES_SELECTOR + 2 * segment, vmcs::GUEST_ES_ACCESS_RIGHTS + 2 * segment);
                let (old_name, old_rights) = (vm.read_vmcs(root, name), vm.read_vmcs(root, rights));
                vm.write_vmcs(root, name, old_name & !3 | dpl);
                vm.write_vmcs(root, rights, old_rights & !0x60 | dpl << 5);
            }
            vm.write_msr(root, PERFEVTSEL0, selector);
            vm.write_msr(root, FIXED_CTR_CTRL, fixed);
            vm.write_msr(root, 0x4c1, 0);
            vm.write_msr(root, 0x309, 0);
            vm.write_msr(root, 0x38f, 1 << 32 | 1);
            vm.enter_with(root, pmu::COMPLETED_INSTRUCTION);
            let counted = (vm.read_msr(root, 0x4c1), vm.read_msr(root, 0x309));
            assert_eq!(counted, (counts.into(), counts.into()), "CPL {dpl}, selector {selector:#x}");
        }
    }
    vm.set_mode(root, pmu::MODE_OFF);
}

/// A counter that is enabled for all rings does not move while the host runs 10,000 instructions.
pub fn host(root: &mut Root, _: &Shared) {
    let mut vm = direct(root);
    for spin in [0, 10_000] {
        vm.load(root, programs::still());
        assert_eq!(vm.run(root), exit::VMCALL);
        for i in 0..spin {
            core::hint::black_box(i);
        }
        assert_eq!(vm.run(root), exit::HLT);
        let expected = AROUND + 1;
        assert_eq!(
            (vm.registers[reg::R8], vm.registers[reg::R9]),
            (0x1000 + expected, expected),
            "spin {spin}"
        );
    }
    vm.set_mode(root, pmu::MODE_OFF);
}
