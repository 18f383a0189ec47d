//! Accesses to control registers that the kernel completes, because the holder of the PMU right has approved of them.

use super::Shared;
use crate::guest::CODE;
use crate::memory::{BufferPage, Stack};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::{FIXED_CTR_CTRL, GLOBAL_CTRL, PERFEVTSEL0, Vm};
use crate::vmcs::{self, exit};
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{guest_register as reg, pmu, vm_enter};
use sel4_abi::{Ipc, yield_now};

/// WRMSR, HLT and RDMSR, HLT.
const WRITE: &[u8] = &[0x0f, 0x30, 0xf4];
const READ: &[u8] = &[0x0f, 0x32, 0xf4];
/// Where HLT is.
const AFTER: u64 = CODE as u64 + 2;

/// Instructions retired in all rings, as the guest wants it and as a filter leaves it.
const WANTED: u64 = 0x43_00c0;
const FILTERED: u64 = 0x03_00c0;
const PMC0: u64 = 0x4c1;
const GLOBAL_STATUS: u64 = 0x38e;

fn direct(root: &mut Root) -> Vm {
    let vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    vm
}

/// Lets the guest write and returns why it exited.
fn write(root: &mut Root, vm: &mut Vm, msr: u64, value: u64) -> u64 {
    vm.load(root, WRITE);
    vm.set(reg::ECX, msr);
    vm.set(reg::EAX, value & 0xffff_ffff);
    vm.set(reg::EDX, value >> 32);
    vm.enter(root).reason
}

/// Lets the guest read and returns why it exited.
fn read(root: &mut Root, vm: &mut Vm, msr: u64) -> u64 {
    vm.load(root, READ);
    vm.set(reg::ECX, msr);
    vm.set(reg::EAX, u64::MAX);
    vm.set(reg::EDX, u64::MAX);
    vm.enter(root).reason
}

/// A write of an approved value programs the approved one; a read returns what the guest wrote (SDM volume 2, RDMSR: it
/// clears the upper halves); the VMM sees neither.
pub fn accesses(root: &mut Root, shared: &Shared) {
    for mode in [pmu::MODE_TRAPPED, pmu::MODE_DIRECT] {
        let mut vm = Vm::new(root, 0);
        vm.bind(root);
        vm.set_mode(root, mode);
        let selectors = (0..shared.geometry.gp).map(|i| (PERFEVTSEL0 + i, WANTED + i, FILTERED + i));
        let mut done = 0;
        for (msr, guest, hardware) in selectors.chain([(FIXED_CTR_CTRL, 0x3b, 0x30)]) {
            vm.approve(root, msr, 0, 0);
            vm.approve(root, msr, guest, hardware);
            vm.approve(root, msr, 0, 0);
            assert_eq!(vm.read_msr(root, msr), 0);
            assert_eq!(write(root, &mut vm, msr, guest), exit::HLT, "mode {mode}: write of {msr:#x}");
            assert_eq!((vm.rip, vm.read_msr(root, msr)), (AFTER, hardware), "{msr:#x}");
            assert_eq!(read(root, &mut vm, msr), exit::HLT, "mode {mode}: read of {msr:#x}");
            assert_eq!(
                (vm.rip, vm.registers[reg::EAX], vm.registers[reg::EDX]),
                (AFTER, guest, 0),
                "{msr:#x}"
            );
            // The upper halves of the registers do not count.
            vm.load(root, WRITE);
            for (register, value) in [(reg::ECX, msr), (reg::EAX, 0), (reg::EDX, 0)] {
                vm.set(register, 0xdead_beef << 32 | value);
            }
            assert_eq!(vm.enter(root).reason, exit::HLT, "{msr:#x}");
            assert_eq!(vm.read_msr(root, msr), 0, "{msr:#x}");
            assert_eq!(write(root, &mut vm, msr, guest), exit::HLT, "{msr:#x}");
            done += 1;
            let counted = vm.guest_control(root);
            assert_eq!((counted.approved_writes, counted.approved_reads), (3 * done, done));
        }
        let seen = vm.guest_control(root);
        let count = usize::try_from(shared.geometry.gp).unwrap_or_default();
        assert!((0..).zip(&seen.selectors[..count]).all(|(i, value)| *value == WANTED + i), "{seen:x?}");
        assert_eq!(seen.fixed_control, 0x3b);
        vm.set_mode(root, pmu::MODE_OFF);
    }
}

