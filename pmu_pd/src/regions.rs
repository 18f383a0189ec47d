//! The shared regions that system.xml maps, and the time: all of this domain's unsafe code.

use core::sync::atomic::AtomicU64;
use pmu_api::STATISTICS_BYTES;
use pmu_core::RegionCells;
use sel4_microkit::var;
use static_assertions::const_assert;

const_assert!(size_of::<RegionCells>() <= STATISTICS_BYTES);

/// The policy. Without the region it is empty, which is no policy.
pub fn policy() -> &'static [AtomicU64] {
    words(*var!(policy_vaddr: usize = 0), *var!(policy_size: usize = 0))
}

/// Where the manager puts replacement filters; empty without such a region.
pub fn update() -> &'static [AtomicU64] {
    words(*var!(policy_update_vaddr: usize = 0), *var!(policy_update_size: usize = 0))
}

/// The region at `address` of `size` bytes, as system.xml maps it; empty if it maps none.
fn words(address: usize, size: usize) -> &'static [AtomicU64] {
    let start: *const AtomicU64 = core::ptr::with_exposed_provenance(address);
    if start.is_null() || !start.is_aligned() {
        return &[];
    }
    // SAFETY: the image build patched both values for a region that is mapped readable for as long as this
    // domain lives. Others may write it, so that it is only read as atomic words; any bits are a word.
    unsafe { core::slice::from_raw_parts(start, size / size_of::<AtomicU64>()) }
}

/// The statistics region; without one, private memory.
pub fn statistics() -> &'static RegionCells {
    static PRIVATE: RegionCells = RegionCells::new();
    let cells: *const RegionCells = core::ptr::with_exposed_provenance(*var!(statistics_vaddr: usize = 0));
    if cells.is_null() || !cells.is_aligned() {
        return &PRIVATE;
    }
    // SAFETY: the image build patched the address of a region of at least a page, mapped read-write for as long
    // as this domain lives; it consists of atomic words, for which any bits are valid.
    unsafe { &*cells }
}

/// The time-stamp counter.
pub fn now() -> u64 {
    // SAFETY: RDTSC changes nothing, and seL4 leaves CR4.TSD clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}
