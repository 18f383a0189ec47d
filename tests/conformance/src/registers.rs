//! What the specification speaks of: geometry, registers, operations, answers.

use pmu_api::{Privilege, Request};

/// General-purpose counters that arrays here have room for.
pub const GENERAL: usize = 8;
/// Fixed counters that arrays here have room for.
pub const FIXED: usize = 4;

/// CPUID leaf 0xA and what goes with it, as in the specification's `geometry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// PMU version, 0 to 5.
    pub version: u8,
    /// General-purpose counters.
    pub general: usize,
    /// Their width in bits.
    pub width: u32,
    /// Fixed counters, a bit each.
    pub fixed: u8,
    /// Their width in bits.
    pub fixed_width: u32,
    /// IN_TX and IN_TXCP exist.
    pub tsx: bool,
    /// Without a PMU, the P6 family's registers read 0 and do not fault.
    pub p6: bool,
    /// IA32_PERF_CAPABILITIES.
    pub capabilities: u64,
}

impl Geometry {
    /// Whether there is fixed counter `index`.
    pub const fn has_fixed(&self, index: usize) -> bool {
        index < FIXED && self.fixed >> index & 1 != 0
    }

    /// One more than the number of the last fixed counter.
    pub const fn fixed_places(&self) -> usize {
        (u8::BITS - self.fixed.leading_zeros()) as usize
    }

    /// How many fixed counters there are below the first gap: all that can be told before version 5 (SDM 20.2.5.2).
    pub const fn fixed_without_gap(&self) -> u32 {
        self.fixed.trailing_ones()
    }
}

/// The registers of a PMU; entries of counters that the geometry lacks are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registers {
    /// IA32_PERFEVTSELi.
    pub selectors: [u64; GENERAL],
    /// IA32_FIXED_CTR_CTRL.
    pub fixed_control: u64,
    /// IA32_PERF_GLOBAL_CTRL.
    pub global_control: u64,
    /// IA32_PERF_GLOBAL_STATUS.
    pub status: u64,
    /// IA32_PMCi.
    pub general: [u64; GENERAL],
    /// IA32_FIXED_CTRi.
    pub fixed: [u64; FIXED],
}

/// An operation of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The vPMU is opened: reset.
    Open,
    /// RDMSR.
    Read(u32),
    /// WRMSR.
    Write(u32, u64),
    /// RDPMC with ECX, CPL, CR0.PE and CR4.PCE.
    Rdpmc(u32, u8, bool, bool),
    /// The filter with this index in [`System::filters`](crate::System) takes force.
    Filter(usize),
    /// A snapshot is taken.
    Save,
    /// A snapshot with these registers is restored.
    Restore(Registers),
    /// The guest's RDMSR in ring 0, from the exit to the completed instruction: by the kernel where it may.
    GuestRead(u32),
    /// The guest's WRMSR, as [`Op::GuestRead`].
    GuestWrite(u32, u64),
    /// RDMSR without an exit.
    DirectRead(u32),
    /// WRMSR without an exit.
    DirectWrite(u32, u64),
    /// An instruction is completed for the guest: in ring 3; a branch.
    Complete(bool, bool),
    /// The VMM asks what to do with a PMI at this TSC time.
    Overflow(u64),
    /// The hardware counts this many events on each counter while the guest runs.
    Count([u64; GENERAL], [u64; FIXED]),
}

/// What an operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Carried out.
    Done,
    /// Read this value.
    Value(u64),
    /// A guest's access was carried out and its instruction completed.
    Completed {
        /// What it read.
        value: Option<u64>,
        /// The completed instruction made a counter overflow that may interrupt.
        pmi: bool,
    },
    /// #GP(0).
    Fault,
    /// Not for this VM; a snapshot that was not restored; an access that was not direct.
    Refused,
    /// A snapshot.
    Saved(Registers),
    /// The PMI is delivered now.
    Deliver,
    /// The PMI is delivered in so many cycles.
    Delay(u64),
    /// There is nothing that could have raised a PMI.
    Spurious,
    /// Counted, and a counter that may interrupt overflowed.
    Pmi,
    /// Counted, without that.
    Quiet,
    /// Counted, and whether with or without that is not known.
    PmiOrQuiet,
}

impl Op {
    /// The VMM's request for an access.
    pub fn request(&self) -> Request {
        match *self {
            Op::Read(msr) => Request::Read { msr },
            Op::Write(msr, value) => Request::Write { msr, value },
            Op::Rdpmc(index, cpl, pe, pce) => {
                Request::Rdpmc { index, privilege: Privilege::new(cpl, pe, pce) }
            }
            _ => panic!("not an access: {self:?}"),
        }
    }
}

/// What a counter with this hardware selector gains from one instruction that was completed for the guest in ring 3 or
/// ring 0, a branch or none, which is the one event of its cycle (SDM 20.2.1.1).
pub const fn credit(selector: u64, user: bool, branch: bool) -> u64 {
    let key = selector & 0xFFFF;
    let counted = key == 0xC0 || branch && key == 0xC4;
    let (ring, edge, invert, mask) = (
        selector >> if user { 16 } else { 17 } & 1,
        selector >> 18 & 1,
        selector >> 23 & 1,
        selector >> 24 & 0xFF,
    );
    let met = mask == 0 || mask == 1 && invert == 0;
    (counted && ring == 1 && edge == 0 && met) as u64
}

/// The same for the fixed counters with this hardware value of IA32_FIXED_CTR_CTRL: the first counts instructions.
pub const fn fixed_credit(control: u64, user: bool) -> [u64; FIXED] {
    [control >> user as u64 & 1, 0, 0, 0]
}
