//! `protection_domain`.

use super::{irq, leaf, machine, map, no_instructions};
use crate::error::Error;
use crate::model::{
    Domain, ForeignCap, ForeignKind, MAX_DOMAINS, MAX_ID, MAX_NAME, MAX_PRIORITY, PmuAuthority, Program,
    SMALL_PAGE, STACK_TOP, Setvar, Value,
};
use crate::xml::Element;

const STACK_DEFAULT: u64 = 0x2000;
const STACK_MIN: u64 = 0x1000;
const STACK_MAX: u64 = 16 << 20;
/// Slots that `cspace` may fill: 1 to 127.
const FOREIGN_SLOTS: u64 = 128;

/// A protection domain, its identifier in its parent, and the domains inside it.
pub(super) struct Tree {
    pub(super) domain: Domain,
    pub(super) id: Option<u32>,
    pub(super) children: Vec<Tree>,
}

/// Reads a `protection_domain` that is inside `depth` others.
pub(super) fn parse(element: &Element<'_>, depth: usize) -> Result<Tree, Error> {
    let child = depth > 0;
    if depth >= MAX_DOMAINS {
        return Err(element.error(format_args!("nested too deeply; the maximum is {MAX_DOMAINS}")));
    }
    let known = [
        "name",
        "priority",
        "budget",
        "period",
        "passive",
        "stack_size",
        "smc",
        "cpu",
        "domain",
        "fpu",
        "id",
        "setvar_id",
    ];
    element.only(if child { &known } else { &known[..10] })?;
    let name = element.required("name")?.to_owned();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(element.error(format_args!("name must have 1 to {MAX_NAME} bytes")));
    }
    let id = if child { Some(element.decimal("id", 0, MAX_ID)?) } else { None };
    refuse_meaningless(element)?;
    let priority = element.number("priority")?.unwrap_or(0);
    if priority > MAX_PRIORITY {
        return Err(element.error(format_args!("priority must be 0 to {MAX_PRIORITY}")));
    }
    let mut domain = Domain {
        line: element.line(),
        name,
        parent: None,
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        passive: element.flag("passive", false)?,
        stack_size: stack_size(element)?,
        program: program(element)?,
        maps: Vec::new(),
        irqs: Vec::new(),
        ports: Vec::new(),
        setvars: Vec::new(),
        cspace: Vec::new(),
        machine: None,
        pmu_of: pmu_authority(element)?,
    };
    let mut children = Vec::new();
    for inner in element.children() {
        if inner.tag() == "protection_domain" {
            let tree = parse(&inner, depth + 1)?;
            let value = Value::Number(tree.id.unwrap_or_default().into());
            add_setvar(&mut domain.setvars, &inner, "setvar_id", value)?;
            children.push(tree);
        } else {
            part(&mut domain, element, &inner)?;
        }
    }
    Ok(Tree { domain, id, children })
}

/// Reads an element of a protection domain.
fn part(domain: &mut Domain, element: &Element<'_>, inner: &Element<'_>) -> Result<(), Error> {
    match inner.tag() {
        "program_image" => {}
        "map" => {
            let map = map::parse(inner, STACK_TOP - domain.stack_size, true)?;
            let setvars = &mut domain.setvars;
            add_setvar(setvars, inner, "setvar_vaddr", Value::Number(map.address))?;
            add_setvar(setvars, inner, "setvar_size", Value::SizeOf(map.region.clone()))?;
            add_setvar(setvars, inner, "setvar_prefill_size", Value::PrefillSizeOf(map.region.clone()))?;
            domain.maps.push(map);
        }
        "irq" => {
            let irq = irq::parse_irq(inner)?;
            add_setvar(&mut domain.setvars, inner, "setvar_id", Value::Number(irq.id.into()))?;
            domain.irqs.push(irq);
        }
        "ioport" => {
            let ports = irq::parse_ports(inner)?;
            add_setvar(&mut domain.setvars, inner, "setvar_id", Value::Number(ports.id.into()))?;
            add_setvar(&mut domain.setvars, inner, "setvar_addr", Value::Number(ports.first.into()))?;
            domain.ports.push(ports);
        }
        "setvar" => {
            inner.only(&["symbol", "region_paddr"])?;
            leaf(inner)?;
            inner.required("symbol")?;
            let region = inner.required("region_paddr")?.to_owned();
            add_setvar(&mut domain.setvars, inner, "symbol", Value::PhysicalAddressOf(region))?;
        }
        "virtual_machine" => {
            if domain.machine.is_some() {
                return Err(inner.error("virtual_machine must only be given once"));
            }
            let parsed = machine::parse(inner)?;
            if let Some(symbol) = parsed.setvar_id {
                push_setvar(&mut domain.setvars, inner, symbol, Value::Number(parsed.machine.vcpu.into()))?;
            }
            domain.machine = Some(parsed.machine);
        }
        "cspace" => {
            if element.children().filter(|e| e.tag() == "cspace").count() > 1 {
                return Err(inner.error("cspace must only be given once"));
            }
            domain.cspace = cspace(inner)?;
        }
        _ => return Err(inner.misplaced()),
    }
    Ok(())
}

