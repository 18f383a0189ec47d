//! Mutants of pmu_core: each breaks one rule, and the conformance tests must notice it.

mod list;

use crate::process::{Failure, Outcome, run_logged};
use crate::workspace::{output, root};
use list::MUTANTS;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Copies a folder of sources.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?.path(), to.to_owned());
        let to = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() { copy(&entry, &to)? } else { fs::copy(&entry, &to).map(|_| ())? }
    }
    Ok(())
}

/// `manifest` with `list` in place of the list that follows `key`, if there is one.
fn with_list(manifest: &str, key: &str, list: &str) -> String {
    let Some((before, rest)) = manifest.split_once(key) else { return manifest.to_owned() };
    let after = rest.split_once(']').map_or("", |(_, after)| after);
    format!("{before}{key}{list}{after}")
}

/// A workspace with pmu_core, what it needs, and `conformance` without its tests.
fn workspace(folder: &Path) -> std::io::Result<()> {
    for part in ["pmu_pd/api", "pmu_pd/core", "vmm_pd/core", "tests/conformance/src"] {
        copy(&root().join(part), &folder.join(part))?;
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let ours = "[\"pmu_pd/api\", \"pmu_pd/core\", \"vmm_pd/core\", \"tests/conformance\"]";
    let manifest = with_list(&with_list(&manifest, "\nmembers = ", ours), "\ndefault-members = ", ours);
    fs::write(folder.join("Cargo.toml"), manifest)?;
    for part in ["pmu_pd/api", "pmu_pd/core", "vmm_pd/core", "tests/conformance"] {
        let text = fs::read_to_string(root().join(part).join("Cargo.toml"))?;
        let text = text.split("[dev-dependencies]").next().unwrap_or_default().to_owned();
        fs::write(folder.join(part).join("Cargo.toml"), text)?;
    }
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::copy(root().join("rust-toolchain.toml"), folder.join("rust-toolchain.toml"))?;
    Ok(())
}

fn build(folder: &Path, log: &Path) -> Outcome {
    let mut command = Command::new("cargo");
    command.current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target"));
    // Some optimisation pays: what is built runs for longer than the compiler.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.args(["build", "--quiet", "--package", "conformance"]);
    run_logged("cargo build of a mutant", &mut command, log)
}

/// The name of the first layer that notices, if one does.
fn noticed(folder: &Path, oracle: &Path) -> Outcome<Option<&'static str>> {
    let program = folder.join("target/debug/conformance");
    let layers: [(&str, &[&str], bool); 5] = [
        ("lockstep", &["lockstep", "--depth", "2"], false),
        ("fixpoint", &["fixpoint"], false),
        ("limits", &["limits", "--depth", "3"], false),
        ("traces", &["traces", "--steps", "1500"], true),
        ("approvals", &["approvals", "--depth", "4"], false),
    ];
    for (name, arguments, needs_oracle) in layers {
        let mut command = Command::new(&program);
        command.args(arguments);
        if needs_oracle {
            command.arg("--oracle").arg(oracle);
        }
        let output =
            command.output().map_err(|e| Failure::Environment(format!("{}: {e}", program.display())))?;
        if !output.status.success() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Builds every mutant and shows that some layer turns red; the unchanged copy must stay green.
pub fn mutants(oracle: &Path) -> Outcome {
    let folder = output("spec/mutants")?;
    let log = folder.join("build.log");
    let broken = |error: std::io::Error| Failure::Environment(format!("{}: {error}", folder.display()));
    workspace(&folder).map_err(broken)?;
    build(&folder, &log)?;
    if let Some(layer) = noticed(&folder, oracle)? {
        return Err(Failure::Check(format!("{layer} fails without any mutation")));
    }
    let mut survivors = Vec::new();
    for (file, from, to) in MUTANTS {
        let path = folder.join("pmu_pd/core/src").join(file);
        let text = fs::read_to_string(&path).map_err(broken)?;
        if text.matches(from).count() != 1 {
            return Err(Failure::Check(format!("mutants: pmu_core's {file} has not exactly one `{from}`")));
        }
        fs::write(&path, text.replace(from, to)).map_err(broken)?;
        let result = build(&folder, &log).and_then(|()| noticed(&folder, oracle));
        fs::write(&path, text).map_err(broken)?;
        match result? {
            Some(layer) => println!("      mutant {file}: `{to}`: {layer}"),
            None => survivors.push(format!("{file}: `{from}` -> `{to}`")),
        }
    }
    if survivors.is_empty() {
        println!("      mutants: {} of {} noticed", MUTANTS.len(), MUTANTS.len());
        Ok(())
    } else {
        Err(Failure::Check(format!("mutants that nothing noticed:\n{}", survivors.join("\n"))))
    }
}
