//! Second step: what the frames hold, through a window in the root task's own VSpace.

use crate::error::Error;
use crate::kernel::{Kernel, own};
use capdist::{Fill, LARGE_PAGE_BITS, Object};
use core::ptr;
use sel4_abi::Rights;
use sel4_abi::numbers::{object, size_bits, slot};

/// Where a 4 KiB frame is mapped while it is filled: far from the program and what the kernel maps.
const SMALL_WINDOW: usize = 0x4000_0000_0000;
/// Where a 2 MiB frame is mapped while it is filled: the next slot of the same page directory.
const LARGE_WINDOW: usize = SMALL_WINDOW + (1 << LARGE_PAGE_BITS);
const NAME: &str = "the window of the root task";
const CACHED: u64 = 0;

/// Fills the frames.
pub(crate) fn fill<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<(), Error<'a>> {
    open(kernel)?;
    let window = kernel.free_slot()?;
    let view = kernel.view;
    for fill in view.fills() {
        one(kernel, &fill, window)?;
    }
    kernel.empty_again(window);
    Ok(())
}

/// Makes the tables of the window.
fn open<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<(), Error<'a>> {
    let levels = [
        (object::PDPT, size_bits::PDPT),
        (object::PAGE_DIRECTORY, size_bits::PAGE_DIRECTORY),
        (object::PAGE_TABLE, size_bits::PAGE_TABLE),
    ];
    for (kind, bits) in levels {
        let table = kernel.free_slot()?;
        kernel.make(NAME, kind, bits, 0, table)?;
        let ipc = &mut *kernel.ipc;
        let mapped = match kind {
            object::PDPT => ipc.pdpt_map(table, slot::INIT_VSPACE, SMALL_WINDOW as u64, CACHED),
            object::PAGE_DIRECTORY => {
                ipc.page_directory_map(table, slot::INIT_VSPACE, SMALL_WINDOW as u64, CACHED)
            }
            _ => ipc.page_table_map(table, slot::INIT_VSPACE, SMALL_WINDOW as u64, CACHED),
        };
        mapped.map_err(|reason| Error::Refused { object: NAME, operation: "mapping its tables", reason })?;
    }
    Ok(())
}

/// Copies one fill into its frame, mapped by a capability in the slot `window` for as long as that takes.
fn one<'a>(kernel: &mut Kernel<'_, 'a>, fill: &Fill<'_>, window: u64) -> Result<(), Error<'a>> {
    let large =
        matches!(kernel.view.object(fill.frame), Some(Object::Frame { size_bits: LARGE_PAGE_BITS, .. }));
    let address = if large { LARGE_WINDOW } else { SMALL_WINDOW };
    let refused = kernel.refused(fill.frame, "filling it");
    let frame = kernel.slot(fill.frame);
    let ipc = &mut *kernel.ipc;
    ipc.cnode_copy(own(window), own(frame), Rights::ALL).map_err(&refused)?;
    ipc.page_map(window, slot::INIT_VSPACE, address as u64, Rights::READ_WRITE, CACHED).map_err(&refused)?;
    let to = ptr::with_exposed_provenance_mut::<u8>(address).wrapping_add(fill.offset as usize);
    // SAFETY: the frame is mapped writable at `address`, nothing else uses the window, and `View::parse` made
    // sure that offset and data are inside the frame.
    unsafe { ptr::copy_nonoverlapping(fill.data.as_ptr(), to, fill.data.len()) };
    // Without the mend frame-copy-deleted the deletion alone would leave the frame mapped.
    ipc.page_unmap(window).map_err(&refused)?;
    ipc.cnode_delete(own(window)).map_err(&refused)
}
