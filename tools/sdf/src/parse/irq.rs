//! `irq` and `ioport`.

use super::leaf;
use crate::error::Error;
use crate::model::{IrqUse, MAX_ID, Ports};
use crate::xml::Element;
use capdist::{Irq, Polarity, Trigger};

/// Highest vector that a user may ask for, counted from the first that the kernel gives to users.
const MAX_VECTOR: u32 = 107;

/// Reads an `irq` of an I/O APIC (with `pin`) or an MSI (with `pcidev`).
pub(super) fn parse_irq(element: &Element<'_>) -> Result<IrqUse, Error> {
    leaf(element)?;
    let id = element.decimal("id", 0, MAX_ID)?;
    let irq = if element.get("irq").is_some() {
        return Err(element.error("attribute 'irq' is for ARM and RISC-V; x86 has 'pin' or 'pcidev'"));
    } else if element.get("pin").is_some() {
        ioapic(element)?
    } else if element.get("pcidev").is_some() {
        msi(element)?
    } else {
        return Err(element.error("missing attribute 'pin' or 'pcidev'"));
    };
    Ok(IrqUse { line: element.line(), id, irq })
}

fn ioapic(element: &Element<'_>) -> Result<Irq, Error> {
    element.only(&["id", "setvar_id", "ioapic", "pin", "trigger", "polarity", "vector"])?;
    let max = i32::MAX.cast_unsigned();
    Ok(Irq::Ioapic {
        ioapic: if element.get("ioapic").is_some() { element.decimal("ioapic", 0, max)? } else { 0 },
        pin: element.decimal("pin", 0, max)?,
        trigger: element.choice(
            "trigger",
            [("level", Trigger::Level), ("edge", Trigger::Edge)],
            Trigger::Level,
        )?,
        polarity: element.choice(
            "polarity",
            [("low", Polarity::Low), ("high", Polarity::High)],
            Polarity::High,
        )?,
        vector: vector(element)?,
    })
}

fn msi(element: &Element<'_>) -> Result<Irq, Error> {
    element.only(&["id", "setvar_id", "pcidev", "handle", "vector"])?;
    let address = element.required("pcidev")?;
    let malformed = || element.error("pcidev must have the form BUS:DEVICE.FUNCTION");
    let (bus, rest) = address.split_once(':').ok_or_else(malformed)?;
    let (device, function) = rest.split_once('.').ok_or_else(malformed)?;
    let part = |name: &str, text: &str, max: u8| {
        let value = i64::from_str_radix(text.trim(), 16)
            .map_err(|_| element.error(format_args!("PCI {name} '{text}' is no hexadecimal number")))?;
        u8::try_from(value)
            .ok()
            .filter(|value| *value <= max)
            .ok_or_else(|| element.error(format_args!("PCI {name} must be 0 to {max}, not {value}")))
    };
    Ok(Irq::Msi {
        bus: part("bus", bus, 255)?,
        device: part("device", device, 31)?,
        function: part("function", function, 7)?,
        handle: element.decimal("handle", 0, u32::MAX)?,
        vector: vector(element)?,
    })
}

fn vector(element: &Element<'_>) -> Result<u8, Error> {
    let vector = element.decimal("vector", 0, MAX_VECTOR)?;
    Ok(u8::try_from(vector).unwrap_or(u8::MAX))
}

/// Reads an `ioport`.
pub(super) fn parse_ports(element: &Element<'_>) -> Result<Ports, Error> {
    element.only(&["id", "setvar_id", "setvar_addr", "addr", "size"])?;
    leaf(element)?;
    let id = element.decimal("id", 0, MAX_ID)?;
    let address = element.required_number("addr")?;
    let size = element.decimal("size", 1, 1 << 16)?;
    let last = address.checked_add(u64::from(size) - 1).and_then(|last| u16::try_from(last).ok());
    match (u16::try_from(address), last) {
        (Ok(first), Some(last)) => Ok(Ports { line: element.line(), id, first, last }),
        _ => Err(element.error(format_args!("ports {address:#x} and following {size} exceed 0xffff"))),
    }
}
