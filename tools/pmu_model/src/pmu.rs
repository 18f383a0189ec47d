//! The state of one logical processor's PMU.

use crate::counting::Counter;
use crate::geometry::{Geometry, MAX_FIXED, MAX_GP};
use crate::registers::{DebugCtl, FixedCtrCtrl, PerfCapabilities, PerfEvtSel};

/// IA32_PERF_GLOBAL_STATUS.CTR_FRZ: counters are frozen (version 4 on, SDM vol. 3B, 20.2.4).
pub(crate) const CTR_FRZ: u64 = 1 << 59;

/// The privilege of the code that runs, as counter filters see it (SDM vol. 3B, 20.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Ring 0.
    Kernel,
    /// Rings 1, 2 and 3.
    User,
}

/// How much may be summed before [`Pmu::advance`] must be called: at the latest after the step that reaches
/// either bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Core or reference cycles (an instruction is one of each); at least 1.
    pub cycles: u64,
    /// Last-level cache references; at least 1.
    pub llc_references: u64,
}

/// Which costly events any counter looks at; the others need not be gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Observed {
    /// A counter counts.
    pub any: bool,
    /// Branches or branch misses are counted.
    pub branches: bool,
    /// Last-level cache references or misses are counted.
    pub llc: bool,
}

/// The PMU of one logical processor.
#[derive(Clone, Debug)]
pub struct Pmu {
    pub(crate) geometry: Geometry,
    pub(crate) capabilities: Option<PerfCapabilities>,
    pub(crate) gp: [Counter; MAX_GP],
    pub(crate) evtsel: [PerfEvtSel; MAX_GP],
    pub(crate) fixed: [Counter; MAX_FIXED],
    pub(crate) fixed_ctrl: FixedCtrCtrl,
    pub(crate) global_ctrl: u64,
    pub(crate) global_status: u64,
    pub(crate) debugctl: DebugCtl,
    pub(crate) active: u64,
    pub(crate) observed: Observed,
    pub(crate) headroom: Headroom,
}

impl Pmu {
    /// A PMU as it is after power-up (SDM vol. 3A, table 10-1): everything 0, but IA32_PERF_GLOBAL_CTRL has
    /// the bits of the general-purpose counters set (vol. 4, table 2-2). `capabilities` is `None` where CPUID
    /// leaf 1 ECX.PDCM is clear.
    #[must_use]
    pub fn new(geometry: Geometry, capabilities: Option<PerfCapabilities>) -> Self {
        let mut pmu = Self {
            geometry,
            capabilities,
            gp: [Counter::default(); MAX_GP],
            evtsel: [PerfEvtSel::default(); MAX_GP],
            fixed: [Counter::default(); MAX_FIXED],
            fixed_ctrl: FixedCtrCtrl::default(),
            global_ctrl: if geometry.version() >= 2 { geometry.gp_bits() } else { 0 },
            global_status: 0,
            debugctl: DebugCtl::default(),
            active: 0,
            observed: Observed::default(),
            headroom: Headroom { cycles: u64::MAX, llc_references: u64::MAX },
        };
        pmu.refresh();
        pmu
    }

    /// What the PMU has.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// IA32_PERF_CAPABILITIES, if CPUID leaf 1 says that it exists (ECX.PDCM).
    #[must_use]
    pub fn capabilities(&self) -> Option<PerfCapabilities> {
        self.capabilities
    }

    /// Until when events may be summed. Valid until the next call of a method that takes `&mut self`.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        self.headroom
    }

    /// Which events the enabled counters look at. Valid until the next call of a method that takes
    /// `&mut self`.
    #[must_use]
    pub fn observed(&self) -> Observed {
        self.observed
    }

    /// Whether the counters are frozen by IA32_PERF_GLOBAL_STATUS.CTR_FRZ.
    #[must_use]
    pub fn frozen(&self) -> bool {
        self.global_status & CTR_FRZ != 0
    }
}
