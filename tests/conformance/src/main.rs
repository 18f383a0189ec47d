//! `conformance`: compares pmu_core, the reference and the oracle. Exit codes: 0 they agree, 1 they do not, 2
//! wrong use.

use clap::{Parser, Subcommand};
use conformance::alphabet::{approvals, filters, hardware, limits, operations, systems};
use conformance::authority::{Distribution, Expected, FACTS};
use conformance::corruption::{corrupt, script};
use conformance::exhaustive::{Bench, reference_trace};
use conformance::oracle::{Verdict, replay};
use conformance::registers::Answer;
use conformance::registers::Op;
use conformance::trace::References;
use conformance::{Subject, System, VmConfig, exits, random, stock};
use pmu_api::Mode;
use pmu_core::pmi::PmiLimit;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use vmm_core::trace::Line;

#[derive(Parser)]
#[command(name = "conformance", about = "Compares pmu_core, the reference and the oracle")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replay random traces of pmu_core and of the reference on the oracle
    Traces {
        /// The oracle
        #[arg(long)]
        oracle: PathBuf,
        /// Operations in each trace
        #[arg(long, default_value_t = 4_000)]
        steps: usize,
        /// Where the random numbers start
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Change each field of a trace; the oracle must reject it
    Corrupt {
        /// The oracle
        #[arg(long)]
        oracle: PathBuf,
    },
    /// Replay every sequence of the alphabet on the oracle, as the reference does it
    Reference {
        /// The oracle
        #[arg(long)]
        oracle: PathBuf,
        /// Longest sequence
        #[arg(long, default_value_t = 3)]
        depth: usize,
    },
    /// Compare pmu_core and the reference over every sequence of the alphabet
    Lockstep {
        /// Longest sequence
        #[arg(long, default_value_t = 5)]
        depth: usize,
        /// How many operations of the alphabet
        #[arg(long)]
        operations: Option<usize>,
    },
    /// Compare them over every sequence of guests' accesses, which the kernel carries out where it may, and of what must
    /// stop it from that
    Approvals {
        /// Longest sequence
        #[arg(long, default_value_t = 5)]
        depth: usize,
    },
    /// Compare them over every sequence of questions what to do with a PMI under a limit
    Limits {
        /// Longest sequence
        #[arg(long, default_value_t = 6)]
        depth: usize,
    },
    /// Compare them in every state of a small geometry
    Fixpoint,
    /// Judge the trapped accesses in the exits that `cargo xtask run --trace` writes
    Exits {
        /// The oracle
        #[arg(long)]
        oracle: PathBuf,
        /// The exits
        file: PathBuf,
    },
    /// Check the isolation facts on a capability distribution in JSON, ours or the Microkit tool's
    Authority {
        /// The distribution
        file: PathBuf,
        /// The policy domain
        #[arg(long, default_value = "pmu")]
        policy: String,
        /// The VMM
        #[arg(long, default_value = "vmm")]
        vmm: String,
        /// A memory region that both may map (may be repeated)
        #[arg(long)]
        shared: Vec<String>,
        /// A thread that is trusted to pass no capability on (may be repeated)
        #[arg(long)]
        trusted: Vec<String>,
        /// VCPU capabilities carry the rights of the bundled kernel
        #[arg(long)]
        rights: bool,
    },
    /// Print a random trace of pmu_core
    Print {
        /// Operations in the trace
        #[arg(long, default_value_t = 100)]
        steps: usize,
        /// Index of the system
        #[arg(long, default_value_t = 0)]
        system: usize,
        /// Where the random numbers start
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let start = Instant::now();
    let result = match Arguments::parse().command {
        Command::Traces { oracle, steps, seed } => traces(&oracle, steps, seed),
        Command::Corrupt { oracle } => corrupted(&oracle),
        Command::Reference { oracle, depth } => reference(&oracle, depth),
        Command::Lockstep { depth, operations } => lockstep(depth, operations),
        Command::Approvals { depth } => lockstep_of("approvals", &approvals(), depth, &approving_systems()),
        Command::Limits { depth } => lockstep_of("limits", &limits(), depth, &limited_systems()),
        Command::Fixpoint => fixpoint(),
        Command::Exits { oracle, file } => exits(&oracle, &file),
        Command::Authority { file, policy, vmm, shared, trusted, rights } => {
            let shared: Vec<&str> = shared.iter().map(String::as_str).collect();
            let trusted: Vec<&str> = trusted.iter().map(String::as_str).collect();
            authority(
                &file,
                &Expected { policy: &policy, vmm: &vmm, shared: &shared, trusted: &trusted, rights },
            )
        }
        Command::Print { steps, system, seed } => print(steps, system, seed).map(|()| String::new()),
    };
    match result {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text} ({:.1} s)", start.elapsed().as_secs_f64());
            }
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(1)
        }
    }
}

