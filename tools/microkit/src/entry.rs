//! From the first instruction to the main loop.

use crate::ipc::is_call;
use crate::kernel::{self, keep_ipc_buffer};
use crate::{Handler, debug_println, pd_name};
use core::cell::UnsafeCell;
use core::fmt;
use sel4_abi::ending::LastWords;

/// Runs the protection domain; an error that an entry point returns ends it.
#[doc(hidden)]
pub fn run_main<T: Handler>(init: impl FnOnce() -> T) -> ! {
    keep_ipc_buffer();
    // Nothing in the program refers to it.
    core::hint::black_box(pd_ending as extern "C" fn() -> !);
    match init().run() {
        Ok(never) => match never {},
        Err(error) => end(format_args!("terminated with error: {error}")),
    }
}

/// Ends the protection domain: the monitor reports why, and callers get an answer that says that it is gone
/// ([`GONE_LABEL`](crate::GONE_LABEL)).
pub(crate) fn end(why: fmt::Arguments<'_>) -> ! {
    debug_println!("{}: {why}", pd_name().unwrap_or("?"));
    kernel::end(&LastWords::new(why), is_call);
    // It panicked with the kernel's message in its hands: the monitor reports this fault instead, and leads on to
    // `pd_ending`.
    // SAFETY: the instruction raises #UD and does not return.
    unsafe { core::arch::asm!("ud2", options(noreturn, nostack)) }
}

/// The stack on which a protection domain ends that has faulted: it may have none left.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static pd_last_stack: Stack<LAST_STACK_SIZE> = Stack::new();
const LAST_STACK_SIZE: usize = 0x1000;

/// Where the monitor lets a protection domain go on that has faulted; `sdf` tells it by this name.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn pd_ending() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp",
        "cld",
        "lea rsp, [rip + {stack} + {size}]",
        "call {end}",
        "ud2",
        stack = sym pd_last_stack,
        size = const size_of::<Stack<LAST_STACK_SIZE>>(),
        end = sym end_after_fault,
    )
}

extern "C" fn end_after_fault() -> ! {
    // SAFETY: `pd_ending` has left the stack on which the program ran, so that none of it runs again.
    unsafe { kernel::end_after_fault(is_call) }
}

/// The stack of `#[protection_domain(stack_size = N)]`, above a page that is not mapped: who runs out of stack faults, and
/// writes into nothing else. `sdf` knows the stacks by their names, `pd_stack` and `pd_last_stack`.
#[doc(hidden)]
#[repr(C, align(4096))]
pub struct Stack<const N: usize> {
    guard: [u8; 4096],
    stack: UnsafeCell<[u8; N]>,
}

// SAFETY: only the protection domain's one thread uses it, as its stack.
unsafe impl<const N: usize> Sync for Stack<N> {}

impl<const N: usize> Stack<N> {
    /// A stack of `N` bytes, a multiple of 16.
    #[allow(clippy::new_without_default)] // for one static in a macro
    pub const fn new() -> Self {
        assert!(N > 0 && N.is_multiple_of(16), "stack_size must be a multiple of 16");
        Self { guard: [0; 4096], stack: UnsafeCell::new([0; N]) }
    }
}

/// What `#[protection_domain]` expands to: the ELF file's entry point.
#[doc(hidden)]
#[macro_export]
macro_rules! declare_protection_domain {
    (init = $init:ident $(,)?) => {
        const _: () = {
            extern "C" fn main() -> ! {
                $crate::_private::run_main($init)
            }

            /// The stack pointer is the one that the initialiser set.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn _start() -> ! {
                ::core::arch::naked_asm!("xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main)
            }
        };
    };
    (init = $init:ident, stack_size = $size:expr $(,)?) => {
        const _: () = {
            const SIZE: usize = $size;
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static pd_stack: $crate::_private::Stack<SIZE> = $crate::_private::Stack::new();

            extern "C" fn main() -> ! {
                $crate::_private::run_main($init)
            }

            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn _start() -> ! {
                ::core::arch::naked_asm!(
                    "xor ebp, ebp",
                    "lea rsp, [rip + {stack} + {size}]",
                    "call {main}",
                    "ud2",
                    stack = sym pd_stack,
                    size = const ::core::mem::size_of::<$crate::_private::Stack<SIZE>>(),
                    main = sym main,
                )
            }
        };
    };
}
