//! The guest of a run: its file, command line, initrd and memory, checked as the VMM will check them.

use super::{GUEST_BASE, GUESTS, unwritable};
use crate::image::freestanding::{Build, binaries};
use crate::process::{Failure, Outcome, run};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use vmm_core::loader::Container;
use vmm_core::loader::container::ALIGNMENT;
use vmm_core::loader::linux::BzImage;

/// The guest's memory in MiB unless told otherwise: that of system.xml.
pub const DEFAULT_MEMORY: u32 = 128;
/// Memories that the machine has room for, in MiB.
const LEAST_MEMORY: u32 = 4;
const MOST_MEMORY: u32 = 1024;
/// Memory consists of large pages, in MiB.
const PAGE: u32 = 2;
/// Memory of the machine besides the guest's, in MiB: kernel, domains, firmware.
const BESIDES: u32 = 128;
/// How often the guest's image is in memory at the same time: in the boot module, in the root task, in guest_image.
const COPIES: u32 = 3;
/// The name by which system.xml names what guest_image holds.
const IMAGE: &str = "guest.image";
/// The guest that becomes a 32-bit ELF file.
const PROTECTED: &str = "protected";
/// Memory above the bank that is left to the boot loader, in MiB: it begins with the highest.
const LOADER: u32 = 32;

/// Where a guest is in the memory of a machine.
#[derive(Debug)]
pub struct Place {
    /// All of the machine's memory, in MiB.
    pub memory_mib: u32,
    /// Memory that the machine starts with.
    pub bank: Option<Bank>,
    /// The guest is a bzImage.
    pub linux: bool,
}

/// Memory that the boot loader keeps from the kernel: guest_image, which is there when the machine starts, and guest_ram.
#[derive(Debug)]
pub struct Bank {
    /// What guest_image holds.
    pub file: PathBuf,
    /// Bytes of guest_image.
    image: usize,
    /// Bytes of guest_ram.
    memory: usize,
}

impl Bank {
    /// Where it is.
    pub fn range(&self) -> Range<u64> {
        let start = u64::from(BESIDES) * MIB as u64;
        start..start + (self.image + self.memory) as u64
    }
}

/// The guest of a run.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// One of [`GUESTS`], or a file.
    pub name: &'a str,
    /// The command line.
    pub append: &'a str,
    /// The file of the initrd.
    pub initrd: Option<&'a Path>,
    /// Memory in MiB.
    pub memory: u32,
}

impl<'a> Guest<'a> {
    /// A guest alone.
    pub const fn new(name: &'a str) -> Self {
        Self { name, append: "", initrd: None, memory: DEFAULT_MEMORY }
    }

    /// What guest_image is to hold: the file alone, or a boot container.
    ///
    /// # Errors
    /// What the VMM would refuse, before anything boots.
    pub fn image(&self) -> Outcome<Vec<u8>> {
        let refused = |what: String| Err(Failure::Environment(what));
        if !(LEAST_MEMORY..=MOST_MEMORY).contains(&self.memory) {
            let memory = self.memory;
            return refused(format!(
                "--memory {memory}: the machine has room for guests of {LEAST_MEMORY} to {MOST_MEMORY} MiB"
            ));
        }
        if !self.memory.is_multiple_of(PAGE) {
            return refused(format!("--memory {}: give an even number of MiB", self.memory));
        }
        let file = self.file()?;
        let kernel = fs::read(&file).map_err(|e| self.unreadable(&file, &e))?;
        let initrd = self.initrd.map(read_initrd).transpose()?.unwrap_or_default();
        let container = Container { kernel: &kernel, command_line: self.append.as_bytes(), initrd: &initrd };
        let image = if self.append.is_empty() && initrd.is_empty() { kernel } else { bytes(&container) };
        let mut memory = vec![0; self.memory as usize * MIB];
        match vmm_core::loader::load(&image, &mut memory) {
            Ok(_) => Ok(image),
            Err(error) => refused(format!("guest {}: {error}", file.display())),
        }
    }

    /// Puts what guest_image is to hold into `folder`, by the name that system.xml has for it, and returns the memory
    /// that a machine needs for it, in MiB.
    ///
    /// # Errors
    /// What the VMM would refuse, before anything boots.
    pub fn put(&self, folder: &Path) -> Outcome<u32> {
        Ok(self.place(folder, false)?.memory_mib)
    }

