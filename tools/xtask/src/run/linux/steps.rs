//! What `cargo xtask test --full` does with Linux guests.

pub use super::two::two;
use super::{COMMAND_LINE, Linux, MEMORY, NAME, TO_THE_SHELL, judge};
use crate::machine::{linux, linux_files};
use crate::process::{Failure, Outcome};
use crate::run::tests_of_kernels::Run;
use crate::run::unwritable;
use crate::workspace::output;
use std::fs;
use std::process::Command;

/// How much longer a guest may take to its shell than the bare machine.
const SLOWER: f64 = 2.5;
/// A first program whose end Linux does not survive.
const ENDS: &str = "#!/bin/busybox sh\n/bin/busybox mkdir /proc\n/bin/busybox mount -t proc proc /proc\n\
                    /bin/busybox cat /proc/cmdline\nexit 7\n";
/// What the command line has besides, and what the kernel says of that end.
const SAID: &str = "sel4_vpmu.say=this";
const LAST_WORDS: &str = "Attempted to kill init! exitcode=0x00000700";

/// The step `linux-guest`.
pub fn guest() -> Outcome {
    crate::process::run("cargo xtask run --guest linux", xtask()?.args(["run", "--guest", NAME]))?;
    shell()?;
    panics()?;
    denied()
}

/// This program.
fn xtask() -> Outcome<Command> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("the program of xtask cannot be found: {e}")))?;
    Ok(Command::new(program))
}

/// The time to the shell, and what exits it takes: on the bare machine and as a guest, the same files and command line.
pub fn shell() -> Outcome {
    let nothing = output("run/linux")?.join("nothing.sh");
    fs::write(&nothing, "").map_err(|e| unwritable(&nothing, &e))?;
    let files = Linux::with("", "", false)?;
    let Some(bare) = judge::ticks(&linux::to_shell(&files.initrd, COMMAND_LINE, MEMORY)?) else {
        return Err(Failure::Check("the bare machine's Linux has not said when its shell came".to_owned()));
    };
    let ran = xtask()?
        .args(["run", "--guest", NAME, "--"])
        .arg(&nothing)
        .output()
        .map_err(|e| Failure::Environment(format!("`cargo xtask run` could not be started: {e}")))?;
    let text = String::from_utf8_lossy(&ran.stdout);
    print!("{text}");
    let ticks = text.lines().find_map(|line| line.strip_prefix(TO_THE_SHELL)?.parse::<u64>().ok());
    let Some(guest) = ticks.filter(|_| ran.status.success()) else {
        let error = String::from_utf8_lossy(&ran.stderr);
        return Err(Failure::Check(format!("the guest has not come to its shell ({}): {error}", ran.status)));
    };
    compared(bare, guest)
}

/// Prints and judges both times.
#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
fn compared(bare: u64, guest: u64) -> Outcome {
    let slower = guest as f64 / bare.max(1) as f64;
    println!("on the bare machine: {bare}; the guest takes {slower:.2} times that (at most {SLOWER})");
    if slower <= SLOWER {
        return Ok(());
    }
    Err(Failure::Check(format!("the guest's shell comes after {slower:.2} times the bare machine's time")))
}

/// A kernel, an initrd and a command line of the user's; a panic is told with the console's last lines.
fn panics() -> Outcome {
    let initrd = linux_files::shell_files(&output("run/panic")?, &[("init", ENDS)])?;
    let [kernel, initrd] = [linux_files::kernel()?, initrd].map(|file| file.display().to_string());
    let append = format!("{COMMAND_LINE} {SAID}");
    let arguments =
        ["--guest", &kernel, "--initrd", &initrd, "--append", &append, "--memory", "128", "--timeout", "900"];
    let mut failures = Vec::new();
    Run::new("a kernel that panics", 5, &arguments)?
        .ends_with(3)
        .says("the guest's kernel panicked; its last lines:")
        .says(LAST_WORDS)
        .says(SAID)
        .finish(&mut failures);
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

/// What a policy denies that perf accepts: Linux asks the vPMU for a raw event as it is, and it counts nothing beside
/// one that counts all. 0xc4 are branches, of which the program retires millions.
const DENIES: &str = "[[vm]]\nname = \"guest\"\nchannel = 1\n[vm.filter]\naction = \"allow\"\n\
                      events = [\"core-cycles\", \"instructions\", \"reference-cycles\"]\nfixed = [0, 1, 2]\n";
const ASKS: &str = ". /functions\ncounts denied r0c4:u,instructions:u /known\n";

fn denied() -> Outcome {
    let folder = output("denied")?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|e| unwritable(&file, &e))?;
        Ok(file.display().to_string())
    };
    let (policy, script) = (write("policy.toml", DENIES)?, write("script.sh", ASKS)?);
    let mut failures = Vec::new();
    Run::new(
        "an event that the policy denies",
        5,
        &["--guest", NAME, "--policy", &policy, "--timeout", "900", "--", &script],
    )?
    .ends_with(0)
    .prints("linux | denied r0c4:u | 0")
    .prints(&format!("linux | denied instructions:u | {}", linux::INSTRUCTIONS))
    // The row is left out where nothing was denied.
    .says("control writes denied ")
    .finish(&mut failures);
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::compared;

    #[test]
    fn a_guest_may_take_two_and_a_half_times_as_long() {
        assert!(compared(100, 250).is_ok());
        assert!(compared(100, 251).is_err());
    }
}
