//! Rules that more than one element takes part in.

use crate::error::Error;
use crate::model::{
    Channel, Domain, End, LARGE_PAGE, MAX_DOMAINS, MAX_PAGES, MAX_PREFILL, MONITOR_NAME, Map, System,
    USER_TOP, Value,
};
use capdist::Irq;
use std::collections::HashMap;
use std::path::Path;

/// Refuses what breaks a rule.
pub(crate) fn check(system: &System, file: &Path) -> Result<(), Error> {
    names(system, file)?;
    machines(system, file)?;
    identifiers(system, file)?;
    interrupts(system, file)?;
    for channel in &system.channels {
        calls(system, channel, file)?;
    }
    ports(system, file)?;
    for domain in &system.domains {
        let inside = format!("protection domain '{}'", domain.name);
        maps(system, &domain.maps, domain.map_end(), &inside, file)?;
        if let Some(machine) = &domain.machine {
            maps(system, &machine.maps, USER_TOP, &format!("virtual machine '{}'", machine.name), file)?;
        }
        setvars(system, domain, file)?;
        cspace(system, domain, file)?;
        pmu_authority(system, domain, file)?;
    }
    authorities(system, file)?;
    physical(system, file)
}

/// Refuses regions that the bundled kernel's root task cannot make: the pages are chosen.
pub(crate) fn amounts(system: &System, file: &Path) -> Result<(), Error> {
    let (mut pages, mut bytes) = (0_u64, 0_u64);
    for region in &system.regions {
        let error =
            |reason| Error::line(file, region.line, format!("memory_region '{}': {reason}", region.name));
        pages = pages.saturating_add(region.size / region.page_size);
        if pages > MAX_PAGES {
            return Err(error(format!(
                "the regions up to here have {pages} pages, and the root task has slots for {MAX_PAGES}; \
                 make it smaller, or give it page_size=\"{LARGE_PAGE:#x}\""
            )));
        }
        bytes = bytes.saturating_add(region.prefill.as_ref().map_or(0, |prefill| prefill.len() as u64));
        if bytes > MAX_PREFILL {
            return Err(error(format!(
                "the prefill files up to here have {bytes} bytes, and an image has room for {MAX_PREFILL}"
            )));
        }
    }
    Ok(())
}

/// Gives regions without a page size large pages where size and every address allow them.
pub(crate) fn choose_page_sizes(system: &mut System) {
    let System { domains, regions, .. } = system;
    for region in regions.iter_mut().filter(|region| !region.page_size_given) {
        let maps = domains.iter().flat_map(|domain| {
            domain.maps.iter().chain(domain.machine.iter().flat_map(|machine| &machine.maps))
        });
        let addresses = maps.filter(|map| map.region == region.name).map(|map| map.address);
        if addresses.chain(region.physical).chain([region.size]).all(|value| value % LARGE_PAGE == 0) {
            region.page_size = LARGE_PAGE;
        }
    }
}

fn names(system: &System, file: &Path) -> Result<(), Error> {
    let domains = &system.domains;
    if domains.is_empty() {
        return Err(Error::file(file, "at least one protection domain must be defined"));
    }
    if domains.len() > MAX_DOMAINS {
        let count = domains.len();
        let reason = format!("there are {count} protection domains; the maximum is {MAX_DOMAINS}");
        return Err(Error::line(file, domains[MAX_DOMAINS].line, reason));
    }
    unique(domains.iter().map(|d| (d.line, d.name.as_str())), file, "protection domain name")?;
    if let Some(domain) = domains.iter().find(|d| d.name == MONITOR_NAME) {
        let reason = format!("the protection domain name '{MONITOR_NAME}' is reserved");
        return Err(Error::line(file, domain.line, reason));
    }
    unique(system.regions.iter().map(|r| (r.line, r.name.as_str())), file, "memory region name")?;
    let machines = domains.iter().filter_map(|d| d.machine.as_ref());
    unique(machines.map(|m| (m.line, m.name.as_str())), file, "virtual machine name")
}

