//! The policy domain's figures: instructions of a selector write, image, state, stack.

mod stack;

use crate::image::freestanding::Build;
use crate::process::{Failure, Outcome, run};
use crate::workspace::{cargo, output, target};
use ::kernel::Config;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Instructions of a selector write in `Vm::step`, whatever the filter.
const MAX_STEP: u64 = 150;
/// Bytes of the image that a boot loader copies: text, constants, data.
const MAX_IMAGE: u64 = 64 * 1024;
/// Bytes of one VM's state.
const MAX_STATE: u64 = 4096;
/// Bytes of its stack (pmu_pd/src/main.rs).
const MAX_STACK: u64 = 0x8000;
/// Random messages that the domain answers in this step.
const MESSAGES: u32 = 10_000_000;

/// Measures, prints and checks them.
pub fn figures() -> Outcome {
    let counter = build_counter()?;
    let (step, state) = instructions(&counter, "step")?;
    let (message, _) = instructions(&counter, "message")?;
    let program = Build::user_level(Config::Release)
        .programs(&["pmu_pd"])?
        .pop()
        .ok_or_else(|| Failure::Environment("pmu_pd was not built".into()))?;
    let image = image_size(&program)?;
    let stack = stack::analyse(&disassembly(&program)?).map_err(Failure::Check)?;
    println!(
        "      selector write: {step} instructions in step (at most {MAX_STEP}), {message} with its messages"
    );
    println!("      image: {image} bytes of text and data (at most {MAX_IMAGE})");
    println!("      state: {state} bytes a VM (at most {MAX_STATE})");
    println!("      stack: {stack} (it has {MAX_STACK})");
    for (what, value, limit) in [
        ("a selector write", step, MAX_STEP),
        ("the image", image, MAX_IMAGE),
        ("a VM's state", state, MAX_STATE),
        ("the stack's depth", stack.direct + stack.by_pointer, MAX_STACK),
    ] {
        if value > limit {
            return Err(Failure::Check(format!("{what} is {value}, more than {limit}")));
        }
    }
    many_messages()
}

fn build_counter() -> Outcome<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "protocol_tests", "--example", "step_cost"]);
    run("the build of the instruction counter", &mut command)?;
    Ok(target().join("release/examples/step_cost"))
}

/// Instructions of one selector write in this form, rounded up, and the size of a VM's state.
fn instructions(program: &Path, form: &str) -> Outcome<(u64, u64)> {
    let counts = output("figures")?.join(format!("{form}.callgrind"));
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]);
    command.arg(format!("--toggle-collect=*measured_{form}*"));
    command.arg(format!("--callgrind-out-file={}", counts.display())).arg(program).arg(form);
    let printed = captured(&mut command)?;
    let mut numbers = printed.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let text = std::fs::read_to_string(&counts).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<u64>().ok());
    match (total, numbers.next(), numbers.next()) {
        (Some(total), Some(writes), Some(state)) if total > 0 && writes > 0 => {
            Ok((total.div_ceil(writes), state))
        }
        _ => Err(Failure::Check(format!("valgrind counted nothing in {form}: {printed}"))),
    }
}

/// Bytes of the sections that are loaded from the file.
fn image_size(program: &Path) -> Outcome<u64> {
    let headers = captured(Command::new("objdump").arg("-h").arg(program))?;
    let lines: Vec<&str> = headers.lines().collect();
    let loaded = lines.windows(2).filter(|pair| pair[1].contains("CONTENTS, ALLOC, LOAD"));
    let size = |line: &str| u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    Ok(loaded.filter_map(|pair| size(pair[0])).sum())
}

fn disassembly(program: &Path) -> Outcome<String> {
    captured(Command::new("objdump").args(["--disassemble", "--demangle", "--no-show-raw-insn"]).arg(program))
}

/// The program's standard output.
fn captured(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| {
        Failure::Environment(format!("`{name}` could not be started ({e}); run `cargo xtask doctor`"))
    })?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Check(format!("{name} failed ({}): {messages}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ten million random messages, with the compiler's optimisation.
fn many_messages() -> Outcome {
    let mut command = cargo();
    command.args(["test", "--quiet", "--release", "--package", "protocol_tests", "--test", "hostile"]);
    command.args(["--", "--nocapture", "random_messages_are_answered"]);
    command.env("PROTOCOL_MESSAGES", MESSAGES.to_string());
    let printed = captured(&mut command)?;
    match printed
        .lines()
        .find_map(|line| line.split_once(" messages: ").map(|_| line.trim_start_matches('.')))
    {
        Some(line) if line.starts_with(&MESSAGES.to_string()) => {
            println!("      {line}");
            Ok(())
        }
        _ => Err(Failure::Check(format!("the messages were not sent: {printed}"))),
    }
}
