//! Is the oracle awake? Every field of a trace is changed, one at a time; it must notice.

use crate::oracle::{Verdict, replay};
use crate::registers::{Op, Registers};
use crate::system::System;
use crate::trace::{Player, Trace};
use pmu_core::approved::PAIRS;
use std::collections::BTreeMap;
use std::path::Path;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// Changed fields of answers and contexts; every one was rejected.
    pub results: usize,
    /// Kinds of fields of operations and of the header; a change of each was rejected somewhere.
    pub inputs: usize,
}

/// Fields of a line: (start, end) of each word, each entry of a list a field of its own.
fn fields(line: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = None;
    for (i, c) in line.char_indices().chain([(line.len(), ' ')]) {
        let separates = c == ' ' || c == ',';
        match start {
            Some(s) if separates => {
                found.push((s, i));
                start = None;
            }
            None if !separates => start = Some(i),
            _ => {}
        }
    }
    found
}

/// Another field of the same form; `None` for punctuation, names of operations and empty lists.
fn changed(kind: &str, field: &str) -> Option<String> {
    match field {
        // Versions 4 and 5 have the same registers.
        _ if kind == "vm 1" => Some("3".into()),
        "done" | "value" | "registers" => Some("gp".into()),
        "gp" | "refused" => Some("done".into()),
        "deliver" => Some("spurious".into()),
        "delay" => Some("deliver".into()),
        "pmi" => Some("quiet".into()),
        "quiet" => Some("pmi".into()),
        _ => {
            if let Some(digits) = field.strip_prefix("0x") {
                let word = u64::from_str_radix(digits, 16).ok()?;
                Some(format!("{:#x}", word ^ 1))
            } else {
                let count: u64 = field.parse().ok()?;
                Some((count ^ 1).to_string())
            }
        }
    }
}

fn with(lines: &[&str], number: usize, start: usize, end: usize, field: &str) -> String {
    let line = lines[number];
    let line = format!("{}{field}{}", &line[..start], &line[end..]);
    let mut text = lines[..number].join("\n");
    text.push('\n');
    text.push_str(&line);
    text.push('\n');
    text.push_str(&lines[number + 1..].join("\n"));
    text.push('\n');
    text
}

/// Fields of the header that no operation of the script depends on: versions 4 and 5 of the hardware have the same
/// registers; its TSX matters to a guest in passthrough, P6 to one without a PMU, and of its capabilities the changed bit
/// is nobody's.
const WITHOUT_EFFECT: [&str; 5] = ["hardware 1", "hardware 6", "hardware 7", "hardware 8", "vm 7"];

/// Lines of each operation and answer whose results are changed.
const LINES: usize = 2;

