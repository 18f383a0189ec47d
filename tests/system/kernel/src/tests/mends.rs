//! The mends of seL4 5.0.0 that a root task can see.

use super::Shared;
use crate::memory::{BufferPage, Stack};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::{LAST_PAGE, Vm};
use crate::vmcs::{self, exit};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{label, object, slot, syscall, vm_enter};
use sel4_abi::{Error, Ipc, Rights, VmEnter, yield_now};

static STACK: Stack<0x2000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
/// How often the second thread's VMEnter has returned, plus 1 when it has started.
static RETURNS: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

/// Enters its guest for ever, without completing anything.
extern "C" fn enter_for_ever() -> ! {
    // SAFETY: the page is this thread's buffer, and this function is all that it runs.
    let mut ipc = unsafe { Ipc::new(core::ptr::NonNull::new_unchecked(BUFFER.pointer())) };
    RETURNS.fetch_add(1, Ordering::Relaxed);
    let mut rip = crate::guest::CODE as u64;
    loop {
        let mut words = [rip, vmcs::PRIMARY_HLT_EXITING, 0, 0];
        let result = ipc.vm_enter(&mut words);
        rip = words[0];
        LAST.store(if result == VmEnter::Exit { words[3] } else { u64::MAX }, Ordering::Relaxed);
        RETURNS.fetch_add(1, Ordering::Relaxed);
        yield_now();
    }
}

fn wait_for(returns: u64) {
    for _ in 0..1_000 {
        if RETURNS.load(Ordering::Relaxed) >= returns {
            return;
        }
        yield_now();
    }
    panic!("the second thread returned {} times, not {returns}", RETURNS.load(Ordering::Relaxed));
}

/// The reason of a failed entry keeps bit 31 (SDM 25.9.1), and a repaired guest starts.
pub fn first_entry(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::protected());
    // Bit 1 of RFLAGS must be 1 (SDM 27.3.1.4).
    vm.write_vmcs(root, vmcs::GUEST_RFLAGS, 0);
    for _ in 0..2 {
        assert_eq!(vm.enter(root).reason, exit::INVALID_GUEST_STATE);
    }
    vm.write_vmcs(root, vmcs::GUEST_RFLAGS, 2);
    assert_eq!(vm.run(root), exit::VMCALL);
}

/// A thread without a VCPU gets an unknown-syscall fault, not the kernel an assertion.
pub fn without_vcpu(root: &mut Root, _: &Shared) {
    let thread = Thread::new(root, enter_for_ever, &STACK, &BUFFER);
    RETURNS.store(0, Ordering::Relaxed);
    thread.start(root);
    wait_for(1);
    for _ in 0..10 {
        yield_now();
    }
    assert_eq!(RETURNS.load(Ordering::Relaxed), 1, "VMEnter returned without a VCPU");
    let registers = root.ipc.tcb_read_registers(thread.tcb, true).expect("registers");
    let number = registers[sel4_abi::numbers::thread_register::RDX];
    assert_eq!(number.cast_signed(), syscall::VM_ENTER, "it stopped elsewhere");
}

/// VMEnter sets the VMX-preemption timer when it is told to, and only then.
pub fn timer(root: &mut Root, _: &Shared) {
    const HALT: &[u8] = &[0xf4];
    let set = vm_enter::SET_TIMER as u64;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.write_vmcs(root, vmcs::PREEMPTION_TIMER, 7);
    let all_but_set = 0xffff_ffff << vm_enter::TIMER_SHIFT | u64::from(u32::MAX) & !set;
    for (word, left) in
        [(0, 7), (all_but_set, 7), (5 << vm_enter::TIMER_SHIFT | set, 5), (set, 0), (u64::MAX, 0xffff_ffff)]
    {
        vm.load(root, HALT);
        assert_eq!(vm.enter_with(root, word).reason, exit::HLT, "{word:#x}: the timer is off");
        assert_eq!(vm.read_vmcs(root, vmcs::PREEMPTION_TIMER), left, "{word:#x}");
    }
    // SDM 26.5.1: a guest that is entered with 0 exits before its first instruction, with more later.
    vm.write_vmcs(root, vmcs::PIN_CONTROLS, vmcs::PIN_PREEMPTION_TIMER);
    vm.load(root, HALT);
    assert_eq!(vm.enter_with(root, set).reason, exit::PREEMPTION_TIMER);
    assert_eq!(vm.rip, crate::guest::CODE as u64);
    vm.load(root, SPIN);
    assert_eq!(vm.enter_with(root, 100 << vm_enter::TIMER_SHIFT | set).reason, exit::PREEMPTION_TIMER);
    vm.load(root, HALT);
    assert_eq!(vm.enter_with(root, 0xffff_ffff << vm_enter::TIMER_SHIFT | set).reason, exit::HLT);
}

