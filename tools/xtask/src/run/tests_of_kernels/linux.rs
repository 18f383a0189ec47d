//! Linux kernels that `cargo xtask run` refuses: one sentence, exit code 2, and nothing boots. They are the installed
//! distribution's kernel, damaged (The Linux/x86 Boot Protocol, "The Real-Mode Kernel Header").

use super::refused::refused as is_refused;
use super::{output, unwritable};
use crate::machine::linux_files;
use crate::process::{Failure, Outcome};
use std::fs;
use std::process::Command;
use vmm_core::loader::Container;

/// What a file is made into.
type Damage = fn(&mut Vec<u8>);

/// Offsets in the file.
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADFLAGS: usize = 0x211;
const XLOADFLAGS: usize = 0x236;
const MIB: usize = 1 << 20;

/// Damaged kernels: name, how, and what the sentence says.
const KERNELS: [(&str, Damage, &str); 5] = [
    ("no bzImage", |file| put(file, MAGIC, 0), "no Linux bzImage"),
    ("no 64-bit entry", |file| put(file, XLOADFLAGS, 0), "no 64-bit entry"),
    ("an old boot protocol", |file| put(file, VERSION, 11), "no 64-bit entry"),
    ("a zImage", |file| put(file, LOADFLAGS, 0), "build a bzImage"),
    ("a kernel that is cut off", |file| file.truncate(MIB), "cut off"),
];

fn put(file: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = file.get_mut(at) {
        *byte = value;
    }
}

/// Each refusal, each failure of one with its name.
pub(super) fn refused(failures: &mut Vec<String>) -> Outcome {
    let folder = output("kernel-tests/refused")?;
    let kernel = linux_files::kernel()?;
    let good = fs::read(&kernel)
        .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", kernel.display())))?;
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, bytes).map_err(|e| unwritable(&file, &e))?;
        Outcome::Ok(file.to_string_lossy().into_owned())
    };
    for (name, damage, sentence) in KERNELS {
        let mut file = good.clone();
        damage(&mut file);
        let file = write("kernel", &file)?;
        is_refused(name, &["--guest", &file], sentence, failures)?;
    }
    let good = kernel.to_string_lossy();
    let large = write("initrd", &vec![1; 100 * MIB])?;
    let cases: [(&str, &[&str], &str); 4] = [
        (
            "Linux in 126 MiB",
            &["--guest", &good, "--memory", "126"],
            "Linux needs 128 MiB of memory and the guest has 126",
        ),
        ("Linux with an initrd too large", &["--guest", &good, "--initrd", &large], "does not fit"),
        ("Debian's Linux in 126 MiB", &["--guest", "linux", "--memory", "126"], "Linux needs 128 MiB"),
        (
            "Debian's Linux with another initrd",
            &["--guest", "linux", "--initrd", &large],
            "has an initrd of its own",
        ),
    ];
    for (name, arguments, sentence) in cases {
        is_refused(name, arguments, sentence, failures)?;
    }
    as_a_file(&good, failures)
}

/// `cargo xtask guest-image` writes what the VMM's loader takes, and refuses what it does not take.
fn as_a_file(kernel: &str, failures: &mut Vec<String>) -> Outcome {
    let (out, initrd) = (output("kernel-tests")?.join("linux.image"), kernel);
    let write = |kernel: &str, memory: &str| {
        let program = std::env::current_exe()?;
        let arguments =
            ["guest-image", "--guest", kernel, "--append", "a=1 b", "--initrd", initrd, "--memory", memory];
        Command::new(program).args(arguments).arg(&out).output()
    };
    let started = |e| Failure::Environment(format!("`cargo xtask guest-image` could not be started: {e}"));
    let [good, bad] = [write(kernel, "128").map_err(started)?, write(kernel, "126").map_err(started)?];
    let file =
        fs::read(&out).map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", out.display())))?;
    let written = Container::parse(&file).is_ok_and(|parts| {
        parts.command_line == b"a=1 b" && parts.kernel == parts.initrd && !parts.initrd.is_empty()
    });
    // `cargo xtask run` puts it together.
    let linux = write("linux", "128").map_err(started)?;
    let says = String::from_utf8_lossy(&linux.stderr).contains("name a bzImage");
    if good.status.success() && written && bad.status.code() == Some(2) && says {
        println!("      a guest's image as a file");
    } else {
        failures.push(format!(
            "guest-image: {}, written as it should be: {written}, of 126 MiB: {}, linux refused: {says}",
            good.status, bad.status
        ));
    }
    Ok(())
}
