//! What user level leaves in the processor when it enters the kernel, and what a VM exit leaves there for user level.

use super::Shared;
use crate::guest::DATA;
use crate::memory::{BufferPage, Stack, read_guest_word};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::Vm;
use crate::vmcs::exit;
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::invocations::TcbConfiguration;
use sel4_abi::numbers::{fault, guest_register as reg, label, object, slot, syscall, thread_register};
use sel4_abi::{CPtr, Error, MessageInfo, yield_now};

static STACK: Stack<0x1000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
/// How often a thread has come by.
static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// RFLAGS.TF, RFLAGS.DF and RFLAGS.NT.
const TF: u64 = 1 << 8;
const DF: u64 = 1 << 10;
const NT: u64 = 1 << 14;

/// The message register of a user exception that has its vector, and two vectors (SDM volume 3A, table 6-1).
const VECTOR: usize = 3;
const DEBUG: u64 = 1;
const GENERAL_PROTECTION: u64 = 13;

/// Counts without a system call: only an interrupt takes the processor from it, and IRET gives it back.
#[unsafe(naked)]
extern "C" fn counts() -> ! {
    naked_asm!("2: lock inc qword ptr [rip + {rounds}]", "jmp 2b", rounds = sym ROUNDS)
}

/// A system call with flags set that SYSCALL must not take into the kernel.
fn call_with(flags: u64, number: i64, cap: CPtr, info: MessageInfo, words: [u64; 4]) {
    let [r10, r8, r9, r15] = words;
    // SAFETY: the flags are as before at the end; the kernel keeps the stack pointer's copy in R14.
    unsafe {
        asm!(
            "pushfq",
            "pushfq",
            "or [rsp], rax",
            "mov r14, rsp",
            "add r14, 8",
            "popfq",
            "syscall",
            "mov rsp, r14",
            "popfq",
            inlateout("rax") flags => _, inlateout("rdx") number => _, inlateout("rdi") cap => _,
            inlateout("rsi") info.0 => _, inlateout("r10") r10 => _, inlateout("r8") r8 => _,
            inlateout("r9") r9 => _, inlateout("r15") r15 => _,
            lateout("rcx") _, lateout("r11") _, lateout("r14") _,
        );
    }
}

/// IRET with RFLAGS.NT faults in 64-bit mode (SDM volume 2, IRET): a thread that sets it does not stop the kernel.
pub fn nested_task(root: &mut Root, _: &Shared) {
    let thread = Thread::new(root, counts, &STACK, &BUFFER);
    ROUNDS.store(0, Ordering::Relaxed);
    thread.start(root);
    let mut last = 0;
    for _ in 0..5 {
        call_with(NT, syscall::YIELD, 0, MessageInfo::default(), [0; 4]);
        let rounds = ROUNDS.load(Ordering::Relaxed);
        assert!(rounds > last, "the other thread does not run");
        last = rounds;
    }
    thread.stop(root);
}

/// The kernel's copies go upwards (System V ABI: RFLAGS.DF is clear at a function's entry), whatever user level does: a VCPU
/// that is made with DF set starts with its own FPU state.
pub fn direction(root: &mut Root, _: &Shared) {
    let memory = root.spare_memory(sel4_abi::numbers::size_bits::VCPU);
    let vcpu = root.empty();
    let buffer = root.ipc.buffer_mut();
    buffer.caps[0] = slot::INIT_CNODE;
    buffer.message[4..6].copy_from_slice(&[vcpu, 1]);
    let info = MessageInfo::new(label::UNTYPED_RETYPE, 1, 6);
    call_with(DF, syscall::CALL, memory, info, [object::VCPU, 0, 0, 0]);
    let mut vm = Vm::from_vcpu(root, vcpu);
    vm.bind(root);
    vm.load(root, programs::fpu());
    vm.set(reg::EDI, DATA as u64);
    vm.set(reg::R12, 1);
    assert_eq!(vm.run(root), exit::VMCALL);
    let words = read_guest_word(DATA);
    assert_eq!(
        (words & 0xffff, words >> 32),
        (0x37f, 0x1f80),
        "the control words that the guest starts with"
    );
    root.delete(vcpu);
}

/// SYSENTER with a number that no system call has.
#[unsafe(naked)]
extern "C" fn enters() -> ! {
    naked_asm!("mov eax, -1000", "mov rcx, rsp", "lea rdx, [rip + 2f]", "2: sysenter", "ud2")
}

