// What the guest executes, and where it is in the guest's memory.

use core::arch::global_asm;

/// Guest-physical addresses, mapped one to one.
pub const PML4: usize = 0x1000;
pub const PDPT: usize = 0x2000;
pub const PAGE_DIRECTORY: usize = 0x3000;
pub const XMM_IN: usize = 0x5000;
pub const XMM_OUT: usize = 0x5100;
pub const CODE: usize = 0x8000;
/// COM1's scratch register: keeps what is written to it.
pub const SCRATCH_PORT: u16 = 0x3ff;
pub const SCRATCH_VALUE: u8 = 0xa5;

global_asm!(
    ".pushsection .rodata",
    // The vector registers survive an exit.
    ".global guest_xmm",
    "guest_xmm:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movdqu xmm\\i, [{xmm_in} + 16 * \\i]",
    ".endr",
    "vmcall",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movdqu [{xmm_out} + 16 * \\i], xmm\\i",
    ".endr",
    "vmcall",
    // The general registers survive an exit and take what the monitor writes.
    ".global guest_registers",
    "guest_registers:",
    "vmcall",
    ".irp r, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
    "not \\r",
    ".endr",
    "lea rsp, [rsp + 8]",
    "vmcall",
    "jmp guest_registers",
    // The guest reaches a port with and without an exit.
    ".global guest_port",
    "guest_port:",
    "mov edx, {port}",
    "mov eax, {value}",
    "out dx, al",
    "vmcall",
    // The guest counts until somebody interrupts it.
    ".global guest_count",
    "guest_count:",
    "inc rax",
    "jmp guest_count",
    ".global guest_end",
    "guest_end:",
    "vmcall",
    ".popsection",
    xmm_in = const XMM_IN,
    xmm_out = const XMM_OUT,
    port = const SCRATCH_PORT,
    value = const SCRATCH_VALUE,
);

unsafe extern "C" {
    static guest_xmm: u8;
    static guest_registers: u8;
    static guest_port: u8;
    static guest_count: u8;
    static guest_end: u8;
}

/// Where parts of the program begin, as guest addresses.
pub struct Program {
    pub xmm: u64,
    pub registers: u64,
    pub port: u64,
    pub count: u64,
    /// One instruction, VMCALL.
    pub end: u64,
}

/// Bytes of VMCALL.
pub const VMCALL_BYTES: usize = 3;

/// The program's bytes and its parts.
pub fn program() -> (&'static [u8], Program) {
    let first = &raw const guest_xmm;
    let address = |symbol: *const u8| (CODE + (symbol.addr() - first.addr())) as u64;
    let program = Program {
        xmm: address(first),
        registers: address(&raw const guest_registers),
        port: address(&raw const guest_port),
        count: address(&raw const guest_count),
        end: address(&raw const guest_end),
    };
    let end = (&raw const guest_end).addr() + VMCALL_BYTES;
    let length = end - first.addr();
    // SAFETY: the symbols delimit one piece of read-only data.
    (unsafe { core::slice::from_raw_parts(first, length) }, program)
}
