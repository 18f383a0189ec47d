//! What one VCPU can do to another's PMU: nothing.

use super::Shared;
use crate::guest::CODE;
use crate::programs;
use crate::root::Root;
use crate::vm::{GLOBAL_CTRL, PERFEVTSEL0, Vm};
use crate::vmcs::{self, exit};
use sel4_abi::Error;
use sel4_abi::numbers::{guest_register as reg, pmu};

const ROUNDS: u64 = 1_000;
const GLOBAL_STATUS: u64 = 0x38e;
const PMC0: u64 = 0x4c1;
/// Instructions retired in all rings, enabled.
const INSTRUCTIONS: u64 = 0x43_00c0;
/// Branches retired in all rings, enabled.
const BRANCHES: u64 = 0x43_00c4;

/// Two VCPUs write all counters, run in turn 1,000 times, and find what they wrote, and their own status.
pub fn interleaved(root: &mut Root, shared: &Shared) {
    let mut vms = [Vm::new(root, 0), Vm::new(root, 0x400)];
    let status = [0x1_0000_0001, 0x2_0000_0002];
    for (i, vm) in vms.iter_mut().enumerate() {
        vm.set_mode(root, pmu::MODE_DIRECT);
        vm.write_msr(root, GLOBAL_STATUS, status[i]);
        vm.write_msr(root, PERFEVTSEL0, [INSTRUCTIONS, BRANCHES][i]);
        vm.load_at(root, CODE + 0x400 * i, programs::own());
        for (register, value) in [
            (reg::R8, shared.geometry.gp),
            (reg::R9, shared.geometry.fixed),
            (reg::EBX, [0x1234_5678, 0x0fed_cba9][i]),
            (reg::EDI, [0x1111, 0x2222][i]),
            (reg::R13, status[i] & 0xffff_ffff),
            (reg::R14, status[i] >> 32),
            (reg::R12, ROUNDS),
        ] {
            vm.set(register, value);
        }
    }
    for round in 0..=ROUNDS {
        for vm in &mut vms {
            vm.bind(root);
            assert_eq!(vm.run(root), if round < ROUNDS { exit::VMCALL } else { exit::HLT });
        }
    }
    for (i, vm) in vms.iter().enumerate() {
        assert_eq!(vm.registers[reg::R11], 0, "VCPU {i} saw values that are not its own");
        assert_eq!(vm.read_msr(root, PERFEVTSEL0), [INSTRUCTIONS, BRANCHES][i]);
        vm.set_mode(root, pmu::MODE_OFF);
    }
}

/// Two VCPUs with different selectors count exactly while they run in turn.
pub fn selectors(root: &mut Root, _: &Shared) {
    const OUTER: u64 = 20;
    let inner = [1_000, 3_000];
    let mut vms = [Vm::new(root, 0), Vm::new(root, 0x400)];
    for (i, vm) in vms.iter_mut().enumerate() {
        vm.set_mode(root, pmu::MODE_DIRECT);
        vm.write_msr(root, PERFEVTSEL0, [INSTRUCTIONS, BRANCHES][i]);
        vm.load_at(root, CODE + 0x400 * i, programs::two());
        vm.set(reg::EBX, inner[i]);
        vm.set(reg::R12, OUTER);
    }
    for call in 0..=2 * OUTER {
        for vm in &mut vms {
            vm.bind(root);
            assert_eq!(vm.run(root), if call < 2 * OUTER { exit::VMCALL } else { exit::HLT });
        }
    }
    // Instructions: the WRMSR that enables, a move, two for each round, VMCALL, three moves. Branches: one a round.
    let expected = [OUTER * (1 + 1 + 2 * inner[0] + 1 + 3), OUTER * inner[1]];
    assert_eq!([vms[0].registers[reg::ESI], vms[1].registers[reg::ESI]], expected);
    vms.iter().for_each(|vm| vm.set_mode(root, pmu::MODE_OFF));
}

