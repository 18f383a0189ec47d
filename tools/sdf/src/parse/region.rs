//! `memory_region`.

use super::leaf;
use crate::error::Error;
use crate::files;
use crate::model::{LARGE_PAGE, Region, SMALL_PAGE};
use crate::xml::Element;
use std::path::{Path, PathBuf};

/// Reads a `memory_region`, and the file that it is filled from.
pub(super) fn parse(element: &Element<'_>, search: &[PathBuf]) -> Result<Region, Error> {
    element.only(&["name", "size", "page_size", "phys_addr", "prefill_path", "prefill_bootinfo"])?;
    leaf(element)?;
    let name = element.required("name")?.to_owned();
    if element.get("prefill_bootinfo").is_some() {
        return Err(element.error("prefill_bootinfo: the bundled kernel gives no such boot information"));
    }
    let given = element.number("page_size")?;
    let page_size = given.unwrap_or(SMALL_PAGE);
    if ![SMALL_PAGE, LARGE_PAGE].contains(&page_size) {
        return Err(element.error(format_args!("page size {page_size:#x} not supported")));
    }
    let prefill = prefill(element, search)?;
    let size = size(element, prefill.as_deref(), page_size)?;
    let physical = element.number("phys_addr")?;
    if physical.is_some_and(|address| address % page_size != 0) {
        return Err(element.error("phys_addr is not aligned to the page size"));
    }
    if physical.is_some_and(|address| address.checked_add(size).is_none()) {
        return Err(element.error("phys_addr and size exceed 64 bits"));
    }
    Ok(Region {
        line: element.line(),
        name,
        size,
        page_size,
        page_size_given: given.is_some(),
        physical,
        prefill,
    })
}

fn prefill(element: &Element<'_>, search: &[PathBuf]) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = element.get("prefill_path") else { return Ok(None) };
    let found = files::find(Path::new(path), search).ok_or_else(|| {
        element.error(format_args!("prefill file '{path}' is in no search path; name its folder by --search"))
    })?;
    let bytes = std::fs::read(&found)
        .map_err(|e| element.error(format_args!("prefill file '{}': {e}", found.display())))?;
    if bytes.is_empty() {
        return Err(element.error(format_args!("prefill file '{path}' is empty")));
    }
    Ok(Some(bytes))
}

fn size(element: &Element<'_>, prefill: Option<&[u8]>, page_size: u64) -> Result<u64, Error> {
    let filled = prefill.map(|bytes| bytes.len() as u64);
    let size = match (element.number("size")?, filled) {
        (Some(size), _) => size,
        (None, Some(filled)) => filled.next_multiple_of(page_size),
        (None, None) => {
            return Err(element.error("size must be given if the region is not prefilled"));
        }
    };
    if size == 0 {
        return Err(element.error("size must not be 0"));
    }
    if size % page_size != 0 {
        return Err(element.error("size is not a multiple of the page size"));
    }
    if filled.is_some_and(|filled| filled > size) {
        return Err(element.error("the prefill file is larger than the region"));
    }
    Ok(size)
}