/// Everything else exits and changes nothing: another value, register or VCPU, and pairs that do not hold any more.
pub fn refused(root: &mut Root, shared: &Shared) {
    let mut vm = direct(root);
    vm.approve(root, PERFEVTSEL0, WANTED, FILTERED);
    let before = vm.guest_control(root);
    let exits = |root: &mut Root, vm: &mut Vm, msr: u64, value: u64, why: &str| {
        assert_eq!(write(root, vm, msr, value), exit::WRMSR, "{why}: {msr:#x} = {value:#x}");
        assert_eq!(vm.rip, CODE as u64, "{why}");
        assert_eq!(vm.guest_control(root).approved_writes, before.approved_writes, "{why}");
        assert_eq!(vm.read_msr(root, PERFEVTSEL0), FILTERED, "{why}");
    };
    for bit in 0..64 {
        exits(root, &mut vm, PERFEVTSEL0, WANTED ^ 1 << bit, "one bit off");
    }
    for msr in [PERFEVTSEL0 + 1, PERFEVTSEL0 - 1, PERFEVTSEL0 + shared.geometry.gp, FIXED_CTR_CTRL, 0x392] {
        exits(root, &mut vm, msr, WANTED, "another register");
        assert_eq!(read(root, &mut vm, msr), exit::RDMSR, "another register: {msr:#x}");
    }
    vm.set_mode(root, pmu::MODE_OFF);
    exits(root, &mut vm, PERFEVTSEL0, WANTED, "mode off");
    vm.set_mode(root, pmu::MODE_DIRECT);
    exits(root, &mut vm, PERFEVTSEL0, WANTED, "after a change of mode");
    assert_eq!(read(root, &mut vm, PERFEVTSEL0), exit::RDMSR, "after a change of mode");
    vm.approve(root, PERFEVTSEL0, WANTED, FILTERED);
    root.ipc.vcpu_pmu_withdraw(vm.vcpu).expect("withdraw");
    assert_eq!(vm.guest_control(root), before, "withdrawing leaves the values");
    exits(root, &mut vm, PERFEVTSEL0, WANTED, "withdrawn");
    assert_eq!(read(root, &mut vm, PERFEVTSEL0), exit::RDMSR, "withdrawn");
    vm.approve(root, PERFEVTSEL0, WANTED, FILTERED);
    vm.approve(root, PERFEVTSEL0 + 1, WANTED, FILTERED);
    vm.write_msr(root, PERFEVTSEL0, FILTERED);
    exits(root, &mut vm, PERFEVTSEL0, WANTED, "programmed without a pair");
    assert_eq!(write(root, &mut vm, PERFEVTSEL0 + 1, WANTED), exit::HLT, "the other register's pair stays");
    let mut other = direct(root);
    other.write_msr(root, PERFEVTSEL0, FILTERED);
    let msr = PERFEVTSEL0 + 1;
    assert_eq!(write(root, &mut other, msr, WANTED), exit::WRMSR, "another VCPU's pair");
    assert_eq!(read(root, &mut other, msr), exit::RDMSR, "another VCPU's pair");
    assert_eq!(other.read_msr(root, msr), 0);
    vm.bind(root);
    assert_eq!(write(root, &mut vm, msr, WANTED), exit::HLT);
    vm.set_mode(root, pmu::MODE_OFF);
    other.set_mode(root, pmu::MODE_OFF);
}

/// With RFLAGS.TF a trap is due after the instruction (SDM 18.3.1.4): the access goes to the VMM.
pub fn unusual(root: &mut Root, _: &Shared) {
    const TF: u64 = 1 << 8;
    /// PUSH 0x102; POPF, which sets TF; WRMSR or RDMSR.
    const TRAPPING_WRITE: &[u8] = &[0x68, 0x02, 0x01, 0x00, 0x00, 0x9d, 0x0f, 0x30, 0xf4];
    const TRAPPING_READ: &[u8] = &[0x68, 0x02, 0x01, 0x00, 0x00, 0x9d, 0x0f, 0x32, 0xf4];
    let mut vm = direct(root);
    vm.approve(root, PERFEVTSEL0, WANTED, FILTERED);
    for (program, wanted) in [(TRAPPING_WRITE, exit::WRMSR), (TRAPPING_READ, exit::RDMSR)] {
        vm.load(root, program);
        vm.set(reg::ECX, PERFEVTSEL0);
        vm.set(reg::EAX, WANTED);
        // What the last round has left pending.
        vm.write_vmcs(root, vmcs::GUEST_PENDING_DEBUG, 0);
        let left = vm.enter(root);
        assert_eq!((left.reason, vm.rip, left.rflags & TF), (wanted, CODE as u64 + 6, TF));
    }
    vm.write_vmcs(root, vmcs::GUEST_PENDING_DEBUG, 0);
    assert_eq!(vm.guest_control(root).approved_writes, 0);
    vm.set_mode(root, pmu::MODE_OFF);
}

