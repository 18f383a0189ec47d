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

pub mod state;

programs! {
    registers p_registers p_registers_end "Loads all registers from the table at 0x5100, then VMCALLs as often as the word at \
        0x5000 says; the word at 0x5008 becomes 1 if they never change, 2 if one does."
    fpu p_fpu p_fpu_end "EDI: address of 16 bytes, RSI: pattern, R12: rounds. Stores the initial control words there, then \
        VMCALLs between writing the pattern to SSE and x87 registers and checking it. RBX = 1 if it stays."
    count p_count p_count_end "Counts a loop of 100,000 rounds with PMC0 and fixed counters 0 and 1; R8..R15: what each way of reading says."
    direct p_direct p_direct_end "R8, R9: numbers of counters. Reads and writes every data MSR and reads by RDPMC."
    table p_table p_table_end "R8: entries of 8 bytes at 0x5000, each an MSR number: reads each, writes 0 to each, then RDPMC 0."
    still p_still p_still_end "Presets PMC0 to 0x1000, enables everything, VMCALLs, stops; R8: PMC0, R9: fixed 0."
    cpuid p_cpuid p_cpuid_end "1,000 CPUIDs in a loop of three instructions, counted; R8: PMC0, R9: fixed 0."
    control p_control p_control_end "Enables counter 1 and disables it again while counter 0 counts; R8: PMC0, RBX: PMC1."
    pmi p_pmi p_pmi_end "RBP: period, R14: PMIs wanted, EDI: 1 for CPUIDs in the loop, R13: most rounds. R15: rounds, R12: PMIs handled, R11: \
        of those with the status bit set, R9: the status at the end."
    pmi_handler p_handler p_handler_end "The PMI's handler, for `pmi`."
    own p_own p_own_end "R8, R9: numbers of counters, EBX: value, EDI: tag, R13, R14: status, R12: rounds. Writes all counters, VMCALLs, \
        compares; R11: differences."
    two p_two p_two_end "RBX: rounds of the inner loop, R12: of the outer. Counts the inner with PMC0, VMCALLs while it counts and \
        while it does not; RSI: PMC0."
    attempts p_attempts p_attempts_end "RDPMC, RDMSR of a counter, WRMSR and RDMSR of GLOBAL_CTRL and GLOBAL_STATUS, a loop of 10,000."
    probe p_probe p_probe_end "Reads the last page of RAM, VMCALLs, reads it again."
    cpuids p_cpuids p_cpuids_end "CPUID for ever."
    real p_real p_real_end "16-bit: AX = 0x1234 + 0x4321, VMCALL."
    protected p_protected p_protected_end "32-bit: EAX = 0x12345678 * 2, VMCALL."
    user_ring p_user_ring p_user_ring_end "1,000 CPUIDs counted in ring 0 by PMC0 (all rings), PMC1 (user only), PMC2 (CMASK 1), PMC3 (CMASK 2), \
        then R8..R11 = PMC0..3."
}

