//! `doctor`: what is missing and why it matters.

use crate::process::{Failure, Outcome};
use crate::setup::{PACKAGES, is_installed};

/// Prints a line for each package; fails if one is missing.
pub fn doctor() -> Outcome {
    let mut missing = 0;
    for package in PACKAGES {
        let present = is_installed(package);
        missing += usize::from(!present);
        println!("{:8} {:20} {}", if present { "ok" } else { "MISSING" }, package.name, package.purpose);
    }
    if missing == 0 {
        return Ok(());
    }
    Err(Failure::Environment(format!("{missing} packages are missing; run `cargo xtask setup`")))
}