fn accepted(what: &str, verdict: Verdict) -> Result<(), String> {
    match verdict {
        Verdict::Accepted => Ok(()),
        Verdict::Rejected(text) | Verdict::Broken(text) => Err(format!("{what}: {text}")),
    }
}

fn traces(oracle: &std::path::Path, steps: usize, seed: u64) -> Result<String, String> {
    let systems = systems();
    for (name, system) in &systems {
        let trace = random::trace(system, &mut Subject::new(system), steps, seed);
        accepted(&format!("pmu_core, {name}"), replay(oracle, &trace.text))?;
        let trace = random::trace(system, &mut References::new(system), steps, seed + 1);
        accepted(&format!("reference, {name}"), replay(oracle, &trace.text))?;
    }
    let stock = stock::systems(approving_systems());
    for (name, system) in &stock {
        let trace = stock::trace(system, steps, seed);
        accepted(&format!("pmu_core without the kernel's extension, {name}"), replay(oracle, &trace.text))?;
    }
    let (count, stock) = (systems.len(), stock.len());
    Ok(format!(
        "traces: {count} systems, {steps} operations of pmu_core and of the reference each, and {stock} systems without the \
         kernel's extension: accepted"
    ))
}

fn corrupted(oracle: &std::path::Path) -> Result<String, String> {
    let systems = systems();
    let Some((name, system)) = systems.first() else { return Err("no systems".into()) };
    let trace = script(system, &mut Subject::new(system));
    accepted(name, replay(oracle, &trace.text))?;
    let tried = corrupt(oracle, &trace.text)?;
    let exits = corrupted_exits(oracle)?;
    Ok(format!(
        "corruption: {} changed answers and registers, {} kinds of changed operations, {exits} outcomes of exits: all rejected",
        tried.results, tried.inputs
    ))
}