/// A VCPU is taken from a thread that is in its guest: that thread returns with badge 0.
pub fn taken(root: &mut Root, shared: &Shared) {
    let thread = Thread::new(root, enter_for_ever, &STACK, &BUFFER);
    root.ipc.tcb_set_ept_root(thread.tcb, shared.space.pml4).expect("EPT root");
    let mut vm = Vm::new(root, 0);
    vm.load(root, SPIN);
    root.ipc.vcpu_set_tcb(vm.vcpu, thread.tcb).expect("SetTCB");
    RETURNS.store(0, Ordering::Relaxed);
    thread.start(root);
    wait_for(1);
    // The guest spins now, and the root task is back because its time slice ended.
    yield_now();
    vm.bind(root);
    wait_for(2);
    assert_eq!(LAST.load(Ordering::Relaxed), u64::MAX, "VMEnter returned with an exit");
    thread.stop(root);
    vm.load(root, programs::protected());
    assert_eq!(vm.run(root), exit::VMCALL, "the VCPU runs for its new thread");
}

/// JMP to itself.
const SPIN: &[u8] = &[0xeb, 0xfe];

/// A guest that spins gives way to threads of its priority, again and again.
pub fn time_slice(root: &mut Root, shared: &Shared) {
    let thread = Thread::new(root, enter_for_ever, &STACK, &BUFFER);
    root.ipc.tcb_set_ept_root(thread.tcb, shared.space.pml4).expect("EPT root");
    let mut vm = Vm::new(root, 0);
    vm.load(root, SPIN);
    root.ipc.vcpu_set_tcb(vm.vcpu, thread.tcb).expect("SetTCB");
    RETURNS.store(0, Ordering::Relaxed);
    thread.start(root);
    wait_for(1);
    // Each yield gives the guest a slice and comes back.
    for _ in 0..3 {
        yield_now();
    }
    thread.stop(root);
    root.delete(vm.vcpu);
}

/// A page that is unmapped is gone from the guest. (That the kernel executes INVEPT for it is a test of its build.)
pub fn unmapped(root: &mut Root, shared: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::probe());
    assert_eq!(vm.run(root), exit::VMCALL);
    let (page, pml4) = (shared.space.last_page, shared.space.pml4);
    root.ipc.page_unmap(page).expect("unmap");
    assert_eq!(vm.enter(root).reason, exit::EPT_VIOLATION, "the guest read an unmapped page");
    root.ipc.page_map_ept(page, pml4, LAST_PAGE, Rights::ALL, 0).expect("map");
    assert_eq!(vm.run(root), exit::HLT);
}

/// A mapping goes with the capability that made it, whether or not the frame has another.
pub fn copy_deleted(root: &mut Root, shared: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    let (page, pml4) = (shared.space.last_page, shared.space.pml4);
    root.ipc.page_unmap(page).expect("unmap");
    let copy = root.copy(page, Rights::ALL).expect("copy of a frame");
    root.ipc.page_map_ept(copy, pml4, LAST_PAGE, Rights::ALL, 0).expect("map");
    vm.load(root, programs::probe());
    assert_eq!(vm.run(root), exit::VMCALL);
    root.delete(copy);
    assert_eq!(vm.enter(root).reason, exit::EPT_VIOLATION, "the mapping outlived its capability");
    root.ipc.page_map_ept(page, pml4, LAST_PAGE, Rights::ALL, 0).expect("map");
    assert_eq!(vm.run(root), exit::HLT);
}

/// A guest loses its ports with the capability that they came from, whether or not it had run when it got them.
pub fn ports(root: &mut Root, _: &Shared) {
    /// IN AL, 0x80; HLT.
    const READ_PORT: &[u8] = &[0xe4, 0x80, 0xf4];
    const PORT: u16 = 0x80;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    for had_run in [false, true] {
        let ports = root.copy(slot::IO_PORT, Rights::ALL).expect("a copy of the ports");
        root.ipc.vcpu_enable_io_port(vm.vcpu, ports, PORT, PORT).expect("ports");
        vm.load(root, READ_PORT);
        assert_eq!(vm.enter(root).reason, exit::HLT, "had run: {had_run}");
        root.delete(ports);
        vm.load(root, READ_PORT);
        assert_eq!(vm.enter(root).reason, exit::IO, "had run: {had_run}: the port outlived its capability");
    }
}

