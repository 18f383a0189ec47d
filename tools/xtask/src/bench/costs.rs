//! The cost model's parameters, and the same ones halved and doubled.

use crate::process::{Failure, Outcome};
use crate::workspace::root;
use bochs_pmu::costs::Costs;
use std::fs;
use std::path::{Path, PathBuf};

/// What every cost is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Half,
    Double,
}

impl Scale {
    pub const ALL: [Scale; 2] = [Scale::Half, Scale::Double];

    pub const fn name(self) -> &'static str {
        match self {
            Scale::Half => "half",
            Scale::Double => "double",
        }
    }

    const fn apply(self, cost: u32) -> u32 {
        match self {
            Scale::Half => cost / 2,
            Scale::Double => cost.saturating_mul(2),
        }
    }

    /// Every cost so changed.
    pub fn of(self, costs: &Costs) -> Costs {
        let mut scaled = *costs;
        for name in Costs::NAMES {
            if let Some(cost) = scaled.by_name(name) {
                *cost = self.apply(*cost);
            }
        }
        scaled
    }
}

/// The file as the user named it, or from the workspace's folder where it is there alone.
pub fn named(file: &Path) -> PathBuf {
    let ours = root().join(file);
    if !file.exists() && ours.is_file() { ours } else { file.to_owned() }
}

/// Reads a parameter file.
///
/// # Errors
/// It cannot be read, or it is not well-formed: exit code 2, with file and line.
pub fn read(file: &Path) -> Outcome<Costs> {
    let text = fs::read_to_string(file).map_err(|e| {
        Failure::Environment(format!(
            "the costs {} cannot be read ({e}); tools/bochs_pmu/costs.toml is an example",
            file.display()
        ))
    })?;
    Costs::from_toml(&text).map_err(|e| {
        Failure::Environment(format!(
            "the costs {} are malformed: {e}; tools/bochs_pmu/costs.toml is an example",
            file.display()
        ))
    })
}

/// Writes a parameter file into `folder`.
///
/// # Errors
/// It cannot be written.
pub fn write(costs: &Costs, folder: &Path, name: &str) -> Outcome<PathBuf> {
    let file = folder.join(format!("costs-{name}.toml"));
    fs::write(&file, text(costs))
        .map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", file.display())))?;
    Ok(file)
}

fn text(costs: &Costs) -> String {
    let mut copy = *costs;
    let lines = Costs::NAMES.iter().filter_map(|name| Some(format!("{name} = {}\n", copy.by_name(name)?)));
    std::iter::once("[cycles]\n".to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::{Scale, read, text};
    use bochs_pmu::costs::Costs;
    use std::path::Path;

    const COSTS: Costs = Costs {
        vm_exit: 800,
        vm_entry: 500,
        rdmsr: 100,
        wrmsr_pmu: 150,
        wrmsr_other: 100,
        rdpmc: 35,
        interrupt: 500,
    };

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Costs::from_toml(&text(&COSTS)), Ok(COSTS));
    }

    #[test]
    fn every_cost_is_scaled() {
        let (half, double) = (Scale::Half.of(&COSTS), Scale::Double.of(&COSTS));
        assert_eq!((half.vm_exit, half.rdpmc, half.interrupt), (400, 17, 250));
        assert_eq!((double.vm_entry, double.rdpmc, double.wrmsr_other), (1000, 70, 200));
    }

    #[test]
    fn a_missing_and_a_garbled_file_are_refused_with_a_sentence() {
        let missing = read(Path::new("/nowhere/costs.toml")).unwrap_err();
        assert!(missing.to_string().starts_with("the costs /nowhere/costs.toml cannot be read"));
        let garbled = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap_err();
        assert!(garbled.to_string().contains("main.rs are malformed: line 1"), "{garbled}");
    }
}
