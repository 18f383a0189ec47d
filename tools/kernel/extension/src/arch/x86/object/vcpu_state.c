/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * Registers of a guest that VM entry and VM exit leave alone (include/arch/x86/arch/object/vcpu_state.h).
 *
 * seL4 is compiled as one unit, and this file follows vcpu.c: it uses that file's switchVCPU.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <types.h>
#include <api/failures.h>
#include <arch/machine.h>
#include <arch/machine/fpu.h>
#include <arch/model/statedata.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_state.h>
#include <kernel/thread.h>

#if CONFIG_MAX_NUM_NODES > 1
#error "KERNEL_GS_BASE is taken for the guests': another node's kernel would need it"
#endif

#define CPUID_XSAVE             BIT(26)     /* leaf 1, ECX */
#define CPUID_XSAVE_LEAF        0xd
#define CPUID_AVX_OFFSET        576         /* leaf 0xD.2, EBX: where XSAVE_AREA_SIZE has it */
#define CPUID_AVX_SIZE          256
#define CPUID_RDTSCP            BIT(27)     /* leaf 0x80000001, EDX */
#define CPUID_EXTENDED          0x80000000

/* Bits 63:47 of a canonical address are equal (SDM volume 1, 3.3.7.1) */
#define IS_CANONICAL(address)   ((word_t)((sword_t)(address) >> 47) + 1 <= 1)

/* IA32_STAR: SYSCALL of 64-bit mode uses bits 63:32 (SDM volume 3, 5.8.8) */
#define STAR_USED               (~MASK(32))

#define WRITE_MSR_WORDS         2
#define WRITE_XCR0_WORDS        1
/* Interruption information (SDM 25.9.2): type in bits 10:8 */
#define HARDWARE_EXCEPTION      (3 << 8)
#define VECTOR_DB               1
/* DR6: breakpoints; these, an access of a debug register, a single step */
#define DR6_BREAKPOINTS         MASK(4)
#define DR6_CAUSES              (MASK(4) | BIT(13) | BIT(14))

#define WRITE_CR2_WORDS         1

compile_assert(vcpu_avx_alignment, OFFSETOF(vcpu_t, state.avx) % XSAVE_AREA_ALIGNMENT == 0)
compile_assert(vcpu_msr_alignment, OFFSETOF(vcpu_t, state.msr) % VCPU_MSR_LIST_ALIGNMENT == 0)

/* What the kernel has in the MSRs; the order is that of each VCPU's. */
static vcpu_msr_t hostMsrs[VCPU_LOADED_MSRS] ALIGN(VCPU_MSR_LIST_ALIGNMENT) = {
    { IA32_STAR_MSR, 0, 0 }, { IA32_LSTAR_MSR, 0, 0 }, { IA32_FMASK_MSR, 0, 0 }, { IA32_TSC_AUX_MSR, 0, 0 },
};

/* One less without IA32_TSC_AUX: an exit that loads a MSR which is not there is a shutdown (SDM 28.7). */
static word_t nMsrs = VCPU_LOADED_MSRS;

/* What a guest's XCR0 may have; 0 without XSAVE. */
static uint64_t xcr0Offered;

/* Whose AVX state is in the registers; NULL: nobody's who is left. */
static vcpu_t *avxOwner;

/* Both halves, reads and writes, of a MSR bitmap: MSRs 0xC0000000 and up (SDM 25.6.9) */
static BOOT_CODE void
open_high_msr(char *bitmap, word_t msr)
{
    word_t quarter = BIT(seL4_PageBits) / 4;
    word_t bit = msr & MASK(13);
    bitmap[quarter + bit / 8] &= ~BIT(bit % 8);
    bitmap[3 * quarter + bit / 8] &= ~BIT(bit % 8);
}

