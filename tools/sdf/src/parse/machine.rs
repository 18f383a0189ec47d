//! `virtual_machine`.

use super::{leaf, map, no_instructions};
use crate::error::Error;
use crate::model::{MAX_ID, Machine, USER_TOP};
use crate::xml::Element;

/// A virtual machine and the variable that its vCPU's identifier goes to.
pub(super) struct Parsed {
    pub(super) machine: Machine,
    pub(super) setvar_id: Option<String>,
}

/// Reads a `virtual_machine`.
pub(super) fn parse(element: &Element<'_>) -> Result<Parsed, Error> {
    element.only(&["name"])?;
    no_instructions(element)?;
    let name = element.required("name")?.to_owned();
    let mut vcpu = None;
    let mut setvar_id = None;
    let mut maps = Vec::new();
    for child in element.children() {
        match child.tag() {
            "vcpu" if vcpu.is_some() => {
                return Err(child.error("a virtual machine has one vcpu on x86-64"));
            }
            "vcpu" => {
                child.only(&["id", "setvar_id", "cpu"])?;
                leaf(&child)?;
                super::domain::only_cpu_0(&child)?;
                vcpu = Some(child.decimal("id", 0, MAX_ID)?);
                setvar_id = child.owned("setvar_id");
            }
            "map" => maps.push(map::parse(&child, USER_TOP, false)?),
            _ => return Err(child.misplaced()),
        }
    }
    let vcpu = vcpu.ok_or_else(|| element.error("missing element 'vcpu'"))?;
    Ok(Parsed { machine: Machine { line: element.line(), name, vcpu, maps }, setvar_id })
}
