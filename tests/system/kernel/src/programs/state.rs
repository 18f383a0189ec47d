//! Programs that put values of their own into registers which VM entry and VM exit leave alone.

use core::arch::global_asm;

programs! {
    syscall p_syscall p_syscall_end "RBX: the value that SYSCALL's target, `SYSCALL_TARGET` bytes from the start, leaves in RDX. Then VMCALL \
        with R8: RFLAGS in the target, R9: CS, R10: SS, R11, RCX as SYSCALL leaves them; for ever."
    bases p_bases p_bases_end "RBX: tag, R12: rounds. Writes the tag and two more to FS_BASE, GS_BASE, KERNEL_GS_BASE, VMCALLs, compares, by \
        SWAPGS too; R11: differences, then HLT."
    write_msr p_write_msr p_write_msr_end "WRMSR of RCX with RDX:RAX, HLT."
    debug p_debug p_debug_end "RBX: tag, R12: rounds. The tag and others in CR2, DR0 to DR3 and bits of DR6; VMCALLs and compares; R11: differences, HLT."
    avx p_avx p_avx_end "EDI: address of 64 bytes, ESI: pattern, R12: rounds. Sets CR4.OSXSAVE and XCR0 = 7, stores the first YMM7 at EDI, then \
        VMCALLs between writing the pattern to YMM0, YMM7, YMM15 and checking it; R11: differences, R10: XCR0 as XGETBV reads it, HLT."
    sse_only p_sse_only p_sse_only_end "Sets CR4.OSXSAVE; R10: XCR0 as XGETBV reads it; VMCALL, then VZEROALL."
    tsc_aux p_tsc_aux p_tsc_aux_end "RDTSCP for ever, with a VMCALL after each; RCX: TSC_AUX."
    cr2_and_time p_cr2_and_time p_cr2_and_time_end "VMCALL with RBX: CR2, EDX:EAX: RDTSC."
    general_detect p_general_detect p_general_detect_end "Sets DR7.GD and reads DR6, which is #DB; RBX: DR6, VMCALL."
    read_pat p_read_pat p_read_pat_end "VMCALL, then RDMSR of IA32_PAT."
    write_cr0 p_write_cr0 p_write_cr0_end "MOV of RBX to CR0, HLT."
    write_cr4 p_write_cr4 p_write_cr4_end "MOV of RBX to CR4, HLT."
    far_memory p_far_memory p_far_memory_end "32-bit, without paging. EDI: address, EBX: value. Writes it there and 2 MiB - 4 above, VMCALL with ESI and EDX: \
        what is read there; once more."
}

/// Where SYSCALL leads to in `syscall`.
pub const SYSCALL_TARGET: u64 = 0x40;

global_asm!(
    r#"
.section .rodata.guest_programs, "a"
.code64
.globl p_syscall, p_syscall_end
p_syscall:
    std
    syscall
    hlt
    .org p_syscall + 0x40, 0xf4
    pushfq
    pop r8
    cld
    mov r9, cs
    mov r10, ss
    mov rdx, rbx
    vmcall
    jmp p_syscall
p_syscall_end:

.globl p_bases, p_bases_end
p_bases:
    lea r8, [rbx + 0x1000]
    lea r9, [rbx + 0x2000]
    mov rax, rbx
    mov rdx, rbx
    shr rdx, 32
    mov ecx, 0xc0000100
    wrmsr
    mov eax, r8d
    inc ecx
    wrmsr
    mov eax, r9d
    inc ecx
    wrmsr
2:  vmcall
    mov ecx, 0xc0000100
    mov r10, rbx
    call 8f
    inc ecx
    mov r10, r8
    call 8f
    inc ecx
    mov r10, r9
    call 8f
    swapgs
    mov r10, r8
    call 8f
    dec ecx
    mov r10, r9
    call 8f
    swapgs
    dec r12
    jnz 2b
    hlt
8:  rdmsr
    shl rdx, 32
    or rax, rdx
    cmp rax, r10
    je 9f
    inc r11
9:  ret
p_bases_end:

.globl p_write_msr, p_write_msr_end
p_write_msr:
    wrmsr
    hlt
p_write_msr_end:

.globl p_general_detect, p_general_detect_end
p_general_detect:
    mov eax, 0x2400
    mov dr7, rax
    mov rbx, dr6
    vmcall
p_general_detect_end:

.globl p_cr2_and_time, p_cr2_and_time_end
p_cr2_and_time:
    mov rbx, cr2
    rdtsc
    vmcall
p_cr2_and_time_end:

.globl p_debug, p_debug_end
p_debug:
    mov cr2, rbx
    lea rax, [rbx + 1]
    mov dr0, rax
    inc rax
    mov dr1, rax
    inc rax
    mov dr2, rax
    inc rax
    mov dr3, rax
    mov eax, ebx
    and eax, 15
    or eax, 0xffff0ff0
    mov dr6, rax
    mov r8, rax
2:  vmcall
    mov rax, cr2
    cmp rax, rbx
    jne 8f
    lea r9, [rbx + 1]
    mov rax, dr0
    cmp rax, r9
    jne 8f
    inc r9
    mov rax, dr1
    cmp rax, r9
    jne 8f
    inc r9
    mov rax, dr2
    cmp rax, r9
    jne 8f
    inc r9
    mov rax, dr3
    cmp rax, r9
    jne 8f
    mov rax, dr6
    cmp rax, r8
    je 9f
8:  inc r11
9:  dec r12
    jnz 2b
    hlt
p_debug_end:

.globl p_avx, p_avx_end
p_avx:
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    vmovdqu [rdi], ymm7
    movq xmm0, rsi
    vpunpcklqdq xmm0, xmm0, xmm0
    vinsertf128 ymm0, ymm0, xmm0, 1
    vmovaps ymm7, ymm0
    vmovaps ymm15, ymm0
    vmovdqu [rdi + 32], ymm0
2:  vmcall
    vxorps ymm1, ymm0, [rdi + 32]
    vptest ymm1, ymm1
    jnz 8f
    vxorps ymm1, ymm7, [rdi + 32]
    vptest ymm1, ymm1
    jnz 8f
    vxorps ymm1, ymm15, [rdi + 32]
    vptest ymm1, ymm1
    jz 9f
8:  inc r11
9:  xor ecx, ecx
    xgetbv
    mov r10d, eax
    dec r12
    jnz 2b
    hlt
p_avx_end:

.globl p_sse_only, p_sse_only_end
p_sse_only:
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    xor ecx, ecx
    xgetbv
    mov r10d, eax
    vmcall
    vzeroall
    hlt
p_sse_only_end:

.globl p_tsc_aux, p_tsc_aux_end
p_tsc_aux:
    rdtscp
    vmcall
    jmp p_tsc_aux
p_tsc_aux_end:

.globl p_read_pat, p_read_pat_end
p_read_pat:
    vmcall
    mov ecx, 0x277
    rdmsr
    hlt
p_read_pat_end:

.globl p_write_cr0, p_write_cr0_end
p_write_cr0:
    mov cr0, rbx
    hlt
p_write_cr0_end:

.globl p_write_cr4, p_write_cr4_end
p_write_cr4:
    mov cr4, rbx
    hlt
p_write_cr4_end:

.code32
.globl p_far_memory, p_far_memory_end
p_far_memory:
    mov [edi], ebx
    mov [edi + 0x1ffffc], ebx
    mov esi, [edi]
    mov edx, [edi + 0x1ffffc]
    vmcall
    mov esi, [edi]
    hlt
p_far_memory_end:
.code64
.text
"#
);
