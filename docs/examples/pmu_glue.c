/* SPDX-License-Identifier: BSD-2-Clause */
/* A VMM in C as a client of the PMU policy domain, for Microkit's libraries: what its handlers of VM exits call. On a
 * kernel without the PMU extension; with it, leave out what is marked, and pass PMU_COMPLETED to VMEnter. */
#include <stdbool.h>
#include <stdint.h>
#include <microkit.h>
#include "pmu_api.h"

#define PMU_CHANNEL 1 /* of system.xml */
#define IA32_PERF_GLOBAL_CTRL 0x38f
#define VMCS_GUEST_PERF_GLOBAL_CTRL 0x2808
#define PRIMARY_RDPMC_EXITING (UINT64_C(1) << 11)

static bool pmu_counts, pmu_rdpmc_is_direct;

static uint64_t pmu_call(uint64_t operation, uint16_t words)
{
    microkit_msginfo reply = microkit_ppcall(PMU_CHANNEL, microkit_msginfo_new(PMU_LABEL(operation), words));
    return microkit_msginfo_get_label(reply) & 0xff;
}

/* Resets the guest's PMU; CPUID leaf 0xA for the guest, EBX:EAX and EDX:ECX. False: no PMU, and leaf 0xA is 0. */
bool pmu_open(unsigned vcpu, uint64_t leaf_a[2])
{
    leaf_a[0] = leaf_a[1] = 0;
    if (pmu_call(PMU_OPERATION_OPEN, 0) != PMU_REPLY_OPENED) { return false; }
    pmu_rdpmc_is_direct = microkit_mr_get(0) >> 8 & PMU_DIRECT_RDPMC;
    leaf_a[0] = microkit_mr_get(1);
    leaf_a[1] = microkit_mr_get(2);
    /* Without the extension: entry control 13 must be set, too. Every general-purpose counter's bit, as after reset. */
    uint64_t counters = leaf_a[0] >> 8 & 0xff;
    microkit_vcpu_x86_write_vmcs(vcpu, VMCS_GUEST_PERF_GLOBAL_CTRL, (UINT64_C(1) << counters) - 1);
    pmu_counts = counters != 0;
    return counters != 0;
}

/* WRMSR of a PMU register. False: inject #GP(0) and do not advance RIP. */
bool pmu_wrmsr(unsigned vcpu, uint32_t msr, uint64_t value)
{
    microkit_mr_set(0, msr);
    microkit_mr_set(1, value);
    if (pmu_call(PMU_OPERATION_WRITE, 2) != PMU_REPLY_DONE) { return false; }
    if (msr == IA32_PERF_GLOBAL_CTRL) { /* without the extension */
        microkit_vcpu_x86_write_vmcs(vcpu, VMCS_GUEST_PERF_GLOBAL_CTRL, value);
        pmu_counts = value != 0;
    }
    return true;
}

/* RDMSR of a PMU register, or (operation PMU_OPERATION_RDPMC) RDPMC. False: #GP(0). */
bool pmu_read(uint64_t operation, uint32_t ecx, uint64_t privilege, uint64_t *value)
{
    microkit_mr_set(0, ecx);
    microkit_mr_set(1, privilege); /* RDPMC: CPL, CR0.PE in bit 2, CR4.PCE in bit 3 */
    bool done = pmu_call(operation, operation == PMU_OPERATION_RDPMC ? 2 : 1) == PMU_REPLY_VALUE;
    *value = done ? microkit_mr_get(1) : 0;
    return done;
}

/* The primary controls for the next entry. This one bit any x86 VMM needs, also one without a PMU for its guests:
 * where it is clear, the guest reads the host's counters. */
uint64_t pmu_primary_controls(uint64_t controls)
{
    return pmu_rdpmc_is_direct ? controls & ~PRIMARY_RDPMC_EXITING : controls | PRIMARY_RDPMC_EXITING;
}

/* Without the extension, before each entry: an instruction was completed for the guest, at CPL 3 or not. True: a PMI is
 * due, to be delivered as the guest's LVTPC says. */
bool pmu_account(bool completed, bool user)
{
    if (!pmu_counts) { return false; }
    microkit_mr_set(0, completed ? (user ? 5 : 1) : 0);
    return pmu_call(PMU_OPERATION_ACCOUNT, 1) == PMU_REPLY_VALUE && microkit_mr_get(1) == 1;
}
