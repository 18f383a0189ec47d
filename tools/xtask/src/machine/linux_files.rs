//! A Linux from Debian's packages, unmodified: the kernel, and an initial RAM file system with busybox and perf.

use super::kernels;
use crate::process::{Failure, Outcome, run_logged};
use crate::setup;
use crate::workspace::output;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel's package; it depends on the one of the current version.
const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "/bin/busybox";
const PERF: &str = "/usr/bin/perf";

/// Downloads the kernel's package, once, and takes the kernel out; nothing is installed. Where apt's lists are missing or
/// old, root brings them up to date first.
pub fn kernel() -> Outcome<PathBuf> {
    let folder = output("machine/linux")?;
    let package = match newest()? {
        Some(package) => package,
        None => {
            setup::update(&format!("apt does not know {KERNEL}"))?;
            newest()?.ok_or_else(|| {
                Failure::Environment(format!("apt does not know {KERNEL}; this project needs Debian 12"))
            })?
        }
    };
    let kernel = folder.join(format!("vmlinuz-{}", version(&package)));
    if kernel.is_file() {
        return Ok(kernel);
    }
    match extract(&folder, &package, &kernel) {
        Ok(()) => Ok(kernel),
        // The archive may have a newer one by now.
        Err(failure) => {
            setup::update(&failure.to_string())?;
            let package = newest()?.unwrap_or(package);
            let kernel = folder.join(format!("vmlinuz-{}", version(&package)));
            extract(&folder, &package, &kernel).map(|()| kernel)
        }
    }
}

/// The package of the current version, if apt has a list of packages with it.
fn newest() -> Outcome<Option<String>> {
    let depends = Command::new("apt-cache").args(["depends", "--important", KERNEL]).output();
    let depends =
        depends.map_err(|e| Failure::Environment(format!("`apt-cache` could not be started: {e}")))?;
    Ok(package_of(&String::from_utf8_lossy(&depends.stdout)))
}

/// The first package that another depends on, as apt-cache says it.
fn package_of(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned)
}

fn version(package: &str) -> &str {
    package.trim_start_matches("linux-image-")
}

/// Downloads the package and takes the kernel out.
fn extract(folder: &Path, package: &str, kernel: &Path) -> Outcome {
    let environment = |e: Failure| Failure::Environment(e.to_string());
    let unpacked = folder.join("unpacked");
    let failed =
        |e: std::io::Error| Failure::Environment(format!("{} cannot be written: {e}", folder.display()));
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).map_err(failed)?;
    }
    fs::create_dir_all(&unpacked).map_err(failed)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]).current_dir(&unpacked);
    run_logged("the download of the Linux kernel", &mut download, &folder.join("download.log"))
        .map_err(environment)?;
    let archive = fs::read_dir(&unpacked)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or_else(|| Failure::Environment(format!("apt-get did not download {package}")))?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(&archive).arg(&unpacked);
    run_logged("dpkg-deb", &mut extract, &folder.join("extract.log")).map_err(environment)?;
    fs::rename(unpacked.join(format!("boot/vmlinuz-{}", version(package))), kernel).map_err(failed)?;
    fs::remove_dir_all(&unpacked).map_err(failed)
}

/// The initial RAM file system: busybox, perf with its libraries, the programs of known length, and these scripts by their
/// names.
pub fn initial_files(folder: &Path, scripts: &[(&str, &str)]) -> Outcome<PathBuf> {
    let mut files = vec![
        (kernels::linux_program("machine-known")?, PathBuf::from("/known")),
        (kernels::linux_program("machine-rdpmc")?, PathBuf::from("/rdpmc")),
        (kernels::linux_program("machine-long")?, PathBuf::from("/long")),
        (kernels::linux_program("machine-work")?, PathBuf::from("/work")),
    ];
    files.extend([PathBuf::from(PERF)].into_iter().chain(libraries(PERF)?).map(|file| (file.clone(), file)));
    pack(folder, scripts, files)
}

/// An initial RAM file system with busybox and these scripts by their names.
pub fn shell_files(folder: &Path, scripts: &[(&str, &str)]) -> Outcome<PathBuf> {
    pack(folder, scripts, Vec::new())
}

/// Packs busybox, these scripts, and files each with its name there.
fn pack(folder: &Path, scripts: &[(&str, &str)], mut files: Vec<(PathBuf, PathBuf)>) -> Outcome<PathBuf> {
    files.push((PathBuf::from(BUSYBOX), PathBuf::from(BUSYBOX)));
    let tree = folder.join("files");
    let failed =
        |e: std::io::Error| Failure::Environment(format!("{} cannot be written: {e}", tree.display()));
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(failed)?;
    }
    for name in ["bin", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(tree.join(name)).map_err(failed)?;
    }
    for (name, script) in scripts {
        fs::write(tree.join(name), script).map_err(failed)?;
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    for (file, name) in files {
        let place = tree.join(name.strip_prefix("/").unwrap_or(&name));
        let put = place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(&file, &place));
        put.map_err(|e| {
            Failure::Environment(format!("{} cannot be copied: {e}; run `cargo xtask setup`", file.display()))
        })?;
    }
    let archive = folder.join("initrd.cpio");
    let part = archive.with_extension("part");
    let mut pack = Command::new("sh");
    // Sorted, with one date, owner and inode numbering: one input gives one archive.
    pack.current_dir(&tree).args(["-c", "find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort | cpio --quiet --reproducible --owner=0:0 -o -H newc > \"$0\""]).arg(&part);
    run_logged("cpio", &mut pack, &folder.join("cpio.log"))
        .map_err(|e| Failure::Environment(e.to_string()))?;
    fs::rename(&part, &archive).map_err(failed)?;
    Ok(archive)
}

/// The dynamic libraries of a program, and its loader.
fn libraries(program: &str) -> Outcome<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|e| Failure::Environment(format!("`ldd` could not be started: {e}")))?;
    if !output.status.success() {
        return Err(Failure::Environment(format!("`ldd {program}` failed; run `cargo xtask setup`")));
    }
    library_paths(&String::from_utf8_lossy(&output.stdout))
}

/// The absolute paths in the output of ldd: `name => path (address)` or `path (address)`.
fn library_paths(text: &str) -> Outcome<Vec<PathBuf>> {
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(Failure::Environment(format!("a library of perf is missing: {}", missing.trim())));
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::{library_paths, package_of, version};
    use std::path::PathBuf;

    #[test]
    fn the_kernel_of_the_current_version_is_found() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(package_of(text).as_deref().map(version), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(package_of(""), None);
    }

    #[test]
    fn paths_are_taken_from_both_forms() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(library_paths(text).unwrap(), ["/lib/libz.so.1", "/lib64/ld.so"].map(PathBuf::from));
        assert!(library_paths("\tlibz.so.1 => not found\n").is_err());
    }
}
