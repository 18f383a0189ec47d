//! One boot: a guest in a mode on the simulated machine, and what was seen of it.

use crate::image::{self, Request};
use crate::machine::{Ended, Finished, bochs};
use crate::policy;
use crate::process::{Failure, Outcome};
use crate::run::guest::Guest;
use crate::run::lines::Line;
use crate::run::report::Report;
use crate::run::{BROKEN, Mode, SENTINEL};
use crate::workspace::{Claim, claim, output, root, unwritable};
use kernel::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Host time for one boot.
const LIMIT: Duration = Duration::from_secs(900);
/// VM exits by their basic reason (SDM vol. 3D, appendix C).
const EXCEPTION: u32 = 0;
const RDMSR: u32 = 31;
const WRMSR: u32 = 32;

/// Where boots happen, and when the first one began.
pub struct Lab {
    pub folder: PathBuf,
    start: Instant,
    _claim: Claim,
}

/// What was seen of a boot.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The VMM's report.
    pub report: Report,
    /// The numbers of the guest's own lines, by the line's first word.
    pub said: BTreeMap<String, BTreeMap<String, u64>>,
    /// The machine's report: the first processor.
    pub machine: Value,
}

impl Observed {
    /// A number that the guest printed.
    ///
    /// # Errors
    /// It did not.
    pub fn said(&self, word: &str, key: &str) -> Result<u64, String> {
        let value = self.said.get(word).and_then(|numbers| numbers.get(key));
        value.copied().ok_or_else(|| format!("the guest did not print {key} in a line @{word}"))
    }

    /// VM exits with this basic reason, whoever handled them.
    fn machine_exits(&self, reason: u32) -> u64 {
        self.machine["vm_exits"][reason.to_string()].as_u64().unwrap_or(0)
    }

    /// Exits by a cause of which the VMM counted fewer than the machine: the kernel completed them.
    fn in_kernel(&self, reason: u32, name: &str) -> u64 {
        let seen = self.report.by_reason.get(name).copied().unwrap_or(0);
        self.machine_exits(reason).saturating_sub(seen)
    }

    /// Control writes that the kernel completed, because the policy domain had approved them.
    pub fn approved_writes(&self) -> u64 {
        self.in_kernel(WRMSR, "wrmsr")
    }

    /// Control reads of the same kind.
    pub fn approved_reads(&self) -> u64 {
        self.in_kernel(RDMSR, "rdmsr")
    }

    /// Exits by exceptions that the kernel handled: the guest used the FPU while a thread owned it.
    pub fn fpu_exits(&self) -> u64 {
        self.in_kernel(EXCEPTION, "exception-or-nmi")
    }

    /// Exits of the guest's doing, whoever handled them: without serial output, and without the host's own timer
    /// interrupt, which the kernel handles.
    pub fn exits(&self) -> u64 {
        let serial = self.report.by_reason.get("io").copied().unwrap_or(0);
        self.report.exits.saturating_sub(serial) + self.approved_writes() + self.approved_reads()
    }
}

impl Lab {
    /// A lab in a folder of its own, which no other run uses at the same time.
    ///
    /// # Errors
    /// The folder cannot be created, or is in use.
    pub fn new(name: &str) -> Outcome<Self> {
        let folder = output(name)?;
        let claim = claim(&folder)?;
        let inputs = folder.join("inputs");
        fs::create_dir_all(&inputs).map_err(|e| unwritable(&inputs, &e))?;
        Ok(Self { folder, start: Instant::now(), _claim: claim })
    }

    /// Says what is done, with the time.
    pub fn say(&self, what: &str) {
        eprintln!("[{:5.1} s] {what}", self.start.elapsed().as_secs_f64());
    }

