# Multiboot 1 header: no wishes. As a note, because notes come first in the file.
.section .note.multiboot, "a", @note
.balign 4
.long 0x1badb002, 0, -0x1badb002

.section .text.multiboot, "ax"
.code32
# Free memory below 64 KiB.
.set REAL, 0x2000

# Ends the guest with this number unless the flags say equal.
.macro must number
    movl $\number, %ebp
    jne fail
.endm

.globl _start
_start:
    cmpl $0x2badb002, %eax
    must 3
    movl $stack_top, %esp
    # The information has memory sizes and memory map.
    movl (%ebx), %eax
    andl $0x41, %eax
    cmpl $0x41, %eax
    must 4
    # Protected mode without paging.
    movl %cr0, %eax
    andl $0x80000001, %eax
    cmpl $1, %eax
    must 5

    # Our own segments: code, data, data from 16 on, data of 4 KiB, code of 16 bits.
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x18, %eax
    movl %eax, %fs
    movl $cell - 16, %edi
    movl $0x12345678, %fs:(%edi)
    cmpl $0x12345678, cell
    must 6

    # Gates (SDM vol. 3A, 6.11): #UD, #GP, #PF, and a vector of our own.
    movl $on_ud, %eax
    movl $6, %ecx
    call set_gate
    movl $on_gp, %eax
    movl $13, %ecx
    call set_gate
    movl $on_pf, %eax
    movl $14, %ecx
    call set_gate
    movl $on_own, %eax
    movl $0x30, %ecx
    call set_gate
    lidt idt_pointer
    ud2
    cmpl $1, seen_ud
    must 7
    int $0x30
    cmpl $1, seen_own
    must 8
    # A limit: the third segment has 4 KiB (SDM vol. 3A, 5.3).
    movl $0x20, %eax
    movl %eax, %gs
    movl %gs:0x1000, %eax
    cmpl $1, seen_gp
    must 9
    # An exit in the middle: CPUID has its vendor.
    xorl %eax, %eax
    cpuid
    cmpl $0x756e6547, %ebx
    must 10

    # 32-bit paging with pages of 4 MiB (SDM vol. 3A, 4.3): one to one, and 1 GiB leads to 4 MiB.
    movl $directory, %edi
    movl $0x83, %eax
    movl $1024, %ecx
2:  movl %eax, (%edi)
    addl $0x400000, %eax
    addl $4, %edi
    loop 2b
    movl $0x400083, directory + 256 * 4
    movl $0, directory + 257 * 4
    movl %cr4, %eax
    orl $0x10, %eax
    movl %eax, %cr4
    movl $directory, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    movl $0x600df00d, 0x40000010
    cmpl $0x600df00d, 0x400010
    must 11
    # 4 MiB further nothing is mapped: the handler puts the page in.
    movl $0x01020304, 0x40400000
    cmpl $0x01020304, 0x800000
    must 12
    cmpl $1, seen_pf
    must 13
    # Off again.
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0

    # PAE paging with pages of 2 MiB (4.4): the first gigabyte one to one, the second leads to 6 MiB.
    movl $pae_directory, %edi
    movl $0x83, %eax
    movl $512, %ecx
3:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 3b
    movl $pae_directory + 1, pae_pointers
    movl $pae_other + 1, pae_pointers + 8
    movl $0x600083, pae_other
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $pae_pointers, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    movl $0x0badcafe, 0x40000020
    cmpl $0x0badcafe, 0x600020
    must 14
    # A register of the local APIC, by the walk of PAE tables: its version.
    movl $apic_directory + 1, pae_pointers + 24
    movl $0xfee00083, apic_directory + 503 * 8
    movl %cr3, %eax
    movl %eax, %cr3
    movl 0xfee00030, %eax
    andl $0xf0, %eax
    cmpl $0x10, %eax
    must 15

    # Real mode: an exception pushes flags, CS and IP, six bytes, and no error code (SDM vol. 3A, 6.13 and 21.1.4). The MSR does
    # not exist.
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $real, %esi
    movl $REAL, %edi
    movl $real_end - real, %ecx
    rep movsb
    movl $REAL + real_gp - real, 13 * 4
    lidt real_idt_pointer
    movl %esp, %ebp
    movl $0x123, %ecx
    ljmp $0x28, $REAL
back:
    lidt idt_pointer
    subl %esp, %ebp
    movl $stack_top, %esp
    cmpl $6, %ebp
    must 16

    movl $right, %esi
    call print
    xorl %eax, %eax
    outl %eax, $0xf4
stop:
    hlt
    jmp stop

fail:
    movl $wrong, %esi
    call print
    movl %ebp, %eax
    outl %eax, $0xf4
    jmp stop

# Prints the string at ESI on COM1.
print:
    movl $0x3f8, %edx
4:  lodsb
    testb %al, %al
    jz 5f
    outb %al, %dx
    jmp 4b
5:  ret

# Makes EAX the handler of vector ECX.
set_gate:
    movw %ax, idt(, %ecx, 8)
    movw $0x08, idt + 2(, %ecx, 8)
    movw $0x8e00, idt + 4(, %ecx, 8)
    shrl $16, %eax
    movw %ax, idt + 6(, %ecx, 8)
    ret

# To be run at REAL: into real mode, the access, and its handler, which goes back to protected mode.
.code16
real:
    movl %cr0, %eax
    decl %eax
    movl %eax, %cr0
    ljmpw $0, $REAL + 6f - real
6:  rdmsr
7:  jmp 7b
real_gp:
    movl %cr0, %eax
    incl %eax
    movl %eax, %cr0
    ljmpl $0x08, $back
real_end:
.code32

on_ud:
    incl seen_ud
    addl $2, (%esp)
    iret
on_own:
    incl seen_own
    iret
# The access of the segment's end has 6 bytes.
on_gp:
    incl seen_gp
    addl $4, %esp
    addl $6, (%esp)
    iret
# Maps what was missing to 8 MiB.
on_pf:
    incl seen_pf
    movl $0x800083, directory + 257 * 4
    addl $4, %esp
    iret
.code64

.section .rodata.protected, "a"
right: .asciz "@protected right\n@result right=14 wrong=0\n"
wrong: .asciz "@protected wrong\n@result right=0 wrong=1\n"

.section .data.protected, "aw"
.balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cf93000010ffff, 0x0040930000000fff, 0x00009b000000ffff
gdt_pointer:
    .word 47
    .long gdt
idt_pointer:
    .word 0x31 * 8 - 1
    .long idt
# The interrupt vectors of real mode.
real_idt_pointer:
    .word 0x3ff
    .long 0

.section .bss.protected, "aw", @nobits
.balign 4096
directory: .skip 4096
pae_directory: .skip 4096
pae_other: .skip 4096
apic_directory: .skip 4096
pae_pointers: .skip 32
idt: .skip 0x31 * 8
cell: .skip 4
seen_ud: .skip 4
seen_own: .skip 4
seen_gp: .skip 4
seen_pf: .skip 4
.skip 4096
stack_top:
