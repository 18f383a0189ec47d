/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: the invocations of the PMU right. Every argument is checked here: what is written to a MSR or to
 * the VMCS is something that the processor takes.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <types.h>
#include <api/failures.h>
#include <arch/machine.h>
#include <arch/model/statedata.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_pmu_msr.h>
#include <kernel/thread.h>

/* Arguments of X86VCPUPmuWriteMSR and X86VCPUPmuApprove */
#define PMU_WRITE_MSR_WORDS 2
#define PMU_APPROVE_WORDS   3

/* Where a register of the context is. */
typedef enum pmu_register_kind {
    PMU_REGISTER_NONE,
    PMU_REGISTER_CONTROL,
    PMU_REGISTER_COUNTER,
    PMU_REGISTER_FIXED,
    PMU_REGISTER_STATUS,
    PMU_REGISTER_GLOBAL_CTRL
} pmu_register_kind_t;

typedef struct pmu_register {
    pmu_register_kind_t kind;
    uint64_t *saved;    /* in the context; NULL: in the VMCS */
    uint64_t valid;     /* bits that may be set */
    word_t control;     /* of a control register: its index in the context's */
} pmu_register_t;

static inline pmu_register_t FORCE_INLINE
find_register(vcpu_pmu_t *pmu, word_t msr)
{
    pmu_geometry_t *g = &pmuGeometry;
    pmu_register_t found = { PMU_REGISTER_NONE, NULL, 0, 0 };
    /* unsigned: numbers below the first of a range wrap to huge ones */
    if (msr - IA32_PERFEVTSEL0 < g->n_gp) {
        found.kind = PMU_REGISTER_CONTROL;
        found.control = msr - IA32_PERFEVTSEL0;
        found.saved = &pmu->selector[found.control];
        found.valid = PERFEVTSEL_VALID;
    } else if (msr - IA32_PMC0 < g->n_gp) {
        found.kind = PMU_REGISTER_COUNTER;
        found.saved = &pmu->counter[msr - IA32_PMC0];
        found.valid = g->gp_value;
    } else if (msr - IA32_FIXED_CTR0 < g->n_fixed) {
        if (g->fixed_present >> (msr - IA32_FIXED_CTR0) & 1) {
            found.kind = PMU_REGISTER_FIXED;
            found.saved = &pmu->fixed[msr - IA32_FIXED_CTR0];
            found.valid = g->fixed_value;
        }
    } else if (!g->usable) {
        /* nothing else to name */
    } else if (msr == IA32_FIXED_CTR_CTRL) {
        found.kind = PMU_REGISTER_CONTROL;
        found.control = PMU_FIXED_CTRL;
        found.saved = &pmu->fixed_ctrl;
        found.valid = g->fixed_ctrl;
    } else if (msr == IA32_PERF_GLOBAL_STATUS) {
        found.kind = PMU_REGISTER_STATUS;
        found.saved = &pmu->status;
        found.valid = g->counters;
    } else if (msr == IA32_PERF_GLOBAL_CTRL) {
        found.kind = PMU_REGISTER_GLOBAL_CTRL;
        found.valid = g->counters;
    }
    return found;
}

static void
use_vmcs(vcpu_t *vcpu)
{
    if (ARCH_NODE_STATE(x86KSCurrentVCPU) != vcpu) {
        switchVCPU(vcpu);
    }
}

static void
write_register(vcpu_t *vcpu, pmu_register_t reg, word_t msr, uint64_t value)
{
    if (reg.kind == PMU_REGISTER_GLOBAL_CTRL) {
        use_vmcs(vcpu);
        vmwrite(VMX_GUEST_PERF_GLOBAL_CTRL, value);
        return;
    }
    if (reg.kind == PMU_REGISTER_CONTROL) {
        /* no guest's value is known to stand for this one */
        if (vcpu->pmu.control[reg.control].approved) {
            pmu_withdraw_control(&vcpu->pmu.control[reg.control]);
        }
        pmu_write_control(&vcpu->pmu, reg.control, value);
        return;
    }
    *reg.saved = value;
    if (pmuOwner != &vcpu->pmu) {
        return;
    }
    if (reg.kind == PMU_REGISTER_STATUS) {
        /* the status itself is read-only (SDM 20.2.4) */
        x86_wrmsr(IA32_PERF_GLOBAL_STATUS_RESET, pmuGeometry.counters & ~value);
        x86_wrmsr(IA32_PERF_GLOBAL_STATUS_SET, value);
    } else {
        x86_wrmsr(msr, value);
    }
}

