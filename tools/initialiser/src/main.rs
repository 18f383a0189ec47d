//! The initialiser: the root task.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::{self, NonNull};
use initialiser::console::Console;
use initialiser::error::Error;
use initialiser::patched::Patched;
use initialiser::realise;
use sel4_abi::numbers::slot;
use sel4_abi::{BootInfo, Ipc, yield_now};

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static distribution_address: Patched<u64> = Patched::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static distribution_size: Patched<u64> = Patched::new(0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static kernel_prints: Patched<u64> = Patched::new(0);

const STACK_SIZE: usize = 64 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the root task's one thread uses it, as its stack.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

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
        size = const STACK_SIZE,
        main = sym main,
    )
}

extern "C" fn main(boot_info: &'static BootInfo) -> ! {
    let console = console();
    let Some(buffer) = NonNull::new(boot_info.ipc_buffer) else { stop() };
    // SAFETY: the kernel maps the IPC buffer where it says, for this thread alone.
    let mut ipc = unsafe { Ipc::new(buffer) };
    console.open(&mut ipc);
    let outcome = run(&mut ipc, boot_info, console);
    if let Err(error) = outcome {
        console.line(&mut ipc, format_args!("initialiser: error: {error}"));
        stop()
    }
    // Nothing is left but this thread's own capability: it ends here.
    let _ = ipc.tcb_suspend(slot::INIT_TCB);
    stop()
}

fn run(ipc: &mut Ipc, boot_info: &'static BootInfo, console: Console) -> Result<(), Error<'static>> {
    let realised = realise(ipc, boot_info, distribution())?;
    let checked = realised.hold.give_up(ipc, console)?;
    let (threads, objects) = (realised.threads, realised.objects);
    console.line(
        ipc,
        format_args!(
            "initialiser: {threads} threads of {objects} objects started; \
             {checked} capability slots checked, every one is empty"
        ),
    );
    if console != Console::Kernel {
        realised.hold.finish(ipc, console)?;
    }
    Ok(())
}

fn console() -> Console {
    if kernel_prints.get() != 0 { Console::Kernel } else { Console::Serial(slot::IO_PORT) }
}

fn distribution() -> &'static [u8] {
    let address = usize::try_from(distribution_address.get()).unwrap_or_default();
    let size = usize::try_from(distribution_size.get()).unwrap_or_default();
    if address == 0 {
        return &[];
    }
    // SAFETY: `sdf` puts a segment of this size at this address into the program, which nothing writes.
    unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(address), size) }
}

/// Waits for ever. The root task has the highest priority, so that nothing half made runs.
fn stop() -> ! {
    loop {
        yield_now();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Without an IPC buffer of its own, a panic can only be printed by the debug kernel.
    if kernel_prints.get() != 0 {
        let _ =
            core::fmt::write(&mut initialiser::console::DebugWriter, format_args!("initialiser: {info}\n"));
    }
    stop()
}