fn unique<T: std::hash::Hash + Eq + std::fmt::Display>(
    items: impl Iterator<Item = (u32, T)>,
    file: &Path,
    what: &str,
) -> Result<(), Error> {
    let mut seen = HashMap::new();
    for (line, item) in items {
        let text = item.to_string();
        if let Some(first) = seen.insert(item, line) {
            return Err(Error::line(file, line, format!("duplicate {what} '{text}' (also in line {first})")));
        }
    }
    Ok(())
}

/// VMEnter returns for signals of the bound notification only, not for messages: a thread with a vCPU cannot
/// receive messages of children or callers while it runs its guest.
fn machines(system: &System, file: &Path) -> Result<(), Error> {
    for (index, domain) in system.domains.iter().enumerate() {
        let child = system.domains.iter().find(|d| d.parent.is_some_and(|p| p.domain == index));
        if let (Some(_), Some(child)) = (&domain.machine, child) {
            let reason = format!("'{}' has a vCPU and so cannot have children on x86-64", domain.name);
            return Err(Error::line(file, child.line, reason));
        }
    }
    Ok(())
}

/// Identifiers are bits of one badge: those of IRQs and channels of a domain, those of its children.
fn identifiers(system: &System, file: &Path) -> Result<(), Error> {
    for (index, domain) in system.domains.iter().enumerate() {
        let what = |kind| format!("{kind} id in protection domain '{}':", domain.name);
        let ends = system.channels.iter().flat_map(|c| c.ends.iter().map(move |e| (c.line, e)));
        let ends = ends.filter(|(_, end)| end.domain == index).map(|(line, end)| (line, end.id));
        unique(domain.irqs.iter().map(|i| (i.line, i.id)).chain(ends), file, &what("channel"))?;
        let children = system.domains.iter().filter_map(|d| Some((d.line, d.parent?)));
        let children = children.filter(|(_, p)| p.domain == index).map(|(line, p)| (line, p.id));
        unique(children, file, &what("child"))?;
        unique(domain.ports.iter().map(|p| (p.line, p.id)), file, &what("I/O port"))?;
    }
    Ok(())
}

fn interrupts(system: &System, file: &Path) -> Result<(), Error> {
    let irqs = || system.domains.iter().flat_map(|d| &d.irqs);
    unique(irqs().map(|irq| (irq.line, irq.vector())), file, "interrupt vector")?;
    // A pin has one vector: the second would take the interrupts of the first.
    let pins = irqs().filter_map(|irq| match irq.irq {
        Irq::Ioapic { ioapic, pin, .. } => Some((irq.line, format!("{pin} of I/O APIC {ioapic}"))),
        Irq::Msi { .. } => None,
    });
    unique(pins, file, "interrupt pin")
}

fn calls(system: &System, channel: &Channel, file: &Path) -> Result<(), Error> {
    for (from, to) in channel.directions() {
        let (caller, callee) = (&system.domains[from.domain], &system.domains[to.domain]);
        if !from.call {
            continue;
        }
        if caller.priority >= callee.priority {
            let reason = format!(
                "a PPC must be to a protection domain of strictly higher priority, but '{}' has {} and '{}' has {}",
                caller.name, caller.priority, callee.name, callee.priority
            );
            return Err(Error::line(file, channel.line, reason));
        }
        if callee.machine.is_some() {
            let reason = format!(
                "'{}' has a vCPU and so cannot receive PPCs (here from '{}') on x86-64",
                callee.name, caller.name
            );
            return Err(Error::line(file, channel.line, reason));
        }
    }
    Ok(())
}

