//! A root task that tests the bundled kernel: its mends, the PMU extension, what an exit costs.
//!
//! Prints `test NAME: ok` for each test, `number NAME VALUE` for each figure, and `kernel tests: all passed` last; a test
//! that fails panics. What it measures is judged by `cargo xtask test`.

#![no_std]
#![no_main]

mod guest;
mod memory;
mod programs;
mod root;
mod tests;
mod threads;
mod vm;
mod vmcs;

use core::arch::naked_asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicPtr, Ordering};
use memory::Stack;
use root::Root;
use sel4_abi::{BootInfo, Ipc, IpcBuffer, yield_now};

static STACK: Stack<0x1_0000> = Stack::new();
static BUFFER: AtomicPtr<IpcBuffer> = AtomicPtr::new(core::ptr::null_mut());

/// The kernel starts the root task without a stack, with the address of the boot information in RDI.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",
        "lea rsp, [rip + {stack} + {size}]",
        "call {main}",
        "ud2",
        stack = sym STACK,
        size = const 0x1_0000,
        main = sym main,
    )
}

extern "C" fn main(boot_info: &'static BootInfo) -> ! {
    BUFFER.store(boot_info.ipc_buffer, Ordering::Relaxed);
    let mut root = Root::new(boot_info);
    tests::all(&mut root);
    root.shut_down();
    stop()
}

fn stop() -> ! {
    loop {
        yield_now();
    }
}

#[panic_handler]
fn panicked(panic: &PanicInfo<'_>) -> ! {
    if let Some(buffer) = core::ptr::NonNull::new(BUFFER.load(Ordering::Relaxed)) {
        // SAFETY: the root task has stopped where it panicked and does not use its buffer again.
        let mut ipc = unsafe { Ipc::new(buffer) };
        root::CONSOLE.line(&mut ipc, format_args!("{panic}"));
    }
    stop()
}
