//! The step of `cargo xtask test` that runs Multiboot kernels, by the command line as a user has it: what ends well,
//! what ends badly, what is refused.

mod linux;
mod refused;

use super::guest::Guest;
use super::tests_of_guests::{COUNT, NEIGHBOUR, boot, lines_of, report};
use super::unwritable;
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The module of the run with everything: its bytes, and their sum.
const MODULE: usize = 5001;
/// A command line with quotes, as the guest is to find it; it prints it, and what would end a run if it were ours.
const LINE: &str = "say=\"a  b\" 'c d' x=\\ monitor: @stop";
/// Seconds that a guest may take, with its boot: one that ends, on a busy machine; and one that does not end.
const LIMIT: &str = "300";
const SPIN: &str = "15";
/// Parts of the guest that no command line leaves out.
const PARTS: [&str; 10] = [
    "information",
    "memory",
    "legacy",
    "x2apic",
    "interrupts",
    "debug",
    "strings",
    "time",
    "state",
    "counting",
];

/// What a run of the command came to.
struct Ran {
    code: Option<i32>,
    /// Standard output and standard error.
    text: String,
    /// What the guest printed.
    guest: String,
}

/// `cargo xtask run` with these arguments, and unless they say what serves the PMU, a policy of this PMU version.
fn run(version: u8, arguments: &[&str]) -> Outcome<Ran> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::Environment(format!("the program of xtask cannot be found: {e}")))?;
    let policy = output("kernel-tests")?.join("policy.toml");
    fs::write(&policy, policy_of(version)).map_err(|e| unwritable(&policy, &e))?;
    let serial = output("run/bochs")?.join("serial.txt");
    // That of another run is not ours.
    fs::write(&serial, "").map_err(|e| unwritable(&serial, &e))?;
    let mut command = Command::new(program);
    command.arg("run").stdin(Stdio::null());
    if !arguments.contains(&"--machine") {
        command.args(["--costs", "none"]);
    }
    // A replay takes neither.
    let replays = arguments.contains(&"--replay");
    if !replays && !arguments.contains(&"--timeout") {
        command.args(["--timeout", LIMIT]);
    }
    if !replays && !arguments.iter().any(|argument| ["--mode", "--policy"].contains(argument)) {
        command.arg("--policy").arg(&policy);
    }
    command.args(arguments);
    let ended = command
        .output()
        .map_err(|e| Failure::Environment(format!("`cargo xtask run` could not be started: {e}")))?;
    let text = [ended.stdout, ended.stderr].concat();
    let serial = fs::read(&serial).map_err(|e| unwritable(&serial, &e))?;
    let serial = String::from_utf8_lossy(&serial).replace('\r', "");
    let guest = serial.lines().filter_map(|line| line.strip_prefix("guest: "));
    Ok(Ran {
        code: ended.status.code(),
        text: String::from_utf8_lossy(&text).into_owned(),
        guest: guest.fold(String::new(), |all, line| all + line + "\n"),
    })
}

/// A policy that denies nothing, with this version of the PMU.
fn policy_of(version: u8) -> String {
    let vm = "[[vm]]\nname = \"guest\"\nchannel = 1\n";
    match version {
        0 => format!("{vm}mode = \"off\"\n"),
        _ => format!("{vm}version = {version}\n[vm.filter]\naction = \"deny\"\nevents = []\n"),
    }
}

/// Checks of one run, each failure with its name.
pub(super) struct Run {
    name: String,
    ran: Ran,
    failures: Vec<String>,
}

impl Run {
    pub(super) fn new(name: &str, version: u8, arguments: &[&str]) -> Outcome<Self> {
        Ok(Self { name: name.to_owned(), ran: run(version, arguments)?, failures: Vec::new() })
    }

    pub(super) fn ends_with(mut self, code: i32) -> Self {
        if self.ran.code != Some(code) {
            let end: Vec<&str> = self.ran.text.lines().rev().take(4).collect();
            let found = self.ran.code;
            self.failures.push(format!("exit code {found:?} and not {code}: {}", end.join(" | ")));
        }
        self
    }

    /// The command says this.
    pub(super) fn says(mut self, text: &str) -> Self {
        if !self.ran.text.contains(text) {
            self.failures.push(format!("the report has not `{text}`"));
        }
        self
    }

