//! Where things are.

use crate::process::{Failure, Outcome};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tools/xtask is two folders deep")
}

/// Where everything that is built goes: `$CARGO_TARGET_DIR` or `target/`.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A folder of our own below [`target`], created if need be.
pub fn output(name: &str) -> Outcome<PathBuf> {
    let folder = target().join(name);
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failure::Environment(format!("{} cannot be created: {e}", folder.display())))?;
    Ok(folder)
}

/// `cargo` in the workspace's root, the same toolchain as ours.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}
