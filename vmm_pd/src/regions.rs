//! The memory regions of system.xml: the guest's RAM, the guest's ELF file, the policy domain's statistics.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use pmu_api::{STATISTICS, STATISTICS_MAGIC, StatisticsRegion};
use sel4_microkit::var;

/// The guest's RAM, as it is mapped here.
#[derive(Debug)]
pub struct GuestRam {
    start: NonNull<u8>,
    size: usize,
}

/// The only [`GuestRam`].
///
/// # Panics
/// If system.xml maps none.
pub fn guest_ram() -> GuestRam {
    let address = *var!(guest_ram_vaddr: usize = 0);
    let size = *var!(guest_ram_size: usize = 0);
    let start: *mut u8 = core::ptr::with_exposed_provenance_mut(address);
    match NonNull::new(start) {
        Some(start) => GuestRam { start, size },
        None => panic!("system.xml does not map guest_ram (setvar_vaddr guest_ram_vaddr)"),
    }
}

impl GuestRam {
    /// The guest's memory from its address 0 on. The guest does not run while this borrow lives: it runs only
    /// inside `VMEnter`, which borrows all of the virtual CPU.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the image build patched address and size of a region that is mapped read-write for as long as
        // this domain lives. No one else has it but the guest, which does not run now.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }

    /// Copies guest memory; false, and nothing copied, if not all of it is RAM.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let range =
            usize::try_from(address).ok().and_then(|start| Some(start..start.checked_add(bytes.len())?));
        // SAFETY: as in `bytes`; the shared borrow of self excludes a mutable one.
        let memory = unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.size) };
        let Some(found) = range.and_then(|range| memory.get(range)) else { return false };
        bytes.copy_from_slice(found);
        true
    }

    /// Writes guest memory; false, and nothing written, if not all of it is RAM.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> bool {
        let range =
            usize::try_from(address).ok().and_then(|start| Some(start..start.checked_add(bytes.len())?));
        let Some(found) = range.and_then(|range| self.bytes().get_mut(range)) else { return false };
        found.copy_from_slice(bytes);
        true
    }
}

/// The guest's ELF file, with what follows it in its region.
///
/// # Panics
/// If system.xml maps none.
pub fn guest_image() -> &'static [u8] {
    let address = *var!(guest_image_vaddr: usize = 0);
    let size = *var!(guest_image_size: usize = 0);
    let start: *const u8 = core::ptr::with_exposed_provenance(address);
    assert!(!start.is_null(), "system.xml does not map guest_image (setvar_vaddr guest_image_vaddr)");
    // SAFETY: the image build patched address and size of a region that is mapped readable for as long as this
    // domain lives, and that nobody writes.
    unsafe { core::slice::from_raw_parts(start, size) }
}

const WORDS: usize = size_of::<StatisticsRegion>() / size_of::<u64>();
const FIRST_VM: usize = core::mem::offset_of!(StatisticsRegion, vms) / size_of::<u64>();

/// What the policy domain counted for its first VM, if system.xml shows us its statistics.
pub fn statistics() -> Option<[u64; STATISTICS]> {
    let address = *var!(statistics_vaddr: usize = 0);
    let start: *const AtomicU64 = core::ptr::with_exposed_provenance(address);
    if start.is_null() || !start.is_aligned() {
        return None;
    }
    // SAFETY: the image build patched the address of a region of at least a page, which is larger than the
    // statistics, mapped readable for as long as this domain lives. The policy domain writes it while we read,
    // so that it is only read as atomic words; any bits are a word.
    let words = unsafe { core::slice::from_raw_parts(start, WORDS) };
    // The word before the counters is the VM's channel.
    let counters = words.iter().skip(FIRST_VM + 1).take(STATISTICS);
    let mut values = [0; STATISTICS];
    values.iter_mut().zip(counters).for_each(|(value, word)| *value = word.load(Ordering::Relaxed));
    words.first().is_some_and(|magic| magic.load(Ordering::Relaxed) == STATISTICS_MAGIC).then_some(values)
}
