//! `check`: format, lints, documentation, and the crate dependency rules of docs/architecture.md.

use crate::process::{Failure, Outcome, run};
use crate::workspace::cargo;
use serde_json::Value;

/// For each crate of the table in docs/architecture.md, the workspace crates that it may depend on.
const RULES: &[(&str, &[&str])] = &[
    ("pmu_api", &[]),
    ("pmu_core", &["pmu_api"]),
    ("pmu_policy", &["pmu_api", "pmu_core"]),
    ("pmu_pd", &["pmu_api", "pmu_core", "sel4-microkit"]),
    ("vmm_core", &["pmu_api"]),
    ("vmm_pd", &["pmu_api", "vmm_core", "sel4-microkit"]),
    ("guest", &[]),
    ("kernel", &[]),
    ("pmu_model", &[]),
    ("bochs_pmu", &["pmu_model"]),
    ("machine_scenarios", &[]),
    ("machine_kernels", &["machine_scenarios"]),
    ("capdist", &[]),
    ("sdf", &["capdist"]),
    ("initialiser", &["capdist", "sel4_abi"]),
    ("sel4_abi", &[]),
    ("sel4-microkit", &["sel4_abi"]),
];

/// Runs every check; stops at the first that fails.
pub fn check() -> Outcome {
    run("cargo fmt", cargo().args(["fmt", "--all", "--check"]))?;
    run(
        "clippy",
        cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]),
    )?;
    run(
        "rustdoc",
        cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    dependencies()
}

/// Compares `cargo metadata` with [`RULES`].
fn dependencies() -> Outcome {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output();
    let output =
        output.map_err(|e| Failure::Environment(format!("`cargo metadata` could not be started: {e}")))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Failure::Environment(format!("`cargo metadata` printed no JSON: {e}")))?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let broken = violations(packages);
    if broken.is_empty() { Ok(()) } else { Err(Failure::Check(broken.join("\n"))) }
}

fn violations(packages: &[Value]) -> Vec<String> {
    let ours: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut broken = Vec::new();
    for (name, allowed) in RULES {
        let Some(package) = packages.iter().find(|p| p["name"] == **name) else {
            broken.push(format!("crate {name} of the dependency rules does not exist"));
            continue;
        };
        for dependency in package["dependencies"].as_array().map_or(&[][..], Vec::as_slice) {
            let other = dependency["name"].as_str().unwrap_or_default();
            // Of a build script, too: what it makes is in the product.
            let product = dependency["kind"] != "dev";
            if product && ours.contains(&other) && !allowed.contains(&other) && !is_part_of(other, name) {
                broken
                    .push(format!("crate {name} must not depend on {other} (docs/architecture.md, Crates)"));
            }
        }
    }
    broken
}

/// A crate with a hyphenated suffix (a macro crate, say) is a part of the crate that it is named after.
fn is_part_of(part: &str, whole: &str) -> bool {
    part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::violations;
    use serde_json::json;

    #[test]
    fn a_forbidden_dependency_is_named() {
        let packages = [
            json!({"name": "vmm_core", "dependencies": [{"name": "pmu_core", "kind": null}]}),
            json!({"name": "pmu_core", "dependencies": [{"name": "pmu_model", "kind": "dev"}]}),
            json!({"name": "pmu_model", "dependencies": []}),
            json!({"name": "guest", "dependencies": [{"name": "sdf", "kind": "build"}]}),
            json!({"name": "sdf", "dependencies": []}),
        ];
        let broken = violations(&packages);
        assert!(broken.iter().any(|b| b.contains("vmm_core must not depend on pmu_core")), "{broken:?}");
        assert!(broken.iter().any(|b| b.contains("guest must not depend on sdf")), "{broken:?}");
        assert!(!broken.iter().any(|b| b.contains("pmu_core must not depend on pmu_model")), "{broken:?}");
    }
}
