//! Bootable CD images, made by GRUB's `grub-mkrescue`.

use crate::process::{Failure, Outcome, run_logged};
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What GRUB starts.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// A Multiboot 1 kernel (a 32-bit ELF file, or one whose header says where it loads) and its modules.
    Multiboot {
        /// The kernel's file.
        kernel: &'a Path,
        /// The kernel's command line.
        arguments: &'a str,
        /// The modules' files, in order.
        modules: &'a [&'a Path],
    },
    /// A Linux kernel and its initial RAM file system.
    Linux {
        /// The bzImage.
        kernel: &'a Path,
        /// The kernel's command line.
        arguments: &'a str,
        /// The initial RAM file system.
        initrd: &'a Path,
    },
}

/// Makes the image `iso` that boots `payload` at once. The file appears complete or not at all.
pub fn make(iso: &Path, payload: &Payload) -> Outcome<PathBuf> {
    make_reserving(iso, payload, None)
}

/// Makes the image `iso` whose boot loader says that the memory `reserved` is none.
pub fn make_reserving(iso: &Path, payload: &Payload, reserved: Option<&Range<u64>>) -> Outcome<PathBuf> {
    let failed = |e: std::io::Error| Failure::Environment(format!("{} cannot be made: {e}", iso.display()));
    let tree = iso.with_extension("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(failed)?;
    }
    let boot = tree.join("boot");
    fs::create_dir_all(boot.join("grub")).map_err(failed)?;
    let put = |file: &Path, name: &str| {
        fs::copy(file, boot.join(name))
            .map_err(|e| Failure::Environment(format!("{} cannot be put on an image: {e}", file.display())))
    };
    let mut menu = String::new();
    if let Some(Range { start, end }) = reserved {
        let _ = writeln!(menu, "cutmem {start:#x} {end:#x}");
    }
    match payload {
        Payload::Multiboot { kernel, arguments, modules } => {
            put(kernel, "kernel")?;
            let _ = writeln!(menu, "multiboot /boot/kernel {arguments}");
            for (i, module) in modules.iter().enumerate() {
                put(module, &format!("module{i}"))?;
                let _ = writeln!(menu, "module /boot/module{i} module{i}");
            }
        }
        Payload::Linux { kernel, arguments, initrd } => {
            put(kernel, "kernel")?;
            put(initrd, "initrd")?;
            let _ = writeln!(menu, "linux /boot/kernel {arguments}\ninitrd /boot/initrd");
        }
    }
    menu.push_str("boot\n");
    fs::write(boot.join("grub/grub.cfg"), menu).map_err(failed)?;
    let part = iso.with_extension("part");
    let mut command = Command::new("grub-mkrescue");
    // One date for all files, so that one input gives one image.
    command.env("SOURCE_DATE_EPOCH", "1").arg("--output").arg(&part).arg(&tree);
    run_logged("grub-mkrescue", &mut command, &iso.with_extension("log"))
        .map_err(|e| Failure::Environment(e.to_string()))?;
    fs::rename(&part, iso).map_err(failed)?;
    Ok(iso.to_owned())
}
