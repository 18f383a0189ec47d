/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: the processor's geometry, the modes, what the modes mean to the VMCS.
 *
 * seL4 is compiled as one unit, and this file follows vcpu.c: it uses that file's switchVCPU.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <arch/machine.h>
#include <arch/model/statedata.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_pmu_msr.h>
#include <arch/kernel/apic.h>

#define CPUID_PMU_LEAF          0xa
#define COUNTER_WIDTH(bits)     ((bits) & 0xff)
#define MAX_WIDTH               63
#define CPUID_PDCM              BIT(15)     /* leaf 1, ECX: IA32_PERF_CAPABILITIES exists */
#define FIRST_VERSION           2           /* with GLOBAL_CTRL */
#define FIRST_USABLE_VERSION    4           /* with GLOBAL_STATUS_SET (SDM 20.2.4.2) */
#define LAST_USABLE_VERSION     5

/* Of a MSR bitmap (SDM 25.6.9): reads of low MSRs, reads of high ones, writes of low ones, writes of high ones */
#define MSR_BITMAP_WORDS        (BIT(seL4_PageBits) / sizeof(word_t))
#define MSR_BITMAP_WRITES       (MSR_BITMAP_WORDS / 2)

pmu_geometry_t pmuGeometry;

static word_t directBitmap[MSR_BITMAP_WORDS] ALIGN(BIT(seL4_PageBits));
static word_t rawBitmap[MSR_BITMAP_WORDS] ALIGN(BIT(seL4_PageBits));
static paddr_t bitmapOfMode[PMU_MODE_RAW + 1];

static BOOT_CODE void
open_reads(word_t *bitmap, word_t msr, word_t n)
{
    for (; n > 0; n--, msr++) {
        bitmap[msr / seL4_WordBits] &= ~BIT(msr % seL4_WordBits);
    }
}

static BOOT_CODE void
open_msrs(word_t *bitmap, word_t msr, word_t n)
{
    open_reads(bitmap, msr, n);
    open_reads(bitmap + MSR_BITMAP_WRITES, msr, n);
}

static BOOT_CODE void
make_bitmaps(void *closed)
{
    word_t i;
    memcpy(directBitmap, closed, sizeof(directBitmap));
    open_msrs(directBitmap, IA32_PMC0_LEGACY, pmuGeometry.n_gp);
    open_msrs(directBitmap, IA32_PMC0, pmuGeometry.n_gp);
    for (i = 0; i < pmuGeometry.n_fixed; i++) {
        open_msrs(directBitmap, IA32_FIXED_CTR0 + i, pmuGeometry.fixed_present >> i & 1);
    }
    /* writes of GLOBAL_STATUS exit: they are #GP. STATUS_SET exits too: whether it exists is the guest's version's */
    open_reads(directBitmap, IA32_PERF_GLOBAL_STATUS, 1);
    open_msrs(directBitmap, IA32_PERF_GLOBAL_STATUS_RESET, 1);
    /* without saving on exit what the guest writes would be lost */
    if (pmuGeometry.save_global_ctrl) {
        open_msrs(directBitmap, IA32_PERF_GLOBAL_CTRL, 1);
    }
    memcpy(rawBitmap, directBitmap, sizeof(rawBitmap));
    open_msrs(rawBitmap, IA32_PERFEVTSEL0, pmuGeometry.n_gp);
    open_msrs(rawBitmap, IA32_FIXED_CTR_CTRL, 1);
    open_msrs(rawBitmap, IA32_PERF_GLOBAL_STATUS_SET, 1);
    bitmapOfMode[PMU_MODE_OFF] = bitmapOfMode[PMU_MODE_TRAPPED] = kpptr_to_paddr(closed);
    bitmapOfMode[PMU_MODE_DIRECT] = kpptr_to_paddr(directBitmap);
    bitmapOfMode[PMU_MODE_RAW] = kpptr_to_paddr(rawBitmap);
}

