//! `fuzz`: the fuzz targets of tests/fuzz, on the pinned stable toolchain. The code under test forbids unsafe, so that
//! there is no address sanitizer, for which alone cargo-fuzz needs a nightly compiler.

use crate::process::{Failure, Outcome, run, run_logged};
use crate::workspace::{cargo, output, root, target};
use std::path::PathBuf;
use std::process::Command;

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this target
    #[arg(long, value_parser = TARGETS)]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

const TARGETS: [&str; 5] = ["decode", "step", "policy_binary", "policy_file", "snapshot"];
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// When a target's run ends.
#[derive(Clone, Copy)]
enum End {
    /// After this many seconds, from a random seed and the corpus that earlier runs found.
    Seconds(u32),
    /// After this many inputs, from a fixed seed and the committed corpus: the same inputs each time.
    Inputs(u32),
}

/// What `cargo xtask test` runs: its outcome must not depend on chance.
const BRIEF: End = End::Inputs(50_000);

/// Coverage that libFuzzer reads: what cargo-fuzz passes, without the sanitizer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// Runs the targets one after the other; the corpus grows below the target folder.
pub fn fuzz(arguments: &Arguments) -> Outcome {
    let programs = build()?;
    let wanted = |name: &&&str| arguments.target.as_deref().is_none_or(|only| only == **name);
    TARGETS
        .iter()
        .filter(wanted)
        .try_for_each(|name| fuzz_one(&programs, name, End::Seconds(arguments.seconds)))
}

/// Every target with the same inputs each time.
pub fn brief() -> Outcome {
    let programs = build()?;
    TARGETS.iter().try_for_each(|name| fuzz_one(&programs, name, BRIEF))
}

fn build() -> Outcome<PathBuf> {
    let folder = target().join("fuzz");
    let mut command = cargo();
    command.current_dir(root().join("tests/fuzz"));
    command
        .args(["build", "--locked", "--quiet", "--release", "--target", TRIPLE, "--target-dir"])
        .arg(&folder);
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    run("the build of the fuzz targets", &mut command).map_err(|e| Failure::Environment(e.to_string()))?;
    Ok(folder.join(TRIPLE).join("release"))
}

fn fuzz_one(programs: &std::path::Path, name: &str, end: End) -> Outcome {
    let found = output("fuzz-found")?.join(name);
    let corpus = match end {
        End::Seconds(_) => output("fuzz-corpus")?.join(name),
        End::Inputs(_) => emptied(output("fuzz-brief")?.join(name))?,
    };
    for folder in [&found, &corpus] {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::Environment(format!("{} cannot be created: {e}", folder.display())))?;
    }
    let log = output("fuzz-logs")?.join(format!("{name}.log"));
    let mut command = Command::new(programs.join(name));
    command.arg(&corpus).arg(root().join("tests/fuzz/corpus").join(name));
    command.arg(format!("-artifact_prefix={}/", found.display()));
    match end {
        End::Seconds(seconds) => command.arg(format!("-max_total_time={seconds}")),
        End::Inputs(inputs) => command.args(["-seed=1".into(), format!("-runs={inputs}")]),
    };
    command.args(["-max_len=4096", "-print_final_stats=1"]);
    run_logged(&format!("fuzz target {name}"), &mut command, &log).map_err(|failure| {
        Failure::Check(format!("{failure}\nthe input that failed is in {}", found.display()))
    })?;
    let text = std::fs::read_to_string(&log)
        .map_err(|e| Failure::Environment(format!("{} cannot be read: {e}", log.display())))?;
    let inputs = judged(&text, end)
        .map_err(|why| Failure::Check(format!("fuzz target {name}: {why} ({})", log.display())))?;
    println!("      {name}: {inputs} inputs, none failed");
    Ok(())
}

/// How many inputs a run that succeeded has tried, by what libFuzzer printed: a run of none shows nothing.
fn judged(log: &str, end: End) -> Result<u64, String> {
    const EXECUTED: &str = "stat::number_of_executed_units:";
    let executed = log.lines().find_map(|line| line.strip_prefix(EXECUTED)?.trim().parse::<u64>().ok());
    let wanted = match end {
        End::Seconds(_) => 1,
        End::Inputs(inputs) => u64::from(inputs),
    };
    match executed {
        Some(executed) if executed >= wanted => Ok(executed),
        Some(executed) => Err(format!("{executed} inputs were tried, and {wanted} at least were to be")),
        None => Err("it does not say how many inputs it tried".to_owned()),
    }
}

/// `folder` without what an earlier run left there.
fn emptied(folder: PathBuf) -> Outcome<PathBuf> {
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::Environment(format!("{} cannot be emptied: {e}", folder.display())))
        }
        _ => Ok(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::{End, judged};

    #[test]
    fn a_run_that_tried_too_few_inputs_shows_nothing() {
        let log = |inputs: &str| format!("Done 7 runs\nstat::number_of_executed_units: {inputs}\n");
        assert_eq!(judged(&log("50000"), End::Inputs(50_000)), Ok(50_000));
        assert!(judged(&log("49999"), End::Inputs(50_000)).is_err());
        assert!(judged(&log("0"), End::Seconds(60)).is_err());
        assert!(judged("Done 7 runs\n", End::Seconds(60)).is_err_and(|why| why.contains("does not say")));
    }
}
