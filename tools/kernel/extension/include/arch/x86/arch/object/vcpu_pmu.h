/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: what user level and the rest of the kernel see of it.
 */

#ifndef __ARCH_OBJECT_VCPU_PMU_H
#define __ARCH_OBJECT_VCPU_PMU_H

#include <config.h>

/* Argument of X86VCPUPmuSetMode. */
#define PMU_MODE_OFF        0   /* RDPMC and every PMU MSR exit, nothing counts */
#define PMU_MODE_TRAPPED    1   /* the same exits, and the context counts while the guest runs */
#define PMU_MODE_DIRECT     2   /* data MSRs, GLOBAL_* and RDPMC do not exit */
#define PMU_MODE_RAW        3   /* neither do control MSRs */

/* Results of X86VCPUPmuGetGeometry: CPUID leaf 0xA, IA32_PERF_CAPABILITIES, flags. */
#define PMU_GEOMETRY_WORDS  6
#define PMU_FLAG_SAVE_GLOBAL_CTRL 1     /* VM exits can save IA32_PERF_GLOBAL_CTRL */

/* The message register of VMEnter that says what the VMM completed for the guest, and its bits. */
#define PMU_COMPLETED_MR            3
#define PMU_COMPLETED_INSTRUCTION   1
#define PMU_COMPLETED_BRANCH        2

#endif