/* Called once VMXON has succeeded. `msr_bitmap` is that of all guests. */
BOOT_CODE void
vcpu_state_boot(void *msr_bitmap)
{
    word_t i;
    /* the first two are in the VMCS */
    open_high_msr(msr_bitmap, IA32_FS_BASE_MSR);
    open_high_msr(msr_bitmap, IA32_GS_BASE_MSR);
    open_high_msr(msr_bitmap, IA32_KERNEL_GS_BASE_MSR);
    if (x86_cpuid_eax(CPUID_EXTENDED, 0) <= CPUID_EXTENDED || !(x86_cpuid_edx(CPUID_EXTENDED + 1, 0) & CPUID_RDTSCP)) {
        nMsrs--;
    }
    for (i = 0; i < nMsrs; i++) {
        hostMsrs[i].value = x86_rdmsr(hostMsrs[i].number);
    }
    if (x86_cpuid_ecx(1, 0) & CPUID_XSAVE) {
        xcr0Offered = x86_cpuid_eax(CPUID_XSAVE_LEAF, 0) & (XCR0_X87 | XCR0_SSE);
        if ((x86_cpuid_eax(CPUID_XSAVE_LEAF, 0) & XCR0_AVX) && x86_cpuid_eax(CPUID_XSAVE_LEAF, 2) == CPUID_AVX_SIZE &&
                x86_cpuid_ebx(CPUID_XSAVE_LEAF, 2) == CPUID_AVX_OFFSET) {
            xcr0Offered |= XCR0_AVX;
        }
        write_cr4(read_cr4() | CR4_OSXSAVE);
        write_xcr0(XCR0_HOST);
    }
}

void
vcpu_state_init(vcpu_t *vcpu)
{
    word_t i;
    vcpu_state_t *state = &vcpu->state;
    memset(state, 0, sizeof(*state));
    state->xcr0 = XCR0_HOST;
    for (i = 0; i < VCPU_LOADED_MSRS; i++) {
        state->msr[i].number = hostMsrs[i].number;
    }
}

void
vcpu_state_finalise(vcpu_t *vcpu)
{
    if (avxOwner == vcpu) {
        avxOwner = NULL;
    }
}

#define SWITCH_DR(name, from, to) do { \
        word_t value; \
        asm volatile("movq %%" name ", %0" : "=r"(value)); \
        (from) = value; \
        if (value != (to)) { \
            asm volatile("movq %0, %%" name :: "r"(to)); \
        } \
    } while (0)

void
vcpu_state_switch(vcpu_t *from, vcpu_t *to)
{
    vcpu_state_t left;
    vcpu_state_t *old = from ? &from->state : &left;
    vcpu_state_t *new = &to->state;
    old->kernel_gs_base = x86_rdmsr(IA32_KERNEL_GS_BASE_MSR);
    if (old->kernel_gs_base != new->kernel_gs_base) {
        x86_wrmsr(IA32_KERNEL_GS_BASE_MSR, new->kernel_gs_base);
    }
    SWITCH_DR("dr0", old->dr[0], new->dr[0]);
    SWITCH_DR("dr1", old->dr[1], new->dr[1]);
    SWITCH_DR("dr2", old->dr[2], new->dr[2]);
    SWITCH_DR("dr3", old->dr[3], new->dr[3]);
    write_dr6(new->dr6);
}

/* What the delivery of #DB would have put into DR6 (SDM table 28-1, 18.2.3) */
void
vcpu_state_exception(vcpu_t *vcpu)
{
    word_t information = vmread(VMX_DATA_EXIT_INTERRUPT_INFO);
    if ((information & MASK(11)) != (HARDWARE_EXCEPTION | VECTOR_DB)) {
        return;
    }
    vcpu->state.dr6 = (vcpu->state.dr6 & ~DR6_BREAKPOINTS) | (vmread(VMX_DATA_EXIT_QUALIFICATION) & DR6_CAUSES);
    write_dr6(vcpu->state.dr6);
}

void
vcpu_state_host_debug(void)
{
    if (ARCH_NODE_STATE(x86KSCurrentVCPU)) {
        write_dr6(ARCH_NODE_STATE(x86KSCurrentVCPU)->state.dr6);
    }
}

void
vcpu_state_load_msrs(vcpu_t *vcpu)
{
    vmwrite(VMX_CONTROL_ENTRY_MSR_LOAD_ADDRESS, pptr_to_paddr(vcpu->state.msr));
    vmwrite(VMX_CONTROL_EXIT_MSR_LOAD_ADDRESS, kpptr_to_paddr(hostMsrs));
    vmwrite(VMX_CONTROL_ENTRY_MSR_LOAD_COUNT, nMsrs);
    vmwrite(VMX_CONTROL_EXIT_MSR_LOAD_COUNT, nMsrs);
}

