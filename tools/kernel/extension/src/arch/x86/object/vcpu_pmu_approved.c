/* SPDX-License-Identifier: GPL-2.0-only */

/*
 * The PMU extension: control registers, and the guest's accesses to them that are completed inside the exit.
 *
 * Who holds the PMU right approves pairs of a guest's value and the hardware's. The kernel looks them up and decides
 * nothing: what is not in the table of this very VCPU goes to the VMM.
 */

#include <config.h>

#ifdef CONFIG_VTX

#include <arch/machine.h>
#include <arch/object/vcpu.h>
#include <arch/object/vcpu_pmu_msr.h>

#define RFLAGS_TF           BIT(8)
/* Blocking by STI and by MOV SS (SDM 25.4.2) */
#define BLOCKING_BY_ONE     MASK(2)

static inline bool_t
is_active(word_t control, uint64_t value)
{
    return control == PMU_FIXED_CTRL ? value != 0 : !!(value & (PERFEVTSEL_EN | PERFEVTSEL_INT));
}

/* After the mode or many registers have changed. */
void
pmu_find_active(vcpu_pmu_t *pmu)
{
    word_t i;
    pmu->active = pmu->mode == PMU_MODE_RAW ? PMU_ACTIVE_RAW : 0;
    if (pmu->mode == PMU_MODE_OFF) {
        return;
    }
    for (i = 0; i < PMU_N_CONTROL; i++) {
        pmu->active |= (word_t)is_active(i, i == PMU_FIXED_CTRL ? pmu->fixed_ctrl : pmu->selector[i]) << i;
    }
}

/* `control` exists in this hardware, which takes `value`. A value that is there already is not written. */
inline void FORCE_INLINE
pmu_write_control(vcpu_pmu_t *pmu, word_t control, uint64_t value)
{
    uint64_t *saved = control == PMU_FIXED_CTRL ? &pmu->fixed_ctrl : &pmu->selector[control];
    uint64_t interrupts = control == PMU_FIXED_CTRL ? FIXED_CTRL_ALL_PMI : PERFEVTSEL_INT;
    uint64_t old = *saved;
    /* in raw mode the register may hold what the guest has written */
    bool_t raw = pmu->mode == PMU_MODE_RAW;
    if (old == value && !raw) {
        return;
    }
    *saved = value;
    if (pmu->mode != PMU_MODE_OFF) {
        pmu->active = (pmu->active & ~BIT(control)) | (word_t)is_active(control, value) << control;
    }
    if (pmuOwner == pmu) {
        if ((old & ~value & interrupts) || raw) {
            pmu_note_disarmed();
        }
        x86_wrmsr(control == PMU_FIXED_CTRL ? IA32_FIXED_CTR_CTRL : IA32_PERFEVTSEL0 + control, value);
    }
}

/* The set of a guest's value: the upper bits of its product with 2^32 divided by the golden ratio. */
#define SET_OF(guest)   ((word_t)(((guest) * 0x9e3779b1u & MASK(32)) >> (32 - PMU_SET_BITS)))

/* A place without a pair holds a guest's value of another set, so that it is never found. */
#define FOREIGN(set)    ((set) == 0)

compile_assert(zero_is_of_set_zero, SET_OF(0u) == 0)
compile_assert(one_is_of_another_set, SET_OF(1u) != 0)

/* The pair that is approved for `guest`, or NULL. */
static inline pmu_pair_t * FORCE_INLINE
find_pair(pmu_control_t *control, uint32_t guest)
{
    pmu_pair_t *pair = control->pair[SET_OF(guest)];
    word_t i;
#pragma GCC unroll 4
    for (i = 0; i < PMU_WAYS; i++) {
        if (pair[i].guest == guest) {
            return &pair[i];
        }
    }
    return NULL;
}

inline void FORCE_INLINE
pmu_approve(vcpu_pmu_t *pmu, word_t number, uint32_t guest, uint32_t hardware)
{
    pmu_control_t *control = &pmu->control[number];
    pmu_pair_t *pair = find_pair(control, guest);
    word_t set = SET_OF(guest);
    if (!pair) {
        pair = &control->pair[set][control->next[set]++ % PMU_WAYS];
    }
    control->guest = guest;
    control->approved = true;
    *pair = (pmu_pair_t) { guest, hardware };
    pmu_write_control(pmu, number, hardware);
}