/* Reads CPUID leaf 0xA (SDM 20.2.1 to 20.2.5); touches no MSR that it has not seen to exist. */
static BOOT_CODE void
read_geometry(void)
{
    pmu_geometry_t *g = &pmuGeometry;
    uint32_t *leaf = g->leaf;
    if (x86_cpuid_eax(0, 0) < CPUID_PMU_LEAF) {
        return;
    }
    leaf[0] = x86_cpuid_eax(CPUID_PMU_LEAF, 0);
    leaf[1] = x86_cpuid_ebx(CPUID_PMU_LEAF, 0);
    leaf[2] = x86_cpuid_ecx(CPUID_PMU_LEAF, 0);
    leaf[3] = x86_cpuid_edx(CPUID_PMU_LEAF, 0);
    if (x86_cpuid_ecx(1, 0) & CPUID_PDCM) {
        g->capabilities = x86_rdmsr(IA32_PERF_CAPABILITIES);
    }
    g->n_gp = leaf[0] >> 8 & 0xff;
    /* the bitmap is there from version 5 on; before, the first EDX[4:0] counters are */
    g->fixed_present = MASK(leaf[3] & 0x1f) | ((leaf[0] & 0xff) >= 5 ? leaf[2] : 0);
}

/* What follows from the geometry, which has been found usable. */
static BOOT_CODE void
derive_masks(void)
{
    pmu_geometry_t *g = &pmuGeometry;
    word_t i;
    g->gp_value = MASK(COUNTER_WIDTH(g->leaf[0] >> 16));
    g->fixed_value = MASK(COUNTER_WIDTH(g->leaf[3] >> 5));
    for (i = 0; i < PMU_MAX_FIXED; i++) {
        if (g->fixed_present >> i & 1) {
            g->n_fixed = i + 1;
            g->fixed_ctrl |= FIXED_CTRL_VALID << (i * FIXED_CTRL_BITS);
        }
    }
    g->counters = MASK(g->n_gp) | g->fixed_present << GLOBAL_FIXED_SHIFT;
}

/* Says by name what keeps a VCPU from having a PMU; NULL if nothing does. */
static BOOT_CODE const char *
find_obstacle(bool_t load_controls)
{
    pmu_geometry_t *g = &pmuGeometry;
    word_t version = g->leaf[0] & 0xff;
    if (version == 0) {
        return "the processor has no architectural PMU";
    }
    if (version < FIRST_USABLE_VERSION) {
        return "PMU versions before 4 cannot restore IA32_PERF_GLOBAL_STATUS";
    }
    if (version > LAST_USABLE_VERSION) {
        return "PMU versions after 5 are unknown";
    }
    if (!(g->capabilities & PERF_CAPABILITIES_FW_WRITE)) {
        return "counters cannot be written in full width";
    }
    if (g->n_gp == 0 || g->n_gp > PMU_MAX_GP || g->fixed_present >> PMU_MAX_FIXED) {
        return "no counters, or more than there are MSR numbers";
    }
    if (COUNTER_WIDTH(g->leaf[0] >> 16) > MAX_WIDTH || COUNTER_WIDTH(g->leaf[3] >> 5) > MAX_WIDTH) {
        return "counters are wider than a MSR";
    }
    if (!load_controls) {
        return "VM entry or exit cannot load IA32_PERF_GLOBAL_CTRL";
    }
    return NULL;
}

