//! PMIs reach the VCPU that they belong to, each once, however late hardware delivers them.

use super::Shared;
use crate::guest::{self, CODE, PMI_VECTOR};
use crate::memory::{BufferPage, Stack};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::{FIXED_CTR_CTRL, PERFEVTSEL0, Vm};
use crate::vmcs::{self, exit};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sel4_abi::numbers::{guest_register as reg, pmu, thread_register, vm_enter};
use sel4_abi::{Ipc, VmEnter, yield_now};

const HANDLER: usize = 0x1c00;
/// PMIs in each part.
const PMIS: u64 = 10_000;
/// Instructions retired in all rings, interrupting, enabled.
const SAMPLING: u64 = 0x53_00c0;
const PMC0: u64 = 0x4c1;
const FIXED_CTR0: u64 = 0x309;
/// IA32_PERF_GLOBAL_OVF_CTRL.
const OVF_CTRL: u64 = 0x390;

/// What a guest ran through: every PMI that the VMM saw was handled, and its overflow was there.
fn check(what: &str, vm: &Vm, pmis: u64) {
    let [handled, with_status, status] = [reg::R12, reg::R11, reg::R9].map(|i| vm.registers[i]);
    assert_eq!((handled, with_status, status & 1), (PMIS, PMIS, 0), "{what}: handled, with status, status");
    assert_eq!(pmis, PMIS, "{what}: PMIs that the VMM was told");
}

fn start(root: &mut Root, vm: &mut Vm, address: usize, period: u64, cpuid: bool) {
    vm.load_at(root, address, programs::pmi());
    for (register, value) in [
        (reg::EBP, period),
        (reg::R14, PMIS),
        (reg::EDI, u64::from(cpuid)),
        // With a late PMI the counter runs on: several times the period may pass for each.
        (reg::R13, PMIS * (period + 2_000)),
    ] {
        vm.set(register, value);
    }
}

/// One VCPU samples with and without exits between its PMIs.
pub fn one(root: &mut Root, _: &Shared) {
    guest::install_handler(HANDLER, programs::pmi_handler());
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.set_mode(root, pmu::MODE_DIRECT);
    for (period, cpuid) in [(211, false), (1_000, false), (23, true), (211, true)] {
        start(root, &mut vm, CODE, period, cpuid);
        assert_eq!(vm.run(root), exit::HLT);
        check("one VCPU", &vm, vm.counts.pmis);
    }
    vm.set_mode(root, pmu::MODE_OFF);
}

/// A guest hides an overflow whose PMI is still on its way: by its status (SDM 20.2.4), or by the control register, through
/// the kernel or through its VMM. The PMI is its own all the same, and no other VCPU's that runs next.
pub fn hidden(root: &mut Root, _: &Shared) {
    /// VMCALL; MOV ECX, 200,000; 1: DEC ECX; JNZ 1b; HLT.
    const LOOP: &[u8] = &[0x0f, 0x01, 0xc1, 0xb9, 0x40, 0x0d, 0x03, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xf4];
    for (msr, value, approved) in
        [(OVF_CTRL, 1, false), (PERFEVTSEL0, 0, true), (PERFEVTSEL0, 0, false), (FIXED_CTR_CTRL, 0, true)]
    {
        let mut first = Vm::new(root, 0);
        let mut second = Vm::new(root, 0x400);
        second.set_mode(root, pmu::MODE_TRAPPED);
        second.load_at(root, SECOND_CODE, LOOP);
        second.bind(root);
        assert_eq!(second.run(root), exit::VMCALL);
        first.bind(root);
        first.set_mode(root, pmu::MODE_DIRECT);
        let fixed = msr == FIXED_CTR_CTRL;
        let (control, sampling) = if fixed { (msr, 0xb) } else { (PERFEVTSEL0, SAMPLING) };
        if approved {
            first.approve(root, msr, value, value);
            first.approve(root, control, sampling, sampling);
        } else {
            first.write_msr(root, control, sampling);
        }
        first.load(root, programs::hide());
        for (register, value) in [
            (reg::R8, if fixed { FIXED_CTR0 } else { PMC0 }),
            (reg::R9, u64::from(fixed)),
            (reg::R10, u64::from(!fixed)),
            (reg::EDI, msr),
            (reg::ESI, value),
        ] {
            first.set(register, value);
        }
        assert_eq!(first.run(root), exit::VMCALL);
        // As quickly as a VMM can: the PMI comes up to 1,500 instructions after the overflow.
        second.bind(root);
        assert_eq!(second.run(root), exit::HLT);
        assert_eq!(second.counts.pmis, 0, "MSR {msr:#x}, approved {approved}: another VCPU got the PMI");
        first.bind(root);
        assert_eq!(first.run(root), exit::HLT);
        assert_eq!(
            first.counts.pmis, 1,
            "MSR {msr:#x}, approved {approved}: PMIs of the one that overflowed"
        );
        first.set_mode(root, pmu::MODE_OFF);
        second.set_mode(root, pmu::MODE_OFF);
    }
}

