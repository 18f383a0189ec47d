//! Routing of RDMSR and WRMSR. An MSR that is not in the tables does not exist: #GP(0), counted.

use crate::apic::{GeneralProtection, LocalApic};
use crate::arch::{DEBUGCTL_BTF, Field, efer, entry_control, msr};
use crate::mtrr;
use crate::switched;
use crate::vcpu::Vcpu;

/// Who answers for an MSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The policy domain: PERFEVTSELi and FIXED_CTR_CTRL, and what else never is direct.
    PmuControl,
    /// The policy domain: counters and GLOBAL_*, direct in mediated mode.
    PmuData,
    /// The local APIC's registers.
    Apic,
    /// The memory type range registers.
    MemoryTypes,
    /// The time-stamp counter and its deadline.
    Time,
    /// Registers that the kernel switches.
    Switched,
    /// The VMM itself.
    Vmm,
    /// Nobody.
    None,
}

/// PMU MSRs as ranges (SDM vol. 4, table 2-2), with their owner. The policy domain knows which of them the
/// guest has; IA32_PEBS_ENABLE and the like are here so that its statistics see them.
const PMU: &[(u32, u32, Owner)] = &[
    (0xc1, 0xc8, Owner::PmuData),
    (0x186, 0x18d, Owner::PmuControl),
    (0x309, 0x30c, Owner::PmuData),
    (0x345, 0x345, Owner::PmuControl),
    (0x38d, 0x38d, Owner::PmuControl),
    (0x38e, 0x390, Owner::PmuData),
    (0x391, 0x392, Owner::PmuControl),
    (0x3f1, 0x3f2, Owner::PmuControl),
    (0x4c1, 0x4c8, Owner::PmuData),
];

/// IA32_PERF_GLOBAL_STATUS.
const GLOBAL_STATUS: u32 = 0x38e;

/// Who answers for a write of this MSR: GLOBAL_STATUS is read-only (SDM vol. 4, table 2-2), its writes always
/// exit.
pub fn owner_of_write(number: u32) -> Owner {
    if number == GLOBAL_STATUS { Owner::PmuControl } else { owner(number) }
}

/// Who answers for a read of this MSR.
#[inline]
pub fn owner(number: u32) -> Owner {
    if let Some((_, _, owner)) = PMU.iter().find(|(first, last, _)| (*first..=*last).contains(&number)) {
        return *owner;
    }
    match number {
        msr::X2APIC_FIRST..=msr::X2APIC_LAST => Owner::Apic,
        msr::TSC | msr::TSC_ADJUST | msr::TSC_DEADLINE => Owner::Time,
        msr::APIC_BASE
        | msr::BIOS_SIGN_ID
        | msr::MISC_ENABLE
        | msr::DEBUGCTL
        | msr::PAT
        | msr::EFER
        | msr::FS_BASE
        | msr::GS_BASE => Owner::Vmm,
        _ if switched::has(number) => Owner::Switched,
        _ if mtrr::has(number) => Owner::MemoryTypes,
        _ => Owner::None,
    }
}

/// IA32_MISC_ENABLE: fast strings; BTS and PEBS unavailable (SDM vol. 4, table 2-2).
const MISC_ENABLE: u64 = 1 | 1 << 11 | 1 << 12;
/// IA32_MISC_ENABLE: performance monitoring available.
const MISC_ENABLE_PERFMON: u64 = 1 << 7;

/// RDMSR of an MSR of [`Owner::Vmm`].
///
/// # Errors
/// The MSR cannot be read.
pub fn read<V: Vcpu>(
    vcpu: &mut V,
    apic: &LocalApic,
    pmu: bool,
    number: u32,
) -> Result<u64, GeneralProtection> {
    Ok(match number {
        msr::APIC_BASE => apic.base(),
        msr::BIOS_SIGN_ID => 0,
        msr::MISC_ENABLE => misc_enable(pmu),
        msr::DEBUGCTL => vcpu.read(Field::GuestDebugctl),
        msr::PAT => vcpu.read(Field::GuestPat),
        msr::EFER => vcpu.read(Field::GuestEfer),
        msr::FS_BASE => vcpu.read(Field::GuestFsBase),
        msr::GS_BASE => vcpu.read(Field::GuestGsBase),
        _ => return Err(GeneralProtection),
    })
}

/// WRMSR of an MSR of [`Owner::Vmm`]. `offered` are the bits that IA32_EFER has besides those of long mode and NX.
///
/// # Errors
/// The MSR is read-only, or the value has a reserved bit or is one that this machine does not support.
pub fn write<V: Vcpu>(
    vcpu: &mut V,
    apic: &mut LocalApic,
    pmu: bool,
    offered: u64,
    number: u32,
    value: u64,
) -> Result<(), GeneralProtection> {
    match number {
        msr::APIC_BASE => apic.set_base(value)?,
        // SDM vol. 3A, 10.11.7.1: software writes 0 before it reads the revision.
        msr::BIOS_SIGN_ID if value == 0 => {}
        msr::MISC_ENABLE if value == misc_enable(pmu) => {}
        // The one bit that concerns the guest alone.
        msr::DEBUGCTL if value & !DEBUGCTL_BTF == 0 => vcpu.write(Field::GuestDebugctl, value),
        msr::PAT if is_pat(value) => vcpu.write(Field::GuestPat, value),
        msr::EFER => write_efer(vcpu, offered, value)?,
        msr::FS_BASE if is_canonical(value) => vcpu.write(Field::GuestFsBase, value),
        msr::GS_BASE if is_canonical(value) => vcpu.write(Field::GuestGsBase, value),
        _ => return Err(GeneralProtection),
    }
    Ok(())
}

const fn misc_enable(pmu: bool) -> u64 {
    if pmu { MISC_ENABLE | MISC_ENABLE_PERFMON } else { MISC_ENABLE }
}

/// SDM vol. 3A, 2.2.1 and 4.1.2: LMA is the processor's, and LME does not change while paging is on.
fn write_efer<V: Vcpu>(vcpu: &mut V, offered: u64, value: u64) -> Result<(), GeneralProtection> {
    if value & !(efer::LME | efer::LMA | efer::NXE | offered) != 0 {
        return Err(GeneralProtection);
    }
    let old = vcpu.read(Field::GuestEfer);
    let paging = vcpu.read(Field::GuestCr0) & crate::arch::cr0::PG != 0;
    if paging && (old ^ value) & efer::LME != 0 {
        return Err(GeneralProtection);
    }
    vcpu.write(Field::GuestEfer, value & !efer::LMA | old & efer::LMA);
    Ok(())
}

/// Brings IA32_EFER.LMA and the VM-entry control in line with CR0.PG (SDM vol. 3A, 4.1.2).
pub fn set_long_mode<V: Vcpu>(vcpu: &mut V, active: bool) {
    let old = vcpu.read(Field::GuestEfer);
    let controls = vcpu.read(Field::EntryControls);
    if active {
        vcpu.write(Field::GuestEfer, old | efer::LMA);
        vcpu.write(Field::EntryControls, controls | entry_control::IA32E_GUEST);
    } else {
        vcpu.write(Field::GuestEfer, old & !efer::LMA);
        vcpu.write(Field::EntryControls, controls & !entry_control::IA32E_GUEST);
    }
}

/// SDM vol. 3A, 12.12.2: each byte is a memory type: 0, 1, 4, 5, 6 or 7.
fn is_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

/// Bits 63:47 are equal (SDM vol. 1, 3.3.7.1).
pub const fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}