void
pmu_withdraw_control(pmu_control_t *control)
{
    word_t set, i;
    control->approved = false;
    for (set = 0; set < PMU_SETS; set++) {
        control->next[set] = 0;
        for (i = 0; i < PMU_WAYS; i++) {
            control->pair[set][i].guest = FOREIGN(set);
        }
    }
}

void
pmu_withdraw(vcpu_pmu_t *pmu)
{
    word_t i;
    for (i = 0; i < PMU_N_CONTROL; i++) {
        pmu_withdraw_control(&pmu->control[i]);
    }
}

/*
 * The guest of `vcpu`, which is current, has exited by WRMSR or RDMSR. True: the access is approved and completed, and
 * the guest may go on. False: nothing has changed.
 */
static inline bool_t FORCE_INLINE
approved_access(vcpu_t *vcpu, bool_t write)
{
    vcpu_pmu_t *pmu = &vcpu->pmu;
    uint32_t msr = vcpu->gp_registers[VCPU_ECX];
    word_t number = msr - IA32_PERFEVTSEL0, rip, next, blocking;
    pmu_control_t *control;
    pmu_pair_t *pair;
    uint64_t guest;
    if (number >= pmuGeometry.n_gp) {
        if (msr != IA32_FIXED_CTR_CTRL) {
            return false;
        }
        number = PMU_FIXED_CTRL;
    }
    control = &pmu->control[number];
    guest = control->guest;
    if (write) {
        guest = (uint64_t)vcpu->gp_registers[VCPU_EDX] << 32 | (uint32_t)vcpu->gp_registers[VCPU_EAX];
        if (guest > MASK(32)) {
            return false;
        }
    }
    pair = find_pair(control, guest);
    if (!pair || pmu->mode == PMU_MODE_OFF) {
        return false;
    }
    rip = vmread(VMX_GUEST_RIP);
    next = rip + vmread(VMX_DATA_EXIT_INSTRUCTION_LENGTH);
    /* a trap after the instruction, and EIP, which has 32 bits, are the VMM's. RF is 0 (SDM 28.3.3) */
    if ((vmread(VMX_GUEST_RFLAGS) & RFLAGS_TF) || (rip ^ next) >> 32) {
        return false;
    }
    blocking = vmread(VMX_GUEST_INTERRUPTABILITY);
    if (blocking & BLOCKING_BY_ONE) {
        vmwrite(VMX_GUEST_INTERRUPTABILITY, blocking & ~BLOCKING_BY_ONE);
    }
    vmwrite(VMX_GUEST_RIP, next);
    if (write) {
        control->guest = guest;
        pmu_write_control(pmu, number, pair->hardware);
        pmu->approved_writes++;
    } else {
        vcpu->gp_registers[VCPU_EAX] = guest;
        vcpu->gp_registers[VCPU_EDX] = 0;
        pmu->approved_reads++;
    }
    pmu_completed(vcpu, PMU_COMPLETED_INSTRUCTION);
    return true;
}

/*
 * The guest of `vcpu` has exited by RDMSR or, if `write`, WRMSR, and nothing has been done yet. Approved accesses are completed, and the guest goes on
 * from here: since its entry nothing has happened that the way through the kernel would act upon. Interrupts wait in the
 * APIC, as they do all the time that the kernel runs, and take the guest out again at once. True: completed, but the way
 * through the kernel is needed. False: nothing has changed.
 */
bool_t
pmu_approved_exit(vcpu_t *vcpu, bool_t write)
{
    if (!approved_access(vcpu, write)) {
        return false;
    }
    if (vcpu->launched && !vcpu->pmu.pmi) {
        resume_vmx();
    }
    return true;
}

compile_assert(reads_and_writes_are_neighbours, RDMSR == PMU_EXIT_RDMSR && WRMSR == RDMSR + 1)

#endif /* CONFIG_VTX */
