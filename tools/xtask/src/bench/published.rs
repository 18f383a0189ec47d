//! What KVM has published for its mediated PMU: SPECint2017 in a guest on Sapphire Rapids, 56 cores without SMT, `perf
//! record -F 1000` in the guest, overhead in percent of the time without it.

use super::guest::Workload;
use crate::run::Mode;

/// Where the figures come from.
pub const SOURCE: &str = "its mediated PMU with SPECint2017 on Sapphire Rapids, as its authors published it";

/// KVM's overhead in percent: its emulated vPMU, all passthrough, passthrough with event filters.
pub const fn overhead(workload: Workload, mode: Mode) -> Option<f64> {
    match (workload, mode) {
        (Workload::Basic, Mode::Emulated) => Some(33.62),
        (Workload::Basic, Mode::Passthrough) => Some(4.24),
        (Workload::Basic, Mode::Mediated) => Some(6.21),
        (Workload::Multiplex, Mode::Emulated) => Some(79.32),
        (Workload::Multiplex, Mode::Passthrough) => Some(7.34),
        (Workload::Multiplex, Mode::Mediated) => Some(10.45),
        _ => None,
    }
}
