/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: the registers change hands, and interrupts reach their owner.
 *
 * Everything here runs outside a guest, where IA32_PERF_GLOBAL_CTRL is 0 (SDM 28.5.1): no counter moves and no
 * counter overflows, whatever the selectors say in between.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <arch/machine.h>
#include <arch/model/statedata.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_pmu_msr.h>
#include <arch/kernel/apic.h>
#include <plat/machine.h>

/*
 * How long after the VM exit a PMI of the guest may still be on its way to the APIC, in TSC ticks. Counters and
 * the APIC are not synchronous (SDM 20.1: a PMI comes late, by an amount that the SDM does not bound).
 */
#define PMI_DELAY 2000

/* What the registers hold when no VCPU owns them. */
static vcpu_pmu_t noContext;

vcpu_pmu_t *pmuOwner = &noContext;

/* The TSC at the last VM exit of a VCPU whose PMU is active. */
static uint64_t exitTime;

/* The TSC when a counter of the owner last stopped raising PMIs: one may have been on its way. */
static uint64_t disarmedTime;

/* The next PMI vector belongs to a former owner, which has been given its PMI already. */
static bool_t pmiStale;

void
pmu_note_exit(void)
{
    exitTime = x86_rdtsc();
}

void
pmu_note_disarmed(void)
{
    disarmedTime = x86_rdtsc();
}

uint64_t
pmu_interrupting(vcpu_pmu_t *pmu)
{
    uint64_t bits = 0;
    word_t i;
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        bits |= (uint64_t)!!(pmu->selector[i] & PERFEVTSEL_INT) << i;
    }
    for (i = 0; i < pmuGeometry.n_fixed; i++) {
        uint64_t field = pmu->fixed_ctrl >> (i * FIXED_CTRL_BITS);
        bits |= (uint64_t)!!(field & FIXED_CTRL_PMI) << (GLOBAL_FIXED_SHIFT + i);
    }
    return bits;
}

/* Whether a counter raises PMIs on overflow. */
static bool_t
is_armed(vcpu_pmu_t *pmu)
{
    uint64_t selectors = 0;
    word_t i;
    if (pmu->mode == PMU_MODE_RAW) {
        /* the guest may have written the control registers again since */
        return true;
    }
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        selectors |= pmu->selector[i];
    }
    return (selectors & PERFEVTSEL_INT) || (pmu->fixed_ctrl & FIXED_CTRL_ALL_PMI);
}

static bool_t
pmi_requested(void)
{
    return !!(apic_read_reg(APIC_IRR_BASE + int_pmi / 32 * 16) & BIT(int_pmi % 32));
}

/*
 * A PMI of the former owner that the kernel has not taken is in the APIC, or on its way there. Its vector will be
 * taken under the next owner's name. So it is given to `from` now, and the vector is dropped when it comes: nothing
 * can merge with it, because no guest runs before it is taken.
 *
 * Which overflows have had their PMI cannot be known: the guest clears the status unseen. As long as a counter raises
 * PMIs there may be one on its way, until PMI_DELAY has passed since the guest stopped; and as long after none does any
 * more.
 */
static void
take_late_pmi(vcpu_pmu_t *from)
{
    uint64_t since;
    if (pmiStale) {
        /* what is in the APIC is not `from`'s: it has not run since */
        return;
    }
    since = from->active && is_armed(from) ? exitTime : disarmedTime;
    do {
        if (pmi_requested()) {
            from->pmi = true;
            pmiStale = true;
            return;
        }
    } while (x86_rdtsc() - since < PMI_DELAY);
}

/* The guest of the owner, in raw mode, has written these itself. */
void
pmu_read_raw(vcpu_pmu_t *pmu)
{
    word_t i;
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        pmu->selector[i] = x86_rdmsr(IA32_PERFEVTSEL0 + i);
    }
    pmu->fixed_ctrl = x86_rdmsr(IA32_FIXED_CTR_CTRL);
}

/*
 * Gives the registers to `to`; NULL: to nobody. Values that are there already are not written: a WRMSR costs
 * a hundred cycles. The order is that of a stop followed by a start: the status is saved before anything that could
 * change it, and set when the selectors and counters it belongs to are in place.
 */
void
pmu_switch(vcpu_pmu_t *to)
{
    vcpu_pmu_t *from = pmuOwner;
    uint64_t status, value;
    word_t i;
    if (!to) {
        to = &noContext;
    }
    if (from->mode == PMU_MODE_RAW) {
        pmu_read_raw(from);
    }
    status = x86_rdmsr(IA32_PERF_GLOBAL_STATUS);
    from->status = status & pmuGeometry.counters;
    take_late_pmi(from);
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        value = x86_rdpmc(i);
        from->counter[i] = value;
        if (value != to->counter[i]) {
            x86_wrmsr(IA32_PMC0 + i, to->counter[i]);
        }
        if (from->selector[i] != to->selector[i]) {
            x86_wrmsr(IA32_PERFEVTSEL0 + i, to->selector[i]);
        }
    }
    for (i = 0; i < pmuGeometry.n_fixed; i++) {
        if (!(pmuGeometry.fixed_present >> i & 1)) {
            continue;
        }
        value = x86_rdpmc(RDPMC_FIXED + i);
        from->fixed[i] = value;
        if (value != to->fixed[i]) {
            x86_wrmsr(IA32_FIXED_CTR0 + i, to->fixed[i]);
        }
    }
    if (from->fixed_ctrl != to->fixed_ctrl) {
        x86_wrmsr(IA32_FIXED_CTR_CTRL, to->fixed_ctrl);
    }
    value = status & (pmuGeometry.counters | GLOBAL_STATUS_COND_CHGD) & ~to->status;
    if (value) {
        x86_wrmsr(IA32_PERF_GLOBAL_STATUS_RESET, value);
    }
    value = to->status & ~status;
    if (value) {
        /* raises no PMI (SDM 20.2.4.2: it only sets the indicators) */
        x86_wrmsr(IA32_PERF_GLOBAL_STATUS_SET, value);
    }
    pmuOwner = to;
}

/*
 * The PMI vector was taken, in a guest or outside; the caller acknowledges it to the APIC. Delivery has set the mask
 * of LVTPC (SDM 11.5.1).
 */
void
pmu_interrupt(void)
{
    apic_write_reg(APIC_LVT_PERF_CNTR, int_pmi);
    if (pmiStale) {
        pmiStale = false;
    } else if (pmuOwner != &noContext) {
        pmuOwner->pmi = true;
    }
}

/* The current thread was about to enter the guest of `vcpu`, which has a PMI: it returns from VMEnter instead. */
void
pmu_deliver(vcpu_t *vcpu)
{
    vcpu->pmu.pmi = false;
    if (ARCH_NODE_STATE(x86KSCurrentVCPU) != vcpu) {
        switchVCPU(vcpu);
    }
    handleVmxFault(EXTERNAL_INTERRUPT, int_pmi);
}

#endif /* CONFIG_VTX */
