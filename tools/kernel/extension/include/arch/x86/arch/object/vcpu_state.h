/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * Registers of a guest that VM entry and VM exit leave alone, and what switches each:
 *
 * IA32_STAR, IA32_LSTAR, IA32_FMASK, IA32_TSC_AUX: the VM-entry and VM-exit MSR-load lists (SDM 27.4, 28.6), for VCPUs
 *   that have been given one of them or EFER.SCE. SYSCALL and RDTSCP of host threads find the kernel's.
 * CR2: every exit saves it, because a host thread's page fault overwrites it.
 * XCR0: 1 whenever no guest runs, so that no host thread reaches more than x87 and SSE.
 * Upper halves of YMM0 to YMM15: with XCR0 = 1 nobody reaches them; they change hands when another VCPU with AVX in its XCR0
 *   is about to run.
 * IA32_KERNEL_GS_BASE, DR0 to DR3: host threads cannot reach them; they change hands with the current VMCS.
 * DR6: the same, but every exit saves it, because a host thread's debug exception overwrites it.
 *
 * Section numbers are those of the SDM, revision 325462-083.
 */

#ifndef __ARCH_OBJECT_VCPU_STATE_H
#define __ARCH_OBJECT_VCPU_STATE_H

#include <config.h>
#include <types.h>
#include <api/failures.h>
#include <util.h>
#include <arch/machine/cpu_registers.h>

#define IA32_TSC_AUX_MSR        0xC0000103
#define VCPU_LOADED_MSRS        4       /* STAR, LSTAR, FMASK, TSC_AUX */

#define EFER_SCE                BIT(0)

/* State components (SDM volume 1, 13.1) */
#define XCR0_X87                BIT(0)
#define XCR0_SSE                BIT(1)
#define XCR0_AVX                BIT(2)
#define XCR0_HOST               XCR0_X87

/* CR0 bits that are the processor's, not the guest's: NW and CD (SDM 27.3.2.1, 28.5.1) */
#define CR0_WITHHELD            (BIT(29) | BIT(30))
/*
 * CR4 bits that bring registers which nothing switches: KL, PKE, CET, PKS, UINTR (SDM 2.5; KL: the internal wrapping key), FRED and
 * what may come above it.
 */
#define CR4_WITHHELD            (BIT(19) | BIT(22) | BIT(23) | BIT(24) | BIT(25) | ~MASK(32))

/* Exceptions that always exit: #DB, #AC, #MC */
#define EXCEPTIONS_FORCED       (BIT(1) | BIT(17) | BIT(18))

/* One entry of a MSR-load list (SDM 25.7.2) */
typedef struct vcpu_msr {
    uint32_t number;
    uint32_t reserved;
    uint64_t value;
} vcpu_msr_t;

#define VCPU_MSR_LIST_ALIGNMENT 16

/* The standard form of XSAVE with AVX (SDM volume 1, 13.4) */
#define XSAVE_AREA_SIZE         832
#define XSAVE_AREA_ALIGNMENT    64
#define XSAVE_MXCSR             24

typedef struct vcpu_state {
    char ALIGN(XSAVE_AREA_ALIGNMENT) avx[XSAVE_AREA_SIZE];  /* of state component 2 alone */
    vcpu_msr_t ALIGN(VCPU_MSR_LIST_ALIGNMENT) msr[VCPU_LOADED_MSRS];
    uint64_t xcr0;
    word_t cr2;
    word_t kernel_gs_base;
    word_t dr[4];
    word_t dr6;
} vcpu_state_t;

struct vcpu;

void vcpu_state_boot(void *msr_bitmap);
void vcpu_state_init(struct vcpu *vcpu);
void vcpu_state_finalise(struct vcpu *vcpu);
/* `from`, which may be NULL, stops being current, and `to` becomes it. */
void vcpu_state_switch(struct vcpu *from, struct vcpu *to);
/* SYSCALL has been given to the guest. The VMCS of `vcpu` is current. */
void vcpu_state_load_msrs(struct vcpu *vcpu);
/* XCR0 of `vcpu` is not the host's. */
void vcpu_state_extend(struct vcpu *vcpu);
/* The guest of `vcpu` has exited by an exception or NMI. */
void vcpu_state_exception(struct vcpu *vcpu);
/* A host thread has had a debug exception. */
void vcpu_state_host_debug(void);
exception_t decodeWriteMSR(word_t length, struct vcpu *vcpu, word_t *buffer);
exception_t decodeWriteXCR0(word_t length, struct vcpu *vcpu, word_t *buffer);
exception_t decodeWriteCR2(word_t length, struct vcpu *vcpu, word_t *buffer);

static inline void
write_cr2(word_t value)
{
    asm volatile("movq %0, %%cr2" :: "r"(value), "m"(control_reg_order));
}

static inline word_t
read_dr6(void)
{
    word_t value;
    asm volatile("movq %%dr6, %0" : "=r"(value));
    return value;
}

static inline void
write_dr6(word_t value)
{
    asm volatile("movq %0, %%dr6" :: "r"(value));
}

/* The guest of the VCPU is about to be entered. */
static inline void
vcpu_state_before_entry(struct vcpu *vcpu, vcpu_state_t *state)
{
    if (unlikely(state->cr2 != read_cr2())) {
        write_cr2(state->cr2);
    }
    if (unlikely(state->xcr0 != XCR0_HOST)) {
        vcpu_state_extend(vcpu);
    }
}

/* The entry failed before the guest could run, or the guest has exited. */
static inline void
vcpu_state_leave(vcpu_state_t *state)
{
    if (unlikely(state->xcr0 != XCR0_HOST)) {
        write_xcr0(XCR0_HOST);
    }
}

/* The guest has exited. */
static inline void
vcpu_state_after_exit(vcpu_state_t *state)
{
    state->cr2 = read_cr2();
    state->dr6 = read_dr6();
    vcpu_state_leave(state);
}

#endif