    /// As [`Self::put`], and says where the guest is in a machine's memory: in a `simulated` machine a guest with
    /// much memory or a large image is there from the start, but for Linux.
    ///
    /// # Errors
    /// What the VMM would refuse, before anything boots.
    pub fn place(&self, folder: &Path, simulated: bool) -> Outcome<Place> {
        let image = self.image()?;
        let file = folder.join(IMAGE);
        fs::write(&file, &image).map_err(|e| unwritable(&file, &e))?;
        let size = image.len().next_multiple_of(PAGE as usize * MIB);
        let image_mib = u32::try_from(size / MIB).unwrap_or(u32::MAX);
        let linux = Container::parse(&image).is_ok_and(|container| BzImage::find(container.kernel).is_some());
        let bank = (simulated && !linux && (self.memory > DEFAULT_MEMORY || image.len() > LARGE_IMAGE))
            .then(|| Bank { file, image: size, memory: self.memory as usize * MIB });
        let besides = if bank.is_some() { BESIDES + LOADER } else { BESIDES + (COPIES - 1) * image_mib };
        Ok(Place { memory_mib: self.memory + image_mib + besides, bank, linux })
    }

    /// The description `system` with a guest_ram of this memory.
    ///
    /// # Errors
    /// It has no such region.
    pub fn describe(&self, system: &str, place: &Place) -> Outcome<String> {
        let bytes = self.memory as usize * MIB;
        let Some(bank) = &place.bank else {
            return region(system, "guest_ram", &format!("size=\"{bytes:#x}\""));
        };
        let Range { start, .. } = bank.range();
        let at = |address: u64, size: usize| format!("size=\"{size:#x}\" phys_addr=\"{address:#x}\"");
        let system = region(system, "guest_image", &at(start, bank.image))?;
        region(&system, "guest_ram", &at(start + bank.image as u64, bank.memory))
    }

    /// The ELF file, built if it is a guest of this project.
    fn file(&self) -> Outcome<PathBuf> {
        if !GUESTS.contains(&self.name) || !binaries()?.contains_key(self.name) {
            return Ok(PathBuf::from(self.name));
        }
        let build = Build { name: "guest", image_base: GUEST_BASE, flags: Vec::new() };
        let program = build.programs(&[self.name])?.swap_remove(0);
        if self.name != PROTECTED {
            return Ok(program);
        }
        let file = program.with_extension("elf32");
        run("objcopy", Command::new("objcopy").args(["-O", "elf32-i386"]).args([&program, &file]))
            .map_err(|e| Failure::Environment(e.to_string()))?;
        Ok(file)
    }

    fn unreadable(&self, file: &Path, error: &std::io::Error) -> Failure {
        let names = GUESTS.join(", ");
        Failure::Environment(format!(
            "guest {} cannot be read ({error}); there are {names}, linux, or name a Multiboot kernel, a bzImage or a 64-bit ELF file",
            file.display()
        ))
    }
}

const MIB: usize = 1 << 20;
/// Bytes of an image that takes longer to read from a CD than all else at the start.
const LARGE_IMAGE: usize = 2 * MIB;

/// The description with these attributes in a region of large pages, besides its name.
fn region(system: &str, name: &str, attributes: &str) -> Outcome<String> {
    let start = format!("<memory_region name=\"{name}\" ");
    let parts = system.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once("/>")?.1)));
    let Some((before, after)) = parts else {
        return Err(Failure::Environment(format!("the system description has no `{start}`")));
    };
    Ok(format!("{before}{start}page_size=\"0x200000\" {attributes} />{after}"))
}

fn read_initrd(file: &Path) -> Outcome<Vec<u8>> {
    match fs::read(file) {
        Ok(bytes) if bytes.is_empty() => {
            Err(Failure::Environment(format!("the initrd {} is empty; leave it out", file.display())))
        }
        Ok(bytes) => Ok(bytes),
        Err(e) => Err(Failure::Environment(format!("the initrd {} cannot be read: {e}", file.display()))),
    }
}

/// The file of a boot container.
fn bytes(container: &Container<'_>) -> Vec<u8> {
    let mut file = container.header().to_vec();
    for part in container.parts() {
        file.extend_from_slice(part);
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    }
    file
}
