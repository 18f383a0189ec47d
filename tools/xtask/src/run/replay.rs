//! `run --replay` and the steps of `cargo xtask test` beside it: the VMM's and the policy domain's logic over real
//! calls in QEMU, which has no VT-x (images of tests/system/replay).

use super::{Arguments, compile_policy, unwritable};
use crate::image::{self, Request, ran_to_end};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::workspace::{claim, output, root};
use kernel::Config;
use std::fs;
use std::path::Path;
use std::time::Duration;
use vmm_core::seam::{Event, PREFIX};

/// How long a replay may take.
const REPLAY_LIMIT: Duration = Duration::from_secs(60);
/// How long a million messages may take.
const MESSAGES_LIMIT: Duration = Duration::from_secs(150);
/// Size in bytes of the memory region `recording` of tests/system/replay/system.xml.
const RECORDING: usize = 0x80_0000;
/// What the images print last.
const PASSED: &str = ": passed";
const DIFFERS: &str = ": differs";
/// The traces of the test, beside the images: the first exits of two guests, one whose accesses fault and one that takes
/// PMIs. Where the VMM rightly does something else than it did, they are made anew: `cargo xtask run --guest hostile
/// --timeout 60 --record tests/system/replay/hostile.trace --exits 300`, and `count` likewise.
const TRACES: [&str; 2] = ["hostile.trace", "count.trace"];

/// Replays the trace with the policy that the arguments name.
pub fn run(trace: &Path, arguments: &Arguments) -> Outcome {
    let text = read(trace)?;
    // What is replayed lies there until the image has it.
    let _claim = claim(&output("replay")?)?;
    let inputs = output("replay/inputs")?;
    compile_policy(arguments, &inputs)?;
    let line = replay(&text, &inputs, &output("replay/run")?)?;
    println!("{line}");
    Ok(())
}

/// Replays the committed traces; with a changed outcome each must differ.
pub fn committed() -> Outcome {
    let inputs = output("replay-test/inputs")?;
    let folder = output("replay-test/run")?;
    policy::compile_to(&super::default_policy(), &inputs.join("policy.bin"))?;
    for name in TRACES {
        let text = read(&root().join("tests/system/replay").join(name))?;
        println!("      {name}: {}", replay(&text, &inputs, &folder)?);
        let changed = changed(&text).ok_or_else(|| Failure::Check(format!("{name} has no reply")))?;
        match replay(&changed, &inputs, &folder) {
            Err(Failure::Check(message)) if message.ends_with(DIFFERS) => {
                println!("      {name} with a changed reply: {message}");
            }
            Err(other) => return Err(other),
            Ok(line) => return Err(Failure::Check(format!("a changed reply is not noticed: {line}"))),
        }
    }
    Ok(())
}

fn read(trace: &Path) -> Outcome<String> {
    fs::read_to_string(trace)
        .map_err(|e| Failure::Environment(format!("the trace {} cannot be read: {e}", trace.display())))
}

/// The trace with another last reply.
fn changed(text: &str) -> Option<String> {
    let reply = format!("{PREFIX}reply ");
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with(&reply))?;
    let other = format!("{} 1", lines[last]);
    lines[last] = &other;
    Some(lines.join("\n"))
}

/// A million messages to the policy domain.
pub fn messages() -> Outcome {
    let inputs = output("messages-test/inputs")?;
    for name in ["policy", "update"] {
        let file = root().join("tests/protocol/system").join(name).with_extension("toml");
        policy::compile_to(&file, &inputs.join(name).with_extension("bin"))?;
    }
    let line = boot("messages.xml", MESSAGES_LIMIT, &inputs, &output("messages-test")?)?;
    println!("      {line}");
    Ok(())
}

fn replay(text: &str, inputs: &Path, folder: &Path) -> Outcome<String> {
    let words = compile(text).map_err(Failure::Environment)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if bytes.len() > RECORDING {
        return Err(Failure::Environment(format!(
            "the trace takes {} bytes and there is room for {RECORDING}; cut its end off",
            bytes.len()
        )));
    }
    let file = inputs.join("recording.bin");
    fs::write(&file, bytes).map_err(|e| unwritable(&file, &e))?;
    boot("system.xml", REPLAY_LIMIT, inputs, folder)
}

/// Boots the image in QEMU: the line that it passes with, and the time.
fn boot(system: &str, limit: Duration, inputs: &Path, folder: &Path) -> Outcome<String> {
    let system = root().join("tests/system/replay").join(system);
    let mut request = Request::new(Config::Debug, &system, folder);
    request.search.push(inputs.to_owned());
    let mut machine = image::build(&request)?.in_qemu(&folder.join("qemu"));
    machine.time_limit = limit;
    machine.sentinels = [PASSED, DIFFERS].into_iter().chain(super::BROKEN).map(str::to_owned).collect();
    let finished = machine.run(|_| ())?;
    ran_to_end(&finished)?;
    let ending = |end: &str| finished.serial.lines().find(|line| line.trim_end().ends_with(end));
    match (ending(PASSED), ending(DIFFERS)) {
        (Some(line), _) => Ok(format!("{}, in {:.1} s", line.trim_end(), finished.wall.as_secs_f64())),
        (None, Some(line)) => Err(Failure::Check(line.trim_end().to_owned())),
        _ => Err(Failure::Check(finished.summary())),
    }
}

/// The trace as the image reads it: the number of words of events, and the events, of which the first is the guest's start.
fn compile(text: &str) -> Result<Vec<u64>, String> {
    let mut events = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.starts_with(PREFIX)) {
        let event = Event::parse(line)
            .ok_or_else(|| format!("line {number} of the trace is not one that `--record` writes: {line}"))?;
        if events.is_empty() && event.as_start().is_none() {
            break;
        }
        events.push(event.header());
        events.extend(event.words());
    }
    if events.is_empty() {
        return Err(
            "the trace does not begin with a guest's start; record one with `cargo xtask run --record FILE`"
                .to_owned(),
        );
    }
    Ok([events.len() as u64].into_iter().chain(events).collect())
}

#[cfg(test)]
mod tests {
    use super::{changed, compile};
    use vmm_core::seam::Kind;

    const TEXT: &str = "@seam start 0 1000 200000 0 0 0 0 0 77 0 0 0 0 0 0 0 0 0\n@seam call 101\n\
                        @seam reply 181 5\n@trace reason=cpuid\n";

    #[test]
    fn the_number_of_words_and_the_start_come_first() {
        let words = compile(TEXT).expect("a trace");
        assert_eq!(words[..4], [19 + 2 + 3, Kind::Start as u64 | 18 << 8, 0, 0x1000]);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in ["", "@trace reason=cpuid\n", "@seam reply 181 5\n", "@seam start 2 0 0\n"] {
            assert!(compile(text).unwrap_err().contains("does not begin"), "{text}");
        }
        assert!(compile("@seam start x\n").unwrap_err().starts_with("line 1 "));
    }

    #[test]
    fn the_last_reply_is_changed() {
        assert!(changed(TEXT).expect("a reply").contains("\n@seam reply 181 5 1\n"));
        assert_eq!(changed("@seam call 1"), None);
    }
}
