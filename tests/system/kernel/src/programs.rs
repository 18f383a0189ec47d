//! The guests' programs. Each is position-independent 64-bit code that ends in HLT, unless it says otherwise; what
//! registers it takes and leaves stands with it.

use core::arch::global_asm;

macro_rules! programs {
    ($($name:ident $start:ident $end:ident $doc:literal)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }
        $(
            #[doc = $doc]
            pub fn $name() -> &'static [u8] {
                let (start, end) = (&raw const $start, &raw const $end);
                // SAFETY: the assembly below puts the program's bytes between the two symbols.
                unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
            }
        )*
    };
}

mod pmu;
pub mod state;

pub use pmu::*;

programs! {
    registers p_registers p_registers_end "Loads all registers from the table at 0x5100, then VMCALLs as often as the word at \
        0x5000 says; the word at 0x5008 becomes 1 if they never change, 2 if one does."
    fpu p_fpu p_fpu_end "EDI: address of 16 bytes, RSI: pattern, R12: rounds. Stores the initial control words there, then \
        VMCALLs between writing the pattern to SSE and x87 registers and checking it. RBX = 1 if it stays."
    probe p_probe p_probe_end "Reads the last page of RAM, VMCALLs, reads it again."
    cpuids p_cpuids p_cpuids_end "CPUID for ever."
    real p_real p_real_end "16-bit: AX = 0x1234 + 0x4321, VMCALL."
    protected p_protected p_protected_end "32-bit: EAX = 0x12345678 * 2, VMCALL."
}

global_asm!(
    r#"
.section .rodata.guest_programs, "a"
.code64
.globl p_registers, p_registers_end
p_registers:
    mov rax, [0x5100]
    mov rbx, [0x5108]
    mov rcx, [0x5110]
    mov rdx, [0x5118]
    mov rsi, [0x5120]
    mov rdi, [0x5128]
    mov rbp, [0x5130]
    mov r8, [0x5138]
    mov r9, [0x5140]
    mov r10, [0x5148]
    mov r11, [0x5150]
    mov r12, [0x5158]
    mov r13, [0x5160]
    mov r14, [0x5168]
    mov r15, [0x5170]
2:  vmcall
    cmp rax, [0x5100]
    jne 3f
    cmp rbx, [0x5108]
    jne 3f
    cmp rcx, [0x5110]
    jne 3f
    cmp rdx, [0x5118]
    jne 3f
    cmp rsi, [0x5120]
    jne 3f
    cmp rdi, [0x5128]
    jne 3f
    cmp rbp, [0x5130]
    jne 3f
    cmp r8, [0x5138]
    jne 3f
    cmp r9, [0x5140]
    jne 3f
    cmp r10, [0x5148]
    jne 3f
    cmp r11, [0x5150]
    jne 3f
    cmp r12, [0x5158]
    jne 3f
    cmp r13, [0x5160]
    jne 3f
    cmp r14, [0x5168]
    jne 3f
    cmp r15, [0x5170]
    jne 3f
    dec qword ptr [0x5000]
    jnz 2b
    mov qword ptr [0x5008], 1
    hlt
3:  mov qword ptr [0x5008], 2
    hlt
p_registers_end:

.globl p_fpu, p_fpu_end
p_fpu:
    fnstcw word ptr [rdi]
    stmxcsr [rdi + 4]
    pxor xmm3, xmm3
    movq rax, xmm9
    mov [rdi + 8], rax
    fninit
    mov [rdi + 16], rsi
    fild qword ptr [rdi + 16]
2:  movq xmm0, rsi
    movq xmm15, rsi
    vmcall
    movq rax, xmm0
    cmp rax, rsi
    jne 3f
    movq rax, xmm15
    cmp rax, rsi
    jne 3f
    movq rax, xmm3
    test rax, rax
    jnz 3f
    dec r12
    jnz 2b
    fistp qword ptr [rdi + 24]
    cmp [rdi + 24], rsi
    jne 3f
    mov ebx, 1
    hlt
3:  mov ebx, 2
    hlt
p_fpu_end:

.globl p_probe, p_probe_end
p_probe:
    mov rax, [0xf000]
    vmcall
    mov rax, [0xf000]
    hlt
p_probe_end:

.globl p_cpuids, p_cpuids_end
p_cpuids:
2:  cpuid
    jmp 2b
p_cpuids_end:

.code16
.globl p_real, p_real_end
p_real:
    mov ax, 0x1234
    add ax, 0x4321
    vmcall
    hlt
p_real_end:

.code32
.globl p_protected, p_protected_end
p_protected:
    mov eax, 0x12345678
    add eax, eax
    vmcall
    hlt
p_protected_end:
.code64
.text
"#
);
