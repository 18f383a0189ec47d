/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU's registers (SDM volume 4, table 2-2; SDM 20.2).
 */

#ifndef __ARCH_OBJECT_VCPU_PMU_MSR_H
#define __ARCH_OBJECT_VCPU_PMU_MSR_H

#define IA32_PMC0_LEGACY                0x0c1
#define IA32_PERFEVTSEL0                0x186
#define IA32_FIXED_CTR0                 0x309
#define MSR_PERF_METRICS                0x329
#define IA32_PERF_CAPABILITIES          0x345
#define IA32_FIXED_CTR_CTRL             0x38d
#define IA32_PERF_GLOBAL_STATUS         0x38e
#define IA32_PERF_GLOBAL_CTRL           0x38f
#define IA32_PERF_GLOBAL_STATUS_RESET   0x390
#define IA32_PERF_GLOBAL_STATUS_SET     0x391
#define IA32_PMC0                       0x4c1   /* full width */

/* IA32_PERF_CAPABILITIES: counters can be written in full width (SDM 20.2.8) */
#define PERF_CAPABILITIES_FW_WRITE      BIT(13)
/* IA32_PERF_CAPABILITIES: GLOBAL_CTRL bit 48 lets MSR_PERF_METRICS count, RDPMC reads it (SDM 20.3.9.3) */
#define PERF_CAPABILITIES_METRICS       BIT(15)

/* IA32_PERF_GLOBAL_STATUS: CondChgd (SDM 20.2.2) */
#define GLOBAL_STATUS_COND_CHGD         BIT(63)

/* The first fixed counter in IA32_PERF_GLOBAL_CTRL and IA32_PERF_GLOBAL_STATUS */
#define GLOBAL_FIXED_SHIFT              32

/* IA32_PERFEVTSELx (SDM 20.2.1.1). Bit 19 (pin control) is not defined on newer processors, bit 21 (any
 * thread) counts for the other hyperthread (SDM 20.2.3): neither may be set. */
#define PERFEVTSEL_EVENT                0xffffull       /* event and unit mask */
#define PERFEVTSEL_USR                  BIT(16)
#define PERFEVTSEL_OS                   BIT(17)
#define PERFEVTSEL_EDGE                 BIT(18)
#define PERFEVTSEL_INT                  BIT(20)
#define PERFEVTSEL_EN                   BIT(22)
#define PERFEVTSEL_INV                  BIT(23)
#define PERFEVTSEL_CMASK_SHIFT          24
#define PERFEVTSEL_VALID                (0xffffffffull & ~(BIT(19) | BIT(21)))

/* Architectural events (SDM 20.2.1.2) */
#define EVENT_INSTRUCTIONS_RETIRED      0x00c0
#define EVENT_BRANCHES_RETIRED          0x00c4

/* A fixed counter's field of IA32_FIXED_CTR_CTRL (SDM 20.2.2). Bit 2 is any thread. */
#define FIXED_CTRL_BITS                 4
#define FIXED_CTRL_OS                   1
#define FIXED_CTRL_USR                  2
#define FIXED_CTRL_PMI                  8
#define FIXED_CTRL_ALL_PMI              0x8888888888888888ull
#define FIXED_CTRL_VALID                0xbull

/* Fixed counter 0 counts retired instructions (SDM 20.2.2) */
#define FIXED_INSTRUCTIONS              0

/* RDPMC (SDM volume 2, RDPMC): fixed counters from here on. It takes a third of the time of a RDMSR. */
#define RDPMC_FIXED                     BIT(30)

static inline uint64_t
x86_rdpmc(uint32_t counter)
{
    uint32_t low, high;
    asm volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(counter));
    return (uint64_t)high << 32 | low;
}

/* VM-execution, VM-exit and VM-entry controls (SDM 25.6.2, 25.7.1, 25.8.1) */
#define PRIMARY_RDPMC_EXITING           BIT(11)
#define EXIT_LOAD_PERF_GLOBAL_CTRL      BIT(12)
#define EXIT_SAVE_PERF_GLOBAL_CTRL      BIT(30)
#define ENTRY_LOAD_PERF_GLOBAL_CTRL     BIT(13)

#endif
