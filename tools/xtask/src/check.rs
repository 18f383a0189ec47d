//! `check`: format, lints, documentation, the crate dependency rules of docs/architecture.md, and what a plain `cargo build`
//! takes.

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
    packages()
}

/// Compares `cargo metadata` with [`RULES`], and with what a plain `cargo build` can link.
fn packages() -> Outcome {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output();
    let output =
        output.map_err(|e| Failure::Environment(format!("`cargo metadata` could not be started: {e}")))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Failure::Environment(format!("`cargo metadata` printed no JSON: {e}")))?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut broken = violations(packages);
    broken.extend(not_default(&metadata));
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

/// `default-members` of Cargo.toml are the packages without freestanding programs, which link with the arguments of `cargo
/// xtask` alone and are known by `test = false`.
fn not_default(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let default = list(&metadata["workspace_default_members"]);
    let freestanding =
        |target: &Value| target["kind"] == serde_json::json!(["bin"]) && target["test"] == false;
    let wrong = |package: &Value| {
        let has = list(&package["targets"]).iter().any(freestanding);
        let name = package["name"].as_str()?;
        match (default.contains(&package["id"]), has) {
            (true, true) => {
                Some(format!("default-members of Cargo.toml has {name}, whose programs are freestanding"))
            }
            (false, false) => Some(format!("default-members of Cargo.toml lacks {name}")),
            _ => None,
        }
    };
    list(&metadata["packages"]).iter().filter_map(wrong).collect()
}

/// A crate with a hyphenated suffix (a macro crate, say) is a part of the crate that it is named after.
fn is_part_of(part: &str, whole: &str) -> bool {
    part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::{not_default, violations};
    use serde_json::json;

    #[test]
    fn a_plain_build_takes_what_links_without_us() {
        let package = |id: &str, kind: &str, test: bool| json!({"id": id, "name": id, "targets": [{"kind": ["lib"], "test": false}, {"kind": [kind], "test": test}]});
        let packages =
            [package("tool", "bin", true), package("library", "test", true), package("pd", "bin", false)];
        let judged = |default: &[&str]| {
            not_default(&json!({"packages": packages, "workspace_default_members": default}))
        };
        assert_eq!(judged(&["tool", "library"]), [""; 0]);
        let broken = judged(&["pd", "library"]).join("\n");
        assert!(broken.contains("has pd,") && broken.contains("lacks tool"), "{broken}");
    }

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
