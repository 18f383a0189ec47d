/* SPDX-License-Identifier: BSD-2-Clause */
/* A VMM in C as a client of the PMU policy domain, for Microkit's libraries: what its handlers of VM exits call. On a
 * kernel without the PMU extension; with it, leave out what is marked (*), and pass PMU_COMPLETED to VMEnter. */
#include <stdbool.h>
#include <stdint.h>
#include <microkit.h>
#include "pmu_api.h"
#define PMU_CHANNEL 1 /* of system.xml */
#define IA32_PERF_GLOBAL_CTRL 0x38f
#define VMCS_GUEST_PERF_GLOBAL_CTRL 0x2808
#define PRIMARY_RDPMC_EXITING (UINT64_C(1) << 11)
static bool pmu_rdpmc_is_direct, pmu_counts, pmu_accounted, pmu_due; /* the last three: (*) */

static uint64_t pmu_call(uint64_t operation, uint16_t words)
{
    microkit_msginfo reply = microkit_ppcall(PMU_CHANNEL, microkit_msginfo_new(PMU_LABEL(operation), words));
    return microkit_msginfo_get_label(reply) & 0xff;
}
static void pmu_enable(unsigned vcpu, uint64_t counters) /* (*); entry control 13 must be set, too */
{
    microkit_vcpu_x86_write_vmcs(vcpu, VMCS_GUEST_PERF_GLOBAL_CTRL, counters);
    pmu_counts = counters != 0;
}
/* Resets the guest's PMU; CPUID leaf 0xA for the guest, EBX:EAX and EDX:ECX. False: no PMU, and leaf 0xA is 0. */
bool pmu_open(unsigned vcpu, uint64_t leaf_a[2])
{
    bool opened = pmu_call(PMU_OPERATION_OPEN, 0) == PMU_REPLY_OPENED;
    pmu_rdpmc_is_direct = opened && microkit_mr_get(0) >> 8 & PMU_DIRECT_RDPMC;
    leaf_a[0] = opened ? microkit_mr_get(1) : 0;
    leaf_a[1] = opened ? microkit_mr_get(2) : 0;
    if (opened) { pmu_enable(vcpu, (UINT64_C(1) << (leaf_a[0] >> 8 & 0xff)) - 1); /* as after reset */ }
    return leaf_a[0] != 0;
}
/* PMU_OPERATION_WRITE (WRMSR), _READ (RDMSR) or _RDPMC. False: inject #GP(0), and do not advance RIP. */
bool pmu_access(unsigned vcpu, uint64_t operation, uint32_t ecx, uint64_t word, uint64_t *value)
{
    microkit_mr_set(0, ecx);
    microkit_mr_set(1, word); /* the value written; RDPMC: CPL, CR0.PE in bit 2, CR4.PCE in bit 3 */
    uint64_t reply = pmu_call(operation, operation == PMU_OPERATION_READ ? 1 : 2);
    *value = microkit_mr_get(1);
    pmu_accounted = true;
    pmu_due = reply == PMU_REPLY_DONE_WITH_PMI || reply == PMU_REPLY_VALUE_WITH_PMI;
    bool done = pmu_due || reply == PMU_REPLY_DONE || reply == PMU_REPLY_VALUE;
    if (done && operation == PMU_OPERATION_WRITE && ecx == IA32_PERF_GLOBAL_CTRL) { pmu_enable(vcpu, word); }
    return done;
}
/* The primary controls for the next entry. This bit any x86 VMM needs: without it the guest reads the host's counters. */
uint64_t pmu_primary_controls(uint64_t controls)
{
    return pmu_rdpmc_is_direct ? controls & ~PRIMARY_RDPMC_EXITING : controls | PRIMARY_RDPMC_EXITING;
}
/* (*) Before each entry: an instruction was completed for the guest, at a CPL above 0 or not. True: a PMI is due. */
bool pmu_account(bool completed, bool user)
{
    bool due = pmu_due, accounted = pmu_accounted;
    pmu_due = pmu_accounted = false;
    if (accounted || !pmu_counts) { return due; }
    microkit_mr_set(0, completed ? (user ? 5 : 1) : 0);
    return pmu_call(PMU_OPERATION_ACCOUNT, 1) == PMU_REPLY_DONE_WITH_PMI;
}
