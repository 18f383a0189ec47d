# Multiboot 1 header: modules at pages, memory sizes. As a note, because notes come first in the file.
.section .note.multiboot, "a", @note
.balign 4
.long 0x1badb002, 3, -(0x1badb002 + 3)

.section .text.multiboot, "ax"
.code32
.globl _start
_start:
    cmpl $0x2badb002, %eax
    jne 4f
    movl %ebx, %esi
    # One to one below 4 GiB in 2 MiB pages, present and writable.
    movl $multiboot_directories, %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $multiboot_directories + 3, %eax
    movl $multiboot_pdpt, %edi
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 2b
    movl $multiboot_pdpt + 3, multiboot_pml4
    movl $multiboot_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # IA32_EFER
    rdmsr
    orl $0x100, %eax            # LME
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax            # EM, TS
    orl $0x80010002, %eax       # PG, WP, MP
    movl %eax, %cr0
    lgdt multiboot_gdt_pointer
    ljmp $0x08, $3f
.code64
3:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl $multiboot_stack, %esp
    fninit
    ldmxcsr multiboot_mxcsr
    movl %esi, %edi
    xorl %ebp, %ebp
    call multiboot_main
.code32
    # No boot loader of Multiboot: exit code 3.
4:  movl $3, %eax
    outl %eax, $0xf4
5:  hlt
    jmp 5b
.code64

.section .data.multiboot, "aw"
.balign 8
multiboot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
multiboot_gdt_pointer:
    .word 23
    .long multiboot_gdt
multiboot_mxcsr:
    .long 0x1f80

.section .bss.multiboot, "aw", @nobits
.balign 4096
multiboot_pml4: .skip 4096
multiboot_pdpt: .skip 4096
multiboot_directories: .skip 4 * 4096
.skip 0x8000
multiboot_stack:
