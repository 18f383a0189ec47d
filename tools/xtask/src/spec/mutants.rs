//! Mutants of pmu_core: each breaks one rule, and the conformance tests must notice it. Every rule about the values that a
//! guest may write and read has at least one.

use crate::process::{Failure, Outcome, run_logged};
use crate::workspace::{output, root};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A file of pmu_core, what is there once, and what a mutant has instead.
type Mutant = (&'static str, &'static str, &'static str);

const MUTANTS: &[Mutant] = &[
    // Which values a selector may have.
    ("arch.rs", "RESERVED: u64 = 0xFFFF_FFFF_0020_0000", "RESERVED: u64 = 0xFFFF_FFFF_0000_0000"),
    ("arch.rs", "RESERVED: u64 = 0xFFFF_FFFF_0020_0000", "RESERVED: u64 = 0xFFFF_FFFB_0020_0000"),
    ("arch.rs", "RESERVED: u64 = 0xFFFF_FFFF_0020_0000", "RESERVED: u64 = 0x7FFF_FFFF_0020_0000"),
    ("arch.rs", "RESERVED: u64 = 0xFFFF_FFFF_0020_0000", "RESERVED: u64 = 0xFFFF_FFFF_0028_0000"),
    ("validity.rs", "selector::IN_TX * tsx as u64", "selector::IN_TX"),
    ("validity.rs", "tsx & (index == selector::IN_TXCP_COUNTER)", "tsx"),
    // FIXED_CTR_CTRL, the global registers.
    ("arch.rs", "ALLOWED: u64 = OS | USR | PMI", "ALLOWED: u64 = OS | USR | PMI | ANY_THREAD"),
    ("arch.rs", "ALLOWED: u64 = OS | USR | PMI", "ALLOWED: u64 = OS | USR"),
    ("validity.rs", "spread(fixed, fixed_control::ALLOWED)", "spread(fixed | 0xF, fixed_control::ALLOWED)"),
    ("validity.rs", "width_mask(general) | fixed", "0xFF | width_mask(general) | fixed"),
    ("vpmu/access.rs", "check(value, geometry.counter_bits())?;", ""),
    ("geometry.rs", "counter_bits(self.general as u32, 0)", "counter_bits(0 * self.general as u32, 0)"),
    ("validity.rs", "| fixed << global::FIXED_SHIFT", "| 0xF << global::FIXED_SHIFT | fixed"),
    ("validity.rs", "counters | global::OVERFLOW_BUFFER |", "counters |"),
    ("validity.rs", "OVERFLOW_BUFFER | global::CONDITION_CHANGED", "OVERFLOW_BUFFER"),
    ("validity.rs", "counters | global::OVERFLOW_BUFFER", "counters | 1 << 55 | global::OVERFLOW_BUFFER"),
    ("validity.rs", "counters | global::OVERFLOW_BUFFER", "counters | 1 << 59 | global::OVERFLOW_BUFFER"),
    (
        "vpmu/access.rs",
        "Register::StatusReset | Register::StatusSet => 0",
        "Register::StatusReset | Register::StatusSet => 1",
    ),
    ("validity.rs", " | (counters & 8) << 9", ""),
    ("geometry.rs", "self.fixed >> index & 1 != 0", "self.fixed >> index != 0"),
    ("geometry.rs", "low_bits(contiguous(self.fixed)),", "self.fixed,"),
    // Which registers there are.
    (
        "registers.rs",
        "_ if number.wrapping_sub(a::IA32_PERFEVTSEL0) < general",
        "_ if number.wrapping_sub(a::IA32_PERFEVTSEL0) < 8",
    ),
    (
        "registers.rs",
        "_ if number.wrapping_sub(a::IA32_PMC0) < general",
        "_ if number.wrapping_sub(a::IA32_PMC0) < 8",
    ),
    (
        "registers.rs",
        "_ if geometry.full_width_writes() && number.wrapping_sub(a::IA32_A_PMC0) < general",
        "_ if number.wrapping_sub(a::IA32_A_PMC0) < general",
    ),
    (
        "registers.rs",
        "_ if geometry.full_width_writes() && number.wrapping_sub(a::IA32_A_PMC0) < general",
        "_ if geometry.full_width_writes() && number.wrapping_sub(a::IA32_A_PMC0) < 8",
    ),
    ("registers.rs", "            _ if !geometry.has_global() => None,\n", ""),
    (
        "registers.rs",
        "a::IA32_PERF_GLOBAL_STATUS_SET if geometry.has_status_set()",
        "a::IA32_PERF_GLOBAL_STATUS_SET",
    ),
    ("registers.rs", "a::IA32_PERF_GLOBAL_INUSE if geometry.has_status_set()", "a::IA32_PERF_GLOBAL_INUSE"),
    ("vpmu/access.rs", "if self.mode == Mode::Off {", "if self.mode != self.mode {"),
    // Registers that cannot be written.
    (
        "vpmu/access.rs",
        "            None => Ok(Written::Data),",
        "            None | Some(Register::GlobalStatus) => Ok(Written::Data),",
    ),
    (
        "vpmu/access.rs",
        "            None => Ok(Written::Data),",
        "            None | Some(Register::InUse) => Ok(Written::Data),",
    ),
    (
        "vpmu/access.rs",
        "            None => Ok(Written::Data),",
        "            None | Some(Register::Capabilities) => Ok(Written::Data),",
    ),
    (
        "geometry.rs",
        "if self.full_width_writes { capabilities::FW_WRITES } else { 0 }",
        "capabilities::FW_WRITES",
    ),
    // Counters.
    ("validity.rs", "sign.wrapping_neg() << 32", "0 * sign"),
    ("validity.rs", "let low = value & 0xFFFF_FFFF", "let low = value"),
    (
        "validity.rs",
        "(low | sign.wrapping_neg() << 32) & width_mask",
        "{ let _ = width_mask; low | sign.wrapping_neg() << 32 }",
    ),
    ("vpmu/access.rs", "check(value, geometry.width_mask())?;", ""),
    ("vpmu/access.rs", "value & geometry.fixed_width_mask())?", "value)?"),
    // Effect of the global registers.
    ("vpmu/access.rs", "status & !value)?", "status & value)?"),
    ("vpmu/access.rs", "(status | value) & geometry.counter_bits()", "status & geometry.counter_bits()"),
    // What reaches the hardware.
    ("shadow.rs", "guest & (!selector::ENABLE | permitted", "guest | (!selector::ENABLE & permitted"),
    ("shadow.rs", "(guest >> 6) as usize", "(guest >> 7) as usize"),
    ("shadow.rs", "guest & permitted_fields", "guest"),
    ("vpmu/context.rs", "self.filter = filter;\n", ""),
    // Approved pairs.
    (
        "vpmu/context.rs",
        "self.refresh(port, true).inspect_err(|_| self.stop(port))?;\n        self.filter",
        "self.filter",
    ),
    (
        "vpmu/context.rs",
        "self.refresh(port, true).inspect_err(|_| self.stop(port))?;\n        self.filter",
        "self.refresh(port, false).inspect_err(|_| self.stop(port))?;\n        self.filter",
    ),
    (
        "vpmu/context.rs",
        "self.refresh(port, true).inspect_err(|_| self.stop(port))?;\n        self.load",
        "self.load",
    ),
    ("vpmu/context.rs", "self.refresh(port, false)?;\n        let mut registers", "let mut registers"),
    ("vpmu/access.rs", " | Register::InUse) {\n            self.refresh", ") {\n            self.refresh"),
    (
        "vpmu/access.rs",
        "Approval::Add { msr, guest, hardware }",
        "Approval::Add { msr, guest, hardware: guest | hardware }",
    ),
    ("vpmu.rs", "                && !geometry.tsx()\n", ""),
    // Direct access and passthrough.
    ("geometry.rs", "            && guest.general == self.general\n", ""),
    ("geometry.rs", "            && guest.fixed == self.fixed\n", ""),
    ("vpmu.rs", "if self.kernel_mode == KernelMode::Raw {", "if self.kernel_mode != self.kernel_mode {"),
    ("vpmu/context.rs", "self.has_counters() && self.kernel_mode != KernelMode::Raw", "self.has_counters()"),
    ("domain/vm.rs", "!matches!(vpmu.mode(), Mode::Mediated | Mode::Emulated) || !vpmu", "!vpmu"),
    // The limit on PMIs.
    ("pmi.rs", "self.delivered < limit.count", "self.delivered <= limit.count"),
    (
        "pmi.rs",
        "if now.wrapping_sub(self.window_start) >= limit.cycles",
        "if now.wrapping_sub(self.window_start) > limit.cycles",
    ),
    ("pmi.rs", "self.delayed && now.wrapping_sub(next) < limit.cycles", "self.delayed"),
    ("pmi.rs", "u32::from(delayed_is_recent)", "0 * u32::from(delayed_is_recent)"),
    ("pmi.rs", "        self.delayed = true;\n", ""),
    ("pmi.rs", "limit.cycles - now.wrapping_sub(self.window_start) }", "limit.cycles }"),
    // A kernel without the extension.
    ("vpmu/account.rs", "        && selector & selector::EDGE == 0\n", ""),
    ("vpmu/account.rs", "mask == one && selector & selector::INVERT == 0", "mask == one"),
    ("vpmu/account.rs", "(mask == 0 || mask == one && selector & selector::INVERT == 0)", "true"),
    ("vpmu/account.rs", "completion.branch && event == BRANCHES", "event == BRANCHES"),
    (
        "vpmu/account.rs",
        "let ring = if completion.user { selector::USR } else { selector::OS };",
        "let ring = if completion.user { selector::OS } else { selector::USR };",
    ),
    ("vpmu/account.rs", "field & if completion.user", "field & if !completion.user"),
    ("vpmu/account.rs", "        self.reported |= overflowed;\n", ""),
    ("vpmu/account.rs", "        self.reported = status;\n", ""),
    ("vpmu/account.rs", "if enabled >> i & 1 != 0\n", "if enabled != 0\n"),
    ("vpmu/account.rs", "            && enabled >> bit & 1 != 0\n", ""),
    ("msr_port.rs", "(IA32_PERF_GLOBAL_STATUS_RESET, old & !value)", "(IA32_PERF_GLOBAL_STATUS_RESET, old)"),
    (
        "msr_port.rs",
        "(IA32_PERF_GLOBAL_STATUS_SET, value & !old)",
        "(IA32_PERF_GLOBAL_STATUS_SET, 0 * value)",
    ),
    ("msr_port.rs", "IA32_PERF_GLOBAL_CTRL => self.global_control = value,", "IA32_PERF_GLOBAL_CTRL => {}"),
    ("msr_port.rs", "Ok(msrs.read(msr)? & bits)", "Ok(msrs.read(msr)? & bits >> 1)"),
    // RDPMC and the register map.
    ("vpmu/access.rs", "if index < u32::from(self.geometry.general_counters())", "if index < 8"),
    (
        "vpmu/access.rs",
        "!counters_enabled && privilege.cpl() != 0",
        "!counters_enabled && privilege.cpl() == 0",
    ),
    ("vpmu/access.rs", "&& protection_enabled ||", "||"),
    ("arch.rs", "FIXED: u32 = 0x4000", "FIXED: u32 = 0x2000"),
    ("vpmu/access.rs", "msr.wrapping_sub(IA32_PMC0) < 2 ||", "msr.wrapping_sub(IA32_PMC0) < 3 ||"),
    ("vpmu/access.rs", "self.geometry.version() == 0 && is_p6_register(msr)", "is_p6_register(msr)"),
    ("arch.rs", "STATUS_SET_VERSION: u8 = 4", "STATUS_SET_VERSION: u8 = 3"),
    ("arch.rs", "GLOBAL_VERSION: u8 = 2", "GLOBAL_VERSION: u8 = 3"),
    ("registers.rs", "self.0 & selector::EVENT_SELECT != 0", "self.0 & selector::ENABLE != 0"),
    // Snapshots.
    (
        "snapshot.rs",
        "value & !mask == 0\n    });\n    let fixed_counters",
        "true || value & !mask == 0\n    });\n    let fixed_counters",
    ),
    ("snapshot.rs", "registers.global_control | registers.status) &", "registers.global_control) &"),
    ("snapshot.rs", " && registers.status == 0", ""),
    ("snapshot.rs", "registers.global_control == geometry.reset_global_control() && ", ""),
    ("snapshot.rs", "        && fixed\n", ""),
    ("snapshot.rs", "        && general\n", ""),
    (
        "snapshot.rs",
        "if geometry.has_fixed(i) { geometry.fixed_width_mask() } else { 0 }",
        "geometry.fixed_width_mask()",
    ),
    (
        "snapshot.rs",
        "registers.fixed_control.0 & !fixed_control_allowed(fixed_counters) == 0",
        "(true || registers.fixed_control.0 & !fixed_control_allowed(fixed_counters) == 0)",
    ),
];

/// Copies a folder of sources.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?.path(), to.to_owned());
        let to = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() { copy(&entry, &to)? } else { fs::copy(&entry, &to).map(|_| ())? }
    }
    Ok(())
}