    /// Boots the guest's file in this mode, with the costs of a file or without any.
    ///
    /// # Errors
    /// The image cannot be built, the guest did not come to its end, or a check of its own failed.
    pub fn boot(&self, guest: &Path, mode: Mode, costs: Option<&Path>) -> Outcome<Observed> {
        let inputs = self.folder.join("inputs");
        let policy = inputs.join("policy.toml");
        fs::write(&policy, mode.policy()).map_err(|e| unwritable(&policy, &e))?;
        policy::compile_to(&policy, &inputs.join("policy.bin"))?;
        Guest::new(&guest.display().to_string()).put(&inputs)?;
        let system = root().join("system.xml");
        let out = self.folder.join("image");
        let mut request = Request::new(Config::Release, &system, &out);
        request.search.push(inputs);
        let mut machine = image::build(&request)?.in_bochs(&self.folder.join("bochs"));
        machine.pmu = Some(bochs::Pmu { skid: 0, costs: costs.map(Path::to_owned) });
        machine.time_limit = LIMIT;
        machine.sentinels = BROKEN.iter().chain([&SENTINEL]).map(|text| (*text).to_owned()).collect();
        observed(&machine.run(|_| ())?)
    }
}

/// What a run that came to its end shows.
///
/// # Errors
/// It did not, its report is not whole, or a check of its own failed.
pub fn observed(finished: &Finished) -> Outcome<Observed> {
    let incomplete = || Failure::Check(finished.summary());
    match &finished.ended {
        Ended::Sentinel(line) if line.starts_with(SENTINEL) => {}
        _ => return Err(incomplete()),
    }
    let lines: Vec<Line<'_>> = finished.serial.lines().filter_map(Line::parse).collect();
    let report = Report::from_lines(&lines, "bochs".to_owned(), "release".to_owned(), "bench".to_owned())
        .ok_or_else(incomplete)?;
    report.verdict().map_err(|why| Failure::Check(format!("{why}; {}", finished.summary())))?;
    let of_guest = lines.iter().filter(|line| line.guest);
    let said = of_guest.map(|line| (line.word.to_owned(), line.numbers())).collect();
    let file = finished
        .report
        .as_ref()
        .ok_or_else(|| Failure::Check("the simulated machine ended without writing its report".into()))?;
    let text = fs::read_to_string(file).map_err(|e| unwritable(file, &e))?;
    let machine: Value = serde_json::from_str(&text)
        .map_err(|e| Failure::Check(format!("{}: the machine's report is malformed: {e}", file.display())))?;
    Ok(Observed { report, said, machine: machine["processors"][0].clone() })
}

#[cfg(test)]
pub mod tests {
    use super::{Line, Observed, Report};
    use serde_json::json;

    /// A boot with these numbers, for tests of what is made of them.
    pub fn observed(cycles: u64, control_traps: u64, data: u64) -> Observed {
        let log = format!(
            "guest: @counter workload=w event=e counter=c measured=5 expected=5\n\
             guest: @samples taken=100 expected=100 late=0\n\
             guest: @accesses data=700 control=40\n\
             guest: @bench cycles={cycles} checksum=9\n\
             @exits total=180 io=50 wrmsr=20 pmi=100 rdmsr=10\n\
             @pmu mode=Mediated control_traps={control_traps} control_reads=0 data_accesses={data} ppc=3\n\
             @pmi raised=100 delivered=100 lost=0 spurious=0\n\
             @stop code=0 the guest ended itself with code 0\n"
        );
        let lines: Vec<Line<'_>> = log.lines().filter_map(Line::parse).collect();
        let report = Report::from_lines(&lines, "bochs".into(), "k".into(), "g".into()).expect("complete");
        let said = lines
            .iter()
            .filter(|line| line.guest)
            .map(|line| (line.word.to_owned(), line.numbers()))
            .collect();
        let machine = json!({"vm_exits": {"1": 130, "31": 10, "32": 35}});
        Observed { report, said, machine }
    }

    /// Of 35 exits by WRMSR the VMM saw 20; 50 of its 180 were serial output; 30 interrupts were the host's own.
    #[test]
    fn exits_are_the_vmm_s_without_output_and_those_that_the_kernel_completed() {
        let observed = observed(1, 2, 0);
        assert_eq!((observed.approved_writes(), observed.approved_reads()), (15, 0));
        assert_eq!(observed.exits(), 180 - 50 + 15);
    }

    #[test]
    fn a_number_that_the_guest_did_not_print_is_named() {
        let observed = observed(1, 2, 0);
        assert_eq!(observed.said("bench", "checksum"), Ok(9));
        assert!(observed.said("path", "pmi").unwrap_err().contains("pmi in a line @path"));
    }
}
