//! Programs that use the PMU.

use core::arch::global_asm;

programs! {
    count p_count p_count_end "Counts a loop of 100,000 rounds with PMC0 and fixed counters 0 and 1; R8..R15: what each way of reading says."
    direct p_direct p_direct_end "R8, R9: numbers of counters. Reads and writes every data MSR and reads by RDPMC."
    table p_table p_table_end "R8: entries of 8 bytes at 0x5000, each an MSR number: reads each, writes 0 to each, then RDPMC 0."
    still p_still p_still_end "Presets PMC0 to 0x1000, enables everything, VMCALLs, stops; R8: PMC0, R9: fixed 0."
    cpuid p_cpuid p_cpuid_end "1,000 CPUIDs in a loop of three instructions, counted; R8: PMC0, R9: fixed 0."
    control p_control p_control_end "Enables counter 1 and disables it again while counter 0 counts; R8: PMC0, RBX: PMC1."
    pmi p_pmi p_pmi_end "RBP: period, R14: PMIs wanted, EDI: 1 for CPUIDs in the loop, R13: most rounds. R15: rounds, R12: PMIs handled, R11: \
        of those with the status bit set, R9: the status at the end."
    pmi_handler p_handler p_handler_end "The PMI's handler, for `pmi`."
    hide p_hide p_hide_end "R8: a counter, R10, R9: its bit of GLOBAL_CTRL. Lets it overflow while it counts retired instructions, writes ESI \
        to MSR EDI, VMCALLs, HLTs."
    own p_own p_own_end "R8, R9: numbers of counters, EBX: value, EDI: tag, R13, R14: status, R12: rounds. Writes all counters, VMCALLs, \
        compares; R11: differences."
    two p_two p_two_end "RBX: rounds of the inner loop, R12: of the outer. Counts the inner with PMC0, VMCALLs while it counts and \
        while it does not; RSI: PMC0."
    attempts p_attempts p_attempts_end "RDPMC, RDMSR of a counter, WRMSR and RDMSR of GLOBAL_CTRL and GLOBAL_STATUS, a loop of 10,000."
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

.globl p_count, p_count_end
p_count:
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
p_count_end:

.globl p_direct, p_direct_end
p_direct:
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
p_direct_end:

.globl p_table, p_table_end
p_table:
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
p_table_end:

.globl p_still, p_still_end
p_still:
    SETUP
    WRITE 0xc1, 0x1000, 0
    WRITE 0x38f, 1, 3
    vmcall
    WRITE 0x38f, 0, 0
    READ 0x4c1, r8
    READ 0x309, r9
    hlt
p_still_end:

.globl p_cpuid, p_cpuid_end
p_cpuid:
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
p_cpuid_end:

.globl p_control, p_control_end
p_control:
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
p_control_end:

.globl p_pmi, p_pmi_end
p_pmi:
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
p_pmi_end:

.globl p_handler, p_handler_end
p_handler:
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
p_handler_end:

.globl p_hide, p_hide_end
p_hide:
    mov ecx, 0x390
    mov eax, r10d
    mov edx, r9d
    wrmsr
    mov ecx, r8d
    mov eax, -4
    mov edx, 0xffff
    wrmsr
    mov ecx, 0x38f
    mov eax, r10d
    mov edx, r9d
    wrmsr
    mov ecx, edi
    mov eax, esi
    xor edx, edx
    nop
    wrmsr
    vmcall
    hlt
p_hide_end:

.globl p_own, p_own_end
p_own:
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
p_own_end:

.globl p_two, p_two_end
p_two:
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
p_two_end:

.globl p_attempts, p_attempts_end
p_attempts:
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
p_attempts_end:

.globl p_user_ring, p_user_ring_end
p_user_ring:
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
p_user_ring_end:
.text
"#
);