/// Refuses what the Microkit tool knows and the bundled kernel cannot do.
fn refuse_meaningless(element: &Element<'_>) -> Result<(), Error> {
    for name in ["budget", "period"] {
        if element.get(name).is_some() {
            return Err(element
                .error(format_args!("{name}: the bundled kernel has no scheduling contexts; leave it out")));
        }
    }
    if element.get("domain").is_some() {
        return Err(element.error("domain: the bundled kernel has one scheduling domain; leave it out"));
    }
    if element.flag("smc", false)? {
        return Err(element.error("smc is for ARM; leave it out"));
    }
    if !element.flag("fpu", true)? {
        return Err(element.error("fpu: the bundled kernel cannot take the FPU from a thread; leave it out"));
    }
    only_cpu_0(element)
}

/// Refuses a CPU other than the one that the kernel uses.
pub(super) fn only_cpu_0(element: &Element<'_>) -> Result<(), Error> {
    match element.number("cpu")? {
        None | Some(0) => Ok(()),
        Some(cpu) => Err(element.error(format_args!("cpu must be 0, the only core, not {cpu}"))),
    }
}

fn stack_size(element: &Element<'_>) -> Result<u64, Error> {
    let size = element.number("stack_size")?.unwrap_or(STACK_DEFAULT);
    if !(STACK_MIN..=STACK_MAX).contains(&size) {
        return Err(element.error(format_args!("stack_size must be {STACK_MIN:#x} to {STACK_MAX:#x} bytes")));
    }
    if size % SMALL_PAGE != 0 {
        return Err(element.error(format_args!("stack_size must be a multiple of {SMALL_PAGE:#x}")));
    }
    Ok(size)
}

fn program(element: &Element<'_>) -> Result<Program, Error> {
    let mut images = element.children().filter(|e| e.tag() == "program_image");
    let image = images.next().ok_or_else(|| element.error("missing element 'program_image'"))?;
    if let Some(second) = images.next() {
        return Err(second.error("program_image must only be given once"));
    }
    image.only(&["path", "path_for_symbols"])?;
    leaf(&image)?;
    Ok(Program {
        line: image.line(),
        path: image.required("path")?.into(),
        symbols: image.get("path_for_symbols").map(Into::into),
    })
}

fn cspace(element: &Element<'_>) -> Result<Vec<ForeignCap>, Error> {
    element.only(&[])?;
    no_instructions(element)?;
    let cap = |child: Element<'_>| {
        let kind = match child.tag() {
            "cap_tcb" => ForeignKind::Tcb,
            "cap_vspace" => ForeignKind::VSpace,
            "cap_sc" => {
                return Err(child.error("the bundled kernel has no scheduling contexts; leave it out"));
            }
            _ => return Err(child.misplaced()),
        };
        child.only(&["slot", "pd"])?;
        leaf(&child)?;
        let slot = child.required_number("slot")?;
        if slot == 0 || slot >= FOREIGN_SLOTS {
            return Err(child.error(format_args!("slot must be 1 to {}, not {slot}", FOREIGN_SLOTS - 1)));
        }
        let slot = u32::try_from(slot).unwrap_or_default();
        Ok(ForeignCap { line: child.line(), slot, domain: child.required("pd")?.to_owned(), kind })
    };
    element.children().map(cap).collect()
}

/// Reads the instructions `<?pmu-authority vm="NAME"?>`.
fn pmu_authority(element: &Element<'_>) -> Result<Vec<PmuAuthority>, Error> {
    let read = |(line, name, text): (u32, &str, &str)| {
        let error = |reason| Error::line(element.file(), line, reason);
        if name != "pmu-authority" {
            return Err(error(format!("invalid processing instruction '{name}' here")));
        }
        let quoted = text.trim().strip_prefix("vm=");
        let machine = quoted.and_then(|q| {
            let quote = q.chars().next().filter(|c| ['"', '\''].contains(c))?;
            q.strip_prefix(quote)?
                .strip_suffix(quote)
                .filter(|name| !name.is_empty() && !name.contains(quote))
        });
        let machine = machine
            .ok_or_else(|| error("pmu-authority: the only attribute must be vm=\"NAME\"".to_owned()))?
            .to_owned();
        Ok(PmuAuthority { line, machine })
    };
    element.instructions().map(read).collect()
}

/// Adds the variable that attribute `attribute` of `element` names, if it is there.
pub(super) fn add_setvar(
    setvars: &mut Vec<Setvar>,
    element: &Element<'_>,
    attribute: &str,
    value: Value,
) -> Result<(), Error> {
    match element.owned(attribute) {
        None => Ok(()),
        Some(symbol) => push_setvar(setvars, element, symbol, value),
    }
}

fn push_setvar(
    setvars: &mut Vec<Setvar>,
    element: &Element<'_>,
    symbol: String,
    value: Value,
) -> Result<(), Error> {
    if setvars.iter().any(|other| other.symbol == symbol) {
        return Err(element.error(format_args!("symbol '{symbol}' is already set by another attribute")));
    }
    setvars.push(Setvar { line: element.line(), symbol, value });
    Ok(())
}
