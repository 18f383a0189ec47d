//! `image`: a system description to what machines boot.
//!
//! ```ignore
//! let image = image::build(&Request::new(Config::Debug, &system, &folder))?;
//! let mut machine = image.in_qemu(&folder.join("run"));
//! machine.sentinels = vec!["passed".into()];
//! image::ran_to_end(&machine.run(|line| println!("{line}"))?)
//! ```

mod boot;
pub mod freestanding;
pub mod refusals;
pub mod system_tests;

pub use boot::ran_to_end;

use crate::machine::iso;
use crate::process::{Failure, Outcome};
use crate::sdk;
use crate::workspace::{claim, output, root, unwritable, writable};
use freestanding::Build;
use kernel::Config;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What `cargo xtask image` takes.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    kernel: sdk::Choice,
    /// The system description [default: system.xml of the workspace]
    #[arg(long, value_name = "FILE.xml")]
    system: Option<PathBuf>,
    /// The folder for the results [default: in the target folder, image/ and the kernel's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A folder with files that the description names by prefill_path, or with programs (may be repeated)
    #[arg(long, value_name = "DIR")]
    search: Vec<PathBuf>,
    /// Also write the capability distribution, as JSON
    #[arg(long, value_name = "FILE")]
    capdl: Option<PathBuf>,
}

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Which kernel.
    pub config: Config,
    /// The system description.
    pub system: &'a Path,
    /// The folder for the results, created if need be.
    pub out: &'a Path,
    /// Where `prefill_path` files and programs that are not of the workspace are, besides the description's
    /// folder.
    pub search: Vec<PathBuf>,
    /// Where the capability distribution goes, as JSON.
    pub capdl: Option<&'a Path>,
}

impl<'a> Request<'a> {
    /// A request without further search folders and without JSON.
    pub fn new(config: Config, system: &'a Path, out: &'a Path) -> Self {
        Self { config, system, out, search: Vec::new(), capdl: None }
    }
}

/// A bootable system.
#[derive(Debug, Clone)]
pub struct Image {
    /// The Multiboot kernel (32-bit ELF).
    pub kernel: PathBuf,
    /// Its one module: the initialiser with all that it starts.
    pub module: PathBuf,
    /// Both on a bootable CD.
    pub iso: PathBuf,
}

impl Image {
    /// Makes the CD once more, with a boot loader that keeps `memory` from the kernel: it is then where devices are.
    pub fn reserve(&self, memory: &Range<u64>) -> Outcome {
        let modules = [self.module.as_path()];
        let payload = iso::Payload::Multiboot { kernel: &self.kernel, arguments: "", modules: &modules };
        iso::make_reserving(&self.iso, &payload, Some(memory)).map(drop)
    }
}

impl Image {
    /// Writes kernel and module, and says whether the CD must be made. One of others is removed before: who is stopped
    /// then leaves none, rather than one that the next would take for its own.
    fn outdated(&self, kernel: &[u8], module: &[u8]) -> Outcome<bool> {
        let parts = [(&self.kernel, kernel), (&self.module, module)];
        if parts.iter().any(|(file, bytes)| !has(file, bytes)) && self.iso.exists() {
            fs::remove_file(&self.iso).map_err(|e| unwritable(&self.iso, &e))?;
        }
        for (file, bytes) in parts {
            update(file, bytes)?;
        }
        Ok(!self.iso.is_file())
    }
}

/// Builds an image and says where it is.
pub fn image(arguments: &Arguments) -> Outcome {
    if let Some(folder) = arguments.search.iter().find(|folder| !folder.is_dir()) {
        let folder = folder.display();
        return Err(Failure::Environment(format!("--search {folder}: there is no such folder")));
    }
    let kernel = arguments.kernel.kernel(Config::Debug)?;
    let default_system = root().join("system.xml");
    let system = arguments.system.as_ref().unwrap_or(&default_system);
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => output("image")?.join(kernel.name()),
    };
    arguments.capdl.iter().try_for_each(|file| writable(file))?;
    let _claim = claim(&out)?;
    let mut search = arguments.search.clone();
    if arguments.system.is_none() {
        // After the caller's own, which may replace one of them.
        let inputs = out.join("inputs");
        fs::create_dir_all(&inputs).map_err(|e| unwritable(&inputs, &e))?;
        crate::run::default_inputs(&inputs)?;
        search.push(inputs);
    }
    let image = kernel.build(system, &out, search, arguments.capdl.as_deref())?;
    kernel.note().into_iter().for_each(|note| println!("{note}"));
    println!("kernel: {}", image.kernel.display());
    println!("module: {}", image.module.display());
    println!("CD:     {}", image.iso.display());
    Ok(())
}