/// What a search for descriptors came to: 1 found none, 2 found one.
static SEARCHED: AtomicU64 = AtomicU64::new(0);

/// Looks for a segment beyond the kernel's descriptors, with one in RSP: a read-write data segment of privilege level 3 (SDM 3.4.5),
/// which every interrupt leaves in the kernel's memory.
#[unsafe(naked)]
extern "C" fn search_descriptors() -> ! {
    naked_asm!(
        "mov rsp, 0x00cff3000000ffff",
        "mov r8d, 40",
        "2:",
        "mov ecx, {first}",
        "3:",
        "lar eax, ecx",
        "jz 4f",
        "add ecx, 8",
        "cmp ecx, 0x10000",
        "jb 3b",
        "dec r8d",
        "jnz 2b",
        "mov qword ptr [rip + {searched}], 1",
        "jmp 5f",
        "4:",
        "mov qword ptr [rip + {searched}], 2",
        "5:",
        "pause",
        "jmp 5b",
        first = const DESCRIPTORS * 8 + 3,
        searched = sym SEARCHED,
    )
}

/// The kernel's descriptors.
const DESCRIPTORS: u16 = 9;

/// A VM exit sets the limit of GDTR to 0xffff (SDM 28.5.2): the kernel's memory behind its descriptors does not become descriptors
/// that user level can load.
pub fn descriptors(root: &mut Root, _: &Shared) {
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::protected());
    assert_eq!(vm.run(root), exit::VMCALL);
    let mut gdtr = [0; 5];
    // SAFETY: CR4.UMIP is clear; SGDT writes ten bytes.
    unsafe { core::arch::asm!("sgdt [{}]", in(reg) &raw mut gdtr) };
    assert_eq!(gdtr[0], DESCRIPTORS * 8 - 1, "the limit");
    let thread = Thread::new(root, search_descriptors, &STACK, &BUFFER);
    thread.start(root);
    for _ in 0..1_000 {
        if SEARCHED.load(Ordering::Relaxed) != 0 {
            break;
        }
        yield_now();
    }
    thread.stop(root);
    assert_eq!(SEARCHED.load(Ordering::Relaxed), 1, "user level found a descriptor behind the kernel's");
}

/// A page is not mapped into an EPT that is not named.
pub fn map_without_ept(root: &mut Root, _: &Shared) {
    let frame = root.object(object::PAGE_4K, 0);
    let map = |root: &mut Root, arguments: &[u64], caps| {
        root.ipc.invoke(frame, label::X86_PAGE_MAP_EPT, arguments, caps).map(drop)
    };
    assert_eq!(map(root, &[0, Rights::ALL.word(), 0], &[]), Err(Error::TruncatedMessage));
    assert_eq!(map(root, &[0, 0], &[slot::INIT_VSPACE]), Err(Error::TruncatedMessage));
}

/// More VCPUs are made, run and deleted than there are VPIDs; the memory is used again each time.
pub fn deleted(root: &mut Root, _: &Shared) {
    /// CONFIG_MAX_VPIDS and some more.
    const VCPUS: usize = 80;
    let memory = root.spare_memory(sel4_abi::numbers::size_bits::VCPU);
    for _ in 0..VCPUS {
        let vcpu = root.empty();
        let node = sel4_abi::invocations::Slot { root: slot::INIT_CNODE, index: 0, depth: 0 };
        root.ipc.untyped_retype(memory, object::VCPU, 0, node, vcpu, 1).expect("a VCPU in used memory");
        let mut vm = Vm::from_vcpu(root, vcpu);
        vm.bind(root);
        vm.load(root, programs::fpu());
        vm.set(sel4_abi::numbers::guest_register::EDI, crate::guest::DATA as u64);
        vm.set(sel4_abi::numbers::guest_register::R12, 1);
        assert_eq!(vm.run(root), exit::VMCALL);
        root.delete(vcpu);
    }
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::protected());
    assert_eq!(vm.run(root), exit::VMCALL);
}