fn ports(system: &System, file: &Path) -> Result<(), Error> {
    let all: Vec<_> = system.domains.iter().flat_map(|d| d.ports.iter().map(move |p| (d, p))).collect();
    for (i, (domain, here)) in all.iter().enumerate() {
        let before = all[..i].iter().find(|(_, p)| here.first <= p.last && p.first <= here.last);
        if let Some((other, there)) = before {
            let reason = format!(
                "I/O ports [{:#x}..{:#x}] of '{}' overlap with [{:#x}..{:#x}] of '{}' (line {})",
                here.first, here.last, domain.name, there.first, there.last, other.name, there.line
            );
            return Err(Error::line(file, here.line, reason));
        }
    }
    Ok(())
}

fn maps(system: &System, maps: &[Map], top: u64, inside: &str, file: &Path) -> Result<(), Error> {
    let mut checked: Vec<(&Map, u64)> = Vec::new();
    for map in maps {
        let error = |reason| Error::line(file, map.line, reason);
        let region = system
            .region(&map.region)
            .ok_or_else(|| error(format!("map: unknown memory region '{}'", map.region)))?;
        if map.address % region.page_size != 0 {
            let (address, size) = (map.address, region.page_size);
            return Err(error(format!("map: vaddr {address:#x} is not aligned to the page size {size:#x}")));
        }
        let end = map.address.checked_add(region.size).filter(|end| *end <= top).ok_or_else(|| {
            let (name, start, size) = (&map.region, map.address, region.size);
            error(format!(
                "map: '{name}' at {start:#x} with {size:#x} bytes exceeds the end {top:#x} of {inside}"
            ))
        })?;
        let overlap =
            checked.iter().find(|(other, other_end)| map.address < *other_end && other.address < end);
        if let Some((other, other_end)) = overlap {
            return Err(error(format!(
                "map: '{}' [{:#x}..{end:#x}) overlaps with '{}' [{:#x}..{other_end:#x}) in {inside} (line {})",
                map.region, map.address, other.region, other.address, other.line
            )));
        }
        checked.push((map, end));
    }
    Ok(())
}

fn setvars(system: &System, domain: &Domain, file: &Path) -> Result<(), Error> {
    for setvar in &domain.setvars {
        let error = |reason| Error::line(file, setvar.line, reason);
        match &setvar.value {
            Value::Number(_) | Value::SizeOf(_) => {}
            Value::PrefillSizeOf(name) => {
                if system.region(name).is_some_and(|region| region.prefill.is_none()) {
                    return Err(error(format!("setvar_prefill_size: '{name}' has no prefill_path")));
                }
            }
            Value::PhysicalAddressOf(name) => match system.region(name).map(|region| region.physical) {
                Some(Some(_)) => {}
                Some(None) => {
                    return Err(error(format!("setvar: region '{name}' needs a phys_addr on x86-64")));
                }
                None => return Err(error(format!("setvar: unknown memory region '{name}'"))),
            },
        }
    }
    Ok(())
}

fn cspace(system: &System, domain: &Domain, file: &Path) -> Result<(), Error> {
    let what = format!("capability slot in the cspace of '{}':", domain.name);
    unique(domain.cspace.iter().map(|cap| (cap.line, cap.slot)), file, &what)?;
    match domain.cspace.iter().find(|cap| system.domain(&cap.domain).is_none()) {
        None => Ok(()),
        Some(cap) => Err(Error::line(file, cap.line, format!("unknown protection domain '{}'", cap.domain))),
    }
}

/// The PMU right goes to a domain that has a channel to the virtual machine's domain, and to no other.
fn pmu_authority(system: &System, domain: &Domain, file: &Path) -> Result<(), Error> {
    for authority in &domain.pmu_of {
        let error = |reason| Error::line(file, authority.line, format!("pmu-authority: {reason}"));
        let name = &authority.machine;
        let Some(owner) = machine_owner(system, name) else {
            return Err(error(format!("unknown virtual machine '{name}'")));
        };
        if system.domains[owner].name == domain.name {
            return Err(error(format!("'{}' runs '{name}' and so cannot program its PMU", domain.name)));
        }
        if pmu_channel(system, domain, owner).is_none() {
            let owner = &system.domains[owner].name;
            return Err(error(format!("'{}' has no channel to '{owner}', which runs '{name}'", domain.name)));
        }
    }
    Ok(())
}

