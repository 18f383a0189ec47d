//! The statistics region, written by this domain alone.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pmu_api::{MAX_VMS, STATISTICS, STATISTICS_MAGIC, Statistic, StatisticsRegion, VmStatistics};
use static_assertions::{assert_eq_align, assert_eq_size, const_assert_eq};

/// [`VmStatistics`] as its writer sees it.
#[derive(Debug)]
#[repr(C)]
pub struct VmCells {
    channel: AtomicU64,
    counters: [AtomicU64; STATISTICS],
}

/// [`StatisticsRegion`] as its writer sees it.
#[derive(Debug)]
#[repr(C)]
pub struct RegionCells {
    magic: AtomicU64,
    vm_count: AtomicU64,
    strangers: AtomicU64,
    vms: [VmCells; MAX_VMS],
}

assert_eq_size!(VmCells, VmStatistics);
assert_eq_size!(RegionCells, StatisticsRegion);
assert_eq_align!(RegionCells, StatisticsRegion);
const_assert_eq!(
    core::mem::offset_of!(RegionCells, strangers),
    core::mem::offset_of!(StatisticsRegion, strangers)
);
const_assert_eq!(core::mem::offset_of!(RegionCells, vms), core::mem::offset_of!(StatisticsRegion, vms));
const_assert_eq!(core::mem::offset_of!(VmCells, counters), core::mem::offset_of!(VmStatistics, counters));

impl RegionCells {
    /// An empty region, for a domain without a shared one.
    pub const fn new() -> Self {
        Self {
            magic: AtomicU64::new(0),
            vm_count: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            vms: [const { VmCells::new() }; MAX_VMS],
        }
    }

    /// Starts the region for these VMs' channels (at most [`MAX_VMS`]): all counters 0.
    pub fn start(&self, channels: impl Iterator<Item = u64>) {
        let mut count = 0;
        for (vm, channel) in self.vms.iter().zip(channels) {
            vm.channel.store(channel, Relaxed);
            vm.counters.iter().for_each(|counter| counter.store(0, Relaxed));
            count += 1;
        }
        self.strangers.store(0, Relaxed);
        self.vm_count.store(count, Relaxed);
        self.magic.store(STATISTICS_MAGIC, Relaxed);
    }

    /// The VMs' cells, in the policy's order.
    pub const fn vms(&self) -> &[VmCells; MAX_VMS] {
        &self.vms
    }

    /// Counts a message on a channel that no VM has.
    pub fn count_stranger(&self) {
        increment(&self.strangers);
    }

    /// What readers see now.
    pub fn read(&self) -> StatisticsRegion {
        StatisticsRegion {
            magic: self.magic.load(Relaxed),
            vm_count: self.vm_count.load(Relaxed),
            strangers: self.strangers.load(Relaxed),
            vms: core::array::from_fn(|i| self.vms[i].read()),
        }
    }
}

impl Default for RegionCells {
    fn default() -> Self {
        Self::new()
    }
}

impl VmCells {
    /// Cells of a VM that has done nothing.
    pub const fn new() -> Self {
        Self { channel: AtomicU64::new(0), counters: [const { AtomicU64::new(0) }; STATISTICS] }
    }

    /// Adds 1, modulo 2^64.
    pub fn count(&self, statistic: Statistic) {
        increment(&self.counters[statistic as usize]);
    }

    /// Sets a counter that another one keeps.
    pub fn set(&self, statistic: Statistic, value: u64) {
        self.counters[statistic as usize].store(value, Relaxed);
    }

    /// `N` counters from `first` on, 0 past the end; `None` if there is no counter `first`.
    pub fn window<const N: usize>(&self, first: u64) -> Option<[u64; N]> {
        let tail = self.counters.get(usize::try_from(first).ok()?..).filter(|tail| !tail.is_empty())?;
        let mut values = [0; N];
        values.iter_mut().zip(tail).for_each(|(value, counter)| *value = counter.load(Relaxed));
        Some(values)
    }

    fn read(&self) -> VmStatistics {
        VmStatistics {
            channel: self.channel.load(Relaxed),
            counters: core::array::from_fn(|i| self.counters[i].load(Relaxed)),
        }
    }
}

impl Default for VmCells {
    fn default() -> Self {
        Self::new()
    }
}

/// One writer only: a load and a store suffice.
fn increment(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}