static FORGED: AtomicBool = AtomicBool::new(false);

/// INT with the PMI's vector.
#[unsafe(naked)]
extern "C" fn forge() -> ! {
    naked_asm!(
        "int {vector}",
        "mov byte ptr [rip + {forged}], 1",
        "2:",
        "pause",
        "jmp 2b",
        vector = const pmu::VECTOR,
        forged = sym FORGED,
    )
}

/// The vector's gate has privilege level 0: INT faults (SDM 6.12.1.2).
pub fn forged(root: &mut Root, _: &Shared) {
    let thread = Thread::new(root, forge, &STACK, &BUFFER);
    thread.start(root);
    for _ in 0..10 {
        yield_now();
    }
    let registers = root.ipc.tcb_read_registers(thread.tcb, true).expect("registers");
    assert!(!FORGED.load(Ordering::Relaxed), "INT did not fault");
    assert_eq!(registers[thread_register::FAULT_IP], forge as *const () as u64, "it stopped elsewhere");
}

static STACK: Stack<0x2000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
static DONE: AtomicBool = AtomicBool::new(false);
static TOLD: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);
static WITH_STATUS: AtomicU64 = AtomicU64::new(0);
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);
const SECOND_CODE: usize = CODE + 0x400;

/// The second VMM: only told of PMIs, which it injects, and of the end.
extern "C" fn second_vmm() -> ! {
    // SAFETY: the page is this thread's buffer, and this function is all that it runs.
    let mut ipc = unsafe { Ipc::new(core::ptr::NonNull::new_unchecked(BUFFER.pointer())) };
    let (mut rip, mut injection) = (SECOND_CODE as u64, 0);
    loop {
        let mut words = [rip, vmcs::PRIMARY_HLT_EXITING, injection, 0];
        let result = ipc.vm_enter(&mut words);
        rip = words[vm_enter::CALL_RIP];
        injection = words[vm_enter::CALL_INTERRUPT_INFO] & 0xffff_ffff;
        if result != VmEnter::Exit {
            continue;
        }
        match words[vm_enter::FAULT_REASON] {
            exit::EXTERNAL_INTERRUPT => {
                TOLD.fetch_add(1, Ordering::Relaxed);
                injection = vmcs::INJECT_VALID | PMI_VECTOR;
            }
            // The guest's own control write: its selector has been set before.
            exit::WRMSR => rip += ipc.buffer().message[vm_enter::FAULT_INSTRUCTION_LENGTH],
            reason => {
                let register = |i: usize| ipc.buffer().message[vm_enter::FAULT_REGISTERS + i];
                HANDLED.store(register(reg::R12), Ordering::Relaxed);
                WITH_STATUS.store(register(reg::R11), Ordering::Relaxed);
                if reason != exit::HLT {
                    UNEXPECTED.store(reason, Ordering::Relaxed);
                }
                DONE.store(true, Ordering::Release);
                loop {
                    yield_now();
                }
            }
        }
    }
}

/// Two VCPUs in two threads of one priority sample at different periods; the timer takes the processor from each in its
/// guest.
pub fn two(root: &mut Root, shared: &Shared) {
    let mut first = Vm::new(root, 0);
    let mut second = Vm::new(root, 0x400);
    let thread = Thread::new(root, second_vmm, &STACK, &BUFFER);
    root.ipc.tcb_set_ept_root(thread.tcb, shared.space.pml4).expect("EPT root");
    second.set_mode(root, pmu::MODE_DIRECT);
    second.write_msr(root, PERFEVTSEL0, SAMPLING);
    start(root, &mut second, SECOND_CODE, 1_700, false);
    root.ipc.vcpu_write_registers(second.vcpu, &second.registers).expect("registers");
    root.ipc.vcpu_set_tcb(second.vcpu, thread.tcb).expect("SetTCB");
    first.bind(root);
    first.set_mode(root, pmu::MODE_DIRECT);
    start(root, &mut first, CODE, 1_000, false);
    thread.start(root);
    assert_eq!(first.run(root), exit::HLT);
    check("the first of two VCPUs", &first, first.counts.pmis);
    while !DONE.load(Ordering::Acquire) {
        yield_now();
    }
    let seen = [&TOLD, &HANDLED, &WITH_STATUS, &UNEXPECTED].map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!(seen, [PMIS, PMIS, PMIS, 0], "the second VCPU: told, handled, with status, unexpected exit");
    thread.stop(root);
    first.set_mode(root, pmu::MODE_OFF);
    second.set_mode(root, pmu::MODE_OFF);
}
