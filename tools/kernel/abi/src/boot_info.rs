use crate::IpcBuffer;
use crate::numbers::{limit, slot};
use core::ops::Range;
use static_assertions::const_assert_eq;

/// Slots `start..end` of the root task's CNode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub struct SlotRegion {
    /// The first slot.
    pub start: u64,
    /// The slot after the last.
    pub end: u64,
}

impl SlotRegion {
    /// The slots.
    #[must_use]
    pub const fn slots(self) -> Range<u64> {
        self.start..self.end
    }
}

/// An untyped capability that the kernel gives the root task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub struct UntypedDescriptor {
    /// Physical address.
    pub physical_address: u64,
    padding: [u8; 2],
    /// Size as a power of two.
    pub size_bits: u8,
    /// Not 0: device memory, which the kernel does not clear and of which only pages can be made.
    pub is_device: u8,
}

/// What the kernel tells the root task (seL4_BootInfo). Its fields are not aligned: read them by value.
#[repr(C, packed)]
pub struct BootInfo {
    /// Bytes of further information, in the pages after this one.
    pub extra_length: u64,
    /// This processor.
    pub node_id: u64,
    /// Number of processors.
    pub node_count: u64,
    /// Levels of the I/O page tables; 0 without.
    pub io_page_table_levels: u64,
    /// The root task's IPC buffer.
    pub ipc_buffer: *mut IpcBuffer,
    /// Empty slots of the root task's CNode.
    pub empty: SlotRegion,
    /// Frames shared between processors.
    pub shared_frames: SlotRegion,
    /// Frames of the root task's image, in the order of their addresses.
    pub user_image_frames: SlotRegion,
    /// Its paging structures.
    pub user_image_paging: SlotRegion,
    /// Not used on x86.
    pub io_space_caps: SlotRegion,
    /// Frames of the further information.
    pub extra_pages: SlotRegion,
    /// Size of the root task's CNode as a power of two.
    pub cnode_size_bits: u8,
    /// The root task's domain.
    pub domain: u64,
    /// Frequency of the TSC in MHz, as the kernel measured it.
    pub tsc_mhz: u64,
    /// Untyped capabilities.
    pub untyped: SlotRegion,
    untyped_list: [UntypedDescriptor; limit::BOOT_INFO_UNTYPED],
}

const_assert_eq!(size_of::<BootInfo>(), limit::BOOT_INFO_SIZE);
const_assert_eq!(core::mem::offset_of!(BootInfo, untyped_list), limit::BOOT_INFO_UNTYPED_LIST);

impl BootInfo {
    /// The untyped capabilities: slot and description.
    pub fn untyped(&self) -> impl Iterator<Item = (u64, UntypedDescriptor)> + '_ {
        let slots = self.untyped;
        let list = self.untyped_list;
        slots.slots().zip(list)
    }
}

const_assert_eq!(slot::NULL, 0);