static uint64_t
read_register(vcpu_t *vcpu, pmu_register_t reg, word_t msr)
{
    if (reg.kind == PMU_REGISTER_GLOBAL_CTRL) {
        use_vmcs(vcpu);
        return vmread(VMX_GUEST_PERF_GLOBAL_CTRL);
    }
    return (pmuOwner == &vcpu->pmu ? x86_rdmsr(msr) : *reg.saved) & reg.valid;
}

static exception_t
refuse(word_t argument)
{
    current_syscall_error.type = seL4_InvalidArgument;
    current_syscall_error.invalidArgumentNumber = argument;
    return EXCEPTION_SYSCALL_ERROR;
}

/* `buffer` is one that the thread may write. */
static void
answer(word_t *buffer, word_t index, word_t value)
{
    setMR(NODE_STATE(ksCurThread), buffer, index, value);
}

static exception_t
decode_set_mode(vcpu_t *vcpu, word_t mode)
{
    if (mode > PMU_MODE_RAW) {
        userError("VCPU PmuSetMode: no mode %lu.", mode);
        return refuse(0);
    }
    if (mode != PMU_MODE_OFF && !pmuGeometry.usable) {
        userError("VCPU PmuSetMode: this machine's PMU cannot be given to a VM; the kernel said why when it started.");
        current_syscall_error.type = seL4_IllegalOperation;
        return EXCEPTION_SYSCALL_ERROR;
    }
    use_vmcs(vcpu);
    pmu_set_mode(vcpu, mode);
    return EXCEPTION_NONE;
}

static exception_t
decode_write_msr(vcpu_t *vcpu, word_t msr, uint64_t value)
{
    pmu_register_t reg = find_register(&vcpu->pmu, msr);
    if (reg.kind == PMU_REGISTER_NONE) {
        userError("VCPU PmuWriteMSR: MSR 0x%lx is none of the context's.", msr);
        return refuse(0);
    }
    if (value & ~reg.valid) {
        userError("VCPU PmuWriteMSR: MSR 0x%lx does not take bits 0x%lx.", msr, (word_t)(value & ~reg.valid));
        return refuse(1);
    }
    write_register(vcpu, reg, msr, value);
    return EXCEPTION_NONE;
}

static exception_t
decode_read_msr(vcpu_t *vcpu, word_t msr)
{
    pmu_register_t reg = find_register(&vcpu->pmu, msr);
    if (reg.kind == PMU_REGISTER_NONE) {
        userError("VCPU PmuReadMSR: MSR 0x%lx is none of the context's.", msr);
        return refuse(0);
    }
    answer(NULL, 0, read_register(vcpu, reg, msr));
    return EXCEPTION_NONE;
}

/* Whether hardware and table take the values. */
static inline bool_t
is_approvable(pmu_register_t reg, uint64_t guest, uint64_t hardware)
{
    return reg.kind == PMU_REGISTER_CONTROL && guest <= MASK(32) && hardware <= MASK(32) && !(hardware & ~reg.valid);
}

static exception_t
decode_approve(vcpu_t *vcpu, word_t msr, uint64_t guest, uint64_t hardware)
{
    pmu_register_t reg = find_register(&vcpu->pmu, msr);
    if (reg.kind != PMU_REGISTER_CONTROL) {
        userError("VCPU PmuApprove: MSR 0x%lx is no control register.", msr);
        return refuse(0);
    }
    if (!is_approvable(reg, guest, hardware)) {
        userError("VCPU PmuApprove: MSR 0x%lx does not take 0x%lx for 0x%lx.", msr, (word_t)hardware, (word_t)guest);
        return refuse(guest > MASK(32) ? 1 : 2);
    }
    pmu_approve(&vcpu->pmu, reg.control, guest, hardware);
    return EXCEPTION_NONE;
}

