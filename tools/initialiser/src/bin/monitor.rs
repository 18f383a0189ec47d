//! The monitor: reports the faults and the last words of protection domains. One that has faulted goes on in its ending, which
//! answers its callers that it is gone. The monitor holds the endpoint on which it receives and, where the kernel does not
//! print, the ports of COM1; what it does to a domain it does by its reply.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::NonNull;
use initialiser::console::Console;
use initialiser::fault::{Fault, UNKNOWN_SYSCALL_IP};
use initialiser::patched::Patched;
use sel4_abi::ending::{LAST_WORDS, LastWords};
use sel4_abi::{CPtr, Ipc, IpcBuffer, MessageInfo};

/// The endpoint.
const ENDPOINT: CPtr = 1;
/// The ports of COM1.
const PORTS: CPtr = 2;
/// Most protection domains.
const DOMAINS: usize = 63;
/// Bytes of a name, with the zeros after it.
const NAME_SIZE: usize = 64;

type Name = [u8; NAME_SIZE];

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static kernel_prints: Patched<u64> = Patched::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static pd_names_len: Patched<u64> = Patched::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static pd_names: [Patched<Name>; DOMAINS] = [const { Patched::new([0; NAME_SIZE]) }; DOMAINS];
/// Where each domain goes on when it has faulted; 0: nowhere.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static pd_endings: [Patched<u64>; DOMAINS] = [const { Patched::new(0) }; DOMAINS];

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: only the kernel and the one `Ipc` that `main` makes use it.
unsafe impl Sync for Page {}

const _: () = assert!(size_of::<IpcBuffer>() <= size_of::<Page>());

#[unsafe(no_mangle)]
static __sel4_ipc_buffer_obj: Page = Page(UnsafeCell::new([0; 4096]));

/// The stack is the one that the distribution gives the thread.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main)
}

extern "C" fn main() -> ! {
    let buffer = NonNull::from(&__sel4_ipc_buffer_obj).cast::<IpcBuffer>();
    // SAFETY: the distribution makes this page the thread's IPC buffer, and nothing else refers to it.
    let mut ipc = unsafe { Ipc::new(buffer) };
    let console = if kernel_prints.get() != 0 { Console::Kernel } else { Console::Serial(PORTS) };
    // A domain can send to the endpoint what it likes: its first last words and its first fault count, so that it cannot
    // flood the console. A domain that faults in its ending does not run again.
    let mut ended = Seen(0);
    let mut faulted = Seen(0);
    loop {
        let received = ipc.recv(ENDPOINT);
        let Some(index) = received.badge.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            continue;
        };
        let word = |i| ipc.message_register(&received.registers, i).unwrap_or_default();
        let name = name(index);
        if received.info.label() == LAST_WORDS {
            if ended.first(index) {
                let why = LastWords::from_message(received.info.length(), word);
                console.line(&mut ipc, format_args!("monitor: {}: {why}", text(&name)));
            }
        } else if faulted.first(index) {
            let fault = Fault::from_message(received.info.label(), word);
            console.line(&mut ipc, format_args!("monitor: {}: {fault}", text(&name)));
            if let Some(ending) = pd_endings.get(index).map(Patched::get).filter(|ending| *ending != 0) {
                resume(&mut ipc, ending);
            }
        }
    }
}

/// Domains that have been heard.
struct Seen(u64);

impl Seen {
    /// Whether it is the first time that the domain with this index is heard.
    fn first(&mut self, index: usize) -> bool {
        let bit = if index < DOMAINS { 1 << index } else { 0 };
        let first = self.0 & bit == 0 && bit != 0;
        self.0 |= bit;
        first
    }
}

/// Lets the thread that has faulted go on at `address`. The words of the answer are the thread's registers, of which the
/// kernel takes those that a fault's kind has: the instruction pointer, stack pointer and flags, or of an unknown system
/// call fifteen registers, then those. The program counts on the instruction pointer alone.
fn resume(ipc: &mut Ipc, address: u64) {
    let words = UNKNOWN_SYSCALL_IP + 1;
    ipc.buffer_mut().message[..words].fill(0);
    ipc.buffer_mut().message[UNKNOWN_SYSCALL_IP] = address;
    ipc.reply(MessageInfo::new(0, 0, words as u64), [address, 0, 0, 0]);
}

/// The name of the protection domain with this index; empty if there is none.
fn name(index: usize) -> Name {
    let known = (index as u64) < pd_names_len.get();
    pd_names.get(index).filter(|_| known).map_or([0; NAME_SIZE], Patched::get)
}

/// A name without the zeros after it.
fn text(name: &Name) -> &str {
    let bytes = name.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(bytes).unwrap_or("?")
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: the instruction raises #UD, and the kernel stops the thread.
    unsafe { core::arch::asm!("ud2", options(noreturn, nostack)) }
}