/// Blocking by STI and by MOV SS ends with the instruction, blocking by NMI does not (SDM 25.4.2).
pub fn blocking(root: &mut Root, _: &Shared) {
    /// STI or MOV SS, BX; WRMSR; HLT.
    const AFTER_STI: &[u8] = &[0xfb, 0x0f, 0x30, 0xf4];
    const AFTER_MOV_SS: &[u8] = &[0x66, 0x8e, 0xd3, 0x0f, 0x30, 0xf4];
    const BY_NMI: u64 = 1 << 3;
    let mut vm = direct(root);
    vm.approve(root, PERFEVTSEL0, WANTED, FILTERED);
    for (program, approved, before, wanted) in [
        (AFTER_STI, false, 0, (exit::WRMSR, 1)),
        (AFTER_STI, true, 0, (exit::HLT, 0)),
        (AFTER_MOV_SS, false, 0, (exit::WRMSR, 2)),
        (AFTER_MOV_SS, true, 0, (exit::HLT, 0)),
        (WRITE, true, BY_NMI, (exit::HLT, BY_NMI)),
    ] {
        vm.load(root, program);
        vm.set(reg::ECX, PERFEVTSEL0);
        vm.set(reg::EAX, if approved { WANTED } else { FILTERED });
        // The data selector.
        vm.set(reg::EBX, 16);
        vm.write_vmcs(root, vmcs::GUEST_INTERRUPTIBILITY, before);
        let left = vm.enter(root);
        assert_eq!((left.reason, left.interruptibility), wanted, "{program:x?}");
    }
    vm.write_vmcs(root, vmcs::GUEST_INTERRUPTIBILITY, 0);
    vm.set_mode(root, pmu::MODE_OFF);
}

/// The one instruction counts after its effect, exactly as one that the VMM completes; an overflow sets the status and
/// interrupts.
pub fn counted(root: &mut Root, _: &Shared) {
    let mut vm = direct(root);
    vm.approve = true;
    let mut seen = [(0, 0, 0); 2];
    for seen in &mut seen {
        vm.load(root, programs::control());
        assert_eq!(vm.run(root), exit::HLT);
        *seen = (vm.registers[reg::R8], vm.registers[reg::EBX], vm.counts.wrmsr);
    }
    let first = 1 + 4 + 1 + 4 + 1 + 3;
    assert_eq!(seen, [(first, 1 + 1 + 3, 4), (first, 1 + 1 + 3, 0)], "PMC0, PMC1, exits: trapped, approved");

    // A counter at its end, with and without INT, by a write and by a read of another register.
    let other = PERFEVTSEL0 + 1;
    for (selector, pmi) in [(WANTED, false), (WANTED | 1 << 20, true)] {
        for access in [write, |root: &mut Root, vm: &mut Vm, msr, _| read(root, vm, msr)] {
            vm.approve(root, PERFEVTSEL0, selector, selector);
            vm.approve(root, other, 0, 0);
            vm.write_msr(root, PMC0, 0xffff_ffff_ffff);
            vm.write_msr(root, GLOBAL_STATUS, 0);
            vm.write_msr(root, GLOBAL_CTRL, 1);
            let left = access(root, &mut vm, other, 0);
            assert_eq!(left, if pmi { exit::EXTERNAL_INTERRUPT } else { exit::HLT }, "{selector:#x}");
            assert_eq!((vm.rip, vm.read_msr(root, PMC0), vm.read_msr(root, GLOBAL_STATUS)), (AFTER, 0, 1));
            if pmi {
                assert_eq!(vm.enter(root).reason, exit::HLT, "the PMI comes once");
            }
        }
    }
    // The write's own effect comes first: it enables the counter that overflows.
    let interrupting = WANTED | 1 << 20;
    vm.approve(root, PERFEVTSEL0, interrupting, interrupting);
    vm.approve(root, PERFEVTSEL0, 0, 0);
    vm.write_msr(root, PMC0, 0xffff_ffff_ffff);
    assert_eq!(write(root, &mut vm, PERFEVTSEL0, interrupting), exit::EXTERNAL_INTERRUPT);
    assert_eq!(vm.read_msr(root, PMC0), 0);
    vm.set_mode(root, pmu::MODE_OFF);
}

