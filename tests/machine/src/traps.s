# Entry points of the interrupt descriptor table. Each leaves on its stack: error code (or 0), RAX, RCX, RDX.
.macro ENTRY vector, pushes_error
trap_\vector:
    .if \pushes_error == 0
    pushq $0
    .endif
    pushq %rax
    pushq %rcx
    pushq %rdx
    movl $\vector, %eax
    jmp trap_common
.endm
# A PMI: stops all counters at once, after HANDLER instructions (machine_scenarios).
.macro PMI_ENTRY vector
trap_\vector:
    pushq $0
    pushq %rax
    pushq %rcx
    pushq %rdx
    movl $0x38F, %ecx           # IA32_PERF_GLOBAL_CTRL
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    movl $\vector, %eax
    jmp trap_common
.endm

.section .text.traps, "ax"
.irp vector, 0, 1, 3, 4, 5, 6, 7, 9, 16, 18, 19, 20, 65
ENTRY \vector, 0
.endr
.irp vector, 8, 10, 11, 12, 13, 14, 17
ENTRY \vector, 1
.endr
PMI_ENTRY 2
PMI_ENTRY 64

trap_common:
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    movq %rsp, %rbx
    movq %rsp, %rdi
    movl %eax, %esi
    subq $512, %rsp
    andq $-16, %rsp
    fxsave64 (%rsp)
    cld
    call trap_handler           # returns what to write to IA32_PERF_GLOBAL_CTRL; 0: nothing
    fxrstor64 (%rsp)
    movq %rbx, %rsp
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    movl $0x38F, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    testq %rax, %rax
    jz 1f
    wrmsr
1:  popq %rdx                   # HANDLER_END instructions from here
    popq %rcx
    popq %rax
    addq $8, %rsp
    iretq

.section .rodata.traps, "a"
.balign 8
# Vector and entry point; ends with the table's end symbol.
.globl trap_entries, trap_entries_end
trap_entries:
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 64, 65
    .quad \vector, trap_\vector
.endr
trap_entries_end:
