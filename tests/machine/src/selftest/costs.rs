//! The cost model.
use crate::report::Report;
pub fn check(_report: &mut Report, _costs: &str) {}
