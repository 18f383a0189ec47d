//! `setup`: the Debian packages that the project needs.

use crate::process::{Failure, Outcome, run};
use std::path::Path;
use std::process::Command;

/// A Debian package, a file that shows that it is installed, and what we use it for.
pub struct Package {
    pub name: &'static str,
    pub file: &'static str,
    pub purpose: &'static str,
}

const fn package(name: &'static str, file: &'static str, purpose: &'static str) -> Package {
    Package { name, file, purpose }
}

/// All that `apt-get` must bring; the Rust crates come by Cargo.
pub const PACKAGES: &[Package] = &[
    package("gcc", "/usr/bin/gcc", "compiles the kernel"),
    package("g++", "/usr/bin/g++", "compiles the fuzzer"),
    package("valgrind", "/usr/bin/valgrind", "counts instructions"),
    package("binutils", "/usr/bin/objcopy", "converts kernel images"),
    package("python3-venv", "/usr/share/doc/python3-venv", "runs the kernel's code generators"),
    package("bochs", "/usr/bin/bochs", "the simulated machine"),
    package("bochsbios", "/usr/share/bochs/BIOS-bochs-latest", "its BIOS"),
    package("vgabios", "/usr/share/vgabios/vgabios.bin", "its video BIOS"),
    package(
        "bochs-term",
        "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so",
        "its display in a terminal",
    ),
    package("qemu-system-x86", "/usr/bin/qemu-system-x86_64", "the fast machine without VT-x"),
    package("grub-pc-bin", "/usr/lib/grub/i386-pc/kernel.img", "the boot loader of images"),
    package("grub-common", "/usr/bin/grub-mkrescue", "makes bootable ISO images"),
    package("xorriso", "/usr/bin/xorriso", "makes bootable ISO images"),
    package("busybox-static", "/bin/busybox", "the shell of the Linux on the simulated machine"),
    package("linux-perf", "/usr/bin/perf", "what it counts with"),
    package("cpio", "/usr/bin/cpio", "packs its files"),
    package("mtools", "/usr/bin/mformat", "makes bootable ISO images"),
    package("coq", "/usr/bin/coqc", "checks the specification's proofs"),
    package("ocaml-nox", "/usr/bin/ocamlopt", "compiles the specification's oracle"),
    package("ocaml-findlib", "/usr/bin/ocamlfind", "compiles the specification's oracle"),
    package("libzarith-ocaml-dev", "/usr/lib/ocaml/zarith/zarith.cmxa", "the oracle's integers"),
];

/// Whether the package's file is there.
pub fn is_installed(package: &Package) -> bool {
    Path::new(package.file).exists()
}

/// Installs what is missing when run as root; otherwise fails with the one line to run.
pub fn setup() -> Outcome {
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| !is_installed(p)).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_root()? {
        return Err(Failure::Environment(format!(
            "Debian packages are missing; run:\n  sudo apt-get update && sudo {line}"
        )));
    }
    eprintln!("setup: {line}");
    update("packages are missing")?;
    run("apt-get install", apt().args(line.split(' ').skip(1)).arg("--quiet=2"))
        .map_err(|e| Failure::Environment(e.to_string()))?;
    match PACKAGES.iter().find(|p| !is_installed(p)) {
        None => Ok(()),
        Some(p) => Err(Failure::Environment(format!(
            "package {} is installed but {} is not there; this project needs Debian 12",
            p.name, p.file
        ))),
    }
}

/// Brings apt's lists of packages up to date when run as root; otherwise fails with the line to run.
pub fn update(why: &str) -> Outcome {
    if !is_root()? {
        return Err(Failure::Environment(format!("{why}; on Debian 12 run:\n  sudo apt-get update")));
    }
    run("apt-get update", apt().args(["update", "--quiet=2"]))
        .map_err(|e| Failure::Environment(e.to_string()))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Outcome<bool> {
    let output = Command::new("id").arg("-u").output();
    let output = output.map_err(|e| Failure::Environment(format!("`id -u` could not be started: {e}")))?;
    Ok(output.stdout.trim_ascii() == b"0")
}
