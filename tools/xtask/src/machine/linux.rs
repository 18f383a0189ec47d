//! `machine linux`: stock Debian packages, unmodified, on the simulated machine.

use super::checks::{Check, verdict};
use super::iso::{self, Payload};
use super::{Finished, bochs, kernels};
use crate::process::{Failure, Outcome, run_logged};
use crate::workspace::output;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The kernel's package; it depends on the one of the current version.
const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "/bin/busybox";
const PERF: &str = "/usr/bin/perf";
const INIT: &str = include_str!("linux_init.sh");
/// What the program executes in user mode (tests/machine/src/known.rs).
const INSTRUCTIONS: u64 = 10_000_004;
const BRANCHES: u64 = 5_000_001;
/// Instructions a sample, in linux_init.sh.
const PERIOD: u64 = 100_000;
const ARGUMENTS: &str = "console=ttyS0,115200 quiet nmi_watchdog=0 panic=-1 rdinit=/init";
/// Fast enough that the kernel's timer interrupts are rare, slow enough that the firmware's waits are short.
const IPS: u32 = 200_000_000;
/// Seconds until the shell that should not be exceeded. A measurement: other work on the host is no failure.
const SHELL_GOAL: u32 = 150;
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// Boots it and compares what `perf` counts with what ran.
pub fn linux() -> Outcome {
    let folder = output("machine/linux")?;
    let kernel = kernel(&folder)?;
    let initrd = initial_files(&folder)?;
    let image = Payload::Linux { kernel: &kernel, arguments: ARGUMENTS, initrd: &initrd };
    let iso = iso::make(&folder.join("linux.iso"), &image)?;
    let mut machine = bochs::Machine::new(&folder.join("run"), &iso);
    machine.memory_mib = 512;
    machine.ips = IPS;
    machine.sentinels = ["linux | end", "Kernel panic"].map(str::to_owned).to_vec();
    machine.time_limit = TIME_LIMIT;
    let start = Instant::now();
    let mut shell = None;
    let finished = machine.run_timed(|line, cpu| {
        println!("  {line}");
        if line.starts_with("linux | shell") {
            shell = Some((start.elapsed().as_secs_f64(), cpu.as_secs_f64()));
        }
    })?;
    let mut checks = examine(&finished.serial);
    checks.extend(interrupts(&finished)?);
    checks.iter().for_each(|check| println!("{check}"));
    let Some((wall, cpu)) = shell else { return Err(Failure::Check(finished.summary())) };
    println!(
        "to the shell: {wall:.0} s, {cpu:.0} s of processor time (goal: {SHELL_GOAL} s on two idle cores)"
    );
    println!("in all: {:.0} s", finished.wall.as_secs_f64());
    super::expected_end(&finished)?;
    verdict(&checks)
}

/// What the log says, against what must be.
fn examine(serial: &str) -> Vec<Check> {
    let lines: Vec<Vec<&str>> = serial
        .lines()
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|fields| fields.first() == Some(&"linux"))
        .collect();
    let value = |name: &str| lines.iter().find(|f| f.get(1) == Some(&name)).and_then(|f| f.get(2)).copied();
    let kernel_says = |text: &str| {
        lines
            .iter()
            .filter(|f| f.get(1) == Some(&"kernel"))
            .any(|f| f.get(2).is_some_and(|l| l.contains(text)))
    };
    let check = |name: &str, got: Option<&str>, want: &str| Check {
        name: name.to_owned(),
        section: String::new(),
        got: got.unwrap_or("nothing").to_owned(),
        want: want.to_owned(),
    };
    let yes = |name: &str, is: bool| Check::new(name, "", u64::from(is), 1);
    let mut checks = vec![
        yes("Linux: its Intel PMU driver", kernel_says("Intel PMU driver")),
        yes("Linux: full-width counters", kernel_says("full-width counters")),
        yes("Linux: version 5", kernel_says("... version:                5")),
        yes("Linux: 8 general-purpose counters", kernel_says("... generic registers:      8")),
        yes(
            "Linux: the time-stamp counter's frequency",
            kernel_says(&format!("tsc: Detected {}.000 MHz", IPS / 1_000_000)),
        ),
        check("Linux: the time-stamp counter is the clock", value("clocksource"), "tsc"),
    ];
    for clock in ["tsc", "hpet"] {
        let name = format!("four seconds of {clock}");
        checks.push(check(&format!("the real-time clock and {clock}: seconds"), value(&name), "4 4"));
    }
    for turn in 1..=3 {
        for (event, want) in [("instructions:u", INSTRUCTIONS), ("branches:u", BRANCHES)] {
            let name = format!("stat {turn} {event}");
            checks.push(check(&format!("perf stat, run {turn}: {event}"), value(&name), &want.to_string()));
        }
    }
    let samples = (INSTRUCTIONS / PERIOD).to_string();
    checks.push(check("perf record: samples", value("samples"), &samples));
    checks.push(check("perf record: interrupts taken", value("interrupts"), &samples));
    checks
}