/// Builds the kernel, the programs that the description names, and from them the image. What is up to date is
/// left as it is.
///
/// # Errors
/// A description that breaks a rule (the message has file and line), a tool that is missing, a build that fails:
/// all with exit code 2.
pub fn build(request: &Request<'_>) -> Outcome<Image> {
    let programs = request.out.join("programs");
    fs::create_dir_all(&programs).map_err(|e| unwritable(&programs, &e))?;
    let mut search = vec![programs.clone()];
    search.extend(request.search.iter().cloned());
    search.extend(request.system.parent().map(Path::to_owned));

    // The description first: what is wrong in it is known before anything is built.
    let named = sdf::program_images(request.system, &search).map_err(refused)?;
    build_programs(request.config, &named, &programs)?;
    let kernel = crate::kernel::build(request.config)?;

    let options = sdf::Options {
        monitor: programs.join("monitor.elf"),
        kernel_prints: request.config == Config::Debug,
    };
    let distribution = sdf::build(request.system, &search, &options).map_err(refused)?;
    if let Some(file) = request.capdl {
        let json = format!("{:#}\n", distribution.json());
        fs::write(file, json).map_err(|e| unwritable(file, &e))?;
    }
    let module = sdf::boot_module(&programs.join("initialiser.elf"), &distribution).map_err(refused)?;

    let image = Image {
        kernel: request.out.join("kernel.elf"),
        module: request.out.join("module.elf"),
        iso: request.out.join("image.iso"),
    };
    let kernel = fs::read(&kernel.elf32).map_err(|e| unreadable(&kernel.elf32, &e))?;
    if image.outdated(&kernel, &module)? {
        let modules = [image.module.as_path()];
        let payload = iso::Payload::Multiboot { kernel: &image.kernel, arguments: "", modules: &modules };
        iso::make(&image.iso, &payload)?;
    }
    Ok(image)
}

/// The programs of the bundled system's own.
const OURS: [&str; 2] = ["initialiser", "monitor"];

/// Builds the workspace's programs among `named`, and our own, as NAME.elf in `folder`. A name that is not the
/// workspace's is left to the search folders.
fn build_programs(config: Config, named: &[PathBuf], folder: &Path) -> Outcome {
    let known = freestanding::binaries()?;
    let stem = |path: &PathBuf| path.to_str()?.strip_suffix(".elf").map(str::to_owned);
    let mut names: Vec<String> =
        named.iter().filter_map(stem).filter(|name| known.contains_key(name)).collect();
    names.extend(OURS.map(str::to_owned));
    names.sort();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (name, file) in names.iter().zip(Build::user_level(config).programs(&names)?) {
        let bytes = fs::read(&file).map_err(|e| unreadable(&file, &e))?;
        update(&folder.join(format!("{name}.elf")), &bytes)?;
    }
    Ok(())
}

/// Writes the file unless it has these bytes.
pub fn update(file: &Path, bytes: &[u8]) -> Outcome {
    if has(file, bytes) {
        return Ok(());
    }
    fs::write(file, bytes).map_err(|e| unwritable(file, &e))
}

fn has(file: &Path, bytes: &[u8]) -> bool {
    fs::read(file).is_ok_and(|old| old == bytes)
}

fn refused(error: sdf::Error) -> Failure {
    Failure::Environment(error.to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Image;
    use std::fs;

    /// As if each command were stopped when it has asked, before it makes the CD.
    #[test]
    fn a_cd_of_other_parts_is_never_taken() {
        let folder = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [kernel, module, iso] = ["kernel", "module", "iso"].map(|name| folder.join(name));
        let image = Image { kernel, module, iso };
        assert!(image.outdated(b"kernel", b"module").unwrap(), "there is none");
        fs::write(&image.iso, "of these").unwrap();
        assert!(!image.outdated(b"kernel", b"module").unwrap());
        assert!(image.outdated(b"kernel", b"another module").unwrap());
        assert!(image.outdated(b"kernel", b"another module").unwrap(), "nobody has made it");
        fs::remove_dir_all(folder).unwrap();
    }
}
