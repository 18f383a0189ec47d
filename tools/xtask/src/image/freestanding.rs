//! Building programs that run without an operating system (docs/architecture.md, "Freestanding programs").

use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, target};
use kernel::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The target of the prebuilt `core` that freestanding programs use.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A way to build programs: all that are built in one way share their dependencies' objects.
#[derive(Debug, Clone)]
pub struct Build {
    /// Names the folder of the results, below `target/freestanding`.
    pub name: &'static str,
    /// Where the first page of the program is.
    pub image_base: u64,
    /// Further compiler arguments.
    pub flags: Vec<String>,
}

/// Where Microkit's programs are.
const USER_LEVEL_BASE: u64 = 0x20_0000;

impl Build {
    /// Protection domains and the root task, for this kernel.
    pub fn user_level(config: Config) -> Self {
        let release = config == Config::Release;
        Build {
            name: if release { "user-release" } else { "user-debug" },
            image_base: USER_LEVEL_BASE,
            flags: if release { vec!["--cfg=release_kernel".to_owned()] } else { Vec::new() },
        }
    }

    /// Protection domains for the kernel of the Microkit SDK. Upstream's runtime needs the panic strategy here: a
    /// profile's is not seen by its dependency on an unwinder.
    pub fn for_sdk() -> Self {
        Build { name: "sdk", image_base: USER_LEVEL_BASE, flags: vec!["-Cpanic=abort".to_owned()] }
    }

    /// Builds binaries of the workspace by their names and returns their ELF files in the same order.
    ///
    /// # Errors
    /// A name that no package has, or a build that fails; the compiler's messages are on standard error.
    pub fn programs(&self, names: &[&str]) -> Outcome<Vec<PathBuf>> {
        let packages = binaries()?;
        let folder = target().join("freestanding").join(self.name);
        let mut command = cargo();
        command.args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"]).arg(&folder);
        for name in names {
            let package = packages.get(*name).ok_or_else(|| no_program(name))?;
            command.args(["--package", package, "--bin", name]);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags().join("\u{1f}"));
        run("the build of freestanding programs", &mut command)
            .map_err(|failure| Failure::Environment(failure.to_string()))?;
        Ok(names.iter().map(|name| folder.join(TARGET).join("release").join(name)).collect())
    }

    /// The compiler's arguments.
    pub fn rustflags(&self) -> Vec<String> {
        let base = format!("-Clink-arg=-Wl,--image-base={:#x}", self.image_base);
        LINK.iter().map(|&flag| flag.to_owned()).chain([base]).chain(self.flags.iter().cloned()).collect()
    }
}

const LINK: &[&str] = &[
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none,-z,max-page-size=4096,-z,norelro,-z,noexecstack",
];

fn no_program(name: &str) -> Failure {
    Failure::Environment(format!("no package of the workspace has a program called `{name}`"))
}

/// The workspace's binaries and the packages they are in.
pub fn binaries() -> Outcome<BTreeMap<String, String>> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output();
    let output =
        output.map_err(|e| Failure::Environment(format!("`cargo metadata` could not be started: {e}")))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| {
        let messages = String::from_utf8_lossy(&output.stderr);
        Failure::Environment(format!("`cargo metadata` printed no JSON ({e}): {messages}"))
    })?;
    Ok(binaries_of(&metadata))
}

fn binaries_of(metadata: &Value) -> BTreeMap<String, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut binaries = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            if list(&target["kind"]).iter().any(|kind| kind == "bin")
                && let (Some(name), Some(package)) = (target["name"].as_str(), package["name"].as_str())
            {
                binaries.insert(name.to_owned(), package.to_owned());
            }
        }
    }
    binaries
}

#[cfg(test)]
mod tests {
    use super::binaries_of;
    use serde_json::json;

    #[test]
    fn binaries_are_found_and_libraries_are_not() {
        let metadata = json!({"packages": [
            {"name": "tests", "targets": [{"name": "ping", "kind": ["bin"]}, {"name": "tests", "kind": ["lib"]}]},
            {"name": "vmm_pd", "targets": [{"name": "vmm_pd", "kind": ["bin"]}]},
        ]});
        let binaries = binaries_of(&metadata);
        assert_eq!(binaries["ping"], "tests");
        assert_eq!(binaries["vmm_pd"], "vmm_pd");
        assert_eq!(binaries.len(), 2);
    }
}
