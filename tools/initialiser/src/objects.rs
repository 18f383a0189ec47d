//! First step: the objects.

use crate::cpu;
use crate::error::Error;
use crate::kernel::{Kernel, own};
use capdist::{Irq, LARGE_PAGE_BITS, Object, ObjectId, Polarity, Table, Trigger};
use sel4_abi::numbers::{label, object, size_bits, slot};
use sel4_abi::{Rights, WORD_DEPTH};

/// Makes every object of the distribution but the interrupts, each with its first capability in its own slot.
pub(crate) fn make<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<(), Error<'a>> {
    let view = kernel.view;
    for (id, object) in view.objects() {
        make_one(kernel, id, &object)?;
    }
    Ok(())
}

fn make_one<'a>(kernel: &mut Kernel<'_, 'a>, id: ObjectId, object: &Object) -> Result<(), Error<'a>> {
    let (name, to) = (kernel.view.name(id), kernel.slot(id));
    let mut fixed = |kind, bits| kernel.make(name, kind, bits, 0, to);
    match *object {
        Object::Tcb(_) => fixed(object::TCB, size_bits::TCB),
        Object::Endpoint => fixed(object::ENDPOINT, size_bits::ENDPOINT),
        Object::Notification => fixed(object::NOTIFICATION, size_bits::NOTIFICATION),
        Object::CNode { size_bits } => {
            kernel.make(name, object::CNODE, size_bits + size_bits::SLOT, size_bits, to)
        }
        Object::Frame { size_bits, paddr } => {
            let kind = if size_bits == LARGE_PAGE_BITS { object::PAGE_2M } else { object::PAGE_4K };
            match paddr {
                None => kernel.make(name, kind, size_bits, 0, to),
                Some(address) => kernel.make_at(name, kind, size_bits, address, to),
            }
        }
        Object::Table(table) => make_table(kernel, id, &table),
        // Without VT-x, the kernel's first VMX instruction would be its last.
        Object::Vcpu if !cpu::has_vtx() => Err(Error::NoVtx { object: name }),
        Object::Vcpu => fixed(object::VCPU, size_bits::VCPU),
        Object::IoPorts { first, last } => {
            let range = u64::from(first) << 16 | u64::from(last);
            let made = kernel.ipc.cnode_mint(own(to), own(slot::IO_PORT), Rights::ALL, range);
            made.map_err(kernel.refused(id, "taking the ports"))
        }
        // An interrupt may come as soon as it has a handler: it is made when it gets its notification.
        Object::Irq(_) => Ok(()),
    }
}

/// Makes a page table; a root also gets its number, without which nothing can be mapped in it.
fn make_table<'a>(kernel: &mut Kernel<'_, 'a>, id: ObjectId, table: &Table) -> Result<(), Error<'a>> {
    let (kind, bits) = match (table.ept, table.level) {
        (false, 0) => (object::PML4, size_bits::PML4),
        (false, 1) => (object::PDPT, size_bits::PDPT),
        (false, 2) => (object::PAGE_DIRECTORY, size_bits::PAGE_DIRECTORY),
        (false, _) => (object::PAGE_TABLE, size_bits::PAGE_TABLE),
        (true, 0) => (object::EPT_PML4, size_bits::EPT_PML4),
        (true, 1) => (object::EPT_PDPT, size_bits::EPT_PDPT),
        (true, 2) => (object::EPT_PD, size_bits::EPT_PD),
        (true, _) => (object::EPT_PT, size_bits::EPT_PT),
    };
    let (name, to) = (kernel.view.name(id), kernel.slot(id));
    kernel.make(name, kind, bits, 0, to)?;
    if table.level == 0 {
        let assigned = kernel.ipc.asid_pool_assign(slot::INIT_ASID_POOL, to);
        assigned.map_err(kernel.refused(id, "giving it an ASID"))?;
    }
    Ok(())
}

/// Makes an interrupt's handler.
pub(crate) fn make_irq<'a>(kernel: &mut Kernel<'_, 'a>, id: ObjectId, irq: Irq) -> Result<(), Error<'a>> {
    let to = kernel.slot(id);
    let (label, arguments) = match irq {
        Irq::Ioapic { ioapic, pin, trigger, polarity, vector } => {
            let level = u64::from(trigger == Trigger::Level);
            let low = u64::from(polarity == Polarity::Low);
            let source = [ioapic.into(), pin.into(), level, low, vector.into()];
            (label::X86_IRQ_ISSUE_IRQ_HANDLER_IOAPIC, source)
        }
        Irq::Msi { bus, device, function, handle, vector } => {
            let source = [bus.into(), device.into(), function.into(), handle.into(), vector.into()];
            (label::X86_IRQ_ISSUE_IRQ_HANDLER_MSI, source)
        }
    };
    let [a, b, c, d, e] = arguments;
    let arguments = [to, WORD_DEPTH, a, b, c, d, e];
    let made = kernel.ipc.invoke(slot::IRQ_CONTROL, label, &arguments, &[slot::INIT_CNODE]);
    made.map(drop).map_err(kernel.refused(id, "taking the interrupt"))
}
