//! The PMU's control registers, with named fields and their reserved bits.

use crate::geometry::{Geometry, MAX_FIXED};

/// IA32_PERFEVTSELi (SDM vol. 3B, 20.2.1.1 and figure 20-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerfEvtSel(pub u64);

impl PerfEvtSel {
    /// USR: count in rings 1 to 3.
    pub const USR: u64 = 1 << 16;
    /// OS: count in ring 0.
    pub const OS: u64 = 1 << 17;
    /// E: count the edges of the condition.
    pub const EDGE: u64 = 1 << 18;
    /// PC: pin control; accepted, without an effect.
    pub const PIN_CONTROL: u64 = 1 << 19;
    /// INT: raise a PMI on overflow.
    pub const INT: u64 = 1 << 20;
    /// AnyThread (version 3 on, unless CPUID deprecates it).
    pub const ANY_THREAD: u64 = 1 << 21;
    /// EN: enable the counter.
    pub const EN: u64 = 1 << 22;
    /// INV: invert the comparison with CMASK.
    pub const INV: u64 = 1 << 23;
    const CMASK_SHIFT: u32 = 24;
    const FIELDS: u64 = 0xFFFF_FFFF & !Self::ANY_THREAD;

    /// Unit mask and event select, bits 15:0.
    #[must_use]
    pub fn umask_and_event(self) -> u16 {
        let bytes = self.0.to_le_bytes();
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// The event select field, bits 7:0.
    #[must_use]
    pub fn event_select(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// CMASK, bits 31:24.
    #[must_use]
    pub fn cmask(self) -> u8 {
        (self.0 >> Self::CMASK_SHIFT).to_le_bytes()[0]
    }

    /// Whether every bit of `mask` is set.
    #[must_use]
    pub fn has(self, mask: u64) -> bool {
        self.0 & mask == mask
    }

    /// Whether a bit is set that must be 0 on a PMU of this geometry.
    #[must_use]
    pub fn has_reserved(self, geometry: &Geometry) -> bool {
        let any_thread = if geometry.any_thread() { Self::ANY_THREAD } else { 0 };
        self.0 & !(Self::FIELDS | any_thread) != 0
    }
}

/// One counter's four bits of IA32_FIXED_CTR_CTRL (SDM vol. 3B, figures 20-2 and 20-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedField(pub u8);

impl FixedField {
    /// Count in ring 0.
    pub const OS: u8 = 1;
    /// Count in rings 1 to 3.
    pub const USR: u8 = 2;
    /// AnyThread (version 3 on, unless CPUID deprecates it).
    pub const ANY_THREAD: u8 = 4;
    /// Raise a PMI on overflow.
    pub const PMI: u8 = 8;

    /// Whether every bit of `mask` is set.
    #[must_use]
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }

    /// Whether the counter counts in any ring.
    #[must_use]
    pub fn enabled(self) -> bool {
        self.0 & (Self::OS | Self::USR) != 0
    }
}

/// IA32_FIXED_CTR_CTRL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedCtrCtrl(pub u64);

impl FixedCtrCtrl {
    /// The bits of counter `i`.
    #[must_use]
    pub fn field(self, i: usize) -> FixedField {
        FixedField((self.0 >> (4 * i)).to_le_bytes()[0] & 0xF)
    }

    /// Whether a bit is set that must be 0 on a PMU of this geometry.
    #[must_use]
    pub fn has_reserved(self, geometry: &Geometry) -> bool {
        let any_thread = if geometry.any_thread() { FixedField::ANY_THREAD } else { 0 };
        let field = u64::from(FixedField::OS | FixedField::USR | FixedField::PMI | any_thread);
        let valid =
            (0..MAX_FIXED).filter(|&i| geometry.has_fixed(i)).fold(0, |valid, i| valid | field << (4 * i));
        self.0 & !valid != 0
    }
}

/// IA32_DEBUGCTL (SDM vol. 3B, 18.4.1) of a processor without branch records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugCtl(pub u64);

impl DebugCtl {
    /// BTF: single-step on branches. Kept, without an effect.
    pub const BTF: u64 = 1 << 1;
    /// FREEZE_PERFMON_ON_PMI.
    pub const FREEZE_PERFMON_ON_PMI: u64 = 1 << 12;

    /// Whether counters stop when a PMI is requested.
    #[must_use]
    pub fn freezes(self) -> bool {
        self.0 & Self::FREEZE_PERFMON_ON_PMI != 0
    }

    /// Whether a bit is set that must be 0 on a PMU of this geometry.
    #[must_use]
    pub fn has_reserved(self, geometry: &Geometry) -> bool {
        let freeze = if geometry.version() >= 2 { Self::FREEZE_PERFMON_ON_PMI } else { 0 };
        self.0 & !(Self::BTF | freeze) != 0
    }
}

/// IA32_PERF_CAPABILITIES (SDM vol. 3B, 20.8; vol. 4, table 2-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerfCapabilities(pub u64);

impl PerfCapabilities {
    /// FW_WRITE: the full-width aliases IA32_A_PMCi exist.
    pub const FW_WRITE: u64 = 1 << 13;

    /// Whether IA32_A_PMCi exist.
    #[must_use]
    pub fn full_width_write(self) -> bool {
        self.0 & Self::FW_WRITE != 0
    }
}
