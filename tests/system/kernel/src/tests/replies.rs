//! Who runs after a server's reply.

use super::Shared;
use crate::memory::{BufferPage, Stack};
use crate::root::Root;
use crate::threads::Thread;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{object, syscall};
use sel4_abi::{MESSAGE_REGISTERS, MessageInfo};

static STACK: Stack<0x1000> = Stack::new();
static BUFFERS: [BufferPage; 2] = [BufferPage::new(), BufferPage::new()];
static ENDPOINT: AtomicU64 = AtomicU64::new(0);
/// Calls of the client that have returned.
static RETURNS: AtomicU64 = AtomicU64::new(0);
/// The same of the bystander.
static BYSTANDER_RETURNS: AtomicU64 = AtomicU64::new(0);

/// The label of the bystander's messages; the client's is 0.
const BYSTANDER: u64 = 1;

/// A thread that calls the endpoint with an empty message, and counts the replies.
macro_rules! caller {
    ($name:ident, $label:expr, $returns:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name() -> ! {
            naked_asm!(
                "2:",
                "mov rdx, {number}",
                "mov rdi, [rip + {endpoint}]",
                "mov esi, {info}",
                "mov r14, rsp",
                "syscall",
                "mov rsp, r14",
                "lock inc qword ptr [rip + {returns}]",
                "jmp 2b",
                number = const syscall::CALL,
                endpoint = sym ENDPOINT,
                info = const MessageInfo::new($label, 0, 0).0,
                returns = sym $returns,
            )
        }
    };
}
caller!(client, 0, RETURNS);
caller!(bystander, BYSTANDER, BYSTANDER_RETURNS);

/// A server replies to a client of lower priority and waits: a thread between the two that is ready runs first, and
/// without such a thread the client does.
pub fn order(root: &mut Root, _: &Shared) {
    const NONE: [u64; MESSAGE_REGISTERS] = [0; MESSAGE_REGISTERS];
    let endpoint = root.object(object::ENDPOINT, 0);
    ENDPOINT.store(endpoint, Ordering::Relaxed);
    let returns = || (RETURNS.load(Ordering::Relaxed), BYSTANDER_RETURNS.load(Ordering::Relaxed));
    let [low, middle] = [(client as extern "C" fn() -> !, 100), (bystander, 150)];
    let [low, middle] = [(low, &BUFFERS[0]), (middle, &BUFFERS[1])].map(|((entry, priority), buffer)| {
        let thread = Thread::new(root, entry, &STACK, buffer);
        root.ipc.tcb_set_priority(thread.tcb, priority).expect("priority");
        thread
    });
    low.start(root);
    assert_eq!(root.ipc.recv(endpoint).info.label(), 0);
    middle.start(root);
    let next = root.ipc.reply_recv(endpoint, MessageInfo::default(), NONE);
    assert_eq!(
        (next.info.label(), returns()),
        (BYSTANDER, (0, 0)),
        "the client ran before a more urgent thread"
    );
    let next = root.ipc.reply_recv(endpoint, MessageInfo::default(), NONE);
    assert_eq!(
        (next.info.label(), returns()),
        (BYSTANDER, (0, 1)),
        "the client ran before its server's caller"
    );
    middle.stop(root);
    assert_eq!((root.ipc.recv(endpoint).info.label(), returns()), (0, (1, 1)));
    let next = root.ipc.reply_recv(endpoint, MessageInfo::default(), NONE);
    assert_eq!((next.info.label(), returns()), (0, (2, 1)));
    low.stop(root);
    root.delete(endpoint);
}
