//! The symbols of a program that the tool sets.

use crate::check::{machine_owner, pmu_channel};
use crate::error::Error;
use crate::model::{Channel, Domain, End, System, Value};
use crate::program::Program;
use std::path::Path;

/// Sets Microkit's symbols where they exist, and the variables of the description, which must exist.
pub(super) fn patch(
    system: &System,
    domain: &Domain,
    program: &mut Program,
    file: &Path,
) -> Result<(), Error> {
    let ends = system.channels.iter().flat_map(Channel::directions).map(|(end, _)| end);
    let own = ends.filter(|end| system.domains[end.domain].name == domain.name);
    let own: Vec<&End> = own.collect();
    let bits = |ids: &mut dyn Iterator<Item = u32>| ids.fold(0_u64, |bits, id| bits | 1 << id);
    let notifications = bits(&mut own.iter().filter(|end| end.notify).map(|end| end.id));
    let calls = bits(&mut own.iter().filter(|end| end.call).map(|end| end.id));
    let irqs = bits(&mut domain.irqs.iter().map(|irq| irq.id));
    let ports = bits(&mut domain.ports.iter().map(|ports| ports.id));
    program.set_if_present("microkit_name", domain.name.as_bytes())?;
    program.set_if_present("microkit_passive", &[u8::from(domain.passive)])?;
    program.set_if_present("microkit_notifications", &notifications.to_le_bytes())?;
    program.set_if_present("microkit_pps", &calls.to_le_bytes())?;
    program.set_if_present("microkit_irqs", &irqs.to_le_bytes())?;
    program.set_if_present("microkit_ioports", &ports.to_le_bytes())?;
    let mediated = domain.pmu_of.iter().filter_map(|authority| {
        let owner = machine_owner(system, &authority.machine)?;
        pmu_channel(system, domain, owner)
    });
    program.set_if_present("pmu_channels", &bits(&mut mediated.into_iter()).to_le_bytes())?;
    for setvar in &domain.setvars {
        let region =
            |name: &str| system.region(name).unwrap_or_else(|| unreachable!("check refuses unknown regions"));
        let value = match &setvar.value {
            Value::Number(value) => *value,
            Value::SizeOf(name) => region(name).size,
            Value::PrefillSizeOf(name) => region(name).prefill.as_ref().map_or(0, |p| p.len() as u64),
            Value::PhysicalAddressOf(name) => region(name).physical.unwrap_or_default(),
        };
        program
            .set_word(&setvar.symbol, value)
            .map_err(|e| Error::line(file, setvar.line, format!("'{}': {e}", domain.name)))?;
    }
    Ok(())
}