/// Every PMI that the PMU asked for was delivered, and Linux took as many.
fn interrupts(finished: &Finished) -> Outcome<[Check; 3]> {
    let broken = |why: &str| Failure::Check(format!("{why}: {}", finished.summary()));
    let report = finished.report.as_ref().ok_or_else(|| broken("the PMU library left no report"))?;
    let report: Value = fs::read(report)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| broken("the PMU library's report cannot be read"))?;
    let of = |name: &str| report["processors"][0]["pmis"][name].as_u64();
    let (Some(requested), Some(delivered)) = (of("requested"), of("delivered")) else {
        return Err(broken("the PMU library's report has no PMIs"));
    };
    let taken = finished.serial.lines().find_map(|line| line.strip_prefix("linux | pmis | ")?.parse().ok());
    Ok([
        Check::new("PMIs: requested by the PMU", "", requested, INSTRUCTIONS / PERIOD),
        Check::new("PMIs: delivered, of those requested", "", delivered, requested),
        Check::new("PMIs: taken by Linux, of those delivered", "", taken.unwrap_or(0), delivered),
    ])
}

/// Downloads the kernel's package, once, and takes the kernel out; nothing is installed.
fn kernel(folder: &Path) -> Outcome<PathBuf> {
    let depends = Command::new("apt-cache").args(["depends", "--important", KERNEL]).output();
    let depends =
        depends.map_err(|e| Failure::Environment(format!("`apt-cache` could not be started: {e}")))?;
    let text = String::from_utf8_lossy(&depends.stdout);
    let package = text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).ok_or_else(|| {
        Failure::Environment(format!("apt does not know {KERNEL}; run `apt-get update` on Debian 12"))
    })?;
    let version = package.trim_start_matches("linux-image-");
    let kernel = folder.join(format!("vmlinuz-{version}"));
    if kernel.is_file() {
        return Ok(kernel);
    }
    let environment = |e: Failure| Failure::Environment(e.to_string());
    let unpacked = folder.join("unpacked");
    let failed =
        |e: std::io::Error| Failure::Environment(format!("{} cannot be written: {e}", folder.display()));
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).map_err(failed)?;
    }
    fs::create_dir_all(&unpacked).map_err(failed)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]).current_dir(&unpacked);
    run_logged("the download of the Linux kernel", &mut download, &folder.join("download.log"))
        .map_err(environment)?;
    let archive = fs::read_dir(&unpacked)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or_else(|| Failure::Environment(format!("apt-get did not download {package}")))?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(&archive).arg(&unpacked);
    run_logged("dpkg-deb", &mut extract, &folder.join("extract.log")).map_err(environment)?;
    fs::rename(unpacked.join(format!("boot/vmlinuz-{version}")), &kernel).map_err(failed)?;
    fs::remove_dir_all(&unpacked).map_err(failed)?;
    Ok(kernel)
}

/// The initial RAM file system: busybox, perf with its libraries, the program, and the script above.
fn initial_files(folder: &Path) -> Outcome<PathBuf> {
    let tree = folder.join("files");
    let failed =
        |e: std::io::Error| Failure::Environment(format!("{} cannot be written: {e}", tree.display()));
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(failed)?;
    }
    for name in ["bin", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(tree.join(name)).map_err(failed)?;
    }
    fs::write(tree.join("init"), INIT).map_err(failed)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::copy(kernels::linux_program("machine-known")?, tree.join("known")).map_err(failed)?;
    for file in [BUSYBOX, PERF].map(PathBuf::from).into_iter().chain(libraries(PERF)?) {
        let place = tree.join(file.strip_prefix("/").unwrap_or(&file));
        let put = place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(&file, &place));
        put.map_err(|e| {
            Failure::Environment(format!("{} cannot be copied: {e}; run `cargo xtask setup`", file.display()))
        })?;
    }
    let archive = folder.join("initrd.cpio");
    let part = archive.with_extension("part");
    let mut pack = Command::new("sh");
    // Sorted, with one date, owner and inode numbering: one input gives one archive.
    pack.current_dir(&tree).args(["-c", "find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort | cpio --quiet --reproducible --owner=0:0 -o -H newc > \"$0\""]).arg(&part);
    run_logged("cpio", &mut pack, &folder.join("cpio.log"))
        .map_err(|e| Failure::Environment(e.to_string()))?;
    fs::rename(&part, &archive).map_err(failed)?;
    Ok(archive)
}

/// The dynamic libraries of a program, and its loader.
fn libraries(program: &str) -> Outcome<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|e| Failure::Environment(format!("`ldd` could not be started: {e}")))?;
    if !output.status.success() {
        return Err(Failure::Environment(format!("`ldd {program}` failed; run `cargo xtask setup`")));
    }
    library_paths(&String::from_utf8_lossy(&output.stdout))
}

/// The absolute paths in the output of ldd: `name => path (address)` or `path (address)`.
fn library_paths(text: &str) -> Outcome<Vec<PathBuf>> {
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(Failure::Environment(format!("a library of perf is missing: {}", missing.trim())));
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::{examine, library_paths};
    use std::path::PathBuf;

    #[test]
    fn paths_are_taken_from_both_forms() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(library_paths(text).unwrap(), ["/lib/libz.so.1", "/lib64/ld.so"].map(PathBuf::from));
        assert!(library_paths("\tlibz.so.1 => not found\n").is_err());
    }

    #[test]
    fn a_silent_log_passes_nothing() {
        let checks = examine("");
        assert!(checks.len() > 10 && checks.iter().all(|check| !check.ok()));
    }

    #[test]
    fn a_wrong_count_is_found() {
        let good = "linux | stat 1 instructions:u | 10000004\n";
        let ok = |log: &str| examine(log).iter().filter(|check| check.ok()).count();
        assert_eq!(ok(good), 1);
        assert_eq!(ok(&good.replace("04", "05")), 0);
    }
}