    /// The guest prints this line.
    pub(super) fn prints(mut self, line: &str) -> Self {
        if !self.ran.guest.lines().any(|printed| printed == line) {
            self.failures.push(format!("the guest has not printed `{line}`"));
        }
        self
    }

    /// The guest prints this and a number that is not 0.
    fn counts(mut self, start: &str) -> Self {
        let number = |line: &str| line.strip_prefix(start)?.parse::<u64>().ok();
        if !self.ran.guest.lines().filter_map(number).any(|number| number > 0) {
            self.failures.push(format!("the guest has not printed `{start}` and a number"));
        }
        self
    }

    pub(super) fn finish(self, failures: &mut Vec<String>) {
        let Self { name, ran, failures: new } = self;
        if new.is_empty() {
            println!("      {name}");
        } else {
            let wrong = ran.guest.lines().filter(|line| line.starts_with("@wrong"));
            let lines = new.into_iter().chain(wrong.map(str::to_owned));
            failures.extend(lines.map(|line| format!("{name}: {line}")));
        }
    }
}

/// Multiboot kernels by the command line.
pub fn kernels() -> Outcome {
    let mut failures = Vec::new();
    refused::check(&mut failures)?;
    linux::refused(&mut failures)?;
    Run::new("a machine without VT-x", 5, &["--guest", "idle", "--machine", "qemu"])?
        .ends_with(2)
        .says("error: seL4 and the image boot, but this machine has no VT-x")
        .finish(&mut failures);
    good(&mut failures)?;
    bad(&mut failures)?;
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check(failures.join("\n"))) }
}

/// Runs that end well.
fn good(failures: &mut Vec<String>) -> Outcome {
    let module: Vec<u8> = (0..MODULE).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
    let sum: u64 = module.iter().map(|byte| u64::from(*byte)).sum();
    let file = output("kernel-tests")?.join("module");
    fs::write(&file, &module).map_err(|e| unwritable(&file, &e))?;
    let file = file.to_string_lossy();

    let all = ["--guest", "multiboot", "--append", LINE, "--initrd", &file];
    let mut run = Run::new("everything in 128 MiB, with a module", 5, &all)?
        .ends_with(0)
        .prints(&format!("@line kernel {LINE}"))
        .prints(&format!("@module bytes={MODULE} sum={sum}"))
        .prints(&memory(128))
        .prints("@counting version=5 tried=49")
        .prints("@strings");
    for part in PARTS {
        run = run.counts(&format!("@part name={part} checks="));
    }
    run.finish(failures);

    // The shortest and the longest memory; the counts where every access is emulated.
    let least = ["--guest", "multiboot", "--memory", "4", "--mode", "emulated"];
    Run::new("everything in 4 MiB, PMU emulated", 5, &least)?
        .ends_with(0)
        .prints(&memory(4))
        .prints("@counting version=5 tried=49")
        .finish(failures);
    let most = ["--guest", "multiboot", "--memory", "1024", "--append", "part=memory"];
    Run::new("1024 MiB, each page", 5, &most)?.ends_with(0).prints(&memory(1024)).finish(failures);
    Run::new("32-bit kernel", 5, &["--guest", "protected"])?
        .ends_with(0)
        .prints("@protected right")
        .finish(failures);
    loading(failures)?;
    speed(failures)?;
    side_by_side(failures)
}

/// What the guest says of this memory: all but the VMM's 384 KiB below 1 MiB.
fn memory(mib: u64) -> String {
    let available = (mib << 20) - 0x6_0000;
    format!("@memory available={available}")
}

/// Runs that end badly, each under another version of the PMU.
fn bad(failures: &mut Vec<String>) -> Outcome {
    let ends: [(&str, &str, i32); 7] = [
        ("triple", "triple fault", 3),
        ("rom", "physical address 0xfffffff0, where nothing is", 3),
        ("nowhere", "instruction fetch from physical address 0xc0000000, where nothing is", 3),
        ("code", "the guest ended itself with code 42", 3),
        ("shutdown", "PASS", 0),
        ("spin", "registers rip=", 3),
        ("storm", "the guest was stopped at the time limit", 3),
    ];
    for ((end, report, code), version) in ends.into_iter().zip((0..=5).cycle()) {
        let append = format!("end={end}");
        let mut arguments = vec!["--guest", "multiboot", "--append", append.as_str()];
        if ["spin", "storm"].contains(&end) {
            arguments.extend(["--timeout", SPIN]);
        }
        Run::new(&format!("end={end}, PMU version {version}"), version, &arguments)?
            .ends_with(code)
            .says(report)
            .prints(&format!("@pmu-version number={version}"))
            // The policy passes on that the hardware has them.
            .prints(&format!("@full-width writes={}", u8::from(version > 0)))
            .prints(&format!("@end {end}"))
            .finish(failures);
    }
    Ok(())
}

