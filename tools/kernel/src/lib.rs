//! Builds the bundled seL4 kernel with its mends and the PMU extension.
//!
//! The source comes from the crate `sel4-sys`, which Cargo fetches and checks; it is never compiled as a crate
//! and never copied into this repository. [`build`] copies it below the target folder, applies `mends/`, adds
//! `extension/` and compiles the result twice reproducibly: the same inputs give the same bytes.

#![forbid(unsafe_code)]

mod abi;
mod compile;
mod configuration;
mod error;
mod generate;
mod inputs;
mod mend;
mod source;

pub use configuration::Config;
pub use error::Error;

use std::fs;
use std::path::{Path, PathBuf};

/// A built kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The 64-bit ELF file, with symbols.
    pub elf: PathBuf,
    /// The same as a 32-bit ELF file, which Multiboot loaders take.
    pub elf32: PathBuf,
    /// Rust source of the numbers that user level shares with this kernel (`sel4_abi::numbers`); empty for the
    /// published one.
    pub abi: PathBuf,
    /// SHA-256 of everything that the build depends on, in hexadecimal.
    pub inputs: String,
}

/// Which source is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// With all mends and the PMU extension: the product.
    Extended,
    /// As published, with nothing changed: only to compare sizes with.
    Published,
}

/// Builds the kernel below `target`/kernel, or returns the one there if no input has changed since.
///
/// `progress` is called with a line for each step that takes time; never when nothing is to do.
///
/// # Errors
/// A tool that is missing or fails, a mend that does not fit the source, or a folder that cannot be written.
pub fn build(
    target: &Path,
    config: Config,
    variant: Variant,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, Error> {
    let folder = target.join("kernel");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let lock = folder.join("lock");
    let lock_file = fs::File::create(&lock).map_err(Error::io(&lock))?;
    lock_file.lock().map_err(Error::io(&lock))?;

    let published = source::locate()?;
    let mends = mend::read_all(&mend::folder())?;
    let inputs = inputs::hash(&published, config, variant)?;
    let out = folder.join(match variant {
        Variant::Extended => config.name().to_owned(),
        Variant::Published => format!("{}-published", config.name()),
    });
    let kernel = Kernel {
        elf: out.join("kernel.elf"),
        elf32: out.join("kernel32.elf"),
        abi: out.join("numbers.rs"),
        inputs,
    };
    let stamp = out.join("inputs");
    if fs::read_to_string(&stamp).is_ok_and(|old| old == kernel.inputs) && kernel.is_complete() {
        return Ok(kernel);
    }
    progress(&format!("building the {} kernel", config.name()));
    source::recreate(&out)?;
    let tree = out.join("source");
    source::copy(&published, &tree)?;
    if variant == Variant::Extended {
        mend::apply_all(&mends, &tree)?;
        source::add_extension(&tree)?;
    }
    let python = generate::python(&folder, progress)?;
    let step = compile::Step { out: &out, tree: &tree, config, variant };
    step.configure()?;
    generate::headers(&step, &python)?;
    step.kernel(&kernel)?;
    match variant {
        Variant::Extended => abi::write(&step, &kernel.abi)?,
        Variant::Published => fs::write(&kernel.abi, "").map_err(Error::io(&kernel.abi))?,
    }
    fs::write(&stamp, &kernel.inputs).map_err(Error::io(&stamp))?;
    Ok(kernel)
}

impl Kernel {
    fn is_complete(&self) -> bool {
        [&self.elf, &self.elf32, &self.abi].iter().all(|file| file.exists())
    }

    /// Bytes of the section `.text`.
    ///
    /// # Errors
    /// The ELF file cannot be read, or `objdump` is missing.
    pub fn text_size(&self) -> Result<u64, Error> {
        compile::section_size(&self.elf, ".text")
    }

    /// Whether a function executes an instruction, or calls a function of that name.
    ///
    /// # Errors
    /// The ELF file cannot be read, it has no such function, or `objdump` is missing.
    pub fn function_has(&self, function: &str, instruction: &str) -> Result<bool, Error> {
        compile::function_has(&self.elf, function, instruction)
    }
}
