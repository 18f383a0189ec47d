//! The entry point. Upstream's own with a stack leaves the stack pointer at an odd multiple of 8 bytes, which code with SSE,
//! as this target's, does not survive.

use core::cell::UnsafeCell;

/// The stack of `#[protection_domain(stack_size = N)]`.
#[doc(hidden)]
#[repr(C, align(16))]
pub struct Stack<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: only the protection domain's one thread uses it, as its stack.
unsafe impl<const N: usize> Sync for Stack<N> {}

impl<const N: usize> Stack<N> {
    /// A stack of `N` bytes, a multiple of 16.
    #[allow(clippy::new_without_default)] // for one static in a macro
    pub const fn new() -> Self {
        assert!(N > 0 && N.is_multiple_of(16), "stack_size must be a multiple of 16");
        Self(UnsafeCell::new([0; N]))
    }
}

/// For which configuration of the SDK the program is: `cargo xtask image --sdk` looks for it.
#[doc(hidden)]
pub struct Mark(#[allow(dead_code, reason = "read in the finished file")] [u8; 39]);

sel4::sel4_cfg_if! {
    if #[sel4_cfg(KERNEL_X86_DANGEROUS_MSR)] {
        #[doc(hidden)]
        pub static MARK: Mark = Mark(*b"microkit-sdk-configuration=benchmark\0\0\0");
    } else if #[sel4_cfg(DEBUG_BUILD)] {
        #[doc(hidden)]
        pub static MARK: Mark = Mark(*b"microkit-sdk-configuration=debug\0\0\0\0\0\0\0");
    } else {
        #[doc(hidden)]
        pub static MARK: Mark = Mark(*b"microkit-sdk-configuration=release\0\0\0\0\0");
    }
}

/// What `#[protection_domain]` expands to, instead of upstream's macro of this name: the ELF file's entry point.
#[doc(hidden)]
#[macro_export]
macro_rules! declare_protection_domain {
    (init = $init:ident $(,)?) => {
        $crate::declare_protection_domain!(@ $init, "and rsp, -16",);
    };
    (init = $init:ident, stack_size = $size:expr $(,)?) => {
        const _: () = {
            const SIZE: usize = $size;
            static STACK: $crate::_sdk::Stack<SIZE> = $crate::_sdk::Stack::new();
            $crate::declare_protection_domain!(
                @ $init, "lea rsp, [rip + {stack} + {size}]", stack = sym STACK, size = const SIZE,
            );
        };
    };
    (@ $init:ident, $set_stack:literal, $($operands:tt)*) => {
        $crate::_private::declare_init!($init);

        const _: () = {
            unsafe extern "C" {
                fn __sel4_runtime_common__call_rust_entrypoint() -> !;
            }

            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn _start() -> ! {
                ::core::arch::naked_asm!(
                    "xor ebp, ebp",
                    // Keeps the mark in the file.
                    "lea rax, [rip + {mark}]",
                    $set_stack,
                    "jmp {entry}",
                    $($operands)*
                    mark = sym $crate::_sdk::MARK,
                    entry = sym __sel4_runtime_common__call_rust_entrypoint,
                )
            }
        };
    };
}
