//! Which accesses of a guest exit, in each mode (SDM 25.6.9: MSR bitmaps; 26.1.3: RDPMC).

use super::{Geometry, Shared};
use crate::guest::DATA;
use crate::memory::write_guest_word;
use crate::programs;
use crate::root::Root;
use crate::vm::{FIXED_CTR_CTRL, GLOBAL_CTRL, PERFEVTSEL0, Vm};
use crate::vmcs::exit;
use sel4_abi::numbers::{guest_register as reg, pmu};

/// Rounds of the counted loop, two instructions each; five more stop it (three moves, WRMSR, and the one that starts it
/// counts itself).
const LOOP: u64 = 100_000;
const COUNTED: u64 = 2 * LOOP + 5;

/// In direct mode, data MSRs, GLOBAL_* and RDPMC do not exit; each way of reading a counter says the same.
pub fn direct(root: &mut Root, shared: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    vm.load(root, programs::direct());
    vm.set(reg::R8, shared.geometry.gp);
    vm.set(reg::R9, shared.geometry.fixed);
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!(vm.counts, Default::default(), "exits of direct accesses");

    vm.load(root, programs::count());
    assert_eq!(vm.run(root), exit::HLT);
    let counted = [reg::R8, reg::R9, reg::R10, reg::R11, reg::R15].map(|i| vm.registers[i]);
    assert_eq!(counted, [COUNTED; 5], "PMC0 and fixed 0 by RDPMC, 0xC1, 0x309, 0x4C1");
    assert_eq!((vm.registers[reg::R12], vm.registers[reg::R14]), (0, 0), "status, GLOBAL_CTRL");
    assert!(vm.registers[reg::R13] >= COUNTED, "cycles");
    assert_eq!((vm.counts.wrmsr, vm.counts.rdmsr, vm.counts.rdpmc), (2, 0, 0), "only the control MSRs exit");
    vm.set_mode(root, pmu::MODE_OFF);
}

/// Every PMU MSR, some beyond the geometry, and those that reach other VMs' or the host's data.
const MSRS: &[u64] = &[
    0xc1, 0xc2, 0xc8, 0x186, 0x187, 0x18d, 0x1a0, 0x1a6, 0x1a7, 0x1d9, 0x309, 0x30a, 0x30b, 0x30c, 0x30d,
    0x345, 0x38d, 0x38e, 0x38f, 0x390, 0x391, 0x392, 0x3f1, 0x3f6, 0x3f7, 0x4c1, 0x4c8, 0x600,
];

/// Whether a read or write exits.
fn exits(g: Geometry, mode: u64, msr: u64, write: bool) -> bool {
    let gp = |first: u64| (first..first + g.gp).contains(&msr);
    let direct = match msr {
        0xc1..=0xc8 => gp(0xc1),
        0x4c1..=0x4c8 => gp(0x4c1),
        0x309..=0x318 => msr - 0x309 < g.fixed,
        // GLOBAL_STATUS is read-only: a write exits and the VMM faults it.
        0x38e => !write,
        // What the guest writes there would be lost at the exit.
        0x38f => g.exit_save,
        0x390 => true,
        _ => false,
    };
    let raw = direct || gp(0x186) || msr == 0x38d || msr == 0x391;
    match mode {
        pmu::MODE_DIRECT => !direct,
        pmu::MODE_RAW => !raw,
        _ => true,
    }
}