/* Called once the APIC is on and VMXON has succeeded. `closed_bitmap` is the MSR bitmap that opens no PMU MSR. */
BOOT_CODE void
pmu_init(void *closed_bitmap, bool_t load_controls, bool_t save_control)
{
    const char *obstacle;
    word_t i;
    read_geometry();
    if ((pmuGeometry.leaf[0] & 0xff) >= FIRST_VERSION) {
        /* its reset value lets every general-purpose counter count (SDM volume 4, table 2-2) */
        x86_wrmsr(IA32_PERF_GLOBAL_CTRL, 0);
    }
    /* a guest that writes GLOBAL_CTRL could let MSR_PERF_METRICS count, which no context holds */
    pmuGeometry.save_global_ctrl = save_control && !(pmuGeometry.capabilities & PERF_CAPABILITIES_METRICS);
    obstacle = find_obstacle(load_controls);
    if (obstacle) {
        printf("pmu: no VM can have one: %s\n", obstacle);
        pmuGeometry.n_gp = pmuGeometry.fixed_present = 0;
    } else {
        derive_masks();
    }
    pmuGeometry.usable = !obstacle;
    make_bitmaps(closed_bitmap);
    if (obstacle) {
        return;
    }
    /* the registers hold what an empty context holds: pmu_switch relies on it */
    for (i = 0; i < pmuGeometry.n_gp; i++) {
        x86_wrmsr(IA32_PERFEVTSEL0 + i, 0);
        x86_wrmsr(IA32_PMC0 + i, 0);
    }
    for (i = 0; i < pmuGeometry.n_fixed; i++) {
        if (pmuGeometry.fixed_present >> i & 1) {
            x86_wrmsr(IA32_FIXED_CTR0 + i, 0);
        }
    }
    if (pmuGeometry.capabilities & PERF_CAPABILITIES_METRICS) {
        /* stays 0: nothing sets its bit in GLOBAL_CTRL */
        x86_wrmsr(MSR_PERF_METRICS, 0);
    }
    x86_wrmsr(IA32_FIXED_CTR_CTRL, 0);
    x86_wrmsr(IA32_PERF_GLOBAL_STATUS_RESET, pmuGeometry.counters);
    apic_write_reg(APIC_LVT_PERF_CNTR, int_pmi);
}

/* The VMCS of `vcpu` is current. */
void
pmu_vcpu_init(vcpu_t *vcpu)
{
    if (pmuGeometry.usable) {
        vmwrite(VMX_GUEST_PERF_GLOBAL_CTRL, 0);
    }
    pmu_set_mode(vcpu, PMU_MODE_OFF);
}

void
pmu_vcpu_finalise(vcpu_t *vcpu)
{
    if (pmuOwner == &vcpu->pmu) {
        pmu_switch(NULL);
    }
}

word_t
pmu_entry_controls(vcpu_t *vcpu, word_t value)
{
    value &= ~ENTRY_LOAD_PERF_GLOBAL_CTRL;
    return vcpu->pmu.mode == PMU_MODE_OFF ? value : value | ENTRY_LOAD_PERF_GLOBAL_CTRL;
}

word_t
pmu_exit_controls(vcpu_t *vcpu, word_t value)
{
    value &= ~EXIT_SAVE_PERF_GLOBAL_CTRL;
    if (vcpu->pmu.mode == PMU_MODE_OFF) {
        return value;
    }
    return value | EXIT_LOAD_PERF_GLOBAL_CTRL | (pmuGeometry.save_global_ctrl ? EXIT_SAVE_PERF_GLOBAL_CTRL : 0);
}

/* The VMCS of `vcpu` is current; the mode has been checked. */
void
pmu_set_mode(vcpu_t *vcpu, word_t mode)
{
    vcpu_pmu_t *pmu = &vcpu->pmu;
    bool_t direct = mode >= PMU_MODE_DIRECT;
    if (pmuOwner == pmu) {
        /* also brings back what a guest in raw mode has written */
        pmu_switch(NULL);
    }
    if (mode == PMU_MODE_OFF) {
        pmu->pmi = false;
    }
    pmu_withdraw(pmu);
    pmu->mode = mode;
    pmu_find_active(pmu);
    pmu->primary_set = direct ? 0 : PRIMARY_RDPMC_EXITING;
    pmu->primary_clear = direct ? PRIMARY_RDPMC_EXITING : 0;
    vmwrite(VMX_CONTROL_PRIMARY_PROCESSOR_CONTROLS,
            pmu_primary_controls(pmu, vmread(VMX_CONTROL_PRIMARY_PROCESSOR_CONTROLS)));
    vmwrite(VMX_CONTROL_EXIT_CONTROLS, pmu_exit_controls(vcpu, vmread(VMX_CONTROL_EXIT_CONTROLS)));
    vmwrite(VMX_CONTROL_ENTRY_CONTROLS, pmu_entry_controls(vcpu, vmread(VMX_CONTROL_ENTRY_CONTROLS)));
    vmwrite(VMX_CONTROL_MSR_ADDRESS, bitmapOfMode[mode]);
}

#endif /* CONFIG_VTX */
