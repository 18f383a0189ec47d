//! Running the steps: two at a time, since a simulated machine keeps one processor busy and no more.

use super::Step;
use crate::machine::tied;
use crate::process::{Failure, Outcome};
use crate::workspace::{claim, output};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Instant;

/// Where a step runs. Steps of one lane run one after the other, in the order of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Before all others, alone.
    First,
    /// On the host: compilers, provers, unit tests.
    Host,
    /// Those that start machines or build kernels.
    Machine,
}

/// Runs `steps` and returns the names of those that failed.
///
/// # Errors
/// Only when the steps cannot be run at all.
pub fn run(steps: &[&Step]) -> Outcome<Vec<&'static str>> {
    let logs = output("tests")?;
    let _claim = claim(&logs)?;
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("the program of xtask cannot be found: {e}")))?;
    let failed = Mutex::new(Vec::new());
    let lane = |lane: Lane| {
        for (i, step) in steps.iter().enumerate().filter(|(_, step)| step.lane == lane) {
            let start = Instant::now();
            println!("[{}/{}] {}: {}", i + 1, steps.len(), step.name, step.shows);
            let result = alone(&program, step, &logs.join(step.name).with_extension("log"));
            let mut failed = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let seconds = start.elapsed().as_secs_f64();
            match result {
                Ok(printed) => println!("{printed}      {}: ok, {seconds:.0} s", step.name),
                Err(why) => {
                    println!("{why}      {}: FAILED, {seconds:.0} s", step.name);
                    failed.push(step.name);
                }
            }
        }
    };
    lane(Lane::First);
    std::thread::scope(|scope| {
        scope.spawn(|| lane(Lane::Host));
        lane(Lane::Machine);
    });
    Ok(failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Runs one step in a process of its own, so that what steps print does not mix: what it printed, or that and its exit status.
fn alone(program: &Path, step: &Step, log: &Path) -> Result<String, String> {
    let files = std::fs::File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = files.map_err(|e| format!("{} cannot be written: {e}\n", log.display()))?;
    // Else a step would go on, with its machine, when we are ended from outside.
    let mut command = tied(program.as_os_str(), &[]);
    command.args(["test", "--step", step.name]).stdin(Stdio::null()).stdout(out).stderr(err);
    let status = command.status().map_err(|e| format!("the step could not be started: {e}\n"))?;
    let printed = std::fs::read(log).map_err(|e| format!("{} cannot be read: {e}\n", log.display()))?;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if status.success() { Ok(printed) } else { Err(format!("{printed}      ({status})\n")) }
}