/// One guest that equals its hardware, and one that has a part of it.
fn single_systems() -> [(&'static str, System); 2] {
    let vm = |version, general, fixed| VmConfig {
        mode: Mode::Mediated,
        version,
        general,
        fixed: Some(fixed),
        tsx: true,
        filter: 0,
        pmi_limit: None,
    };
    let system = |vm| System { hardware: hardware(5, 8, 4), vms: vec![vm], filters: filters() };
    [("8 + 4 counters, version 5", system(vm(5, 8, 4))), ("2 + 1 counters, version 2", system(vm(2, 2, 1)))]
}

fn reference(oracle: &std::path::Path, depth: usize) -> Result<String, String> {
    let operations = operations();
    for (name, system) in single_systems() {
        accepted(name, replay(oracle, &reference_trace(&system, &operations, depth)))?;
    }
    let count = operations.len();
    Ok(format!("reference: every sequence of {count} operations to depth {depth} on 2 systems: accepted"))
}

fn lockstep(depth: usize, limit: Option<usize>) -> Result<String, String> {
    let mut operations = operations();
    operations.truncate(limit.unwrap_or(operations.len()));
    lockstep_of("lockstep", &operations, depth, &single_systems())
}

fn lockstep_of(
    what: &str,
    operations: &[Op],
    depth: usize,
    systems: &[(&str, System)],
) -> Result<String, String> {
    let mut total = 0;
    for (name, system) in systems {
        let compared = Bench::new(system.clone()).lockstep(operations, depth);
        total += compared.map_err(|text| format!("{name}: {text}"))?;
    }
    let (count, systems) = (operations.len(), systems.len());
    Ok(format!(
        "{what}: {count} operations to depth {depth} on {systems} systems, {total} sequences: no difference"
    ))
}

/// Guests whose control accesses the kernel may carry out: one of all counters, with direct access, and one of a part.
fn approving_systems() -> [(&'static str, System); 2] {
    single_systems().map(|(name, mut system)| {
        system.vms.iter_mut().for_each(|vm| vm.tsx = false);
        (name, system)
    })
}

/// One guest with a limit on PMIs: of two in a window, and of one.
fn limited_systems() -> [(&'static str, System); 2] {
    let mut most = 3;
    single_systems().map(|(name, mut system)| {
        most -= 1;
        system.vms.iter_mut().for_each(|vm| vm.pmi_limit = Some(PmiLimit { count: most, cycles: 100 }));
        (name, system)
    })
}

/// Operations with few values, so that the states are few: counting adds half the counters' range.
fn small_operations() -> Vec<Op> {
    let half = 1 << 31;
    let mut operations = vec![
        Op::Open,
        Op::Count([half; 8], [half; 4]),
        Op::Filter(0),
        Op::Filter(1),
        Op::Filter(4),
        Op::Save,
        Op::Read(0x38E),
        Op::Read(0x392),
    ];
    let enabled = 1 << 22 | 3 << 16;
    operations.extend([0, enabled | 1 << 20 | 0x3C, enabled | 0xC0].map(|x| Op::Write(0x186, x)));
    operations.extend([0, 3, 0xB, 4].map(|x| Op::Write(0x38D, x)));
    operations.extend([0, 1, 1 << 32 | 1, 2].map(|x| Op::Write(0x38F, x)));
    operations.extend([1, 1 << 32 | 1 << 63].map(|x| Op::Write(0x390, x)));
    operations.extend([1 << 32, 2].map(|x| Op::Write(0x391, x)));
    operations.extend([0, u64::MAX].map(|x| Op::Write(0xC1, x)));
    operations.extend([0, half].map(|x| Op::Write(0x309, x)));
    operations
}

fn fixpoint() -> Result<String, String> {
    let vm = VmConfig {
        mode: Mode::Mediated,
        version: 4,
        general: 1,
        fixed: Some(1),
        tsx: false,
        filter: 0,
        pmi_limit: None,
    };
    let small = conformance::Geometry { width: 32, fixed_width: 32, ..hardware(4, 1, 1) };
    let system = System { hardware: small, vms: vec![vm], filters: filters() };
    let operations = small_operations();
    let (states, count) = Bench::new(system).fixpoint(&operations, 100_000)?;
    let alphabet = operations.len();
    Ok(format!("fixpoint: {alphabet} operations, {states} states, {count} comparisons: no difference"))
}

/// The default machine's guest of `cargo xtask run`: all of 8 + 4 counters, version 5, no TSX.
fn default_guest() -> System {
    let vm = VmConfig {
        mode: Mode::Mediated,
        version: 5,
        general: 8,
        fixed: None,
        tsx: false,
        filter: 0,
        pmi_limit: None,
    };
    System { hardware: hardware(5, 8, 4), vms: vec![vm], filters: filters() }
}

fn exits(oracle: &std::path::Path, file: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let exits = exits::read(&default_guest(), &text)?;
    if exits.accesses == 0 {
        return Err(format!("{} has no trapped access to a PMU register", file.display()));
    }
    accepted(&file.display().to_string(), replay(oracle, &exits.text))?;
    Ok(format!("exits: {} trapped accesses of {}: accepted", exits.accesses, file.display()))
}

/// The exits of trapped accesses as vmm_core prints them; with one outcome changed the oracle must reject them.
fn corrupted_exits(oracle: &std::path::Path) -> Result<usize, String> {
    use vmm_core::exit::RawExit;
    let system = default_guest();
    let mut player = system.reference(0);
    let mut lines = Vec::new();
    for op in operations() {
        let (reason, msr, value) = match op {
            Op::Write(msr, value) => (32, msr, value),
            Op::Read(msr) => (31, msr, 0),
            _ => continue,
        };
        let mut exit = RawExit { reason, ..RawExit::default() };
        exit.registers.0[0] = value & 0xFFFF_FFFF;
        exit.registers.0[2] = u64::from(msr);
        exit.registers.0[3] = value >> 32;
        let outcome = match player.step(&op) {
            Answer::Fault => "vector-13",
            _ => "completed",
        };
        let printed = Line { exit: &exit, outcome: &vmm_core::vm::Outcome::Again }.to_string();
        let (fields, _) = printed.split_once("outcome=").ok_or("vmm_core's trace has no outcome")?;
        lines.push((fields.to_owned(), outcome));
    }
    let text = |changed: Option<usize>| -> String {
        let other = |outcome: &str| if outcome == "completed" { "vector-13" } else { "completed" };
        let line = |(i, (fields, outcome)): (usize, &(String, &'static str))| {
            let outcome = if changed == Some(i) { other(outcome) } else { outcome };
            format!("{fields}outcome={outcome}\n")
        };
        lines.iter().enumerate().map(line).collect()
    };
    let intact = exits::read(&system, &text(None))?;
    accepted("exits", replay(oracle, &intact.text))?;
    for i in 0..lines.len() {
        let verdict = replay(oracle, &exits::read(&system, &text(Some(i)))?.text);
        if !matches!(verdict, Verdict::Rejected(_)) {
            return Err(format!("exit {i}: another outcome was not noticed: {verdict:?}"));
        }
    }
    Ok(lines.len())
}

fn authority(file: &std::path::Path, expected: &Expected<'_>) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let json = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let distribution = Distribution::read(&json).map_err(|error| format!("{}: {error}", file.display()))?;
    let broken = FACTS.iter().filter_map(|(name, fact)| Some((name, fact(&distribution, expected).err()?)));
    let broken: Vec<String> = broken.map(|(name, reason)| format!("{name}: {reason}")).collect();
    if broken.is_empty() {
        Ok(format!("authority: {} facts hold for {}", FACTS.len(), file.display()))
    } else {
        Err(broken.join("\n"))
    }
}

fn print(steps: usize, system: usize, seed: u64) -> Result<(), String> {
    let systems = systems();
    let (_, system) = systems.get(system).ok_or_else(|| format!("there are {} systems", systems.len()))?;
    print!("{}", random::trace(system, &mut Subject::new(system), steps, seed).text);
    Ok(())
}