/// Operations in which every field matters, for a system of two guests that have all of 8 + 4 counters: the first may
/// count everything and has a limit on PMIs, the second what filter 1 allows; filter 3 is masked.
pub fn script<'a>(system: &'a System, player: &mut impl Player) -> Trace<'a> {
    const COUNTING: u64 = 1 << 22 | 1 << 20 | 3 << 16;
    let mut trace = Trace::new(system, player);
    for vm in [1, 0] {
        let mut step = |op: Op| trace.step(player, vm, &op);
        for (msr, key) in (0x186..).zip([0xC0, 0x3C, 0x412E, 0x402E, 0x4F2E, 0x3C, 0xC0, 0x3D]) {
            step(Op::Write(msr, COUNTING | key));
        }
        step(Op::Write(0x38D, 0xBBBB));
        step(Op::Write(0x38F, 0xF_0000_00FF));
        step(Op::Write(0x186, COUNTING | 1 << 32 | 0xC0));
        step(Op::Write(0x391, 1 << 3));
        step(Op::Count([1; 8], [1; 4]));
        step(Op::Write(0x4C2, (1 << 48) - 1));
        step(Op::Write(0x309, u64::MAX));
        step(Op::Count([5, 2, 3, 4, 5, 6, 7, 8], [3, 4, 5, 6]));
    }
    let mut step = |op: Op| trace.step(player, 0, &op);
    for op in [
        Op::Write(0xC3, 0x8000_0000),
        Op::Write(0x4C1, 77),
        Op::Read(0xC1),
        Op::Read(0x345),
        Op::Read(0x38E),
        Op::Read(0xC2),
        Op::Read(0x18E),
        Op::Write(0x187, 1 << 21),
        Op::Rdpmc(2, 3, true, true),
        Op::Rdpmc(2, 3, false, false),
        Op::Rdpmc(0x4000_0001, 1, true, false),
        Op::Save,
    ] {
        step(op);
    }
    let registers = Registers {
        selectors: [COUNTING | 0x3C; 8],
        fixed_control: 0x3333,
        global_control: 0x3_0000_0003,
        status: 1 << 33,
        general: [1, 2, 3, 4, 5, 6, 7, 8],
        fixed: [9, 10, 11, 12],
    };
    let impossible = Registers { fixed_control: 4, ..registers };
    for op in [
        Op::Restore(registers),
        Op::Restore(impossible),
        Op::Write(0x187, COUNTING | 0xC0),
        Op::Write(0x188, COUNTING | 0x412E),
        Op::Write(0x189, COUNTING | 0x402E),
        Op::Write(0x18A, COUNTING | 0x4F2E),
        Op::Filter(1),
        Op::Filter(3),
        Op::Open,
    ] {
        step(op);
    }
    // One value more than the kernel's table has room for: the oldest pair goes, and the next oldest is there.
    let value = |i: u64| COUNTING | i << 24 | 0xC0;
    for i in 0..=PAIRS as u64 {
        step(Op::Write(0x186, value(i)));
    }
    for op in [
        Op::GuestWrite(0x186, value(1)),
        Op::GuestRead(0x186),
        Op::GuestWrite(0x187, value(0)),
        Op::GuestRead(0x38D),
        Op::GuestWrite(0x4C2, (1 << 48) - 1),
        Op::GuestWrite(0x187, value(0)),
        Op::GuestWrite(0x187, 1 << 21),
        Op::DirectWrite(0x4C1, 12),
        Op::DirectRead(0xC1),
        Op::DirectWrite(0x38F, 1 << 8),
        Op::DirectRead(0x38F),
        // A branch in ring 0 counts on this counter, nothing in ring 3.
        Op::Filter(0),
        Op::Write(0x187, 1 << 22 | 1 << 17 | 0xC4),
        Op::Complete(false, true),
        Op::Complete(true, true),
        // The limit is 2 in 100 cycles.
        Op::Overflow(1000),
        Op::Overflow(1010),
        Op::Overflow(1021),
        Op::Overflow(1033),
        Op::Overflow(1100),
        Op::Overflow(1101),
    ] {
        step(op);
    }
    trace
}

/// Changes every field of `trace`, which the oracle accepts.
///
/// # Errors
/// The fields whose change the oracle did not notice.
pub fn corrupt(oracle: &Path, trace: &str) -> Result<Tried, String> {
    let lines: Vec<&str> = trace.lines().collect();
    let mut tried = Tried::default();
    let mut unnoticed = Vec::new();
    let mut inputs: BTreeMap<String, bool> = BTreeMap::new();
    let mut lines_of: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate().skip(1) {
        let results_from = line.find('=').unwrap_or(line.len());
        let name = line.split(' ').next().unwrap_or_default();
        let answer = line[results_from..].split(' ').nth(1).unwrap_or_default();
        let seen = lines_of.entry(format!("{name} {answer}")).or_default();
        *seen += 1;
        let results_too = *seen <= LINES;
        for (index, (start, end)) in fields(line).into_iter().enumerate() {
            let kind = format!("{name} {index}");
            let Some(field) = changed(&kind, &line[start..end]) else { continue };
            let wanted = if start > results_from { results_too } else { inputs.get(&kind) != Some(&true) };
            if !wanted {
                continue;
            }
            let verdict = replay(oracle, &with(&lines, number, start, end, &field));
            if let Verdict::Broken(reason) = &verdict
                && reason.contains("could not be")
            {
                return Err(reason.clone());
            }
            let noticed = verdict != Verdict::Accepted;
            if start > results_from {
                tried.results += 1;
                if !noticed {
                    unnoticed.push(format!("line {}, field {index}: {line}", number + 1));
                }
            } else if !WITHOUT_EFFECT.contains(&kind.as_str()) {
                *inputs.entry(kind).or_default() |= noticed;
            }
        }
    }
    unnoticed
        .extend(inputs.iter().filter(|(_, noticed)| !**noticed).map(|(kind, _)| format!("every {kind}")));
    tried.inputs = inputs.len();
    if unnoticed.is_empty() {
        Ok(tried)
    } else {
        Err(format!("changes that the oracle did not notice:\n{}", unnoticed.join("\n")))
    }
}
