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

compile_assert(places_are_four_bits, PMU_PAIRS == 16)

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
void
pmu_write_control(vcpu_pmu_t *pmu, word_t control, uint64_t value)
{
    uint64_t *saved = control == PMU_FIXED_CTRL ? &pmu->fixed_ctrl : &pmu->selector[control];
    /* in raw mode the register may hold what the guest has written */
    bool_t same = *saved == value && pmu->mode != PMU_MODE_RAW;
    if (same) {
        return;
    }
    *saved = value;
    if (pmu->mode != PMU_MODE_OFF) {
        pmu->active = (pmu->active & ~BIT(control)) | (word_t)is_active(control, value) << control;
    }
    if (pmuOwner == pmu) {
        x86_wrmsr(control == PMU_FIXED_CTRL ? IA32_FIXED_CTR_CTRL : IA32_PERFEVTSEL0 + control, value);
    }
}

/* The first of the places that a value may have: bits 31:28 of its product with 2^32 divided by the golden ratio. */
static inline word_t
first_place(uint32_t guest)
{
    return (guest * 0x9e3779b1u) >> 28;
}

/*
 * The place of `guest`, else a free one (then `used` lacks it), else PMU_PAIRS. Pairs go only all together, so that
 * none can stand behind a free place.
 */
static inline word_t FORCE_INLINE
find_place(pmu_control_t *control, uint32_t guest)
{
    word_t i, place = first_place(guest);
#pragma GCC unroll 4
    for (i = 0; i < PMU_WAYS; i++, place = (place + 1) % PMU_PAIRS) {
        if (!(control->used >> place & 1) || control->pair[place].guest == guest) {
            return place;
        }
    }
    return PMU_PAIRS;
}

void
pmu_approve(vcpu_pmu_t *pmu, word_t number, uint32_t guest, uint32_t hardware)
{
    pmu_control_t *control = &pmu->control[number];
    word_t place = find_place(control, guest);
    if (place == PMU_PAIRS) {
        place = (first_place(guest) + control->replaced++ % PMU_WAYS) % PMU_PAIRS;
    }
    pmu_write_control(pmu, number, hardware);
    control->guest = guest;
    control->used |= BIT(place);
    control->pair[place] = (pmu_pair_t) { guest, hardware };
}

void
pmu_withdraw(vcpu_pmu_t *pmu)
{
    word_t i;
    for (i = 0; i < PMU_N_CONTROL; i++) {
        pmu->control[i].used = 0;
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
    word_t number = msr - IA32_PERFEVTSEL0, place, rip, next, blocking;
    pmu_control_t *control;
    uint64_t guest;
    if (number >= pmuGeometry.n_gp) {
        if (msr != IA32_FIXED_CTR_CTRL) {
            return false;
        }
        number = PMU_FIXED_CTRL;
    }
    control = &pmu->control[number];
    if (!control->used || pmu->mode == PMU_MODE_OFF) {
        return false;
    }
    guest = control->guest;
    if (write) {
        guest = (uint64_t)vcpu->gp_registers[VCPU_EDX] << 32 | (uint32_t)vcpu->gp_registers[VCPU_EAX];
        if (guest > MASK(32)) {
            return false;
        }
    }
    place = find_place(control, guest);
    if (place == PMU_PAIRS || !(control->used >> place & 1)) {
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
        pmu_write_control(pmu, number, control->pair[place].hardware);
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
 * The guest of `vcpu` has exited by RDMSR or WRMSR, and nothing has been done yet. Approved accesses are completed, and the guest goes on
 * from here: since its entry nothing has happened that the way through the kernel would act upon. Interrupts wait in the
 * APIC, as they do all the time that the kernel runs, and take the guest out again at once. True: completed, but the way
 * through the kernel is needed. False: nothing has changed.
 */
bool_t
pmu_approved_exit(vcpu_t *vcpu)
{
    if (!approved_access(vcpu, (uint32_t)vmread(VMX_DATA_EXIT_REASON) == WRMSR)) {
        return false;
    }
    if (vcpu->launched && !vcpu->pmu.pmi) {
        resume_vmx();
    }
    return true;
}

compile_assert(reads_and_writes_are_neighbours, RDMSR == PMU_EXIT_RDMSR && WRMSR == RDMSR + 1)

#endif /* CONFIG_VTX */
