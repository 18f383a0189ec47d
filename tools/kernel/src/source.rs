//! Where the kernel's source comes from, and our copy of it.

use crate::error::Error;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate that carries the source; its version is pinned in our `Cargo.toml`.
const CRATE: &str = "sel4-sys";

/// Parts of the source that x86 builds never read.
const UNUSED: &[&str] = &["manual", "OAOA", "libsel4/src", "libsel4/arch_include/arm"];

/// The folder of this crate.
pub fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The published source: the folder `seL4` of the crate, which Cargo has downloaded and checked.
pub fn locate() -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1"]).current_dir(home());
    let output = command.output().map_err(|e| Error::Missing("cargo metadata".into(), e))?;
    if !output.status.success() {
        return Err(Error::Source(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::Source(format!("`cargo metadata` printed no JSON: {e}")))?;
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|p| p["name"] == CRATE))
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| Error::Source(format!("`cargo metadata` does not list {CRATE}")))?;
    let folder = Path::new(manifest).with_file_name("seL4");
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(Error::Source(format!("{} is no folder", folder.display())))
    }
}

/// Makes `folder` an empty folder.
pub fn recreate(folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io(folder))?;
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// Copies the published source to `to`, without the parts that x86 never reads.
pub fn copy(published: &Path, to: &Path) -> Result<(), Error> {
    for file in files(published)? {
        let relative = file.strip_prefix(published).map_err(|e| Error::Source(e.to_string()))?;
        if UNUSED.iter().any(|unused| relative.starts_with(unused)) {
            continue;
        }
        copy_file(&file, &to.join(relative))?;
    }
    Ok(())
}

/// Adds the files of `extension/` to the copy, at the same paths.
pub fn add_extension(tree: &Path) -> Result<(), Error> {
    let extension = home().join("extension");
    for file in files(&extension)? {
        let relative = file.strip_prefix(&extension).map_err(|e| Error::Source(e.to_string()))?;
        let to = tree.join(relative);
        if to.exists() {
            return Err(Error::Source(format!("{} is in the published source already", relative.display())));
        }
        copy_file(&file, &to)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    let text = fs::read(from).map_err(Error::io(from))?;
    fs::write(to, text).map_err(Error::io(to))
}

/// Every file below `folder`, in the order of their paths.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}