/*
 * XSAVE and XRSTOR of component 2 move MXCSR too (SDM volume 1, 13.7 and 13.8): the one in force stays. Outside a guest
 * CR0.TS is set unless a thread is about to run that owns the FPU.
 */
void
vcpu_state_extend(vcpu_t *vcpu)
{
    write_xcr0(vcpu->state.xcr0);
    if (!(vcpu->state.xcr0 & XCR0_AVX) || avxOwner == vcpu) {
        return;
    }
    enableFpu();
    if (avxOwner) {
        asm volatile("xsave %0" : "+m"(avxOwner->state.avx) : "a"((uint32_t)XCR0_AVX), "d"(0) : "memory");
    }
    asm volatile("stmxcsr %0" : "=m"(*(uint32_t *)(vcpu->state.avx + XSAVE_MXCSR)));
    asm volatile("xrstor %0" :: "m"(vcpu->state.avx), "a"((uint32_t)XCR0_AVX), "d"(0) : "memory");
    disableFpu();
    avxOwner = vcpu;
}

static exception_t
invalid_argument(word_t number)
{
    current_syscall_error.type = seL4_InvalidArgument;
    current_syscall_error.invalidArgumentNumber = number;
    return EXCEPTION_SYSCALL_ERROR;
}

static exception_t
truncated(void)
{
    userError("VCPU: truncated message.");
    current_syscall_error.type = seL4_TruncatedMessage;
    return EXCEPTION_SYSCALL_ERROR;
}

static bool_t
takes(uint32_t msr, uint64_t value)
{
    return msr == IA32_STAR_MSR || (msr == IA32_LSTAR_MSR ? IS_CANONICAL(value) : value <= MASK(32));
}

exception_t
decodeWriteMSR(word_t length, vcpu_t *vcpu, word_t *buffer)
{
    word_t msr, value, i;
    if (length < WRITE_MSR_WORDS) {
        return truncated();
    }
    msr = getSyscallArg(0, buffer);
    value = getSyscallArg(1, buffer);
    for (i = 0; i < nMsrs && hostMsrs[i].number != msr; i++);
    if (i == nMsrs) {
        userError("VCPU WriteMSR: MSR %lx.", msr);
        return invalid_argument(0);
    }
    if (!takes(msr, value)) {
        userError("VCPU WriteMSR: value %lx.", value);
        return invalid_argument(1);
    }
    vcpu->state.msr[i].value = msr == IA32_STAR_MSR ? value & STAR_USED : value;
    if (ARCH_NODE_STATE(x86KSCurrentVCPU) != vcpu) {
        switchVCPU(vcpu);
    }
    vcpu_state_load_msrs(vcpu);
    setThreadState(NODE_STATE(ksCurThread), ThreadState_Restart);
    return EXCEPTION_NONE;
}

exception_t
decodeWriteXCR0(word_t length, vcpu_t *vcpu, word_t *buffer)
{
    word_t value;
    if (length < WRITE_XCR0_WORDS) {
        return truncated();
    }
    value = getSyscallArg(0, buffer);
    /* SDM volume 1, 13.3: x87 always, AVX with SSE only */
    if ((value & ~xcr0Offered) || !(value & XCR0_X87) || ((value & XCR0_AVX) && !(value & XCR0_SSE))) {
        userError("VCPU WriteXCR0: value %lx.", value);
        return invalid_argument(0);
    }
    vcpu->state.xcr0 = value;
    setThreadState(NODE_STATE(ksCurThread), ThreadState_Restart);
    return EXCEPTION_NONE;
}

/* The address of a page fault that the VMM raises: an injection does not write it (SDM 27.6.1.1). */
exception_t
decodeWriteCR2(word_t length, vcpu_t *vcpu, word_t *buffer)
{
    word_t value;
    if (length < WRITE_CR2_WORDS) {
        return truncated();
    }
    value = getSyscallArg(0, buffer);
    if (!IS_CANONICAL(value)) {
        userError("VCPU WriteCR2: value %lx.", value);
        return invalid_argument(0);
    }
    vcpu->state.cr2 = value;
    setThreadState(NODE_STATE(ksCurThread), ThreadState_Restart);
    return EXCEPTION_NONE;
}

#endif /* CONFIG_VTX */
