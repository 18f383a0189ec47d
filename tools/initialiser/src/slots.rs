//! Third step: the capabilities in CNodes, tables and IRQ handlers.

use crate::error::Error;
use crate::kernel::{Kernel, own};
use crate::objects;
use capdist::{Irq, Object, Slot, Table, Tag};
use sel4_abi::Rights;
use sel4_abi::invocations::Slot as KernelSlot;

/// Attributes of a mapping without caching: the page tables' PCD bit (SDM 4.9).
const UNCACHED: u64 = 1 << 1;
/// Attributes of a cached mapping.
const CACHED: u64 = 0;
/// The kernel maps a guest's memory write-back, whatever attributes it is given.
const EPT_ATTRIBUTES: u64 = 0;

/// Fills every slot but those of TCBs, in order.
pub(crate) fn fill<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<(), Error<'a>> {
    let view = kernel.view;
    for slot in view.slots() {
        match view.object(slot.holder) {
            Some(Object::CNode { size_bits }) => in_cnode(kernel, &slot, size_bits)?,
            Some(Object::Table(table)) => in_table(kernel, &slot, &table)?,
            Some(Object::Irq(irq)) => in_irq(kernel, &slot, irq)?,
            _ => {}
        }
    }
    Ok(())
}

/// The kernel's rights for those of the distribution.
fn rights(rights: capdist::Rights) -> Rights {
    let parts = [(rights.read, Rights::READ), (rights.write, Rights::WRITE), (rights.grant, Rights::GRANT)];
    parts.into_iter().filter(|(has, _)| *has).fold(Rights::NONE, |all, (_, right)| all.with(right))
}

fn in_cnode<'a>(kernel: &mut Kernel<'_, 'a>, slot: &Slot, size_bits: u8) -> Result<(), Error<'a>> {
    let root = kernel.slot(slot.holder);
    let to = KernelSlot { root, index: slot.index.into(), depth: size_bits.into() };
    let from = own(kernel.slot(slot.cap.object));
    let done = match slot.cap.tag {
        Tag::Endpoint { badge, rights: r } | Tag::Notification { badge, rights: r } if badge != 0 => {
            kernel.ipc.cnode_mint(to, from, rights(r), badge)
        }
        Tag::Endpoint { rights: r, .. }
        | Tag::Notification { rights: r, .. }
        | Tag::Frame { rights: r, .. }
        | Tag::Vcpu { rights: r } => kernel.ipc.cnode_copy(to, from, rights(r)),
        Tag::Tcb | Tag::Table | Tag::IoPorts | Tag::Irq | Tag::CNode { .. } => {
            kernel.ipc.cnode_copy(to, from, Rights::ALL)
        }
    };
    done.map_err(kernel.refused(slot.cap.object, "putting its capability into a CNode"))
}

/// Maps a table, or a frame by a capability of its own: one capability is one mapping.
fn in_table<'a>(kernel: &mut Kernel<'_, 'a>, slot: &Slot, table: &Table) -> Result<(), Error<'a>> {
    let (object, root) = (slot.cap.object, kernel.slot(table.root));
    let address = table.slot_address(slot.index);
    let cap = kernel.slot(object);
    let mapped = match slot.cap.tag {
        Tag::Frame { rights: r, cached, .. } => {
            let copy = kernel.free_slot()?;
            let copied = kernel.ipc.cnode_copy(own(copy), own(cap), Rights::ALL);
            copied.map_err(kernel.refused(object, "copying its capability"))?;
            match (table.ept, cached) {
                (false, true) => kernel.ipc.page_map(copy, root, address, rights(r), CACHED),
                (false, false) => kernel.ipc.page_map(copy, root, address, rights(r), UNCACHED),
                (true, _) => kernel.ipc.page_map_ept(copy, root, address, rights(r), EPT_ATTRIBUTES),
            }
        }
        _ => match (table.ept, table.level) {
            (false, 0) => kernel.ipc.pdpt_map(cap, root, address, CACHED),
            (false, 1) => kernel.ipc.page_directory_map(cap, root, address, CACHED),
            (false, _) => kernel.ipc.page_table_map(cap, root, address, CACHED),
            (true, 0) => kernel.ipc.ept_pdpt_map(cap, root, address),
            (true, 1) => kernel.ipc.ept_pd_map(cap, root, address),
            (true, _) => kernel.ipc.ept_pt_map(cap, root, address),
        },
    };
    mapped.map_err(kernel.refused(object, "mapping it"))
}

/// Makes an interrupt's handler and sets what it signals, by a badged capability of its own.
fn in_irq<'a>(kernel: &mut Kernel<'_, 'a>, slot: &Slot, irq: Irq) -> Result<(), Error<'a>> {
    let Tag::Notification { badge, rights: r } = slot.cap.tag else { return Ok(()) };
    let to = kernel.free_slot()?;
    let from = own(kernel.slot(slot.cap.object));
    let minted = kernel.ipc.cnode_mint(own(to), from, rights(r), badge);
    minted.map_err(kernel.refused(slot.cap.object, "badging its capability"))?;
    objects::make_irq(kernel, slot.holder, irq)?;
    let handler = kernel.slot(slot.holder);
    let set = kernel.ipc.irq_handler_set_notification(handler, to);
    set.map_err(kernel.refused(slot.holder, "binding it to its notification"))?;
    // What came in between is masked and waits for this.
    let acknowledged = kernel.ipc.irq_handler_ack(handler);
    acknowledged.map_err(kernel.refused(slot.holder, "allowing it"))
}
