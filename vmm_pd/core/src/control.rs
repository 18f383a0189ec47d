//! Accesses to control and debug registers that exit.

use crate::apic::{GeneralProtection, LocalApic};
use crate::arch::{DR6_RESET, DR7_RESET, Field, cr0, cr4, efer};
use crate::exit::{ControlRegisterAccess, DebugRegisterAccess};
use crate::msr::set_long_mode;
use crate::registers::{Operand, Registers};
use crate::vcpu::Vcpu;

/// CR0 bits that are the VMM's: NE must stay 1 in VMX operation (SDM vol. 3C, 24.8), and CD and NW would reach
/// the host's caches (27.8.2: VM exits do not change them).
pub const CR0_MASK: u64 = cr0::NE | cr0::CD | cr0::NW;
/// CR4 bits that the guest may set; every other exits and faults.
const CR4_ALLOWED: u64 = cr4::TSD | cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT;
/// CR4 bits that are the VMM's.
pub const CR4_MASK: u64 = !CR4_ALLOWED;
/// L bit of the CS access rights (SDM vol. 3C, table 25-2).
const CS_LONG: u64 = 1 << 13;

/// Why a control register access did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlFault {
    /// #GP(0).
    GeneralProtection,
    /// The VMM does not emulate this.
    Unsupported(&'static str),
}

impl From<GeneralProtection> for ControlFault {
    fn from(_: GeneralProtection) -> Self {
        Self::GeneralProtection
    }
}

/// An access to a control register.
///
/// # Errors
/// [`ControlFault`]
pub fn control_register<V: Vcpu>(
    vcpu: &mut V,
    apic: &mut LocalApic,
    registers: &mut Registers,
    access: ControlRegisterAccess,
) -> Result<(), ControlFault> {
    match access {
        ControlRegisterAccess::Write { register: 0, source } => {
            let value = operand(vcpu, registers, source);
            write_cr0(vcpu, value)
        }
        ControlRegisterAccess::Write { register: 4, source } => {
            let value = operand(vcpu, registers, source);
            write_cr4(vcpu, value).map_err(ControlFault::from)
        }
        ControlRegisterAccess::Write { register: 8, source } => {
            let value = operand(vcpu, registers, source);
            apic.set_cr8(value).map_err(ControlFault::from)
        }
        ControlRegisterAccess::Read { register: 8, destination } => {
            match destination {
                Operand::Gpr(register) => registers.set(register, apic.cr8()),
                Operand::Rsp => vcpu.write(Field::GuestRsp, apic.cr8()),
            }
            Ok(())
        }
        ControlRegisterAccess::Write { .. } | ControlRegisterAccess::Read { .. } => {
            Err(ControlFault::Unsupported("CR3 on a processor whose CR3 accesses always exit"))
        }
        ControlRegisterAccess::Clts => {
            let value = vcpu.read(Field::GuestCr0) & !cr0::TS;
            vcpu.write(Field::GuestCr0, value);
            Ok(())
        }
        // SDM vol. 2A, LMSW: bits 3:0, and PE is not cleared.
        ControlRegisterAccess::Lmsw(word) => {
            let old = visible_cr0(vcpu);
            write_cr0(vcpu, old & !0xe | u64::from(word) & 0xf)
        }
    }
}

fn operand<V: Vcpu>(vcpu: &mut V, registers: &Registers, operand: Operand) -> u64 {
    match operand {
        Operand::Gpr(register) => registers.get(register),
        Operand::Rsp => vcpu.read(Field::GuestRsp),
    }
}

/// CR0 as the guest reads it (SDM vol. 3C, 26.3).
fn visible_cr0<V: Vcpu>(vcpu: &mut V) -> u64 {
    vcpu.read(Field::GuestCr0) & !CR0_MASK | vcpu.read(Field::Cr0ReadShadow) & CR0_MASK
}

