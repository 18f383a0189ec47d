//! The monitor: reports the faults and the last words of protection domains and resumes nobody. It holds the endpoint on which it
//! receives and, where the kernel does not print, the ports of COM1.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::NonNull;
use initialiser::console::Console;
use initialiser::fault::Fault;
use initialiser::patched::Patched;
use sel4_abi::ending::{LAST_WORDS, LastWords};
use sel4_abi::{CPtr, Ipc, IpcBuffer};

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
    // A domain can send to the endpoint what it likes: its first message counts, so that it cannot flood the
    // console. A domain that faulted does not run again.
    let mut reported = 0_u64;
    loop {
        let received = ipc.recv(ENDPOINT);
        let index = received.badge.wrapping_sub(1);
        let Some(bit) = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)) else {
            continue;
        };
        if reported & bit != 0 {
            continue;
        }
        reported |= bit;
        let word = |i| ipc.message_register(&received.registers, i).unwrap_or_default();
        let name = name(index);
        if received.info.label() == LAST_WORDS {
            let why = LastWords::from_message(received.info.length(), word);
            console.line(&mut ipc, format_args!("monitor: {}: {why}", text(&name)));
        } else {
            let fault = Fault::from_message(received.info.label(), word);
            console.line(&mut ipc, format_args!("monitor: {}: {fault}", text(&name)));
        }
    }
}

/// The name of the protection domain with this index; empty if there is none.
fn name(index: u64) -> Name {
    let known = usize::try_from(index).ok().filter(|_| index < pd_names_len.get());
    known.and_then(|index| pd_names.get(index)).map_or([0; NAME_SIZE], Patched::get)
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
