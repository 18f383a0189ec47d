//! `channel`.

use super::{domain, leaf, no_instructions};
use crate::error::Error;
use crate::model::{Channel, End, MAX_ID, System, Value};
use crate::xml::Element;

/// Reads a `channel` between protection domains of `system`, and adds the variables that it sets.
pub(super) fn parse(element: &Element<'_>, system: &mut System) -> Result<Channel, Error> {
    element.only(&[])?;
    no_instructions(element)?;
    let mut ends = Vec::new();
    for child in element.children() {
        if child.tag() != "end" {
            return Err(child.misplaced());
        }
        ends.push(end(&child, system)?);
    }
    let ends: [End; 2] =
        ends.try_into().map_err(|_| element.error("exactly two end elements must be given"))?;
    if ends[0].call && ends[1].call {
        return Err(element.error("only one end may have pp"));
    }
    Ok(Channel { line: element.line(), ends })
}

fn end(element: &Element<'_>, system: &mut System) -> Result<End, Error> {
    element.only(&["pd", "id", "pp", "notify", "setvar_id"])?;
    leaf(element)?;
    let name = element.required("pd")?;
    let id = element.decimal("id", 0, MAX_ID)?;
    let notify = element.flag("notify", true)?;
    let call = element.flag("pp", false)?;
    let index = system
        .domain(name)
        .ok_or_else(|| element.error(format_args!("unknown protection domain '{name}'")))?;
    let setvars = &mut system.domains[index].setvars;
    domain::add_setvar(setvars, element, "setvar_id", Value::Number(id.into()))?;
    Ok(End { domain: index, id, call, notify })
}
