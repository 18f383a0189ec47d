//! A description for the Microkit 2.3 tool. Its rules are its own and come when it runs; here is what it names, and what
//! that tool stops at without a reason.

use crate::error::Error;
use crate::files;
use crate::model::{LARGE_PAGE, SMALL_PAGE};
use crate::xml::Element;
use std::path::{Path, PathBuf};

/// Paths of the program images that the description `system` names, in its order, as it writes them. Prefill files are
/// looked for in `search`; one that is in none of these folders is the tool's to refuse.
///
/// # Errors
/// No well-formed XML, or a prefill file that ends before the last page of its region: there the tool panics.
pub fn stock_program_images(system: &Path, search: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let xml =
        std::fs::read_to_string(system).map_err(|e| Error::file(system, format!("cannot be read: {e}")))?;
    let document = roxmltree::Document::parse(&xml)
        .map_err(|e| Error::line(system, e.pos().row, format!("no well-formed XML: {e}")))?;
    let mut programs = Vec::new();
    for element in Element::root(&document, system).descendants() {
        match element.tag() {
            "program_image" => programs.extend(element.get("path").map(PathBuf::from)),
            "memory_region" => prefilled(&element, search)?,
            _ => {}
        }
    }
    Ok(programs)
}

fn prefilled(element: &Element<'_>, search: &[PathBuf]) -> Result<(), Error> {
    let (Some(path), Some(size)) = (element.get("prefill_path"), element.number("size")?) else {
        return Ok(());
    };
    // Without a page size the tool takes large pages where all is aligned to them.
    let smallest = if size.is_multiple_of(LARGE_PAGE) { LARGE_PAGE } else { SMALL_PAGE };
    let page_size = element.number("page_size")?.unwrap_or(smallest);
    let Some(Ok(file)) = files::find(Path::new(path), search).map(std::fs::metadata) else { return Ok(()) };
    if file.len() < size.saturating_sub(page_size) {
        return Err(element.error(format_args!(
            "prefill file '{path}' has {} bytes and ends before the last page of the region, where the Microkit tool 2.3 \
             panics: leave out size",
            file.len()
        )));
    }
    Ok(())
}
