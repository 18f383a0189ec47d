//! One line a check, for the launcher to read.

use core::fmt::Display;
use machine_kernels::println;

/// Counts the checks, so that a lost line is noticed.
pub struct Report {
    checks: u32,
}

impl Report {
    pub fn new() -> Self {
        Self { checks: 0 }
    }

    /// One check: `got` must equal `want` by the SDM's `section`.
    pub fn check(&mut self, name: impl Display, section: &str, got: u64, want: u64) {
        self.checks += 1;
        println!("check | {name} | {section} | {got:#x} | {want:#x}");
    }

    /// The last line.
    pub fn end(&self) {
        println!("end | {}", self.checks);
    }
}
