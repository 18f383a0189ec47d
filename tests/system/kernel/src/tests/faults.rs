//! What a reply does to a thread that has faulted.

use super::Shared;
use crate::memory::{BufferPage, Stack};
use crate::root::Root;
use crate::threads::Thread;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{fault, object, syscall};
use sel4_abi::{CPtr, MessageInfo, Received, yield_now};

static STACK: Stack<0x1000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
/// A slot with nothing in it.
static EMPTY: AtomicU64 = AtomicU64::new(0);
/// How often `elsewhere` was reached, and with which RSP and RBX last.
static ARRIVALS: AtomicU64 = AtomicU64::new(0);
static RSP: AtomicU64 = AtomicU64::new(0);
static RBX: AtomicU64 = AtomicU64::new(0);

/// Where nothing is mapped.
const NOWHERE: u64 = 0x10;
/// What the threads have in RBX.
const MARK: u64 = 0x5a5a;
/// The lowest address that is not canonical (SDM volume 1, 3.3.7.1).
const NOT_CANONICAL: u64 = 1 << 47;
/// Positions in the messages: seL4's VMFault and CapFault.
const IP: usize = 0;
const ADDRESS: usize = 1;

#[unsafe(naked)]
extern "C" fn reads_nowhere() -> ! {
    naked_asm!("mov ebx, {mark}", "mov rax, [{nowhere}]", "ud2", mark = const MARK, nowhere = const NOWHERE)
}

#[unsafe(naked)]
extern "C" fn receives_nowhere() -> ! {
    naked_asm!(
        "mov ebx, {mark}",
        "mov rdx, {receive}",
        "mov rdi, [rip + {empty}]",
        "xor esi, esi",
        "syscall",
        "ud2",
        mark = const MARK,
        receive = const syscall::RECV,
        empty = sym EMPTY,
    )
}

#[unsafe(naked)]
extern "C" fn elsewhere() -> ! {
    naked_asm!(
        "mov [rip + {rsp}], rsp",
        "mov [rip + {rbx}], rbx",
        "lock inc qword ptr [rip + {arrivals}]",
        "2: pause",
        "jmp 2b",
        rsp = sym RSP,
        rbx = sym RBX,
        arrivals = sym ARRIVALS,
    )
}

/// A reply of no words lets the thread try again; one of three is its instruction pointer, stack pointer and flags.
pub fn led(root: &mut Root, _: &Shared) {
    let endpoint = root.object(object::ENDPOINT, 0);
    let nothing = root.empty();
    EMPTY.store(nothing, Ordering::Relaxed);
    ARRIVALS.store(0, Ordering::Relaxed);
    let kinds = [
        (reads_nowhere as extern "C" fn() -> !, fault::VM, NOWHERE),
        (receives_nowhere, fault::CAP, nothing),
    ];
    for (number, (entry, label, address)) in (1..).zip(kinds) {
        let thread = Thread::with_faults_to(endpoint, root, entry, &STACK, &BUFFER);
        thread.start(root);
        let first = fault_of(root, endpoint, label, address);
        answer(root, &[]);
        assert_eq!(
            fault_of(root, endpoint, label, address).registers[IP],
            first.registers[IP],
            "tried again"
        );
        let stack = STACK.top() - 64;
        answer(root, &[(elsewhere as *const ()).addr() as u64, stack]);
        wait_for(number);
        assert_eq!(RBX.load(Ordering::Relaxed), MARK, "RBX is what it was");
        if label == fault::VM {
            assert_eq!(RSP.load(Ordering::Relaxed), stack);
        }
        thread.stop(root);
    }
}

/// An instruction pointer that is not canonical does no harm: the kernel takes it for 0.
pub fn not_canonical(root: &mut Root, _: &Shared) {
    let endpoint = root.object(object::ENDPOINT, 0);
    EMPTY.store(root.empty(), Ordering::Relaxed);
    for entry in [reads_nowhere as extern "C" fn() -> !, receives_nowhere] {
        let thread = Thread::with_faults_to(endpoint, root, entry, &STACK, &BUFFER);
        thread.start(root);
        root.ipc.recv(endpoint);
        answer(root, &[NOT_CANONICAL, u64::MAX, u64::MAX]);
        assert_eq!(fault_of(root, endpoint, fault::VM, 0).registers[IP], 0);
        thread.stop(root);
    }
}

/// The next fault, which is of this kind and at this address.
fn fault_of(root: &mut Root, endpoint: CPtr, label: u64, address: u64) -> Received {
    let message = root.ipc.recv(endpoint);
    assert_eq!((message.info.label(), message.registers[ADDRESS]), (label, address));
    message
}

/// Answers with these words, at most four.
fn answer(root: &mut Root, words: &[u64]) {
    let mut registers = [0; _];
    registers[..words.len()].copy_from_slice(words);
    root.ipc.reply(MessageInfo::new(0, 0, words.len() as u64), registers);
}

fn wait_for(arrivals: u64) {
    for _ in 0..1_000 {
        if ARRIVALS.load(Ordering::Relaxed) == arrivals {
            return;
        }
        yield_now();
    }
    panic!("the thread was led nowhere");
}
