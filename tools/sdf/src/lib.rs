//! From a system description in the Microkit 2.3 dialect to a capability distribution, and from that to the
//! boot module that the bundled kernel starts.
//!
//! The dialect is the Microkit manual's for x86-64, with the same refusals; what the bundled kernel cannot do is
//! refused by name. One thing is ours, and the Microkit tool ignores it: `<?pmu-authority vm="NAME"?>` in a
//! protection domain gives it the right to the PMU of that virtual machine.

mod boot_module;
mod build;
mod check;
mod distribution;
mod error;
mod files;
mod json;
mod model;
mod parse;
mod program;
pub mod slots;
mod stock;
mod xml;

pub use boot_module::boot_module;
pub use build::Options;
pub use distribution::{Distribution, Fill, Named};
pub use error::Error;
pub use stock::stock_program_images;

use std::path::{Path, PathBuf};

/// Makes the distribution of the system that the file `system` describes. Program images and prefill files are
/// looked for in the folders `search`, in order.
///
/// # Errors
/// The first rule that the description or a program breaks.
pub fn build(system: &Path, search: &[PathBuf], options: &Options) -> Result<Distribution, Error> {
    let xml =
        std::fs::read_to_string(system).map_err(|e| Error::file(system, format!("cannot be read: {e}")))?;
    let model = read(system, &xml, search)?;
    check::amounts(&model, system)?;
    build::build(&model, system, search, options)
}

/// Paths of the program images that the description `system` names, in its order, as it writes them.
///
/// # Errors
/// The first rule that the description breaks.
pub fn program_images(system: &Path, search: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let xml =
        std::fs::read_to_string(system).map_err(|e| Error::file(system, format!("cannot be read: {e}")))?;
    let model = read(system, &xml, search)?;
    Ok(model.domains.into_iter().map(|domain| domain.program.path).collect())
}

fn read(file: &Path, xml: &str, search: &[PathBuf]) -> Result<model::System, Error> {
    let mut system = parse::parse(file, xml, search)?;
    check::check(&system, file)?;
    check::choose_page_sizes(&mut system);
    Ok(system)
}
