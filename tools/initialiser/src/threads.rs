//! Fourth step: the threads, ready to run; and last, their start.

use crate::error::Error;
use crate::kernel::Kernel;
use capdist::{Cap, Object, ObjectId, Tag, Tcb, View, tcb_slot};
use sel4_abi::invocations::{TcbConfiguration, ThreadRegisters, cnode_guard};
use sel4_abi::numbers::thread_register;

/// Configures every thread.
pub(crate) fn configure<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<(), Error<'a>> {
    for (id, tcb) in threads(kernel.view) {
        configure_one(kernel, id, &tcb)?;
    }
    Ok(())
}

/// Starts every thread; how many.
pub(crate) fn start<'a>(kernel: &mut Kernel<'_, 'a>) -> Result<u32, Error<'a>> {
    let mut started = 0;
    for (id, _) in threads(kernel.view) {
        let resumed = kernel.ipc.tcb_resume(kernel.slot(id));
        resumed.map_err(kernel.refused(id, "starting it"))?;
        started += 1;
    }
    Ok(started)
}

fn threads<'a>(view: View<'a>) -> impl Iterator<Item = (ObjectId, Tcb)> + use<'a> {
    view.objects().filter_map(|(id, object)| match object {
        Object::Tcb(tcb) => Some((id, tcb)),
        _ => None,
    })
}

fn configure_one<'a>(kernel: &mut Kernel<'_, 'a>, id: ObjectId, tcb: &Tcb) -> Result<(), Error<'a>> {
    let view = kernel.view;
    let bound = |index| {
        let slot = view.slots().find(|slot| slot.holder == id && slot.index == index)?;
        Some(slot.cap)
    };
    let missing = Error::Thread { object: view.name(id) };
    let cspace = bound(tcb_slot::CSPACE).ok_or(missing)?;
    let vspace = bound(tcb_slot::VSPACE).ok_or(missing)?;
    let buffer = bound(tcb_slot::IPC_BUFFER).ok_or(missing)?;
    let thread = kernel.slot(id);
    let configuration = TcbConfiguration {
        fault_endpoint: tcb.fault_handler.into(),
        priority: tcb.priority,
        maximum_priority: tcb.priority,
        cspace: (kernel.slot(cspace.object), guard(&cspace)),
        vspace: kernel.slot(vspace.object),
        ipc_buffer: (tcb.ipc_buffer, kernel.slot(buffer.object)),
    };
    let done = kernel.ipc.tcb_configure(thread, &configuration);
    done.map_err(kernel.refused(id, "configuring it"))?;
    if let Some(notification) = bound(tcb_slot::BOUND_NOTIFICATION) {
        let notification = kernel.slot(notification.object);
        let done = kernel.ipc.tcb_bind_notification(thread, notification);
        done.map_err(kernel.refused(id, "binding its notification"))?;
    }
    if let Some(root) = bound(tcb_slot::EPT_ROOT) {
        let root = kernel.slot(root.object);
        let done = kernel.ipc.tcb_set_ept_root(thread, root);
        done.map_err(kernel.refused(id, "setting the guest's memory"))?;
    }
    if let Some(vcpu) = bound(tcb_slot::VCPU) {
        let vcpu = kernel.slot(vcpu.object);
        let done = kernel.ipc.vcpu_set_tcb(vcpu, thread);
        done.map_err(kernel.refused(id, "binding its VCPU"))?;
    }
    let mut registers: ThreadRegisters = [0; _];
    registers[thread_register::FAULT_IP] = tcb.entry;
    registers[thread_register::RSP] = tcb.stack;
    let done = kernel.ipc.tcb_write_registers(thread, false, &registers);
    done.map_err(kernel.refused(id, "setting its registers"))
}

fn guard(cspace: &Cap) -> u64 {
    match cspace.tag {
        Tag::CNode { guard_size } => cnode_guard(0, guard_size.into()),
        _ => 0,
    }
}
