//! Makes the ACPI tables of the guest's machine (ACPI specification 6.5, chapter 5), which has always the same devices:
//! RSDP, XSDT, FADT, FACS, MADT and a DSDT that says how to power off, as they lie in memory from `RSDP` on.

use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

#[path = "src/devices/described.rs"]
mod described;

use described::*;

const OEM: [u8; 6] = *b"VPMU  ";
const TABLE: [u8; 8] = *b"sel4vpmu";
const REVISION: u32 = 1;
/// Bytes of a table's header (5.2.6).
const HEADER: u32 = 36;
/// Tables begin at multiples of this; the FACS must (5.2.10).
const ALIGNMENT: usize = 64;
/// Bytes that are left to the RSDP.
const RSDP_BYTES: usize = ALIGNMENT;

/// ACPI's own interrupt line, which nothing raises, and the flags of a level-triggered, high-active one (5.2.12.5).
const SCI: u8 = 9;
const LEVEL_HIGH: u8 = 0xd;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/devices/described.rs");
    let out = env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("acpi.bin"), tables()?)?;
    Ok(())
}

/// The bytes from [`RSDP`] on.
fn tables() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut memory = vec![0; RSDP_BYTES];
    let dsdt = place(&mut memory, &dsdt());
    let facs = place(&mut memory, &FACS::new());
    let fadt = place(&mut memory, &fadt(facs.try_into()?, dsdt.try_into()?).finalize());
    let madt = place(&mut memory, &madt()?);
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&mut memory, &xsdt);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    memory[..rsdp.len()].copy_from_slice(&rsdp);
    Ok(memory)
}

/// Puts a table behind those that are there; its address.
fn place(memory: &mut Vec<u8>, table: &dyn Aml) -> u64 {
    memory.resize(memory.len().next_multiple_of(ALIGNMENT), 0);
    let address = RSDP + memory.len() as u64;
    table.to_aml_bytes(memory);
    address
}

/// Name (\_S5, Package () {off, off, 0, 0}) (7.4.2).
fn dsdt() -> Sdt {
    let mut table = Sdt::new(*b"DSDT", HEADER, 2, OEM, TABLE, REVISION);
    let values = aml::Package::new(vec![&SLEEP_TYPE_OFF, &SLEEP_TYPE_OFF, &aml::ZERO, &aml::ZERO]);
    aml::Name::new("_S5_".into(), &values).to_aml_bytes(&mut table);
    table
}

/// An address in I/O space.
fn io(port: u16, bits: u8) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, AccessSize::ByteAccess, port.into())
}

/// The fixed hardware (5.2.9).
fn fadt(facs: u32, dsdt: u32) -> FADTBuilder {
    /// There are devices of an old PC, and no VGA.
    const BOOT: u16 = 1 | 1 << 2;
    /// A latency above which C2 and C3 do not exist.
    const NO_C_STATE: u16 = u16::MAX;
    let mut table = FADTBuilder::new(OEM, TABLE, REVISION).firmware_ctrl_32(facs);
    table.dsdt = dsdt.into();
    table.x_dsdt = u64::from(dsdt).into();
    table.sci_int = u16::from(SCI).into();
    table.pm1a_evt_blk = u32::from(PM1A_EVENT).into();
    table.pm1a_cnt_blk = u32::from(PM1A_CONTROL).into();
    table.pm_tmr_blk = u32::from(PM_TIMER).into();
    (table.pm1_evt_len, table.pm1_cnt_len, table.pm_tmr_len) = (4, 2, 4);
    (table.p_lvl2_lat, table.p_lvl3_lat) = (NO_C_STATE.into(), NO_C_STATE.into());
    table.iapc_boot_arch = BOOT.into();
    table.reset_reg = io(RESET, 8);
    table.reset_value = RESET_VALUE;
    table.x_pm1a_evt_blk = io(PM1A_EVENT, 32);
    table.x_pm1a_cnt_blk = io(PM1A_CONTROL, 16);
    table.x_pm_tmr_blk = io(PM_TIMER, 32);
    // Power and sleep buttons and the clock's wake-up are not fixed hardware, the timer has 32 bits.
    [
        Flags::Wbinvd,
        Flags::ProcC1,
        Flags::PwrButton,
        Flags::SlpButton,
        Flags::FixRtc,
        Flags::TmrValExt,
        Flags::ResetRegSup,
    ]
    .into_iter()
    .fold(table, FADTBuilder::flag)
}

/// The interrupt controllers (5.2.12).
fn madt() -> Result<Sdt, Box<dyn Error>> {
    let mut table = Sdt::new(*b"APIC", HEADER, 5, OEM, TABLE, REVISION);
    table.append_slice(&u32::try_from(APIC_BASE_ADDRESS)?.to_le_bytes());
    // There are two 8259A, too.
    table.append_slice(&1u32.to_le_bytes());
    ProcessorLocalApic::new(0, 0, EnabledStatus::Enabled).to_aml_bytes(&mut table);
    IoApic::new(0, IOAPIC_ADDRESS.try_into()?, 0).to_aml_bytes(&mut table);
    // Lines that are not their own pin, or not edges of ISA (5.2.12.5); LINT1 as NMI of all processors (5.2.12.7).
    table.append_slice(&[2, 10, 0, TIMER_LINE, TIMER_PIN, 0, 0, 0, 0, 0]);
    table.append_slice(&[2, 10, 0, SCI, SCI, 0, 0, 0, LEVEL_HIGH, 0]);
    table.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    Ok(table)
}
