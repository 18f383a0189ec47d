# Multiboot 1 header: no wishes.
.section .multiboot, "a"
.balign 4
.long 0x1BADB002, 0, -0x1BADB002

.section .text.boot, "ax"
.code32
.globl _start
_start:
    cli
    movl $boot_stack_top, %esp
    movl %ebx, %esi
    # One to one below 4 GiB in 2 MiB pages, present, writable, user.
    movl $boot_pdpt + 7, boot_pml4
    movl $boot_pd + 7, %eax
    movl $boot_pdpt, %edi
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 1b
    movl $boot_pd, %edi
    movl $0x87, %eax
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 2b
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xC0000080, %ecx      # IA32_EFER
    rdmsr
    orl $0x101, %eax            # LME, SCE
    wrmsr
    movl %cr0, %eax
    andl $~0xC, %eax            # EM, TS
    orl $0x80000022, %eax       # PG, NE, MP
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $0x08, $boot_long_mode
.code64
boot_long_mode:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    fninit
    movl %esi, %edi
    xorl %ebp, %ebp
    call kernel_main
3:  hlt
    jmp 3b

.section .data.boot, "aw"
.balign 8
boot_gdt:
    .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
boot_gdt_pointer:
    .word 23
    .long boot_gdt

.section .bss.boot, "aw", @nobits
.balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip 4 * 4096
.skip 65536
boot_stack_top:
