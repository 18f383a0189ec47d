//! The first instructions: our stack, the FPU, then the program.

use core::cell::UnsafeCell;

/// Size of the stack in bytes.
pub const STACK_BYTES: usize = 0x8000;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the guest's one processor uses it, as its stack.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// MXCSR after reset: all SIMD exceptions masked (SDM vol. 1, 10.2.3).
static MXCSR: u32 = 0x1f80;

/// Goes on at the address in RAX, with a stack and the FPU as after reset.
///
/// # Safety
/// For [`guest!`](crate::guest) alone: at the start, with the address of a function in RAX.
#[unsafe(naked)]
pub unsafe extern "C" fn start() -> ! {
    core::arch::naked_asm!(
        "lea rsp, [rip + {stack} + {size}]",
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "call rax",
        "ud2",
        stack = sym STACK,
        size = const STACK_BYTES,
        mxcsr = sym MXCSR,
    )
}
