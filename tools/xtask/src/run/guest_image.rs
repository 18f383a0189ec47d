//! `guest-image`: the file that a system description names as a VM's *guest_image* (docs/architecture.md, "The guest
//! image").

use super::guest::{DEFAULT_MEMORY, Guest};
use super::unwritable;
use crate::process::{Failure, Outcome};
use std::fs;
use std::path::PathBuf;

/// What `cargo xtask guest-image` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// As `cargo xtask run` takes it: a Linux bzImage, a Multiboot kernel, a 64-bit ELF file, or a guest of this project
    #[arg(long, value_name = "FILE|NAME")]
    guest: String,
    /// The command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// The initrd of Linux, or the module of a Multiboot kernel
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The memory that the description gives the VM, in MiB: what does not fit is refused
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY)]
    memory: u32,
    /// The file to write
    out: PathBuf,
}

/// Writes the file.
///
/// # Errors
/// What the VMM would refuse.
pub fn guest_image(arguments: &Arguments) -> Outcome {
    let Arguments { guest, append, initrd, memory, out } = arguments;
    if guest == super::linux::NAME {
        return Err(Failure::Environment(
            "the guest linux is put together by `cargo xtask run` alone: name a bzImage, and its files by --initrd"
                .to_owned(),
        ));
    }
    let guest = Guest { name: guest, append, initrd: initrd.as_deref(), memory: *memory };
    let image = guest.image()?;
    fs::write(out, &image).map_err(|e| unwritable(out, &e))?;
    println!("{}: {} bytes, for a VM of {memory} MiB", out.display(), image.len());
    Ok(())
}
