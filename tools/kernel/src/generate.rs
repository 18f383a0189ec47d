//! The kernel's own code generators: Python programs, run in an environment with pinned packages.

use crate::compile::{Step, run};
use crate::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the generators import, with the checksums of the packages.
const REQUIREMENTS: &str = "\
ply==3.11 --hash=sha256:096f9b8350b65ebd2fd1346b12452efe5b9607f7482813ffca50c22722a807ce
six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
tempita==0.6.0 --hash=sha256:696160ba5302b344934558d9d4c94a7b9778b7641612f4e20d62fcac4d7a02c9
";

/// The XML file, the option of `invocation_header_gen.py`, the header.
const INVOCATIONS: &[(&str, &[&str], &str)] = &[
    ("libsel4/arch_include/x86/interfaces/sel4arch.xml", &["--arch"], "arch/api/invocation.h"),
    (
        "libsel4/sel4_arch_include/x86_64/interfaces/sel4arch.xml",
        &["--sel4_arch"],
        "arch/api/sel4_invocation.h",
    ),
    ("libsel4/include/interfaces/sel4.xml", &[], "api/invocation.h"),
];

/// Bitfield descriptions, relative to an include folder, and that folder.
const BITFIELDS: &[(&str, &str)] = &[
    ("include/64", "mode/api/shared_types"),
    ("include/arch/x86", "arch/object/structures"),
    ("include/plat/pc99/plat/64", "plat_mode/machine/hardware"),
];

/// The interpreter of an environment below `folder`, made on the first call.
pub fn python(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    let environment = folder.join("python");
    let python = environment.join("bin/python");
    let requirements = environment.join("requirements.txt");
    if fs::read_to_string(&requirements).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(python);
    }
    progress("installing the Python packages of the kernel's generators");
    run("python3 -m venv", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let wanted = environment.join("wanted.txt");
    fs::write(&wanted, REQUIREMENTS).map_err(Error::io(&wanted))?;
    run(
        "pip install",
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--require-hashes", "--only-binary=:all:", "-r"])
            .arg(&wanted),
    )?;
    fs::rename(&wanted, &requirements).map_err(Error::io(&requirements))?;
    Ok(python)
}

/// Generates the headers that the kernel includes.
pub fn headers(step: &Step<'_>, python: &Path) -> Result<(), Error> {
    let generated = step.generated();
    for (xml, options, header) in INVOCATIONS {
        run(
            "invocation_header_gen.py",
            tool(step, python, "invocation_header_gen.py")
                .args(*options)
                .args(["--xml", xml, "--dest"])
                .arg(header_path(&generated, header)?),
        )?;
    }
    run(
        "syscall_header_gen.py",
        tool(step, python, "syscall_header_gen.py")
            .args(["--xml", "include/api/syscall.xml", "--kernel_header"])
            .arg(header_path(&generated, "arch/api/syscall.h")?),
    )?;
    for (folder, name) in BITFIELDS {
        let preprocessed = header_path(&generated, &format!("{name}.pbf"))?;
        run("cpp", step.cpp().arg("-P").arg(format!("{folder}/{name}.bf")).arg("-o").arg(&preprocessed))?;
        let header = header_path(&generated, &format!("{name}_gen.h"))?;
        let mut command = tool(step, python, "bitfield_gen.py");
        command.arg(&preprocessed).arg(&header);
        for source in step.prunes()? {
            command.arg("--prune").arg(source);
        }
        run("bitfield_gen.py", &mut command)?;
    }
    Ok(())
}

fn tool(step: &Step<'_>, python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    // The generators print sets of names: without a fixed seed their order changes.
    command.env("PYTHONHASHSEED", "0").env("PYTHONDONTWRITEBYTECODE", "1");
    command.current_dir(step.tree).arg(format!("tools/{name}"));
    command
}

fn header_path(generated: &Path, header: &str) -> Result<PathBuf, Error> {
    let path = generated.join(header);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    Ok(path)
}