/// Each new pair holds, whatever goes for it, and none gets another's value; a pair with the same guest's value is the
/// same place.
pub fn full(root: &mut Root, _: &Shared) {
    let mut vm = direct(root);
    let value = |i: u64| i * 0x0101 + (i & 3) * 0x40_0000;
    let holds = |root: &mut Root, vm: &mut Vm, i: u64| {
        let left = write(root, vm, PERFEVTSEL0, value(i));
        assert!(left == exit::WRMSR || vm.read_msr(root, PERFEVTSEL0) == i, "pair {i} has another's value");
        left == exit::HLT
    };
    for i in 0..3 * pmu::PAIRS {
        vm.approve(root, PERFEVTSEL0, value(i), i);
        assert!(holds(root, &mut vm, i), "the last pair");
        let held = (0..=i).filter(|&i| holds(root, &mut vm, i)).count() as u64;
        assert!(held <= pmu::PAIRS && held >= (i + 1).min(pmu::WAYS), "{held} of {} pairs", i + 1);
    }
    vm.approve(root, PERFEVTSEL0, value(3 * pmu::PAIRS - 1), 0x77);
    assert_eq!(write(root, &mut vm, PERFEVTSEL0, value(3 * pmu::PAIRS - 1)), exit::HLT);
    assert_eq!(vm.read_msr(root, PERFEVTSEL0), 0x77, "the pair approved last");
    vm.set_mode(root, pmu::MODE_OFF);
}

/// No value is found that nobody has approved of, whatever the free places of the table hold.
pub fn free_places(root: &mut Root, _: &Shared) {
    const VALUES: u64 = 64;
    let mut vm = direct(root);
    for approved in [0, 1, VALUES / 2] {
        for value in 0..VALUES {
            assert_eq!(write(root, &mut vm, PERFEVTSEL0, value), exit::WRMSR, "{value:#x} in an empty table");
        }
        vm.approve(root, PERFEVTSEL0, approved, approved);
        for value in 0..VALUES {
            let wanted = if value == approved { exit::HLT } else { exit::WRMSR };
            assert_eq!(write(root, &mut vm, PERFEVTSEL0, value), wanted, "{value:#x} beside {approved:#x}");
        }
        // Each of the three takes the pairs back.
        match approved {
            0 => root.ipc.vcpu_pmu_withdraw(vm.vcpu).expect("withdraw"),
            1 => vm.write_msr(root, PERFEVTSEL0, 0),
            _ => vm.set_mode(root, pmu::MODE_DIRECT),
        }
        assert_eq!(write(root, &mut vm, PERFEVTSEL0, approved), exit::WRMSR, "{approved:#x} after all");
    }
    vm.set_mode(root, pmu::MODE_OFF);
}

static STACK: Stack<0x1000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
static RETURNS: AtomicU64 = AtomicU64::new(0);

extern "C" fn enter_once() -> ! {
    // SAFETY: the page is this thread's buffer, and this function is all that it runs.
    let mut ipc = unsafe { Ipc::new(core::ptr::NonNull::new_unchecked(BUFFER.pointer())) };
    let mut words = [CODE as u64, vmcs::PRIMARY_HLT_EXITING, 0, 0];
    ipc.vm_enter(&mut words);
    RETURNS.store(words[vm_enter::FAULT_REASON], Ordering::Relaxed);
    loop {
        yield_now();
    }
}

/// A guest that does nothing but approved writes uses its time slice only; its VCPU can be taken away meanwhile.
pub fn preempted(root: &mut Root, shared: &Shared) {
    /// WRMSR for ever.
    const FOR_EVER: &[u8] = &[0x0f, 0x30, 0xeb, 0xfc];
    let thread = Thread::new(root, enter_once, &STACK, &BUFFER);
    root.ipc.tcb_set_ept_root(thread.tcb, shared.space.pml4).expect("EPT root");
    let mut vm = Vm::new(root, 0);
    vm.set_mode(root, pmu::MODE_DIRECT);
    vm.approve(root, PERFEVTSEL0, 0, 0);
    vm.load(root, FOR_EVER);
    vm.set(reg::ECX, PERFEVTSEL0);
    root.ipc.vcpu_write_registers(vm.vcpu, &vm.registers).expect("registers");
    root.ipc.vcpu_set_tcb(vm.vcpu, thread.tcb).expect("SetTCB");
    thread.start(root);
    let mut last = 0;
    for _ in 0..3 {
        yield_now();
        let writes = vm.guest_control(root).approved_writes;
        assert!(writes > last, "the guest does not run");
        last = writes;
    }
    assert_eq!(RETURNS.load(Ordering::Relaxed), 0, "the VMM saw an exit");
    // No pair: the next write is the VMM's.
    root.ipc.vcpu_pmu_withdraw(vm.vcpu).expect("withdraw");
    yield_now();
    assert_eq!(RETURNS.load(Ordering::Relaxed), exit::WRMSR);
    assert_eq!(vm.guest_control(root).approved_writes, last, "a write without a pair was completed");
    thread.stop(root);
    vm.set_mode(root, pmu::MODE_OFF);
}