/// `manifest` with `list` in place of the list that follows `key`, if there is one.
fn with_list(manifest: &str, key: &str, list: &str) -> String {
    let Some((before, rest)) = manifest.split_once(key) else { return manifest.to_owned() };
    let after = rest.split_once(']').map_or("", |(_, after)| after);
    format!("{before}{key}{list}{after}")
}

/// A workspace with pmu_core, what it needs, and `conformance` without its tests.
fn workspace(folder: &Path) -> std::io::Result<()> {
    for part in ["pmu_pd/api", "pmu_pd/core", "vmm_pd/core", "tests/conformance/src"] {
        copy(&root().join(part), &folder.join(part))?;
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let ours = "[\"pmu_pd/api\", \"pmu_pd/core\", \"vmm_pd/core\", \"tests/conformance\"]";
    let manifest = with_list(&with_list(&manifest, "\nmembers = ", ours), "\ndefault-members = ", ours);
    fs::write(folder.join("Cargo.toml"), manifest)?;
    for part in ["pmu_pd/api", "pmu_pd/core", "vmm_pd/core", "tests/conformance"] {
        let text = fs::read_to_string(root().join(part).join("Cargo.toml"))?;
        let text = text.split("[dev-dependencies]").next().unwrap_or_default().to_owned();
        fs::write(folder.join(part).join("Cargo.toml"), text)?;
    }
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::copy(root().join("rust-toolchain.toml"), folder.join("rust-toolchain.toml"))?;
    Ok(())
}

fn build(folder: &Path, log: &Path) -> Outcome {
    let mut command = Command::new("cargo");
    command.current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target"));
    // Some optimisation pays: what is built runs for longer than the compiler.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.args(["build", "--quiet", "--package", "conformance"]);
    run_logged("cargo build of a mutant", &mut command, log)
}

/// The name of the first layer that notices, if one does.
fn noticed(folder: &Path, oracle: &Path) -> Outcome<Option<&'static str>> {
    let program = folder.join("target/debug/conformance");
    let layers: [(&str, &[&str], bool); 5] = [
        ("lockstep", &["lockstep", "--depth", "2"], false),
        ("fixpoint", &["fixpoint"], false),
        ("limits", &["limits", "--depth", "3"], false),
        ("traces", &["traces", "--steps", "1500"], true),
        ("approvals", &["approvals", "--depth", "4"], false),
    ];
    for (name, arguments, needs_oracle) in layers {
        let mut command = Command::new(&program);
        command.args(arguments);
        if needs_oracle {
            command.arg("--oracle").arg(oracle);
        }
        let output =
            command.output().map_err(|e| Failure::Environment(format!("{}: {e}", program.display())))?;
        if !output.status.success() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Builds every mutant and shows that some layer turns red; the unchanged copy must stay green.
pub fn mutants(oracle: &Path) -> Outcome {
    let folder = output("spec/mutants")?;
    let log = folder.join("build.log");
    let broken = |error: std::io::Error| Failure::Environment(format!("{}: {error}", folder.display()));
    workspace(&folder).map_err(broken)?;
    build(&folder, &log)?;
    if let Some(layer) = noticed(&folder, oracle)? {
        return Err(Failure::Check(format!("{layer} fails without any mutation")));
    }
    let mut survivors = Vec::new();
    for (file, from, to) in MUTANTS {
        let path = folder.join("pmu_pd/core/src").join(file);
        let text = fs::read_to_string(&path).map_err(broken)?;
        if text.matches(from).count() != 1 {
            return Err(Failure::Check(format!("mutants: pmu_core's {file} has not exactly one `{from}`")));
        }
        fs::write(&path, text.replace(from, to)).map_err(broken)?;
        let result = build(&folder, &log).and_then(|()| noticed(&folder, oracle));
        fs::write(&path, text).map_err(broken)?;
        match result? {
            Some(layer) => println!("      mutant {file}: `{to}`: {layer}"),
            None => survivors.push(format!("{file}: `{from}` -> `{to}`")),
        }
    }
    if survivors.is_empty() {
        println!("      mutants: {} of {} noticed", MUTANTS.len(), MUTANTS.len());
        Ok(())
    } else {
        Err(Failure::Check(format!("mutants that nothing noticed:\n{}", survivors.join("\n"))))
    }
}
