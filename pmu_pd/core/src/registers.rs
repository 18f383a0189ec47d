//! Control registers as the guest writes them, with named accessors.

use crate::arch::{fixed_control, global, selector};
use crate::geometry::Geometry;

/// IA32_PERFEVTSELi (20.2.1.1, figure 20-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EventSelect(pub u64);

impl EventSelect {
    /// An overflow raises a PMI (INT, 20.2.1.1).
    pub const fn interrupts(self) -> bool {
        self.0 & selector::INT != 0
    }

    /// The counter is in use in the sense of IA32_PERF_GLOBAL_INUSE: its event select is not 0 (20.2.4.3).
    pub const fn in_use(self) -> bool {
        self.0 & selector::EVENT_SELECT != 0
    }
}

/// IA32_FIXED_CTR_CTRL (20.2.2, figure 20-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct FixedControl(pub u64);

impl FixedControl {
    /// The four bits of fixed counter `index`, modulo 16 (20.2.2, figure 20-2).
    pub const fn field(self, index: u32) -> u64 {
        self.0 >> (index % 16 * fixed_control::FIELD_BITS) & fixed_control::FIELD
    }

    /// An overflow of fixed counter `index` raises a PMI (20.2.2, figure 20-2).
    pub const fn interrupts(self, index: u32) -> bool {
        self.field(index) & fixed_control::PMI != 0
    }

    /// Fixed counter `index` is in use: it is enabled for some ring (20.2.4.3).
    pub const fn in_use(self, index: u32) -> bool {
        self.field(index) & (fixed_control::OS | fixed_control::USR) != 0
    }
}

/// A register of the vPMU that an MSR number names, present in a given geometry. Indices are below the
/// geometry's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// IA32_PERFEVTSELi.
    EventSelect(u32),
    /// IA32_PMCi at its legacy address.
    LegacyCounter(u32),
    /// IA32_A_PMCi, the same counter with full-width writes.
    FullWidthCounter(u32),
    /// IA32_FIXED_CTRi.
    FixedCounter(u32),
    /// IA32_FIXED_CTR_CTRL.
    FixedControl,
    /// IA32_PERF_GLOBAL_STATUS.
    GlobalStatus,
    /// IA32_PERF_GLOBAL_CTRL.
    GlobalControl,
    /// IA32_PERF_GLOBAL_OVF_CTRL, later named IA32_PERF_GLOBAL_STATUS_RESET.
    StatusReset,
    /// IA32_PERF_GLOBAL_STATUS_SET.
    StatusSet,
    /// IA32_PERF_GLOBAL_INUSE.
    InUse,
    /// IA32_PERF_CAPABILITIES.
    Capabilities,
}

impl Register {
    /// The register that MSR `number` names in `geometry`; `None` if the geometry has none there: #GP(0) (20.2).
    pub const fn locate(number: u32, geometry: &Geometry) -> Option<Self> {
        use crate::arch as a;
        let general = geometry.general_counters() as u32;
        match number {
            _ if number.wrapping_sub(a::IA32_PERFEVTSEL0) < general => {
                Some(Register::EventSelect(number - a::IA32_PERFEVTSEL0))
            }
            _ if number.wrapping_sub(a::IA32_PMC0) < general => {
                Some(Register::LegacyCounter(number - a::IA32_PMC0))
            }
            _ if geometry.full_width_writes() && number.wrapping_sub(a::IA32_A_PMC0) < general => {
                Some(Register::FullWidthCounter(number - a::IA32_A_PMC0))
            }
            _ if geometry.has_fixed(number.wrapping_sub(a::IA32_FIXED_CTR0)) => {
                Some(Register::FixedCounter(number - a::IA32_FIXED_CTR0))
            }
            a::IA32_PERF_CAPABILITIES => Some(Register::Capabilities),
            _ if !geometry.has_global() => None,
            a::IA32_FIXED_CTR_CTRL => Some(Register::FixedControl),
            a::IA32_PERF_GLOBAL_STATUS => Some(Register::GlobalStatus),
            a::IA32_PERF_GLOBAL_CTRL => Some(Register::GlobalControl),
            a::IA32_PERF_GLOBAL_STATUS_RESET => Some(Register::StatusReset),
            a::IA32_PERF_GLOBAL_STATUS_SET if geometry.has_status_set() => Some(Register::StatusSet),
            a::IA32_PERF_GLOBAL_INUSE if geometry.has_status_set() => Some(Register::InUse),
            _ => None,
        }
    }
}

/// IA32_PERF_GLOBAL_INUSE of a guest with these control registers (20.2.4.3).
pub fn global_in_use(selectors: &[EventSelect], fixed: FixedControl) -> u64 {
    let mut bits = 0;
    for (i, selector) in (0_u32..).zip(selectors) {
        bits |= u64::from(selector.in_use()) << i;
        bits |= if selector.interrupts() { global::PMI_IN_USE } else { 0 };
    }
    for i in 0..crate::arch::MAX_FIXED as u32 {
        bits |= u64::from(fixed.in_use(i)) << (global::FIXED_SHIFT + i);
        bits |= if fixed.interrupts(i) { global::PMI_IN_USE } else { 0 };
    }
    bits
}