/// A VM exit loads the SYSENTER registers (SDM 28.5.1): user level has no second way into the kernel afterwards, which would
/// take RFLAGS.TF along.
pub fn sysenter(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::protected());
    assert_eq!(vm.run(root), exit::VMCALL);
    let endpoint = root.object(object::ENDPOINT, 0);
    let thread = Thread::with_faults_to(endpoint, root, enters, &STACK, &BUFFER);
    thread.start(root);
    let message = root.ipc.recv(endpoint);
    assert_eq!(
        (message.info.label(), message.registers[VECTOR]),
        (fault::USER_EXCEPTION, GENERAL_PROTECTION)
    );
    thread.stop(root);
    root.delete(endpoint);
}

/// Sets FS.base, and counts.
#[unsafe(naked)]
extern "C" fn sets_fs() -> ! {
    naked_asm!(
        "mov eax, 0x12345678",
        "wrfsbase rax",
        "jmp {counts}",
        counts = sym counts,
    )
}

/// What one thread writes by WRFSBASE no other has.
pub fn fs_base(root: &mut Root, _: &Shared) {
    let read = || {
        let base: u64;
        // SAFETY: the kernel sets CR4.FSGSBASE; reading has no effect.
        unsafe { asm!("rdfsbase {}", out(reg) base) };
        base
    };
    let own = read();
    let thread = Thread::new(root, sets_fs, &STACK, &BUFFER);
    ROUNDS.store(0, Ordering::Relaxed);
    thread.start(root);
    yield_now();
    assert!(ROUNDS.load(Ordering::Relaxed) > 0, "the other thread has not run");
    assert_eq!(read(), own, "FS.base is another thread's");
    thread.stop(root);
}

/// A TLS base that is not canonical, which becomes the FS base, does not stop the kernel: it takes it for 0.
pub fn tls_base(root: &mut Root, _: &Shared) {
    let thread = Thread::new(root, counts, &STACK, &BUFFER);
    for base in [1 << 47, 1 << 63, 0xffff_7fff_ffff_ffff] {
        ROUNDS.store(0, Ordering::Relaxed);
        thread.start_with(root, thread_register::TLS_BASE, base);
        yield_now();
        assert!(ROUNDS.load(Ordering::Relaxed) > 0, "the thread does not run");
        let registers = root.ipc.tcb_read_registers(thread.tcb, true).expect("registers");
        assert_eq!(registers[thread_register::TLS_BASE], 0, "{base:#x}");
    }
}

/// Single-steps once.
#[unsafe(naked)]
extern "C" fn steps() -> ! {
    naked_asm!("pushfq", "or qword ptr [rsp], {tf}", "popfq", "nop", "ud2", tf = const TF)
}

/// A debug exception of a thread writes DR6 (SDM 18.2.3), which stays the guest's.
pub fn debug_status(root: &mut Root, _: &Shared) {
    /// MOV RBX, DR6; VMCALL; MOV RBX, DR6; HLT.
    const READ_TWICE: &[u8] = &[0x0f, 0x21, 0xf3, 0x0f, 0x01, 0xc1, 0x0f, 0x21, 0xf3, 0xf4];
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, READ_TWICE);
    assert_eq!(vm.run(root), exit::VMCALL);
    let before = vm.registers[reg::EBX];
    let endpoint = root.object(object::ENDPOINT, 0);
    let thread = Thread::with_faults_to(endpoint, root, steps, &STACK, &BUFFER);
    thread.start(root);
    let message = root.ipc.recv(endpoint);
    assert_eq!((message.info.label(), message.registers[VECTOR]), (fault::USER_EXCEPTION, DEBUG));
    thread.stop(root);
    assert_eq!(vm.run(root), exit::HLT);
    assert_eq!(vm.registers[reg::EBX], before, "DR6 after a thread's debug exception");
    root.delete(endpoint);
}

/// An IPC buffer lies inside its frame, and its address, which becomes the GS base, is one of user level.
pub fn buffer_address(root: &mut Root, _: &Shared) {
    const NOT_CANONICAL: u64 = 1 << 63;
    const KERNELS: u64 = 0xffff_8000_0000_0000;
    let tcb = root.object(object::TCB, 0);
    let frame = root.frame_at(BUFFER.pointer() as u64);
    let page = BUFFER.pointer() as u64;
    let mut configure = |address| {
        let configuration = TcbConfiguration {
            fault_endpoint: 0,
            priority: 1,
            maximum_priority: 1,
            cspace: (slot::INIT_CNODE, 0),
            vspace: slot::INIT_VSPACE,
            ipc_buffer: (address, frame),
        };
        root.ipc.tcb_configure(tcb, &configuration)
    };
    for address in [NOT_CANONICAL, KERNELS, page + 4096 - 512, page + 512] {
        assert_eq!(configure(address), Err(Error::AlignmentError), "{address:#x}");
    }
    assert_eq!(configure(page + 4096 - 1024), Ok(()));
    root.delete(tcb);
}
