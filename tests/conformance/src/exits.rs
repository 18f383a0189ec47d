//! Traces of the whole system: the exits that `cargo xtask run --trace` prints, for the oracle.
//!
//! Such a trace tells which trapped RDMSR and WRMSR completed and which faulted, with the values written. Accesses
//! without an exit are not in it, nor is what a trapped RDMSR gave. So the oracle judges the outcome of every
//! trapped access to a PMU register, and nothing else of the run.

use crate::alphabet::readable;
use crate::system::System;
use crate::trace::{References, Trace};

/// A trace for the oracle, and how many accesses it has.
#[derive(Debug)]
pub struct Exits {
    /// The trace.
    pub text: String,
    /// The trapped accesses to PMU registers.
    pub accesses: usize,
}

/// The value of field `name` of a line `name=value name=value ...`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn word(line: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(field(line, name)?.strip_prefix("0x")?, 16).ok()
}

/// The trapped accesses of the one guest of `system` in `exits`.
///
/// # Errors
/// A line that is not one of a trace, or an outcome that no access has.
pub fn read(system: &System, exits: &str) -> Result<Exits, String> {
    let mut text = Trace::new(system, &References::new(system)).text;
    let mut accesses = 0;
    for (number, line) in (1..).zip(exits.lines()) {
        let wrong = |what: &str| format!("line {number} of the exits: {what}: {line}");
        let reason = field(line, "reason").filter(|_| line.starts_with("@trace "));
        let reason = reason.ok_or_else(|| wrong("not an exit"))?;
        if reason != "rdmsr" && reason != "wrmsr" {
            continue;
        }
        let register = |name| word(line, name).ok_or_else(|| wrong("a register is missing"));
        let low = |value: u64| value & 0xFFFF_FFFF;
        let msr = low(register("rcx")?);
        if !readable().any(|number| u64::from(number) == msr) {
            continue;
        }
        let value = low(register("rdx")?) << 32 | low(register("rax")?);
        let outcome = field(line, "outcome").ok_or_else(|| wrong("no outcome"))?;
        let answer = match (reason, outcome) {
            (_, "vector-13") => "gp",
            ("rdmsr", "completed") => "value ?",
            ("wrmsr", "completed") => "done",
            _ => return Err(wrong("no outcome of an access")),
        };
        let operation =
            if reason == "rdmsr" { format!("rd 0 {msr:#x}") } else { format!("wr 0 {msr:#x} {value:#x}") };
        text.push_str(&format!("{operation} = {answer}\n"));
        accesses += 1;
    }
    Ok(Exits { text, accesses })
}
