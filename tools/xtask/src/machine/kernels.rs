//! The bare-metal kernels of tests/machine.

use super::iso::{self, Payload};
use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, output, root, target};
use std::path::PathBuf;

/// Builds a kernel, and the CD image that boots it with this command line.
pub fn image(program: &str, name: &str, arguments: &str) -> Outcome<PathBuf> {
    let script = root().join("tests/machine/link.ld");
    let kernel = build(program, &[format!("-Wl,-T,{}", script.display())])?;
    let iso = output("machine")?.join(format!("{name}.iso"));
    iso::make(&iso, &Payload::Multiboot { kernel: &kernel, arguments, modules: &[] })
}

/// Builds a static Linux program that needs nothing else.
pub fn linux_program(program: &str) -> Outcome<PathBuf> {
    build(program, &[])
}

/// Builds a program of tests/machine without a C library.
fn build(program: &str, link_arguments: &[String]) -> Outcome<PathBuf> {
    let mut command = cargo();
    command.args(["rustc", "--quiet", "--release", "--package", "machine_kernels", "--bin", program, "--"]);
    command.args(["-C", "relocation-model=static"]);
    let always = ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--build-id=none"];
    for argument in always.iter().copied().chain(link_arguments.iter().map(String::as_str)) {
        command.args(["-C", &format!("link-arg={argument}")]);
    }
    run("the build of a test kernel", &mut command).map_err(|e| Failure::Environment(e.to_string()))?;
    Ok(target().join("release").join(program))
}