static void
get_guest_control(vcpu_pmu_t *pmu)
{
    word_t *buffer = lookupIPCBuffer(true, NODE_STATE(ksCurThread));
    word_t i;
    for (i = 0; i < PMU_N_CONTROL; i++) {
        answer(buffer, i, pmu->control[i].guest);
    }
    answer(buffer, PMU_N_CONTROL, pmu->approved_writes);
    answer(buffer, PMU_N_CONTROL + 1, pmu->approved_reads);
}

static void
get_geometry(void)
{
    word_t *buffer = lookupIPCBuffer(true, NODE_STATE(ksCurThread));
    word_t i;
    for (i = 0; i < 4; i++) {
        answer(buffer, i, pmuGeometry.leaf[i]);
    }
    answer(buffer, 4, pmuGeometry.capabilities);
    answer(buffer, 5, (pmuGeometry.save_global_ctrl ? PMU_FLAG_SAVE_GLOBAL_CTRL : 0) |
           (pmuGeometry.usable ? PMU_FLAG_USABLE : 0));
}

static inline word_t
arguments(word_t label)
{
    switch (label) {
    case X86VCPUPmuGetGeometry:
    case X86VCPUPmuWithdraw:
    case X86VCPUPmuGuestControl:
        return 0;
    case X86VCPUPmuWriteMSR:
        return PMU_WRITE_MSR_WORDS;
    case X86VCPUPmuApprove:
        return PMU_APPROVE_WORDS;
    default:
        return 1;
    }
}

/* The capability's PMU right has been checked. */
exception_t
decodePmuInvocation(word_t label, word_t length, vcpu_t *vcpu, word_t *buffer)
{
    exception_t status = EXCEPTION_NONE;
    if (length < arguments(label)) {
        userError("VCPU PMU: truncated message.");
        current_syscall_error.type = seL4_TruncatedMessage;
        return EXCEPTION_SYSCALL_ERROR;
    }
    switch (label) {
    case X86VCPUPmuGetGeometry:
        get_geometry();
        break;
    case X86VCPUPmuSetMode:
        status = decode_set_mode(vcpu, getSyscallArg(0, buffer));
        break;
    case X86VCPUPmuWriteMSR:
        status = decode_write_msr(vcpu, getSyscallArg(0, buffer), getSyscallArg(1, buffer));
        break;
    case X86VCPUPmuApprove:
        status = decode_approve(vcpu, getSyscallArg(0, buffer), getSyscallArg(1, buffer), getSyscallArg(2, buffer));
        break;
    case X86VCPUPmuWithdraw:
        pmu_withdraw(&vcpu->pmu);
        break;
    case X86VCPUPmuGuestControl:
        get_guest_control(&vcpu->pmu);
        break;
    case X86VCPUPmuReadMSR:
        status = decode_read_msr(vcpu, getSyscallArg(0, buffer));
        break;
    }
    if (status == EXCEPTION_NONE) {
        setThreadState(NODE_STATE(ksCurThread), ThreadState_Restart);
    }
    return status;
}

bool_t
pmu_fast_invocation(cap_t cap, word_t label, word_t length)
{
    tcb_t *thread = NODE_STATE(ksCurThread);
    word_t msr = getRegister(thread, msgRegisters[0]);
    uint64_t value = getRegister(thread, msgRegisters[1]);
    uint64_t hardware = getRegister(thread, msgRegisters[2]);
    vcpu_t *vcpu;
    pmu_register_t reg;
    if (cap_get_capType(cap) != cap_vcpu_cap || !cap_vcpu_cap_get_capVCPUPmu(cap)) {
        return false;
    }
    vcpu = VCPU_PTR(cap_vcpu_cap_get_capVCPUPtr(cap));
    reg = find_register(&vcpu->pmu, msr);
    if (label == X86VCPUPmuApprove && length >= PMU_APPROVE_WORDS && is_approvable(reg, value, hardware)) {
        pmu_approve(&vcpu->pmu, reg.control, value, hardware);
        return true;
    }
    if (label == X86VCPUPmuWriteMSR && length >= PMU_WRITE_MSR_WORDS && reg.kind != PMU_REGISTER_NONE &&
            !(value & ~reg.valid)) {
        write_register(vcpu, reg, msr, value);
        return true;
    }
    return false;
}

#endif /* CONFIG_VTX */
