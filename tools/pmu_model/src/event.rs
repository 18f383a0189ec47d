//! The architectural events (SDM vol. 3B, tables 20-1 and 20-2) and what happened in a batch.

/// Issue slots of TOPDOWN.SLOTS in a core cycle: a model-specific width; this model's is 4.
pub const SLOTS_PER_CYCLE: u64 = 4;

/// An architectural event. The discriminant is its bit in CPUID leaf 0xA EBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// Unhalted core cycles, 0x3C umask 0x00.
    CoreCycles = 0,
    /// Instructions retired, 0xC0 umask 0x00.
    Instructions = 1,
    /// Unhalted reference cycles, 0x3C umask 0x01.
    RefCycles = 2,
    /// Last-level cache references, 0x2E umask 0x4F.
    LlcReferences = 3,
    /// Last-level cache misses, 0x2E umask 0x41.
    LlcMisses = 4,
    /// Branch instructions retired, 0xC4 umask 0x00.
    Branches = 5,
    /// Branch misses retired, 0xC5 umask 0x00.
    BranchMisses = 6,
    /// Topdown slots, 0xA4 umask 0x01.
    Slots = 7,
}

impl Event {
    /// The event that a selector's low 16 bits (unit mask, event select) name; `None` counts nothing.
    #[must_use]
    pub fn from_selector(umask_and_event: u16) -> Option<Self> {
        Some(match umask_and_event {
            0x003C => Self::CoreCycles,
            0x00C0 => Self::Instructions,
            0x013C => Self::RefCycles,
            0x4F2E => Self::LlcReferences,
            0x412E => Self::LlcMisses,
            0x00C4 => Self::Branches,
            0x00C5 => Self::BranchMisses,
            0x01A4 => Self::Slots,
            _ => return None,
        })
    }

    /// The event of fixed-function counter `i` (SDM vol. 3B, table 20-2).
    #[must_use]
    pub fn of_fixed(i: usize) -> Option<Self> {
        [Self::Instructions, Self::CoreCycles, Self::RefCycles, Self::Slots].get(i).copied()
    }

    /// How often the event can happen in one cycle at most; `None`: without a bound.
    pub(crate) fn per_cycle(self) -> Option<u64> {
        match self {
            Self::LlcReferences | Self::LlcMisses => None,
            Self::Slots => Some(SLOTS_PER_CYCLE),
            _ => Some(1),
        }
    }
}

/// What happened in a step or in a batch of steps, all in one ring.
///
/// In a single step `instructions`, `branches` and `branch_misses` are 0 or 1 and belong to its first cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Unhalted core cycles; TOPDOWN.SLOTS follows from them.
    pub core_cycles: u64,
    /// Unhalted cycles of the reference clock.
    pub ref_cycles: u64,
    /// Instructions retired.
    pub instructions: u64,
    /// Branch instructions retired, taken or not, near or far.
    pub branches: u64,
    /// Mispredicted branches retired.
    pub branch_misses: u64,
    /// Data accesses that reached the last-level cache.
    pub llc_references: u64,
    /// Those of them that missed it.
    pub llc_misses: u64,
}

impl Events {
    /// A step of `cycles` core and reference cycles in which nothing else happens.
    #[must_use]
    pub fn idle(cycles: u64) -> Self {
        Self { core_cycles: cycles, ref_cycles: cycles, ..Self::default() }
    }

    /// The step of one instruction that is no branch and touches no memory.
    #[must_use]
    pub fn instruction() -> Self {
        Self { instructions: 1, ..Self::idle(1) }
    }

    /// How often `event` happened.
    #[must_use]
    pub fn count(&self, event: Event) -> u64 {
        match event {
            Event::CoreCycles => self.core_cycles,
            Event::Instructions => self.instructions,
            Event::RefCycles => self.ref_cycles,
            Event::LlcReferences => self.llc_references,
            Event::LlcMisses => self.llc_misses,
            Event::Branches => self.branches,
            Event::BranchMisses => self.branch_misses,
            Event::Slots => self.core_cycles * SLOTS_PER_CYCLE,
        }
    }
}

impl core::ops::AddAssign for Events {
    fn add_assign(&mut self, other: Self) {
        self.core_cycles += other.core_cycles;
        self.ref_cycles += other.ref_cycles;
        self.instructions += other.instructions;
        self.branches += other.branches;
        self.branch_misses += other.branch_misses;
        self.llc_references += other.llc_references;
        self.llc_misses += other.llc_misses;
    }
}