/// A large initrd, and how long it takes on the host, which is said and not judged: the host may have other work.
fn loading(failures: &mut Vec<String>) -> Outcome {
    const MIB: usize = 64;
    let file = output("kernel-tests")?.join("large-module");
    fs::write(&file, vec![1; MIB << 20]).map_err(|e| unwritable(&file, &e))?;
    let name = file.to_string_lossy();
    let mut seconds = Vec::new();
    for initrd in [&["--initrd", &name][..], &[]] {
        let arguments = [&["--guest", "multiboot", "--append", "end=code"], initrd].concat();
        let run = Run::new("a module of 64 MiB, or none", 5, &arguments)?.ends_with(3).prints("@end code");
        let said = |what: &str| {
            let line = run.ran.text.lines().find(|line| line.ends_with(what))?;
            line.strip_prefix('[')?.split_once('s')?.0.trim().parse::<f64>().ok()
        };
        match said("the guest runs").zip(said("simulated machine")) {
            Some((guest, machine)) => seconds.push(guest - machine),
            None => failures.push("a module of 64 MiB: nothing says when the guest began".to_owned()),
        }
        run.finish(failures);
    }
    fs::remove_file(&file).map_err(|e| unwritable(&file, &e))?;
    if let [large, none] = seconds[..] {
        println!(
            "      from the machine's start to the guest's first line: {large:.1} s of host time with a module of {MIB} MiB, {none:.1} s without"
        );
    }
    Ok(())
}

/// What a guest's own code loses to time outside it, in percent of all time: at most this.
const OUTSIDE: f64 = 5.0;

/// Without costs a cycle is an instruction: those outside the guest are what it loses.
fn speed(failures: &mut Vec<String>) -> Outcome {
    let file = output("kernel-tests")?.join("speed.json");
    let name = file.to_string_lossy();
    let run = Run::new(
        "code without exits",
        5,
        &["--guest", "multiboot", "--append", "end=long", "--json", &name],
    )?
    .ends_with(0);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let cost = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let cycles = |key: &str| cost["cost"][key].as_f64();
    match (cycles("guest_cycles"), cycles("outside_percent")) {
        (Some(guest), Some(outside)) if guest > 1e8 && outside <= OUTSIDE => {
            println!(
                "      {guest:.0} instructions of a guest, and {outside:.2} % of all outside it: {:.4} of the speed without",
                1.0 - outside / 100.0
            );
        }
        (guest, outside) => failures.push(format!(
            "code without exits: {outside:?} % of all outside the guest's {guest:?} instructions, at most {OUTSIDE} are to be"
        )),
    }
    run.finish(failures);
    Ok(())
}

/// Two VMs keep their registers apart.
fn side_by_side(failures: &mut Vec<String>) -> Outcome {
    let folder: PathBuf = output("kernel-tests/two")?;
    // The neighbour is the last to end.
    for (name, append) in [("guest.elf", "part=state rounds=100"), ("neighbour.elf", "part=state rounds=300")]
    {
        let image = Guest { append, memory: 4, ..Guest::new("multiboot") }.image()?;
        let to = folder.join(name);
        fs::write(&to, &image).map_err(|e| unwritable(&to, &e))?;
    }
    let system: &Path = &root().join("tests/system/two_vms");
    let finished = boot(
        &system.join("system.xml"),
        &system.join("policy.toml"),
        &folder,
        0,
        &format!("{NEIGHBOUR}@stop"),
    )?;
    for mark in [COUNT, NEIGHBOUR] {
        let lines = lines_of(&finished, mark);
        let verdict =
            report(&lines, "multiboot", &finished).and_then(|r| r.verdict().map_err(Failure::Check));
        match verdict {
            Ok(_) if lines.contains("@state sse=1 avx=1") => {
                println!("      SSE and AVX registers, {mark}side by side")
            }
            Ok(_) => failures.push(format!("{mark}AVX was not tried")),
            Err(failure) => failures.push(format!("{mark}side by side: {failure}")),
        }
    }
    Ok(())
}