global_asm!(
    r#"
.section .rodata.guest_programs, "a"
.code64
.macro WRITE msr, lo, hi
    mov ecx, \msr
    mov eax, \lo
    mov edx, \hi
    wrmsr
.endm
.macro READ msr, dst
    mov ecx, \msr
    rdmsr
    shl rdx, 32
    lea \dst, [rax + rdx]
.endm
.macro SETUP
    WRITE 0x186, 0x4300c0, 0
    WRITE 0x38d, 0x33, 0
    WRITE 0x390, 3, 0
    WRITE 0xc1, 0, 0
    WRITE 0x309, 0, 0
    WRITE 0x30a, 0, 0
.endm
.macro BEGIN name
.globl \name
\name:
.endm
.macro FINISH name
.globl \name\()_end
\name\()_end:
.endm

BEGIN p_registers
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
FINISH p_registers

BEGIN p_fpu
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
FINISH p_fpu

BEGIN p_count
    SETUP
    WRITE 0x38f, 1, 3
    mov ebx, 100000
2:  dec ebx
    jnz 2b
    WRITE 0x38f, 0, 0
    xor ecx, ecx
    rdpmc
    shl rdx, 32
    lea r8, [rax + rdx]
    mov ecx, 0x40000000
    rdpmc
    shl rdx, 32
    lea r9, [rax + rdx]
    READ 0xc1, r10
    READ 0x309, r11
    READ 0x38e, r12
    READ 0x30a, r13
    READ 0x38f, r14
    READ 0x4c1, r15
    hlt
FINISH p_count

BEGIN p_direct
    xor esi, esi
2:  mov ecx, esi
    rdpmc
    lea ecx, [rsi + 0xc1]
    rdmsr
    xor edx, edx
    wrmsr
    lea ecx, [rsi + 0x4c1]
    rdmsr
    wrmsr
    inc esi
    cmp esi, r8d
    jb 2b
    xor esi, esi
3:  lea ecx, [rsi + 0x40000000]
    rdpmc
    lea ecx, [rsi + 0x309]
    rdmsr
    wrmsr
    inc esi
    cmp esi, r9d
    jb 3b
    READ 0x38e, rbx
    WRITE 0x390, 1, 0
    READ 0x38f, rbx
    WRITE 0x38f, 1, 0
    WRITE 0x38f, 0, 0
    hlt
FINISH p_direct

BEGIN p_table
    mov esi, 0x5000
2:  mov ecx, [rsi]
    rdmsr
    xor eax, eax
    xor edx, edx
    mov ecx, [rsi]
    wrmsr
    add esi, 8
    dec r8d
    jnz 2b
    xor ecx, ecx
    rdpmc
    hlt
FINISH p_table

BEGIN p_still
    SETUP
    WRITE 0xc1, 0x1000, 0
    WRITE 0x38f, 1, 3
    vmcall
    WRITE 0x38f, 0, 0
    READ 0x4c1, r8
    READ 0x309, r9
    hlt
FINISH p_still

BEGIN p_cpuid
    SETUP
    WRITE 0x38f, 1, 3
    mov r12d, 1000
2:  cpuid
    dec r12d
    jnz 2b
    WRITE 0x38f, 0, 0
    READ 0x4c1, r8
    READ 0x309, r9
    hlt
FINISH p_cpuid

BEGIN p_control
    SETUP
    WRITE 0xc2, 0, 0
    WRITE 0x38f, 3, 3
    WRITE 0x187, 0x4300c0, 0
    nop
    WRITE 0x187, 0, 0
    nop
    WRITE 0x38f, 0, 0
    READ 0xc2, rbx
    READ 0xc1, r8
    hlt
FINISH p_control

BEGIN p_pmi
    WRITE 0x186, 0x5300c0, 0
    WRITE 0x390, 1, 0
    mov ecx, 0xc1
    mov eax, ebp
    neg eax
    xor edx, edx
    wrmsr
    xor r12d, r12d
    xor r15d, r15d
    xor r11d, r11d
    sti
    WRITE 0x38f, 1, 0
    test edi, edi
    jnz 3f
2:  inc r15
    cmp r15, r13
    ja 4f
    cmp r12, r14
    jb 2b
    jmp 4f
3:  inc r15
    cpuid
    cmp r15, r13
    ja 4f
    cmp r12, r14
    jb 3b
4:  WRITE 0x38f, 0, 0
    cli
    READ 0x38e, r9
    hlt
FINISH p_pmi

BEGIN p_handler
    push rax
    push rcx
    push rdx
    mov ecx, 0x38e
    rdmsr
    and eax, 1
    add r11, rax
    WRITE 0x390, 1, 0
    mov ecx, 0xc1
    mov eax, ebp
    neg eax
    xor edx, edx
    wrmsr
    inc r12
    pop rdx
    pop rcx
    pop rax
    iretq
FINISH p_handler

BEGIN p_own
    xor r11d, r11d
2:  xor esi, esi
3:  lea ecx, [rsi + 0x4c1]
    lea eax, [rbx + rsi]
    mov edx, edi
    wrmsr
    inc esi
    cmp esi, r8d
    jb 3b
    xor esi, esi
4:  lea ecx, [rsi + 0x309]
    lea eax, [rbx + rsi + 0x100]
    mov edx, edi
    wrmsr
    inc esi
    cmp esi, r9d
    jb 4b
    vmcall
    xor esi, esi
5:  lea ecx, [rsi + 0x4c1]
    rdmsr
    lea r10d, [rbx + rsi]
    cmp eax, r10d
    jne 8f
    cmp edx, edi
    jne 8f
    inc esi
    cmp esi, r8d
    jb 5b
    xor esi, esi
6:  lea ecx, [rsi + 0x309]
    rdmsr
    lea r10d, [rbx + rsi + 0x100]
    cmp eax, r10d
    jne 8f
    cmp edx, edi
    jne 8f
    inc esi
    cmp esi, r9d
    jb 6b
    mov ecx, 0x38e
    rdmsr
    cmp eax, r13d
    jne 8f
    cmp edx, r14d
    jne 8f
7:  add ebx, 0x1001
    dec r12d
    jnz 2b
    hlt
8:  inc r11
    jmp 7b
FINISH p_own

BEGIN p_two
    WRITE 0xc1, 0, 0
2:  WRITE 0x38f, 1, 0
    mov rax, rbx
3:  dec rax
    jnz 3b
    vmcall
    WRITE 0x38f, 0, 0
    vmcall
    dec r12d
    jnz 2b
    READ 0x4c1, rsi
    hlt
FINISH p_two

BEGIN p_attempts
    xor ecx, ecx
    rdpmc
    mov ecx, 0xc1
    rdmsr
    mov ecx, 0x4c1
    rdmsr
    mov ecx, 0x38f
    mov eax, 1
    xor edx, edx
    wrmsr
    mov ecx, 0x38f
    rdmsr
    mov ecx, 0x38e
    rdmsr
    mov ebx, 10000
2:  dec ebx
    jnz 2b
    hlt
FINISH p_attempts

BEGIN p_probe
    mov rax, [0xf000]
    vmcall
    mov rax, [0xf000]
    hlt
FINISH p_probe

BEGIN p_cpuids
2:  cpuid
    jmp 2b
FINISH p_cpuids

BEGIN p_user_ring
    WRITE 0x186, 0x4300c0, 0
    WRITE 0x187, 0x4100c0, 0
    WRITE 0x188, 0x14300c0, 0
    WRITE 0x189, 0x24300c0, 0
    WRITE 0x4c1, 0, 0
    WRITE 0x4c2, 0, 0
    WRITE 0x4c3, 0, 0
    WRITE 0x4c4, 0, 0
    WRITE 0x38f, 15, 0
    mov r12d, 1000
2:  cpuid
    dec r12d
    jnz 2b
    WRITE 0x38f, 0, 0
    READ 0x4c1, r8
    READ 0x4c2, r9
    READ 0x4c3, r10
    READ 0x4c4, r11
    hlt
FINISH p_user_ring

.code16
BEGIN p_real
    mov ax, 0x1234
    add ax, 0x4321
    vmcall
    hlt
FINISH p_real
.code32
BEGIN p_protected
    mov eax, 0x12345678
    add eax, eax
    vmcall
    hlt
FINISH p_protected
.code64
.text
"#
);
