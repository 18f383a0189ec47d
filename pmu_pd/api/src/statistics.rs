//! What the policy domain counts about itself, and the region where others may read it.

use crate::codes::codes;
use static_assertions::{assert_eq_align, assert_eq_size, const_assert, const_assert_eq};

codes! {
    /// A counter of events in the policy domain; each VM has all of them, from 0, modulo 2^64.
    Statistic {
        /// Opens.
        Opens = 0,
        /// Completed WRMSR to IA32_PERFEVTSELi or IA32_FIXED_CTR_CTRL that reached the policy domain.
        ControlWrites = 1,
        /// Completed WRMSR to any other PMU register.
        DataWrites = 2,
        /// Completed RDMSR.
        Reads = 3,
        /// Completed RDPMC.
        Rdpmcs = 4,
        /// Accesses answered with #GP(0).
        Faults = 5,
        /// Control writes that the filter kept, in part or whole, from counting.
        Denied = 6,
        /// PMIs to deliver at once.
        PmisDelivered = 7,
        /// PMIs to deliver later, by the rate limit.
        PmisDelayed = 8,
        /// PMIs without cause.
        PmisSpurious = 9,
        /// Snapshots taken.
        Saves = 10,
        /// Snapshots restored.
        Restores = 11,
        /// Filters replaced by the manager.
        FiltersReplaced = 12,
        /// Requests refused.
        Refusals = 13,
        /// Messages of another protocol version.
        MalformedVersion = 14,
        /// Messages with an unknown operation.
        MalformedOperation = 15,
        /// Messages of the wrong length.
        MalformedLength = 16,
        /// Messages with a word out of range.
        MalformedWord = 17,
        /// WRMSR to the same that the kernel completed, because the domain had approved of the value. As of the last
        /// [`Request::Statistics`](crate::Request::Statistics).
        ApprovedWrites = 18,
        /// RDMSR of the same that the kernel completed. As of the last
        /// [`Request::Statistics`](crate::Request::Statistics).
        ApprovedReads = 19,
    }
}

/// How many statistics a VM has.
pub const STATISTICS: usize = Statistic::ALL.len();

/// The most VMs that one policy domain serves.
pub const MAX_VMS: usize = 8;

/// First word of the region: "PMUSTAT2", little-endian.
pub const STATISTICS_MAGIC: u64 = u64::from_le_bytes(*b"PMUSTAT2");

/// One VM's part of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct VmStatistics {
    /// The channel of its VMM in the policy domain.
    pub channel: u64,
    /// The counters, in the order of [`Statistic`].
    pub counters: [u64; STATISTICS],
}

/// The read-only shared region. The policy domain alone writes it, each word whole; a reader sees each counter
/// rise but not a consistent set of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StatisticsRegion {
    /// [`STATISTICS_MAGIC`].
    pub magic: u64,
    /// How many of `vms` are in use.
    pub vm_count: u64,
    /// Messages on channels that no VM of the policy has.
    pub strangers: u64,
    /// The VMs in the policy's order.
    pub vms: [VmStatistics; MAX_VMS],
}

/// Size of the region: one page, in bytes.
pub const STATISTICS_BYTES: usize = 4096;

/// The region filled up to a page of 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct StatisticsPage {
    /// What is in it.
    pub region: StatisticsRegion,
}

assert_eq_size!(VmStatistics, [u64; 1 + STATISTICS]);
assert_eq_size!(StatisticsRegion, [u64; 3 + MAX_VMS * (1 + STATISTICS)]);
assert_eq_align!(StatisticsRegion, u64);
const_assert_eq!(size_of::<StatisticsPage>(), STATISTICS_BYTES);
const_assert!(Statistic::ApprovedReads as usize == STATISTICS - 1);
const_assert_eq!(core::mem::offset_of!(StatisticsRegion, vms), 24);