/// One domain alone programs a virtual machine's PMU: what it has approved would not hold if another did too.
fn authorities(system: &System, file: &Path) -> Result<(), Error> {
    let all = system.domains.iter().flat_map(|d| d.pmu_of.iter().map(|a| (a.line, a.machine.as_str())));
    unique(all, file, "pmu-authority for virtual machine")
}

/// Index of the protection domain that runs this virtual machine.
pub(crate) fn machine_owner(system: &System, machine: &str) -> Option<usize> {
    system.domains.iter().position(|d| d.machine.as_ref().is_some_and(|m| m.name == machine))
}

/// Identifier, at `domain`, of its channel to the domain `owner`. Of several it is the first by which `owner` calls, since the
/// domain knows the virtual machine by the channel of its requests; without one, the first.
pub(crate) fn pmu_channel(system: &System, domain: &Domain, owner: usize) -> Option<u32> {
    let directions = || system.channels.iter().flat_map(Channel::directions);
    let between = |(here, there): &(&End, &End)| {
        there.domain == owner && system.domains[here.domain].name == domain.name
    };
    let called = directions().find(|ends| between(ends) && ends.1.call);
    called.or_else(|| directions().find(between)).map(|(here, _)| here.id)
}

fn physical(system: &System, file: &Path) -> Result<(), Error> {
    let placed = system.regions.iter().filter_map(|r| Some((r, r.physical?, r.physical? + r.size)));
    let placed: Vec<_> = placed.collect();
    for (i, (here, start, end)) in placed.iter().enumerate() {
        if let Some((there, s, e)) = placed[..i].iter().find(|(_, s, e)| start < e && s < end) {
            let reason = format!(
                "memory region '{}' [{start:#x}..{end:#x}) overlaps with '{}' [{s:#x}..{e:#x}) in physical memory",
                here.name, there.name
            );
            return Err(Error::line(file, here.line, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::amounts;
    use crate::model::{LARGE_PAGE, Region, SMALL_PAGE, System};
    use std::path::Path;

    fn region(name: &str, size: u64, page_size: u64, prefill: Option<usize>) -> Region {
        Region {
            line: 7,
            name: name.to_owned(),
            size,
            page_size,
            page_size_given: false,
            physical: None,
            prefill: prefill.map(|bytes| vec![0; bytes]),
        }
    }

    fn refusal(regions: Vec<Region>) -> Option<String> {
        let system = System { regions, ..System::default() };
        amounts(&system, Path::new("a.xml")).err().map(|error| error.to_string())
    }

    #[test]
    fn regions_of_more_pages_than_the_root_task_has_slots_are_refused() {
        let many = region("many", 0xffff * SMALL_PAGE, SMALL_PAGE, None);
        let one = |page_size| region("one", page_size, page_size, None);
        assert_eq!(refusal(vec![many, one(LARGE_PAGE)]), None);
        let many = region("many", 0x1_0000 * SMALL_PAGE, SMALL_PAGE, None);
        let text = refusal(vec![many, one(SMALL_PAGE)]).unwrap_or_default();
        assert!(text.starts_with("a.xml:7: memory_region 'one': ") && text.contains("65537 pages"), "{text}");
        let all = region("all", !(LARGE_PAGE - 1), LARGE_PAGE, None);
        assert!(refusal(vec![all]).is_some_and(|text| text.contains("page_size=\"0x200000\"")));
    }

    #[test]
    fn prefill_files_of_more_than_an_image_holds_are_refused() {
        let half = || region("half", 1 << 30, LARGE_PAGE, Some(1 << 30));
        assert_eq!(refusal(vec![half(), half()]), None);
        let text =
            refusal(vec![half(), half(), region("more", 0x1000, SMALL_PAGE, Some(1))]).unwrap_or_default();
        assert!(text.contains("'more'") && text.contains("2147483649 bytes"), "{text}");
    }
}
