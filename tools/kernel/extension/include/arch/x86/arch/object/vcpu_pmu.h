/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: what user level and the rest of the kernel see of it.
 *
 * A VCPU has a PMU context: selectors, fixed control, counters, status. Its IA32_PERF_GLOBAL_CTRL is in the
 * VMCS: VM entry loads it, VM exit saves it and loads 0 (SDM 27.3.2.1, 28.3.1, 28.5.1), so outside a guest
 * nothing counts. The processor's registers hold the context of the VCPU that ran last among those with a PMU
 * (the owner); they change hands when another of those is about to run, and only then.
 *
 * Section numbers are those of the SDM, revision 325462-083.
 */

#ifndef __ARCH_OBJECT_VCPU_PMU_H
#define __ARCH_OBJECT_VCPU_PMU_H

#include <config.h>
#include <types.h>
#include <api/failures.h>
#include <util.h>

/* Argument of X86VCPUPmuSetMode. */
#define PMU_MODE_OFF        0   /* RDPMC and every PMU MSR exit, nothing counts */
#define PMU_MODE_TRAPPED    1   /* the same exits, and the context counts while the guest runs */
#define PMU_MODE_DIRECT     2   /* data MSRs, GLOBAL_* and RDPMC do not exit */
#define PMU_MODE_RAW        3   /* neither do control MSRs */

/* Results of X86VCPUPmuGetGeometry: CPUID leaf 0xA, IA32_PERF_CAPABILITIES, flags. */
#define PMU_GEOMETRY_WORDS  6
#define PMU_FLAG_SAVE_GLOBAL_CTRL 1     /* direct mode opens IA32_PERF_GLOBAL_CTRL */
#define PMU_FLAG_USABLE           2     /* modes other than off are accepted */

/* The message register of VMEnter that says what the VMM completed for the guest, and its bits. */
#define PMU_COMPLETED_MR            3
#define PMU_COMPLETED_INSTRUCTION   1
#define PMU_COMPLETED_BRANCH        2   /* only together with the instruction */

/* As many as the MSR numbers leave room for (SDM volume 4, table 2-2). */
#define PMU_MAX_GP      8
#define PMU_MAX_FIXED   16

/* The control registers: the selectors, then the fixed counters' control. */
#define PMU_FIXED_CTRL  PMU_MAX_GP
#define PMU_N_CONTROL   (PMU_MAX_GP + 1)

/* Approved pairs of a control register: a guest's value stands in one of the places of one set. */
#define PMU_SET_BITS    2
#define PMU_SETS        BIT(PMU_SET_BITS)
#define PMU_WAYS        4
#define PMU_PAIRS       (PMU_SETS * PMU_WAYS)

/* Results of X86VCPUPmuGuestControl: the control registers, approved writes, approved reads. */
#define PMU_GUEST_CONTROL_WORDS (PMU_N_CONTROL + 2)

/* Bits of IA32_DEBUGCTL that a VMM may set for its guest: BTF and RTM. The others record branches, drive or
 * freeze the PMU (SDM 18.4.1). */
#define PMU_DEBUGCTL_RUN (BIT(1) | BIT(15))

/* When the guest writes `guest`, the register gets `hardware`. No control register of a guest needs more bits. */
typedef struct pmu_pair {
    uint32_t guest;
    uint32_t hardware;
} pmu_pair_t;

/* A control register as its guest sees it. */
typedef struct pmu_control {
    uint64_t guest;                     /* the guest's value */
    uint32_t approved;                  /* there may be pairs */
    uint8_t next[PMU_SETS];             /* the place of the set's next pair, modulo PMU_WAYS: the oldest one's, if all are taken */
    pmu_pair_t pair[PMU_SETS][PMU_WAYS];
} pmu_control_t;

typedef struct vcpu_pmu {
    word_t mode;
    bool_t pmi;                         /* a PMI that the VMM has not been told of */
    /*
     * 0: nothing counts and nothing interrupts, whatever IA32_PERF_GLOBAL_CTRL says. Else one bit for each control
     * register that is not idle, or PMU_ACTIVE_RAW.
     */
    word_t active;
    word_t primary_set, primary_clear;  /* of the primary processor-based controls */
    uint64_t selector[PMU_MAX_GP];
    uint64_t counter[PMU_MAX_GP];
    uint64_t fixed[PMU_MAX_FIXED];
    uint64_t fixed_ctrl;
    uint64_t status;
    uint64_t approved_writes, approved_reads;
    pmu_control_t control[PMU_N_CONTROL];
} vcpu_pmu_t;

/* In vcpu_pmu_t.active: the guest programs the control registers itself. */
#define PMU_ACTIVE_RAW BIT(PMU_N_CONTROL)

