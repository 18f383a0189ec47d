//! Accesses to control and debug registers that exit.

use crate::apic::{GeneralProtection, LocalApic};
use crate::arch::{DR6_RESET, DR7_RESET, Field, cr0, cr4, efer};
use crate::cpuid::PHYSICAL_ADDRESSES;
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
/// Bits of CR3 that locate the table of PAE paging (SDM vol. 3A, table 4-7).
const PDPT_ADDRESS: u64 = 0xffff_ffe0;
/// Bits of an entry of it: present; those that must be 0 (SDM vol. 3A, table 4-8).
const PDPTE_PRESENT: u64 = 1;
const PDPTE_RESERVED: u64 = !(PHYSICAL_ADDRESSES - 1) | 0x1e6;
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

/// An access to a control register. `offered` are the bits that CR4 has besides those that every guest has.
///
/// # Errors
/// [`ControlFault`]
pub fn control_register<V: Vcpu>(
    vcpu: &mut V,
    apic: &mut LocalApic,
    registers: &mut Registers,
    offered: u64,
    access: ControlRegisterAccess,
) -> Result<(), ControlFault> {
    match access {
        ControlRegisterAccess::Write { register: 0, source } => {
            let value = operand(vcpu, registers, source);
            write_cr0(vcpu, value)
        }
        ControlRegisterAccess::Write { register: 4, source } => {
            let value = operand(vcpu, registers, source);
            write_cr4(vcpu, offered, value).map_err(ControlFault::from)
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

/// The register that is moved: its low half outside 64-bit mode.
fn operand<V: Vcpu>(vcpu: &mut V, registers: &Registers, operand: Operand) -> u64 {
    let value = match operand {
        Operand::Gpr(register) => registers.get(register),
        Operand::Rsp => vcpu.read(Field::GuestRsp),
    };
    if is_long(vcpu) { value } else { value & u64::from(u32::MAX) }
}

/// Whether the guest executes 64-bit code.
pub fn is_long<V: Vcpu>(vcpu: &mut V) -> bool {
    vcpu.read(Field::GuestEfer) & efer::LMA != 0 && vcpu.read(Field::GuestCsAccessRights) & CS_LONG != 0
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
    let changed = visible_cr0(vcpu) ^ value;
    // SDM vol. 3A, 4.4.1: a change of one of these loads the PDPTEs.
    if changed & (cr0::CD | cr0::NW | cr0::PG) != 0 && paging {
        let extended = vcpu.read(Field::GuestCr4) & cr4::PAE != 0;
        let long = vcpu.read(Field::GuestEfer) & efer::LME != 0;
        if extended && !long {
            load_pdptes(vcpu)?;
        }
    }
    if changed & cr0::PG != 0 {
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
        (false, true) if code_is_long => Err(ControlFault::GeneralProtection),
        (_, true) => {
            set_long_mode(vcpu, on);
            Ok(())
        }
        (_, false) => Ok(()),
    }
}

/// MOV to CR4: a bit that CPUID does not offer is reserved (SDM vol. 3A, 2.5); PAE stays set in IA-32e mode.
fn write_cr4<V: Vcpu>(vcpu: &mut V, offered: u64, value: u64) -> Result<(), GeneralProtection> {
    let long = vcpu.read(Field::GuestEfer) & efer::LMA != 0;
    if value & !(CR4_ALLOWED | offered) != 0 || long && value & cr4::PAE == 0 {
        return Err(GeneralProtection);
    }
    let changed = vcpu.read(Field::GuestCr4) ^ value;
    let paging = vcpu.read(Field::GuestCr0) & cr0::PG != 0;
    if paging && !long && value & cr4::PAE != 0 && changed & (cr4::PAE | cr4::PGE | cr4::PSE) != 0 {
        load_pdptes(vcpu)?;
    }
    vcpu.write(Field::GuestCr4, value | cr4::VMXE);
    if offered != 0 {
        // The other bits that are the VMM's are 0.
        vcpu.write(Field::Cr4ReadShadow, value & CR4_MASK);
    }
    Ok(())
}

/// The four page-directory-pointer-table entries at CR3, which PAE paging keeps in registers (SDM vol. 3A, 4.4.1) and
/// VM entry takes from the VMCS (SDM vol. 3C, 27.3.2.4).
fn load_pdptes<V: Vcpu>(vcpu: &mut V) -> Result<(), GeneralProtection> {
    use Field::{GuestPdpte0, GuestPdpte1, GuestPdpte2, GuestPdpte3};
    let table = vcpu.read(Field::GuestCr3) & PDPT_ADDRESS;
    let mut bytes = [0; 32];
    // Where no memory is, nothing answers: ones, which have reserved bits.
    if !vcpu.read_memory(table, &mut bytes) {
        return Err(GeneralProtection);
    }
    let (entries, _) = bytes.as_chunks::<8>();
    let bad = |entry: u64| entry & PDPTE_PRESENT != 0 && entry & PDPTE_RESERVED != 0;
    if entries.iter().any(|entry| bad(u64::from_le_bytes(*entry))) {
        return Err(GeneralProtection);
    }
    for (field, entry) in [GuestPdpte0, GuestPdpte1, GuestPdpte2, GuestPdpte3].into_iter().zip(entries) {
        vcpu.write(field, u64::from_le_bytes(*entry));
    }
    Ok(())
}

/// The debug registers of a guest on a kernel that does not switch them: what it reads back. No breakpoint ever takes
/// effect, since the processor's own debug registers are the host's.
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
    /// (SDM vol. 3B, 18.2.2). Outside 64-bit code (`long`) a register has 32 bits. RSP as an operand is not emulated.
    ///
    /// # Errors
    /// [`ControlFault`]
    pub fn access(
        &mut self,
        registers: &mut Registers,
        access: DebugRegisterAccess,
        long: bool,
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
        let value = registers.get(operand) & if long { u64::MAX } else { u64::from(u32::MAX) };
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
