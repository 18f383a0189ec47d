//! What events cost in cycles, beyond the one cycle that every instruction takes.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Cycles charged by each event. The default charges nothing.
///
/// The file costs.toml beside this crate documents each and gives a figure of real hardware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Costs {
    /// A VM exit.
    pub vm_exit: u32,
    /// A VM entry.
    pub vm_entry: u32,
    /// RDMSR of any MSR.
    pub rdmsr: u32,
    /// WRMSR of a PMU MSR.
    pub wrmsr_pmu: u32,
    /// WRMSR of any other MSR.
    pub wrmsr_other: u32,
    /// RDPMC.
    pub rdpmc: u32,
    /// Delivery of an external interrupt or NMI.
    pub interrupt: u32,
}

/// The parameter file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cycles: Costs,
}

impl Costs {
    /// The names of all costs, as in the file.
    pub const NAMES: [&'static str; 7] =
        ["vm_exit", "vm_entry", "rdmsr", "wrmsr_pmu", "wrmsr_other", "rdpmc", "interrupt"];

    /// Reads the text of a parameter file.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        match toml::from_str::<File>(text) {
            Ok(file) => Ok(file.cycles),
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                let reason: Vec<&str> = error.message().lines().collect();
                Err(format!("line {line}: {}", reason.join(", ")))
            }
        }
    }

    /// The cost with this name.
    pub fn by_name(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "vm_exit" => &mut self.vm_exit,
            "vm_entry" => &mut self.vm_entry,
            "rdmsr" => &mut self.rdmsr,
            "wrmsr_pmu" => &mut self.wrmsr_pmu,
            "wrmsr_other" => &mut self.wrmsr_other,
            "rdpmc" => &mut self.rdpmc,
            "interrupt" => &mut self.interrupt,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Costs;

    const SHIPPED: &str = include_str!("../costs.toml");

    #[test]
    fn the_shipped_file_is_well_formed_and_names_every_cost() {
        let mut costs = Costs::from_toml(SHIPPED).unwrap();
        for name in Costs::NAMES {
            assert!(*costs.by_name(name).unwrap() > 0, "{name} has a figure of real hardware");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_line() {
        let text = SHIPPED.replace("vm_exit", "vm_exti");
        let line = text.lines().position(|l| l.starts_with("vm_exti")).unwrap() + 1;
        let error = Costs::from_toml(&text).unwrap_err();
        assert!(error.contains("vm_exti") && error.starts_with(&format!("line {line}:")), "{error}");
    }

    #[test]
    fn a_missing_cost_is_refused_by_name() {
        let text: String =
            SHIPPED.lines().filter(|l| !l.starts_with("rdpmc")).map(|l| format!("{l}\n")).collect();
        assert!(Costs::from_toml(&text).unwrap_err().contains("rdpmc"));
    }

    #[test]
    fn a_negative_cost_is_refused() {
        assert!(Costs::from_toml(&SHIPPED.replace("rdpmc = ", "rdpmc = -")).is_err());
    }
}