/// A VMM with every VMCS write that might help it: what is refused, and what has no effect.
pub fn attempts(root: &mut Root, _: &Shared) {
    let mut owner = Vm::new(root, 0);
    let mut thief = Vm::new(root, 0x400);
    owner.bind(root);
    owner.set_mode(root, pmu::MODE_DIRECT);
    let fields: &[(&str, u64, u64)] = &[
        ("nothing", vmcs::GUEST_DR7, 0x400),
        ("RDPMC exiting off", vmcs::PRIMARY_CONTROLS, vmcs::PRIMARY_HLT_EXITING),
        ("GUEST_PERF_GLOBAL_CTRL", vmcs::GUEST_PERF_GLOBAL_CTRL, 1),
        (
            "load GLOBAL_CTRL on entry",
            vmcs::ENTRY_CONTROLS,
            vmcs::ENTRY_IA32E | vmcs::ENTRY_LOAD_EFER | vmcs::ENTRY_LOAD_PERF_GLOBAL_CTRL,
        ),
        ("no load of GLOBAL_CTRL on exit", vmcs::EXIT_CONTROLS, 0),
        ("save GLOBAL_CTRL on exit", vmcs::EXIT_CONTROLS, vmcs::EXIT_SAVE_PERF_GLOBAL_CTRL),
        ("DEBUGCTL", vmcs::GUEST_DEBUGCTL, 0xffff),
    ];
    for &(what, field, value) in fields {
        // The owner's counter counts, and stays loaded and enabled in its context.
        owner.load(root, programs::still());
        owner.bind(root);
        assert_eq!(owner.run(root), exit::VMCALL, "{what}");
        let before = owner.read_msr(root, PMC0);
        thief.load_at(root, CODE + 0x400, programs::attempts());
        thief.bind(root);
        let written = root.ipc.vcpu_write_vmcs(thief.vcpu, field, value);
        let kernels = match field {
            vmcs::GUEST_PERF_GLOBAL_CTRL => {
                assert_eq!(written, Err(Error::IllegalOperation), "{what}");
                0
            }
            vmcs::PRIMARY_CONTROLS => vmcs::PRIMARY_RDPMC_EXITING,
            vmcs::ENTRY_CONTROLS => vmcs::ENTRY_LOAD_PERF_GLOBAL_CTRL,
            vmcs::EXIT_CONTROLS => vmcs::EXIT_LOAD_PERF_GLOBAL_CTRL | vmcs::EXIT_SAVE_PERF_GLOBAL_CTRL,
            _ => 0,
        };
        let wanted = match field {
            vmcs::PRIMARY_CONTROLS => vmcs::PRIMARY_RDPMC_EXITING,
            vmcs::EXIT_CONTROLS => vmcs::EXIT_LOAD_PERF_GLOBAL_CTRL,
            _ => 0,
        };
        if field != vmcs::GUEST_PERF_GLOBAL_CTRL {
            assert_eq!(thief.read_vmcs(root, field) & kernels, wanted, "{what}");
        }
        if field == vmcs::GUEST_DEBUGCTL {
            // BTF and RTM, of which the processor may lack the second.
            assert_eq!(thief.read_vmcs(root, field) & !0x8002, 0, "{what}");
            thief.write_vmcs(root, field, 0);
        }
        assert_eq!(thief.run(root), exit::HLT, "{what}");
        assert_eq!(
            (thief.counts.rdpmc, thief.counts.rdmsr, thief.counts.wrmsr),
            (1, 4, 1),
            "{what}: every access exits"
        );
        assert_eq!(owner.read_msr(root, PMC0), before, "{what}: the owner's counter moved");
        owner.bind(root);
        assert_eq!(owner.run(root), exit::HLT, "{what}");
        assert_eq!(owner.registers[reg::R8], 0x1000 + 5, "{what}: the owner's counter moved");
        assert_eq!(owner.read_msr(root, GLOBAL_CTRL), 0, "{what}");
    }
    owner.set_mode(root, pmu::MODE_OFF);
}
