//! The bare-metal kernels of tests/machine.

use super::iso::{self, Payload};
use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, output, root, target};
use std::path::PathBuf;

/// Builds a kernel, and the CD image that boots it with this command line.
pub fn image(program: &str, name: &str, arguments: &str) -> Outcome<PathBuf> {
    let script = root().join("tests/machine/link.ld");
    let mut command = cargo();
    command.args(["rustc", "--quiet", "--release", "--package", "machine_kernels", "--bin", program, "--"]);
    command.args(["-C", "relocation-model=static"]);
    for argument in ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"] {
        command.args(["-C", &format!("link-arg={argument}")]);
    }
    command.args(["-C", &format!("link-arg=-Wl,-T,{}", script.display())]);
    run("the build of the test kernel", &mut command).map_err(|e| Failure::Environment(e.to_string()))?;
    let kernel = target().join("release").join(program);
    let iso = output("machine")?.join(format!("{name}.iso"));
    iso::make(&iso, &Payload::Multiboot { kernel: &kernel, arguments, modules: &[] })
}
