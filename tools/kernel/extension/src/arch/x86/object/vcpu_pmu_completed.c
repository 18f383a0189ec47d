/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: instructions that the VMM completes for the guest.
 *
 * An instruction that exits is not retired, so hardware does not count it (SDM 26.1: a fault-like exit). When the VMM
 * has done what it does and moved RIP past it, to the guest it has retired: counters of retired instructions, and of
 * retired branches if it is one, gain 1 here, once, after its effect.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <arch/machine.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_pmu_msr.h>

#define ACCESS_RIGHTS_DPL(rights)   ((rights) >> 5 & 3)

/*
 * Whether a counter with `selector` counts one retirement alone in its cycle (SDM 20.2.1.1). CMASK 1 is met by one,
 * a greater CMASK by none. INV counts the cycles that do not meet CMASK, and hardware has counted this cycle as one
 * with no retirement; EDGE counts rises of the condition, and hardware sees one at the next retirement: both have
 * what they are due.
 */
static bool_t
counts_completion(uint64_t selector, word_t ring_bit, word_t what)
{
    uint64_t event = selector & PERFEVTSEL_EVENT;
    uint64_t cmask = selector >> PERFEVTSEL_CMASK_SHIFT;
    if (!(selector & PERFEVTSEL_EN) || !(selector & ring_bit) || (selector & PERFEVTSEL_EDGE)) {
        return false;
    }
    if (cmask > 1 || (cmask == 1 && (selector & PERFEVTSEL_INV))) {
        return false;
    }
    return event == EVENT_INSTRUCTIONS_RETIRED ||
           (event == EVENT_BRANCHES_RETIRED && (what & PMU_COMPLETED_BRANCH));
}

/* Adds 1 to counter `counter` of RDPMC, which `msr` writes; true if it wraps. */
static bool_t
increment(uint32_t counter, word_t msr, uint64_t mask)
{
    uint64_t value = (x86_rdpmc(counter) + 1) & mask;
    x86_wrmsr(msr, value);
    return value == 0;
}

/*
 * The VMCS of `vcpu` is current, its PMU active, and `enabled` its IA32_PERF_GLOBAL_CTRL, which is not 0. `what` has
 * PMU_COMPLETED_INSTRUCTION.
 */
void
pmu_count_completed(vcpu_t *vcpu, word_t what, uint64_t enabled)
{
    vcpu_pmu_t *pmu = &vcpu->pmu;
    uint64_t overflow = 0;
    bool_t user;
    word_t i;
    if (pmuOwner != pmu) {
        pmu_switch(pmu);
    } else if (pmu->mode == PMU_MODE_RAW) {
        pmu_read_raw(pmu);
    }
    /* SS.DPL is the CPL (SDM 25.4.1); USR means CPL 1, 2 and 3 (SDM 20.2.1.1) */
    user = ACCESS_RIGHTS_DPL(vmread(VMX_GUEST_SS_ACCESS_RIGHTS)) != 0;
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        if ((enabled >> i & 1) &&
                counts_completion(pmu->selector[i], user ? PERFEVTSEL_USR : PERFEVTSEL_OS, what) &&
                increment(i, IA32_PMC0 + i, pmuGeometry.gp_value)) {
            overflow |= BIT(i);
        }
    }
    i = FIXED_INSTRUCTIONS;
    if ((enabled >> (GLOBAL_FIXED_SHIFT + i) & 1) &&
            (pmu->fixed_ctrl >> (i * FIXED_CTRL_BITS) & (user ? FIXED_CTRL_USR : FIXED_CTRL_OS)) &&
            increment(RDPMC_FIXED + i, IA32_FIXED_CTR0 + i, pmuGeometry.fixed_value)) {
        overflow |= BIT(GLOBAL_FIXED_SHIFT + i);
    }
    if (overflow) {
        x86_wrmsr(IA32_PERF_GLOBAL_STATUS_SET, overflow);
        if (overflow & pmu_interrupting(pmu)) {
            pmu->pmi = true;
        }
    }
}

#endif /* CONFIG_VTX */
