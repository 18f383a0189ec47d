//! The protection domains of tools/sdk, the SDK's tool, and a bootable image.

use super::find::BOARD;
use super::{Name, Sdk};
use crate::image::{Image, freestanding, update};
use crate::machine::iso;
use crate::process::{Failure, Outcome};
use crate::workspace::{cargo, root, target};
use std::fs;
use std::path::{Path, PathBuf};

/// The programs of the workspace tools/sdk.
const PROGRAMS: [&str; 5] = ["pmu_crash", "pmu_pd", "serial_pd", "vmm_pd", "vmm_pd_trace"];
/// What stands before the name of the configuration in a program of tools/sdk (its runtime puts it there).
const MARK: &[u8] = b"microkit-sdk-configuration=";
/// The largest distance of two segments of the kernel: it begins some of them on a large page. GRUB would put a module
/// that fits between two, and this kernel then loads the root task over itself.
const LARGE_PAGE: u64 = 0x20_0000;

/// Builds the image of `system`.
pub fn image(
    sdk: &Sdk,
    system: &Path,
    out: &Path,
    search: &[PathBuf],
    capdl: Option<&Path>,
) -> Outcome<Image> {
    let programs = out.join("programs");
    fs::create_dir_all(&programs).map_err(|e| unwritable(&programs, &e))?;
    let mut folders = vec![programs.clone()];
    folders.extend(search.iter().cloned());
    folders.extend(system.parent().filter(|f| !f.as_os_str().is_empty()).map(Path::to_owned));
    // Before anything is built.
    let named =
        sdf::stock_program_images(system, &folders).map_err(|e| Failure::Environment(e.to_string()))?;
    let is = |name: &str, program: &Path| program == Path::new(&format!("{name}.elf"));
    let foreign = named.iter().filter(|program| !PROGRAMS.iter().any(|name| is(name, program)));
    for program in foreign {
        if let Some(file) = folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file()) {
            let bytes = fs::read(&file).map_err(|e| unwritable(&file, &e))?;
            configuration(&bytes, sdk.config())
                .map_err(|why| Failure::Environment(format!("{}: {why}", file.display())))?;
        }
    }
    let ours: Vec<&str> =
        PROGRAMS.into_iter().filter(|name| named.iter().any(|program| is(name, program))).collect();
    for (name, file) in ours.iter().zip(self::programs(sdk, &ours)?) {
        let bytes = fs::read(&file).map_err(|e| unwritable(&file, &e))?;
        update(&programs.join(format!("{name}.elf")), &bytes)?;
    }
    let module = out.join("module.elf");
    tool(sdk, system, out, &folders, &module, capdl)?;
    let padded = fs::OpenOptions::new().write(true).open(&module).and_then(|file| {
        let length = file.metadata()?.len();
        file.set_len(length.max(LARGE_PAGE))
    });
    padded.map_err(|e| unwritable(&module, &e))?;
    let image = Image { kernel: sdk.board().join("elf/sel4_32.elf"), module, iso: out.join("image.iso") };
    let modules = [image.module.as_path()];
    let payload = iso::Payload::Multiboot { kernel: &image.kernel, arguments: "", modules: &modules };
    iso::make(&image.iso, &payload)?;
    Ok(image)
}

/// Builds these programs of tools/sdk.
fn programs(sdk: &Sdk, names: &[&str]) -> Outcome<Vec<PathBuf>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let build = freestanding::Build::for_sdk();
    let folder = target().join("sdk").join(sdk.config().as_str());
    let mut command = cargo();
    command.current_dir(root().join("tools/sdk"));
    command
        .args(["build", "--quiet", "--release", "--locked", "--target", freestanding::TARGET, "--target-dir"])
        .arg(&folder)
        .args(names.iter().flat_map(|name| ["--bin", name]))
        .env("CARGO_ENCODED_RUSTFLAGS", build.rustflags().join("\u{1f}"))
        // Upstream's runtime uses features of nightly compilers.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("SEL4_INCLUDE_DIRS", sdk.board().join("include"));
    crate::process::run("the build of tools/sdk", &mut command).map_err(|failure| {
        Failure::Environment(format!(
            "{failure}; it needs the git repository of rust-sel4 5.0.0, and libclang for its bindings (`apt-get install \
             libclang-dev`, or LIBCLANG_PATH)"
        ))
    })?;
    let release = folder.join(freestanding::TARGET).join("release");
    Ok(names.iter().map(|name| release.join(name)).collect())
}

/// A program of tools/sdk is of the kernel's configuration. Other programs, C ones say, are not marked.
fn configuration(program: &[u8], wanted: Name) -> Result<(), String> {
    let Some(at) = program.windows(MARK.len()).position(|window| window == MARK) else { return Ok(()) };
    let name = program[at + MARK.len()..].split(|byte| !byte.is_ascii_lowercase()).next().unwrap_or_default();
    if name == wanted.as_str().as_bytes() {
        return Ok(());
    }
    let (name, wanted) = (String::from_utf8_lossy(name), wanted.as_str());
    Err(format!(
        "the program was built for the SDK's configuration {name}, and the image is for {wanted}: build it again, or choose \
         `--config {name}`"
    ))
}

/// Runs the SDK's tool.
fn tool(
    sdk: &Sdk,
    system: &Path,
    out: &Path,
    folders: &[PathBuf],
    module: &Path,
    capdl: Option<&Path>,
) -> Outcome {
    let mut command = std::process::Command::new(sdk.tool());
    command.arg(system).args(["--board", BOARD, "--config", sdk.config().as_str(), "-o"]).arg(module);
    command.arg("-r").arg(out.join("report.txt"));
    if let Some(file) = capdl {
        command.arg("--capdl-json").arg(file);
    }
    // The last option takes all that follows.
    command.arg("--search-path").args(folders).env(super::VARIABLE, sdk.folder());
    let output = command
        .output()
        .map_err(|e| Failure::Environment(format!("{} could not be started: {e}", sdk.tool().display())))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Environment(format!("the SDK's tool refuses {}: {}", system.display(), message.trim())))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::configuration;
    use crate::sdk::Name;

    #[test]
    fn a_program_of_another_configuration_is_refused() {
        let program = |name: &str| format!("\x7fELF...microkit-sdk-configuration={name}\0...").into_bytes();
        assert_eq!(configuration(&program("benchmark"), Name::Benchmark), Ok(()));
        assert_eq!(configuration(b"\x7fELF, in C", Name::Benchmark), Ok(()));
        let message = configuration(&program("debug"), Name::Benchmark).expect_err("it is refused");
        assert!(message.contains("configuration debug") && message.contains("--config debug"), "{message}");
    }
}
