//! VM entries and exits (SDM vol. 3C, 27.2.2, 27.3.1.1, 27.3.2.1, 28.3.1, 28.5.1).

mod common;

use common::{EN, FREEZE, INSTRUCTIONS, OS, counting, instructions, pmc0, v5};
use pmu_model::{ExitLoads, GuestLoads, InvalidState, Pmu, msr};

fn global_ctrl(pmu: &Pmu) -> u64 {
    pmu.rdmsr(msr::IA32_PERF_GLOBAL_CTRL).expect("exists")
}

fn debugctl(pmu: &Pmu) -> u64 {
    pmu.rdmsr(msr::IA32_DEBUGCTL).expect("exists")
}

/// 27.3.2.1 and 28.5.1: entry loads the guest's registers, exit the host's; the guest counts exactly its own.
#[test]
fn a_guest_counts_its_own_instructions() {
    let mut pmu = counting(INSTRUCTIONS | OS | EN);
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0).unwrap();
    instructions(&mut pmu, 5);
    pmu.vm_entry(&GuestLoads { perf_global_ctrl: Some(1), debugctl: None });
    instructions(&mut pmu, 7);
    assert_eq!(pmu.saved_state().perf_global_ctrl, 1);
    pmu.vm_exit(&ExitLoads { perf_global_ctrl: Some(0) });
    instructions(&mut pmu, 11);
    assert_eq!((pmc0(&pmu), global_ctrl(&pmu)), (7, 0));
}

/// Without the controls IA32_PERF_GLOBAL_CTRL passes through; IA32_DEBUGCTL is 0 after every exit.
#[test]
fn without_the_controls_registers_pass_through() {
    let mut pmu = v5();
    pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 3).unwrap();
    pmu.wrmsr(msr::IA32_DEBUGCTL, FREEZE).unwrap();
    pmu.vm_entry(&GuestLoads::default());
    assert_eq!((global_ctrl(&pmu), debugctl(&pmu)), (3, FREEZE));
    pmu.vm_exit(&ExitLoads::default());
    assert_eq!((global_ctrl(&pmu), debugctl(&pmu)), (3, 0));
}

/// "Load debug controls" and "save debug controls".
#[test]
fn debugctl_is_loaded_and_saved() {
    let mut pmu = v5();
    pmu.vm_entry(&GuestLoads { perf_global_ctrl: None, debugctl: Some(FREEZE) });
    assert_eq!(debugctl(&pmu), FREEZE);
    assert_eq!(pmu.saved_state().debugctl, FREEZE);
    pmu.vm_exit(&ExitLoads::default());
    assert_eq!(debugctl(&pmu), 0);
}

/// 27.3.1.1 and 27.2.2: reserved bits fail the entry; registers that are not loaded are not checked.
#[test]
fn reserved_bits_fail_the_entry() {
    let pmu = v5();
    let guest =
        |perf_global_ctrl, debugctl| pmu.check_guest_state(&GuestLoads { perf_global_ctrl, debugctl });
    assert_eq!(guest(Some(0xF_0000_00FF), Some(FREEZE)), Ok(()));
    assert_eq!(guest(Some(1 << 8), None), Err(InvalidState::PerfGlobalCtrl));
    assert_eq!(guest(Some(1 << 36), None), Err(InvalidState::PerfGlobalCtrl));
    assert_eq!(guest(None, Some(1)), Err(InvalidState::DebugCtl));
    assert_eq!(guest(None, None), Ok(()));
    let host = |perf_global_ctrl| pmu.check_host_state(&ExitLoads { perf_global_ctrl });
    assert_eq!(host(Some(1 << 32)), Ok(()));
    assert_eq!(host(Some(1 << 20)), Err(InvalidState::PerfGlobalCtrl));
    assert_eq!(host(None), Ok(()));
}
