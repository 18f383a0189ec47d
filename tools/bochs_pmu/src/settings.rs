//! What the environment asks for: the variables BOCHS_PMU_*.
#![forbid(unsafe_code)]

use crate::costs::Costs;
use std::ffi::OsString;
use std::path::PathBuf;

const PREFIX: &str = "BOCHS_PMU_";
const COST_PREFIX: &str = "COST_";
const MAX_SKID: u64 = 1 << 32;

/// Everything that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What events cost.
    pub costs: Costs,
    /// Instructions from an overflow to its PMI.
    pub skid: u64,
    /// Where the report goes when Bochs ends.
    pub report: Option<PathBuf>,
    /// The port of marks.
    pub mark: Option<u16>,
    /// Whether VM exits can save IA32_PERF_GLOBAL_CTRL.
    pub exit_save: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { costs: Costs::default(), skid: 0, report: None, mark: None, exit_save: true }
    }
}

impl Settings {
    /// Reads the environment and the files that it names.
    pub fn from_environment() -> Result<Self, String> {
        Self::from_variables(std::env::vars_os(), |path| std::fs::read_to_string(path))
    }

    fn from_variables(
        variables: impl Iterator<Item = (OsString, OsString)>,
        read: impl Fn(&PathBuf) -> std::io::Result<String>,
    ) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut ours = Vec::new();
        for (name, value) in variables {
            if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) {
                ours.push((rest.to_owned(), value));
            }
        }
        // The file first: single costs change it. Sorting makes the outcome independent of the order.
        ours.sort_by_key(|(rest, _)| (rest != "COSTS", rest.clone()));
        for (rest, value) in ours {
            match rest.as_str() {
                "COSTS" => {
                    let path = PathBuf::from(&value);
                    let text = read(&path)
                        .map_err(|e| format!("BOCHS_PMU_COSTS: {} cannot be read: {e}", path.display()))?;
                    settings.costs =
                        Costs::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?;
                }
                "SKID" => settings.skid = number(&rest, &value, MAX_SKID)?,
                "EXIT_SAVE" => settings.exit_save = number(&rest, &value, 1)? == 1,
                "REPORT" => settings.report = Some(PathBuf::from(value)),
                "MARK" => settings.mark = u16::try_from(number(&rest, &value, u64::from(u16::MAX))?).ok(),
                _ => settings.single_cost(&rest, &value)?,
            }
        }
        Ok(settings)
    }

    fn single_cost(&mut self, rest: &str, value: &OsString) -> Result<(), String> {
        let cost = rest
            .strip_prefix(COST_PREFIX)
            .and_then(|name| self.costs.by_name(&name.to_ascii_lowercase()))
            .ok_or_else(|| {
                let costs = Costs::NAMES.map(|n| format!("{PREFIX}{COST_PREFIX}{}", n.to_ascii_uppercase()));
                format!(
                    "there is no variable {PREFIX}{rest}; there are {PREFIX}COSTS, {PREFIX}SKID, {PREFIX}REPORT, {PREFIX}MARK, {PREFIX}EXIT_SAVE, {}",
                    costs.join(", ")
                )
            })?;
        *cost = u32::try_from(number(rest, value, u64::from(u32::MAX))?).unwrap_or(u32::MAX);
        Ok(())
    }
}

fn number(rest: &str, value: &OsString, max: u64) -> Result<u64, String> {
    let parsed = value.to_str().and_then(|text| text.parse().ok()).filter(|&n: &u64| n <= max);
    parsed.ok_or_else(|| {
        format!("{PREFIX}{rest} is {}; it must be a number from 0 to {max}", value.to_string_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::{Costs, PathBuf, Settings};

    fn parse(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables = variables.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        Settings::from_variables(variables, |path| {
            if path == &PathBuf::from("costs") {
                Ok(include_str!("../costs.toml").to_owned())
            } else {
                Err(std::io::Error::from(std::io::ErrorKind::NotFound))
            }
        })
    }

    #[test]
    fn nothing_set_costs_nothing_and_delays_nothing() {
        assert_eq!(parse(&[("PATH", "/bin")]).unwrap(), Settings::default());
        assert_eq!(Settings::default().costs, Costs::default());
    }

    #[test]
    fn a_single_cost_changes_the_file_in_any_order() {
        let set = parse(&[("BOCHS_PMU_COST_VM_EXIT", "7"), ("BOCHS_PMU_COSTS", "costs")]).unwrap();
        assert_eq!(set.costs.vm_exit, 7);
        assert_ne!(set.costs.vm_entry, 0);
    }

    #[test]
    fn skid_report_and_port_are_read() {
        let set = [("BOCHS_PMU_SKID", "300"), ("BOCHS_PMU_REPORT", "r.json"), ("BOCHS_PMU_MARK", "245")];
        let set = parse(&set).unwrap();
        assert_eq!((set.skid, set.report, set.mark), (300, Some(PathBuf::from("r.json")), Some(245)));
    }

    #[test]
    fn exits_save_unless_told_otherwise() {
        assert!(parse(&[]).unwrap().exit_save && parse(&[("BOCHS_PMU_EXIT_SAVE", "1")]).unwrap().exit_save);
        assert!(!parse(&[("BOCHS_PMU_EXIT_SAVE", "0")]).unwrap().exit_save);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, expected) in [
            ("BOCHS_PMU_SKID", "-1", "BOCHS_PMU_SKID is -1"),
            ("BOCHS_PMU_SKID", "4294967297", "0 to 4294967296"),
            ("BOCHS_PMU_MARK", "65536", "0 to 65535"),
            ("BOCHS_PMU_EXIT_SAVE", "2", "0 to 1"),
            ("BOCHS_PMU_SKIDS", "1", "no variable BOCHS_PMU_SKIDS"),
            ("BOCHS_PMU_COST_VMEXIT", "1", "BOCHS_PMU_COST_VM_EXIT"),
            ("BOCHS_PMU_COST_RDMSR", "much", "BOCHS_PMU_COST_RDMSR is much"),
            ("BOCHS_PMU_COSTS", "none", "none cannot be read"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
