//! `map`, in a protection domain and in a virtual machine.

use super::leaf;
use crate::error::Error;
use crate::model::Map;
use crate::xml::Element;

/// Reads a `map` below address `end`; `setvars` says whether it may set variables, which a guest's cannot.
pub(super) fn parse(element: &Element<'_>, end: u64, setvars: bool) -> Result<Map, Error> {
    let all = ["mr", "vaddr", "perms", "cached", "setvar_vaddr", "setvar_size", "setvar_prefill_size"];
    element.only(if setvars { &all } else { &all[..4] })?;
    leaf(element)?;
    let region = element.required("mr")?.to_owned();
    let address = element.required_number("vaddr")?;
    if address >= end {
        return Err(element.error(format_args!("vaddr ({address:#x}) must be less than {end:#x}")));
    }
    let permissions = element.get("perms").unwrap_or("rw");
    if !permissions.chars().all(|c| "rwx".contains(c)) {
        return Err(element.error("perms must only be a combination of 'r', 'w' and 'x'"));
    }
    let has = |c| permissions.contains(c);
    if !has('r') {
        let reason = if permissions == "w" { "write-only" } else { "unreadable" };
        return Err(element.error(format_args!("perms must have 'r': {reason} mappings are not allowed")));
    }
    let cached = element.flag("cached", true)?;
    if !cached && !setvars {
        return Err(element.error("cached: the bundled kernel's guest memory is always cached; leave it out"));
    }
    Ok(Map {
        line: element.line(),
        region,
        address,
        read: has('r'),
        write: has('w'),
        execute: has('x'),
        cached,
    })
}