/// MOV to CR0 (SDM vol. 2B, MOV to control registers; vol. 3A, 4.1.2).
fn write_cr0<V: Vcpu>(vcpu: &mut V, value: u64) -> Result<(), ControlFault> {
    let paging = value & cr0::PG != 0;
    let bad =
        value >> 32 != 0 || paging && value & cr0::PE == 0 || value & cr0::NW != 0 && value & cr0::CD == 0;
    if bad {
        return Err(ControlFault::GeneralProtection);
    }
    if paging != (vcpu.read(Field::GuestCr0) & cr0::PG != 0) {
        switch_paging(vcpu, paging)?;
    }
    vcpu.write(Field::GuestCr0, value & !(cr0::CD | cr0::NW) | cr0::NE | cr0::ET);
    vcpu.write(Field::Cr0ReadShadow, value | cr0::ET);
    Ok(())
}

fn switch_paging<V: Vcpu>(vcpu: &mut V, on: bool) -> Result<(), ControlFault> {
    let pae = vcpu.read(Field::GuestCr4) & cr4::PAE != 0;
    let long = vcpu.read(Field::GuestEfer) & efer::LME != 0;
    let code_is_long = vcpu.read(Field::GuestCsAccessRights) & CS_LONG != 0;
    match (on, long) {
        (true, true) if !pae || code_is_long => Err(ControlFault::GeneralProtection),
        (true, false) if pae => Err(ControlFault::Unsupported("PAE paging without IA-32e mode")),
        (false, true) if code_is_long => Err(ControlFault::GeneralProtection),
        (_, true) => {
            set_long_mode(vcpu, on);
            Ok(())
        }
        (_, false) => Ok(()),
    }
}

/// MOV to CR4: a bit that CPUID does not offer is reserved (SDM vol. 3A, 2.5); PAE stays set in IA-32e mode.
fn write_cr4<V: Vcpu>(vcpu: &mut V, value: u64) -> Result<(), GeneralProtection> {
    let long = vcpu.read(Field::GuestEfer) & efer::LMA != 0;
    if value & !CR4_ALLOWED != 0 || long && value & cr4::PAE == 0 {
        return Err(GeneralProtection);
    }
    vcpu.write(Field::GuestCr4, value | cr4::VMXE);
    Ok(())
}

/// The debug registers that the guest reads back. No breakpoint ever takes effect: the processor's own debug
/// registers are the host's.
#[derive(Debug, Clone)]
pub struct DebugRegisters {
    addresses: [u64; 4],
    status: u64,
    control: u64,
}

impl Default for DebugRegisters {
    fn default() -> Self {
        Self { addresses: [0; 4], status: DR6_RESET, control: DR7_RESET }
    }
}

impl DebugRegisters {
    /// MOV to or from a debug register; DR4 and DR5 are DR6 and DR7 while CR4.DE is clear, which it always is
    /// (SDM vol. 3B, 18.2.2). RSP as an operand is not emulated.
    ///
    /// # Errors
    /// [`ControlFault`]
    pub fn access(
        &mut self,
        registers: &mut Registers,
        access: DebugRegisterAccess,
    ) -> Result<(), ControlFault> {
        let Operand::Gpr(operand) = access.operand else {
            return Err(ControlFault::Unsupported("MOV between RSP and a debug register"));
        };
        let register = match access.register {
            i @ 0..=3 => &mut self.addresses[usize::from(i)],
            4 | 6 => &mut self.status,
            _ => &mut self.control,
        };
        if access.read {
            registers.set(operand, *register);
            return Ok(());
        }
        let value = registers.get(operand);
        // SDM vol. 3B, 18.2.6: bits 63:32 of DR6 and DR7 are reserved.
        if access.register >= 4 && value >> 32 != 0 {
            return Err(ControlFault::GeneralProtection);
        }
        *register = match access.register {
            0..=3 => value,
            4 | 6 => value & 0xe00f | DR6_RESET,
            _ => value & 0xffff_2bff | DR7_RESET,
        };
        Ok(())
    }
}