/* Exit reason RDMSR; WRMSR is the next one. */
#define PMU_EXIT_RDMSR  31

struct vcpu;
struct tcb;

/* What CPUID says (SDM 20.2), read once. */
typedef struct pmu_geometry {
    bool_t usable;
    bool_t save_global_ctrl;
    uint32_t leaf[4];                   /* EAX, EBX, ECX, EDX of leaf 0xA */
    uint64_t capabilities;              /* IA32_PERF_CAPABILITIES */
    word_t n_gp;
    word_t n_fixed;                     /* one more than the last fixed counter */
    uint64_t fixed_present;             /* one bit for each fixed counter */
    uint64_t counters;                  /* one bit for each counter, as in IA32_PERF_GLOBAL_CTRL */
    uint64_t gp_value;                  /* bits of a general-purpose counter */
    uint64_t fixed_value;
    uint64_t fixed_ctrl;                /* bits of IA32_FIXED_CTR_CTRL that may be set */
} pmu_geometry_t;

extern pmu_geometry_t pmuGeometry;
extern vcpu_pmu_t *pmuOwner;

void pmu_init(void *closed_bitmap, bool_t load_controls, bool_t save_control);
void pmu_vcpu_init(struct vcpu *vcpu);
void pmu_vcpu_finalise(struct vcpu *vcpu);
void pmu_set_mode(struct vcpu *vcpu, word_t mode);
word_t pmu_entry_controls(struct vcpu *vcpu, word_t value);
word_t pmu_exit_controls(struct vcpu *vcpu, word_t value);
void pmu_note_exit(void);
void pmu_note_disarmed(void);
void pmu_switch(vcpu_pmu_t *to);
void pmu_read_raw(vcpu_pmu_t *pmu);
void pmu_count_completed(struct vcpu *vcpu, word_t what, uint64_t enabled);
void pmu_find_active(vcpu_pmu_t *pmu);
void pmu_write_control(vcpu_pmu_t *pmu, word_t control, uint64_t value);
void pmu_approve(vcpu_pmu_t *pmu, word_t control, uint32_t guest, uint32_t hardware);
void pmu_withdraw(vcpu_pmu_t *pmu);
void pmu_withdraw_control(pmu_control_t *control);
bool_t pmu_approved_exit(struct vcpu *vcpu, bool_t write);
void NORETURN resume_vmx(void);
void pmu_interrupt(void);
void pmu_deliver(struct vcpu *vcpu);
exception_t decodePmuInvocation(word_t label, word_t length, struct vcpu *vcpu, word_t *buffer);

/*
 * Does the current thread's invocation of `cap` if it is a X86VCPUPmuWriteMSR or X86VCPUPmuApprove that nothing speaks
 * against, with its arguments in the thread's registers. False: nothing has been done, and the slow path finds out why.
 */
bool_t pmu_fast_invocation(cap_t cap, word_t label, word_t length);

/* Status bits whose counter raises a PMI on overflow. */
uint64_t pmu_interrupting(vcpu_pmu_t *pmu);

/* RDPMC exiting is the kernel's (SDM 26.1.3: the exit comes before every other check of RDPMC). */
static inline word_t
pmu_primary_controls(vcpu_pmu_t *pmu, word_t value)
{
    return (value | pmu->primary_set) & ~pmu->primary_clear;
}

/* A guest is about to be entered: puts its PMU in place. True if a PMI has to be told first. */
static inline bool_t
pmu_before_entry(vcpu_pmu_t *pmu)
{
    if (pmu->mode == PMU_MODE_OFF) {
        return false;
    }
    if (pmuOwner != pmu) {
        pmu_switch(pmu);
    }
    return pmu->pmi;
}

/* A guest has exited. */
static inline void
pmu_after_exit(vcpu_pmu_t *pmu)
{
    if (pmu->active) {
        pmu_note_exit();
    }
}

/* Whether an exit with this reason (its bit 31 is a failed entry's) is one by RDMSR or WRMSR (SDM appendix C). */
static inline bool_t
pmu_is_msr_access(uint32_t reason)
{
    return reason - PMU_EXIT_RDMSR <= 1;
}

/*
 * The VMM, or the kernel in its place, has completed an instruction. The VMCS of the VCPU is current. After the effect: a
 * completed write of GLOBAL_CTRL is in force.
 */
#define pmu_completed(vcpu, what) do { \
        uint64_t enabled; \
        if ((vcpu)->pmu.active && (enabled = vmread(VMX_GUEST_PERF_GLOBAL_CTRL))) { \
            pmu_count_completed(vcpu, what, enabled); \
        } \
    } while (0)

#endif
