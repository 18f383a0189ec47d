//! The debug kernel's look into a capability slot.

use core::arch::asm;
use sel4_abi::CPtr;
use sel4_abi::numbers::syscall;

/// Whether nothing lies at this address of the thread's capability space. Debug kernel only.
pub(crate) fn is_empty(slot: CPtr) -> bool {
    const NULL_CAPABILITY: u64 = 0;
    let kind: u64;
    // SAFETY: the system call reads the slot's kind into RDI. The kernel changes RCX and R11 and returns with
    // another RSP, which is kept in R14; all others that it may change are outputs.
    unsafe {
        asm!(
            "mov r14, rsp",
            "syscall",
            "mov rsp, r14",
            inout("rdx") syscall::DEBUG_CAP_IDENTIFY => _,
            inout("rdi") slot => kind,
            inout("rsi") 0_u64 => _,
            out("rcx") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r14") _,
            out("r15") _,
        );
    }
    kind == NULL_CAPABILITY
}
