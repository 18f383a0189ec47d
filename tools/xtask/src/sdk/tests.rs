//! What can be tested of it: without an SDK that the sources fit and what is refused; with one, images that boot.

mod machine;

pub use machine::{configurations, guests, policy_domain_dies, two_vms};

use super::VARIABLE;
use super::find::BOARD;
use crate::image::freestanding;
use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, output, root, target, unwritable};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Arguments that are refused, and what is said. A folder after `--sdk` is one of [`FOLDERS`], or of the workspace.
const REFUSED: &[(&[&str], &str)] = &[
    (&["image", "--sdk"], "no Microkit SDK is named: give `--sdk DIR`, or set MICROKIT_SDK"),
    (&["run", "--sdk"], "no Microkit SDK is named: give `--sdk DIR`, or set MICROKIT_SDK"),
    (&["image", "--sdk", "docs"], "docs is no Microkit SDK (it has no file VERSION)"),
    (
        &["image", "--config", "benchmark"],
        "the bundled kernel has no configuration benchmark: add `--sdk DIR`",
    ),
    (
        &["image", "--sdk", "old"],
        "old is the Microkit SDK 2.2.0: this project is made for 2.3; unpack an SDK 2.3",
    ),
    (&["run", "--sdk", "other-board"], "has no board x86_64_generic_vtx (it has: odroidc4): take an SDK"),
    (
        &["image", "--sdk", "whole", "--config", "release"],
        "has no configuration release of x86_64_generic_vtx (it has: benchmark, debug): choose another by --config",
    ),
    (&["image", "--sdk", "no-tool"], "has no bin/microkit: unpack it again, whole"),
    (
        &["image", "--sdk", "whole", "--system", "mine.xml"],
        "mine.elf: the program was built for the SDK's configuration debug, and the image is for benchmark: build it \
         again, or choose `--config debug`",
    ),
    (
        &["image", "--sdk", "whole", "--system", "short.xml"],
        "short.xml:1: memory_region: prefill file 'mine.elf' has 43 bytes and ends before the last page of the region",
    ),
];

/// Folders that are SDKs as far as anybody looks before something is built; and a system with a program.
const FOLDERS: &[(&str, &str)] = &[
    ("old/VERSION", "2.2.0\n"),
    ("other-board/VERSION", "2.3.0\n"),
    ("other-board/board/odroidc4/debug/elf/sel4.elf", ""),
    ("whole/VERSION", "2.3.0\n"),
    ("whole/board/{BOARD}/debug/elf/sel4_32.elf", ""),
    ("whole/board/{BOARD}/benchmark/elf/sel4_32.elf", ""),
    ("whole/bin/microkit", ""),
    ("no-tool/VERSION", "2.3.0\n"),
    ("no-tool/board/{BOARD}/benchmark/elf/sel4_32.elf", ""),
    ("mine.elf", "\x7fELF...microkit-sdk-configuration=debug\0..."),
    (
        "mine.xml",
        "<system><protection_domain name='a'><program_image path='mine.elf'/></protection_domain></system>",
    ),
    ("short.xml", "<system><memory_region name='r' size='0x2000' prefill_path='mine.elf'/></system>"),
];

/// Without an SDK: the domains' sources fit our own runtime as well in their form for the SDK, and wrong use is refused.
pub fn sources() -> Outcome {
    run("cargo fmt", cargo().current_dir(root().join("tools/sdk")).args(["fmt", "--check"]))?;
    let mut check = cargo();
    check.args([
        "check",
        "--quiet",
        "--package",
        "pmu_pd",
        "--package",
        "vmm_pd",
        "--target",
        freestanding::TARGET,
    ]);
    check.arg("--target-dir").arg(target().join("sdk/sources"));
    check.env("CARGO_ENCODED_RUSTFLAGS", "--cfg=stock_kernel\u{1f}-Dwarnings");
    run("the check of the domains for the SDK", &mut check)?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("this program's own path is unknown: {e}")))?;
    let folder = output("sdk-refusals")?;
    for (file, text) in FOLDERS {
        let file = folder.join(file.replace("{BOARD}", BOARD));
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        written.map_err(|e| unwritable(&file, &e))?;
    }
    let here = |argument: &str| {
        let made = FOLDERS.iter().any(|(file, _)| file.split('/').next() == Some(argument));
        if made { folder.join(argument) } else { argument.into() }
    };
    for (arguments, reason) in REFUSED {
        let mut command = Command::new(&program);
        command.args(arguments.iter().map(|argument| here(argument)));
        let result =
            command.current_dir(root()).env_remove(VARIABLE).output().map_err(|e| {
                Failure::Environment(format!("{} could not be started: {e}", program.display()))
            })?;
        let message = String::from_utf8_lossy(&result.stderr);
        if result.status.code() != Some(2) || !message.contains(reason) {
            return Err(Failure::Check(format!(
                "{arguments:?}: expected exit code 2 and `{reason}`, got {} and: {message}",
                result.status
            )));
        }
    }
    Ok(())
}

/// Whether there is an SDK to test on.
pub fn is_named() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|folder| !Path::new(&folder).as_os_str().is_empty())
}