/// Each MSR exits on read and write where it must; RDPMC exits without direct access.
pub fn closed(root: &mut Root, shared: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    for (i, msr) in MSRS.iter().enumerate() {
        write_guest_word(DATA + 8 * i, *msr);
    }
    for mode in [pmu::MODE_OFF, pmu::MODE_TRAPPED, pmu::MODE_DIRECT, pmu::MODE_RAW] {
        vm.set_mode(root, mode);
        vm.load(root, programs::table());
        vm.set(reg::R8, MSRS.len() as u64);
        let expected = MSRS.iter().flat_map(|&msr| [(msr, false), (msr, true)]);
        for (msr, write) in expected.filter(|&(msr, write)| exits(shared.geometry, mode, msr, write)) {
            let left = vm.enter(root);
            let wanted = if write { exit::WRMSR } else { exit::RDMSR };
            assert_eq!(
                (left.reason, vm.msr_operands().0),
                (wanted, msr),
                "mode {mode}: MSR {msr:#x}, write {write}"
            );
            vm.complete(&left);
        }
        if mode == pmu::MODE_OFF || mode == pmu::MODE_TRAPPED {
            let left = vm.enter(root);
            assert_eq!(left.reason, exit::RDPMC, "mode {mode}");
            vm.complete(&left);
        }
        assert_eq!(vm.enter(root).reason, exit::HLT, "mode {mode}");
    }
    vm.set_mode(root, pmu::MODE_OFF);
}

/// In raw mode the guest programs the control MSRs too, and what it wrote is its context's afterwards.
pub fn raw(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_RAW);
    vm.load(root, programs::count());
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!(vm.counts, Default::default(), "exits in raw mode");
    assert_eq!((vm.registers[reg::R8], vm.registers[reg::R9]), (COUNTED, COUNTED));
    vm.set_mode(root, pmu::MODE_OFF);
    assert_eq!((vm.read_msr(root, PERFEVTSEL0), vm.read_msr(root, FIXED_CTR_CTRL)), (0x43_00c0, 0x33));
    assert_eq!(vm.read_msr(root, 0x4c1), COUNTED);
}

/// Where exits do not save it (SDM 25.7.1, bit 30), GLOBAL_CTRL exits in mode direct, and is the context's; nothing else
/// changes, counts neither.
pub fn unsaved(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    vm.load(root, programs::count());
    let mut seen = [0; 2];
    loop {
        let left = vm.enter(root);
        match (left.reason, vm.msr_operands()) {
            (exit::HLT, _) => break,
            (exit::WRMSR, (msr @ (PERFEVTSEL0 | FIXED_CTR_CTRL), value)) => vm.write_msr(root, msr, value),
            (exit::WRMSR, (GLOBAL_CTRL, value)) => {
                seen[0] += 1;
                vm.write_msr(root, GLOBAL_CTRL, value);
            }
            (exit::RDMSR, (GLOBAL_CTRL, _)) => {
                seen[1] += 1;
                let value = vm.read_msr(root, GLOBAL_CTRL);
                vm.answer(value);
            }
            other => panic!("exit {other:x?}"),
        }
        vm.complete(&left);
    }
    assert_eq!(seen, [2, 1], "it is enabled, cleared and read");
    let counted = [reg::R8, reg::R9, reg::R10, reg::R11, reg::R15].map(|i| vm.registers[i]);
    assert_eq!(counted, [COUNTED; 5], "PMC0 and fixed 0 by RDPMC, 0xC1, 0x309, 0x4C1");
    assert_eq!((vm.registers[reg::R12], vm.registers[reg::R14]), (0, 0), "status, GLOBAL_CTRL");
    vm.set_mode(root, pmu::MODE_OFF);
}

/// In trapped mode every access exits, and the context that the PMU right wrote counts all the same.
pub fn trapped(root: &mut Root, _: &Shared) {
    /// Before the loop of `attempts`, and in it.
    const INSTRUCTIONS: u64 = 15 + 2 * 10_000;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_TRAPPED);
    vm.write_msr(root, PERFEVTSEL0, 0x43_00c0);
    vm.write_msr(root, FIXED_CTR_CTRL, 3);
    vm.write_msr(root, 0x38f, 1 << 32 | 1);
    vm.load(root, programs::attempts());
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!((vm.counts.rdpmc, vm.counts.rdmsr, vm.counts.wrmsr), (1, 4, 1));
    assert_eq!((vm.read_msr(root, 0x4c1), vm.read_msr(root, 0x309)), (INSTRUCTIONS, INSTRUCTIONS));
    vm.set_mode(root, pmu::MODE_OFF);
}
