//! Requests of the right form that the policy domain does not carry out.

use crate::codes::codes;
use crate::malformed::Malformed;

codes! {
    /// Why a VM has no vPMU at all.
    UnavailableReason {
        /// The policy region is not a policy: wrong magic, version, size or checksum.
        PolicyInvalid = 1,
        /// The policy names no VM for this channel.
        NoVm = 2,
        /// The policy wants more counters or a later version than the hardware can give. Hardware of PMU version 1 can give
        /// version 0 alone, no counters: without IA32_PERF_GLOBAL_CTRL they could not be kept to the guest.
        Geometry = 3,
        /// There is no PMU, or the kernel gives it to no VM (the bundled kernel: versions other than 4 and 5, no
        /// full-width writes, no IA32_PERF_GLOBAL_CTRL in entry and exit controls), or a counter's width is none that
        /// the SDM allows.
        Hardware = 4,
        /// There is no VCPU capability with the PMU right for this channel, or the kernel refused it.
        Authority = 5,
    }
}

codes! {
    /// Why a snapshot was not restored. Nothing of it was applied.
    SnapshotReason {
        /// Not a snapshot, or of another format version.
        Version = 1,
        /// Its checksum is wrong.
        Checksum = 2,
        /// The target's guest has another vPMU version, other counters or another counter width.
        Geometry = 3,
        /// A register has a reserved bit set.
        Reserved = 4,
        /// Its length is not that of its version.
        Length = 5,
        /// The target's policy serves this VM in a mode without a vPMU.
        Mode = 6,
    }
}

codes! {
    /// Why a filter was not replaced. The old one is in force.
    FilterReason {
        /// There is no update region, or it holds no valid policy.
        Invalid = 1,
        /// The policy has no such VM, or the update has none at that place.
        NoVm = 2,
        /// This VM's mode has no filter (off, passthrough).
        Mode = 3,
        /// The hardware refused a recomputed value; the VM counts nothing until it is opened again.
        Hardware = 4,
    }
}

/// A request was understood and refused. It changed nothing, unless the reason says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This channel has no vPMU.
    Unavailable(UnavailableReason),
    /// The snapshot was not restored.
    Snapshot(SnapshotReason),
    /// The filter was not replaced.
    Filter(FilterReason),
    /// A chunk came out of order, or there is no chunk of this index. Start again with chunk 0.
    Chunk,
    /// The statistics have no counter of this index.
    Statistic,
    /// Only the manager may ask this.
    NotManager,
    /// The manager may ask for nothing else.
    NotVmm,
    /// The kernel refused a PMU invocation with this seL4 error number.
    Port {
        /// seL4's error number.
        error: u64,
    },
}

const UNAVAILABLE: u64 = 1;
const SNAPSHOT: u64 = 2;
const FILTER: u64 = 3;
const CHUNK: u64 = 4;
const STATISTIC: u64 = 5;
const NOT_MANAGER: u64 = 6;
const NOT_VMM: u64 = 7;
const PORT: u64 = 8;

impl Refusal {
    /// The kind as a number from 1, and its detail.
    pub(crate) const fn words(self) -> [u64; 2] {
        match self {
            Refusal::Unavailable(reason) => [UNAVAILABLE, reason.code()],
            Refusal::Snapshot(reason) => [SNAPSHOT, reason.code()],
            Refusal::Filter(reason) => [FILTER, reason.code()],
            Refusal::Chunk => [CHUNK, 0],
            Refusal::Statistic => [STATISTIC, 0],
            Refusal::NotManager => [NOT_MANAGER, 0],
            Refusal::NotVmm => [NOT_VMM, 0],
            Refusal::Port { error } => [PORT, error],
        }
    }

    pub(crate) fn from_words(words: [u64; 2]) -> Result<Self, Malformed> {
        let detail = Malformed::Word { index: 1 };
        match words {
            [UNAVAILABLE, code] => UnavailableReason::from_code(code).map(Refusal::Unavailable).ok_or(detail),
            [SNAPSHOT, code] => SnapshotReason::from_code(code).map(Refusal::Snapshot).ok_or(detail),
            [FILTER, code] => FilterReason::from_code(code).map(Refusal::Filter).ok_or(detail),
            [CHUNK, 0] => Ok(Refusal::Chunk),
            [STATISTIC, 0] => Ok(Refusal::Statistic),
            [NOT_MANAGER, 0] => Ok(Refusal::NotManager),
            [NOT_VMM, 0] => Ok(Refusal::NotVmm),
            [PORT, error] => Ok(Refusal::Port { error }),
            [CHUNK | STATISTIC | NOT_MANAGER | NOT_VMM, _] => Err(detail),
            _ => Err(Malformed::Word { index: 0 }),
        }
    }
}
