//! Guests of each mode, their registers and their FPU.

use super::Shared;
use crate::guest::{self, DATA, Mode};
use crate::memory::{BufferPage, Stack, read_guest_word, write_guest_word};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::Vm;
use crate::vmcs::exit;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{guest_register as reg, syscall};
use sel4_abi::yield_now;

const ROUNDS: u64 = 1_000;
const REGISTERS: usize = 15;

/// Guest and VMM see the same values over 1,000 exits and resumes.
pub fn registers(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    let expected: [u64; REGISTERS] =
        core::array::from_fn(|i| 0xfedc_ba98_7654_3211_u64.wrapping_mul(2 * i as u64 + 1));
    for (i, value) in expected.iter().enumerate() {
        write_guest_word(DATA + 0x100 + 8 * i, *value);
    }
    write_guest_word(DATA, ROUNDS);
    write_guest_word(DATA + 8, 0);
    vm.load(root, programs::registers());
    for round in 0..ROUNDS {
        assert_eq!(vm.run(root), exit::VMCALL, "round {round}");
        assert_eq!(vm.registers, expected, "round {round}");
    }
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!(read_guest_word(DATA + 8), 1, "the guest saw a register change");
}

/// An unrestricted guest starts without paging and without protection (SDM 27.3.1.1).
pub fn small(root: &mut Root, _: &Shared) {
    for (mode, program, result) in
        [(Mode::Real, programs::real(), 0x5555), (Mode::Protected, programs::protected(), 0x2468_acf0)]
    {
        let mut vm = Vm::new(root, 0);
        vm.bind(root);
        vm.load(root, program);
        guest::initialise(root, vm.vcpu, mode, 0);
        assert_eq!(vm.run(root), exit::VMCALL, "{mode:?}");
        assert_eq!(vm.registers[reg::EAX], result, "{mode:?}");
    }
}

static STACK: Stack<0x1000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
static FPU_ROUNDS: AtomicU64 = AtomicU64::new(0);
static FPU_ERRORS: AtomicU64 = AtomicU64::new(0);

/// A thread with a value of its own in SSE and x87 registers.
#[unsafe(naked)]
extern "C" fn fpu_thread() -> ! {
    naked_asm!(
        "mov r12, 0x7777123456789abc",
        "movq xmm0, r12",
        "movq xmm15, r12",
        "fninit",
        "fldpi",
        "2:",
        "mov rdx, {number}",
        "xor edi, edi",
        "xor esi, esi",
        "mov r14, rsp",
        "syscall",
        "mov rsp, r14",
        "movq rax, xmm0",
        "cmp rax, r12",
        "jne 3f",
        "movq rax, xmm15",
        "cmp rax, r12",
        "jne 3f",
        "fldpi",
        "fcomip st, st(1)",
        "jne 3f",
        "lock inc qword ptr [rip + {rounds}]",
        "jmp 2b",
        "3:",
        "lock inc qword ptr [rip + {errors}]",
        "jmp 2b",
        number = const syscall::YIELD,
        rounds = sym FPU_ROUNDS,
        errors = sym FPU_ERRORS,
    )
}

/// Two guests and a thread use SSE and x87 in turn; each finds its own values, and a guest starts with those of a
/// thread, not with its predecessor's.
pub fn fpu(root: &mut Root, _: &Shared) {
    const ROUNDS: u64 = 200;
    let thread = Thread::new(root, fpu_thread, &STACK, &BUFFER);
    let mut vms = [Vm::new(root, 0), Vm::new(root, 0x400)];
    for (i, vm) in vms.iter_mut().enumerate() {
        vm.load_at(root, guest::CODE + 0x400 * i, programs::fpu());
        vm.set(reg::EDI, (DATA + 0x40 * i) as u64);
        vm.set(reg::ESI, 0x1111_2222_3333 * (i as u64 + 1));
        vm.set(reg::R12, ROUNDS);
    }
    thread.start(root);
    for round in 0..=ROUNDS {
        for vm in &mut vms {
            vm.bind(root);
            let wanted = if round < ROUNDS { exit::VMCALL } else { exit::HLT };
            assert_eq!(vm.run(root), wanted, "round {round}, RBX {:x}", vm.registers[reg::EBX]);
            yield_now();
        }
    }
    thread.stop(root);
    assert_eq!(FPU_ERRORS.load(Ordering::Relaxed), 0, "the thread's values changed");
    assert!(FPU_ROUNDS.load(Ordering::Relaxed) >= ROUNDS, "the thread ran in between");
    for (i, vm) in vms.iter().enumerate() {
        assert_eq!(vm.registers[reg::EBX], 1, "guest {i} saw a register change");
        let words = read_guest_word(DATA + 0x40 * i);
        // FCW after FNINIT, MXCSR after reset (SDM 8.1.5, 10.2.3).
        assert_eq!(
            (words & 0xffff, words >> 32),
            (0x37f, 0x1f80),
            "control words that guest {i} starts with"
        );
        assert_eq!(read_guest_word(DATA + 0x40 * i + 8), 0, "XMM9 that guest {i} starts with");
    }
}
