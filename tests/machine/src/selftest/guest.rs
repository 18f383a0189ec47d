//! Guest code. Each program ends with VMCALL; each works on registers only.

/// A guest program: where it begins.
#[derive(Debug, Clone, Copy)]
pub struct Guest(pub u64);

core::arch::global_asm!(
    ".section .text.guest, \"ax\"",
    ".globl guest_loop, guest_nops, guest_rdmsr, guest_wrmsr, guest_rdpmc, guest_global_ctrl",
    "guest_loop: mov ecx, 1000",
    "30: nop",
    "nop",
    "dec ecx",
    "jnz 30b",
    "vmcall",
    "guest_nops: .rept 2000",
    "nop",
    ".endr",
    "vmcall",
    "guest_rdmsr: mov ecx, 0xC1",
    "rdmsr",
    "vmcall",
    "guest_wrmsr: mov ecx, 0x186",
    "mov eax, 0x4300C0",
    "xor edx, edx",
    "wrmsr",
    "vmcall",
    "guest_rdpmc: xor ecx, ecx",
    "rdpmc",
    "vmcall",
    "guest_global_ctrl: mov ecx, 0x38F",
    "mov eax, 5",
    "xor edx, edx",
    "wrmsr",
    "nop",
    "nop",
    "vmcall",
);

macro_rules! guests {
    ($($(#[$meta:meta])* $name:ident: $symbol:ident;)*) => {
        $($(#[$meta])*
        pub fn $name() -> Guest {
            unsafe extern "C" {
                static $symbol: u8;
            }
            Guest(&raw const $symbol as u64)
        })*
    };
}

guests! {
    /// MOV, 1000 times (NOP, NOP, DEC, JNZ), VMCALL.
    counting_loop: guest_loop;
    /// 2000 NOP, VMCALL.
    nops: guest_nops;
    /// MOV, RDMSR of IA32_PMC0, VMCALL.
    reads_counter: guest_rdmsr;
    /// Three loads, WRMSR of IA32_PERFEVTSEL0, VMCALL.
    writes_selector: guest_wrmsr;
    /// XOR, RDPMC of counter 0, VMCALL.
    reads_by_rdpmc: guest_rdpmc;
    /// Three loads, WRMSR of IA32_PERF_GLOBAL_CTRL with 5, NOP, NOP, VMCALL.
    writes_global_ctrl: guest_global_ctrl;
}

/// Instructions of [`counting_loop`] that retire: VMCALL exits instead.
pub const LOOP: u64 = 1 + 4 * 1000;
/// Branches of it.
pub const LOOP_BRANCHES: u64 = 1000;
/// Instructions of [`nops`] that retire.
pub const NOPS: u64 = 2000;
