//! A method for each operation on a capability that this project uses. The names are the kernel's; each fails with
//! the kernel's [`Error`].

#![allow(clippy::missing_errors_doc, reason = "each fails with the kernel's error, as the module says")]

use crate::numbers::{label, thread_register};
use crate::{CPtr, Error, Ipc, Rights, WORD_DEPTH};
use static_assertions::const_assert_eq;

mod vcpu;

pub use vcpu::{GuestControl, GuestRegisters, PmuGeometry};

/// Number of words of [`ThreadRegisters`].
const THREAD_REGISTERS: usize = thread_register::TLS_BASE + 1;

/// A thread's registers, at the positions of `numbers::thread_register`.
pub type ThreadRegisters = [u64; THREAD_REGISTERS];

/// A slot: a CNode, an index in it, and how many bits of the index to resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The capability of the CNode.
    pub root: CPtr,
    /// The capability address, seen from `root`.
    pub index: u64,
    /// Bits to resolve.
    pub depth: u64,
}

impl Slot {
    /// The slot at `index` of a CNode whose addresses have 64 bits, as the root task's do.
    #[must_use]
    pub const fn of(root: CPtr, index: u64) -> Self {
        Slot { root, index, depth: WORD_DEPTH }
    }
}

/// Arguments of [`Ipc::tcb_configure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcbConfiguration {
    /// Where faults go, as an address in the thread's own capability space; 0: nowhere.
    pub fault_endpoint: CPtr,
    /// Priority.
    pub priority: u8,
    /// Highest priority that the thread may give.
    pub maximum_priority: u8,
    /// The root CNode, and its guard (seL4_CapData).
    pub cspace: (CPtr, u64),
    /// The root of the address space.
    pub vspace: CPtr,
    /// Address and frame of the IPC buffer; zeroes for none.
    pub ipc_buffer: (u64, CPtr),
}

/// A guard of `bits` bits, for the root CNode of a thread (seL4_CNode_CapData: the size in bits 2 to 7, the guard
/// above).
#[must_use]
pub const fn cnode_guard(guard: u64, bits: u64) -> u64 {
    guard << 8 | bits << 2
}

const_assert_eq!(cnode_guard(3, 6), 0x318);

impl Ipc {
    fn void(&mut self, service: CPtr, label: u64, arguments: &[u64], caps: &[CPtr]) -> Result<(), Error> {
        self.invoke(service, label, arguments, caps).map(drop)
    }

    /// Makes `count` objects of type `object` (`numbers::object`) in slots `first..` of the CNode that `node`
    /// names; `node.index` and `node.depth` are 0 for `node.root` itself. `size_bits` is for objects of variable
    /// size only.
    pub fn untyped_retype(
        &mut self,
        untyped: CPtr,
        object: u64,
        size_bits: u64,
        node: Slot,
        first: u64,
        count: u64,
    ) -> Result<(), Error> {
        let arguments = [object, size_bits, node.index, node.depth, first, count];
        self.void(untyped, label::UNTYPED_RETYPE, &arguments, &[node.root])
    }

    /// Copies a capability, with at most `rights`.
    pub fn cnode_copy(&mut self, to: Slot, from: Slot, rights: Rights) -> Result<(), Error> {
        let arguments = [to.index, to.depth, from.index, from.depth, rights.word()];
        self.void(to.root, label::CNODE_COPY, &arguments, &[from.root])
    }

    /// Copies a capability, with at most `rights`, and with `badge` (or a CNode's guard).
    pub fn cnode_mint(&mut self, to: Slot, from: Slot, rights: Rights, badge: u64) -> Result<(), Error> {
        let arguments = [to.index, to.depth, from.index, from.depth, rights.word(), badge];
        self.void(to.root, label::CNODE_MINT, &arguments, &[from.root])
    }

    /// Moves a capability.
    pub fn cnode_move(&mut self, to: Slot, from: Slot) -> Result<(), Error> {
        let arguments = [to.index, to.depth, from.index, from.depth];
        self.void(to.root, label::CNODE_MOVE, &arguments, &[from.root])
    }

    /// Deletes a capability.
    pub fn cnode_delete(&mut self, slot: Slot) -> Result<(), Error> {
        self.void(slot.root, label::CNODE_DELETE, &[slot.index, slot.depth], &[])
    }

    /// Deletes every capability derived from this one.
    pub fn cnode_revoke(&mut self, slot: Slot) -> Result<(), Error> {
        self.void(slot.root, label::CNODE_REVOKE, &[slot.index, slot.depth], &[])
    }

    /// Sets what a thread needs to run.
    pub fn tcb_configure(&mut self, tcb: CPtr, to: &TcbConfiguration) -> Result<(), Error> {
        let priority = u64::from(to.priority) | u64::from(to.maximum_priority) << 8;
        let arguments = [to.fault_endpoint, priority, to.cspace.1, 0, to.ipc_buffer.0];
        self.void(tcb, label::TCB_CONFIGURE, &arguments, &[to.cspace.0, to.vspace, to.ipc_buffer.1])
    }

    /// Writes all of a thread's registers; `resume` starts it.
    pub fn tcb_write_registers(
        &mut self,
        tcb: CPtr,
        resume: bool,
        registers: &ThreadRegisters,
    ) -> Result<(), Error> {
        let mut arguments = [0; THREAD_REGISTERS + 2];
        arguments[0] = u64::from(resume);
        arguments[1] = registers.len() as u64;
        arguments[2..].copy_from_slice(registers);
        self.void(tcb, label::TCB_WRITE_REGISTERS, &arguments, &[])
    }

    /// Reads a thread's registers; `suspend` stops it first.
    pub fn tcb_read_registers(&mut self, tcb: CPtr, suspend: bool) -> Result<ThreadRegisters, Error> {
        let arguments = [u64::from(suspend), THREAD_REGISTERS as u64];
        let first = self.invoke(tcb, label::TCB_READ_REGISTERS, &arguments, &[])?;
        let mut registers = [0; THREAD_REGISTERS];
        registers.copy_from_slice(&self.buffer().message[..THREAD_REGISTERS]);
        registers[..first.len()].copy_from_slice(&first);
        Ok(registers)
    }

    /// Lets a thread run.
    pub fn tcb_resume(&mut self, tcb: CPtr) -> Result<(), Error> {
        self.void(tcb, label::TCB_RESUME, &[], &[])
    }

    /// Stops a thread.
    pub fn tcb_suspend(&mut self, tcb: CPtr) -> Result<(), Error> {
        self.void(tcb, label::TCB_SUSPEND, &[], &[])
    }

    /// Sets a thread's priority.
    pub fn tcb_set_priority(&mut self, tcb: CPtr, priority: u8) -> Result<(), Error> {
        self.void(tcb, label::TCB_SET_PRIORITY, &[u64::from(priority)], &[])
    }

    /// Binds a notification to a thread: it then ends the thread's receives and its VMEnter.
    pub fn tcb_bind_notification(&mut self, tcb: CPtr, notification: CPtr) -> Result<(), Error> {
        self.void(tcb, label::TCB_BIND_NOTIFICATION, &[], &[notification])
    }

    /// Sets the guest-physical address space of a thread's VCPU.
    pub fn tcb_set_ept_root(&mut self, tcb: CPtr, ept_pml4: CPtr) -> Result<(), Error> {
        self.void(tcb, label::TCB_SET_EPT_ROOT, &[], &[ept_pml4])
    }

    /// Maps a page at `address`.
    pub fn page_map(
        &mut self,
        page: CPtr,
        vspace: CPtr,
        address: u64,
        rights: Rights,
        attributes: u64,
    ) -> Result<(), Error> {
        self.void(page, label::X86_PAGE_MAP, &[address, rights.word(), attributes], &[vspace])
    }

    /// Unmaps a page.
    pub fn page_unmap(&mut self, page: CPtr) -> Result<(), Error> {
        self.void(page, label::X86_PAGE_UNMAP, &[], &[])
    }

    /// Maps a page at the guest-physical `address`.
    pub fn page_map_ept(
        &mut self,
        page: CPtr,
        ept_pml4: CPtr,
        address: u64,
        rights: Rights,
        attributes: u64,
    ) -> Result<(), Error> {
        self.void(page, label::X86_PAGE_MAP_EPT, &[address, rights.word(), attributes], &[ept_pml4])
    }

    /// The physical address of a page.
    pub fn page_get_address(&mut self, page: CPtr) -> Result<u64, Error> {
        self.invoke(page, label::X86_PAGE_GET_ADDRESS, &[], &[]).map(|words| words[0])
    }

    /// Maps a page table.
    pub fn page_table_map(
        &mut self,
        table: CPtr,
        vspace: CPtr,
        address: u64,
        attributes: u64,
    ) -> Result<(), Error> {
        self.void(table, label::X86_PAGE_TABLE_MAP, &[address, attributes], &[vspace])
    }

    /// Maps a page directory.
    pub fn page_directory_map(
        &mut self,
        directory: CPtr,
        vspace: CPtr,
        address: u64,
        attributes: u64,
    ) -> Result<(), Error> {
        self.void(directory, label::X86_PAGE_DIRECTORY_MAP, &[address, attributes], &[vspace])
    }

    /// Maps a page-directory-pointer table.
    pub fn pdpt_map(&mut self, pdpt: CPtr, vspace: CPtr, address: u64, attributes: u64) -> Result<(), Error> {
        self.void(pdpt, label::X86_PDPT_MAP, &[address, attributes], &[vspace])
    }

    /// Maps an EPT page-directory-pointer table.
    pub fn ept_pdpt_map(&mut self, pdpt: CPtr, ept_pml4: CPtr, address: u64) -> Result<(), Error> {
        self.void(pdpt, label::X86_EPTPDPT_MAP, &[address, 0], &[ept_pml4])
    }

    /// Maps an EPT page directory.
    pub fn ept_pd_map(&mut self, directory: CPtr, ept_pml4: CPtr, address: u64) -> Result<(), Error> {
        self.void(directory, label::X86_EPTPD_MAP, &[address, 0], &[ept_pml4])
    }

    /// Maps an EPT page table.
    pub fn ept_pt_map(&mut self, table: CPtr, ept_pml4: CPtr, address: u64) -> Result<(), Error> {
        self.void(table, label::X86_EPTPT_MAP, &[address, 0], &[ept_pml4])
    }

    /// Gives an address space (PML4 or EPT PML4) its number; needed before anything is mapped in it.
    pub fn asid_pool_assign(&mut self, pool: CPtr, vspace: CPtr) -> Result<(), Error> {
        self.void(pool, label::X86_ASID_POOL_ASSIGN, &[], &[vspace])
    }

    /// Makes the capability of an interrupt of an I/O APIC's `pin`. `vector` is the kernel's number, from 0;
    /// `level` and `polarity` are 0 or 1 (edge or level; high or low).
    pub fn irq_control_ioapic(
        &mut self,
        control: CPtr,
        to: Slot,
        ioapic_pin: (u64, u64),
        level: u64,
        polarity: u64,
        vector: u64,
    ) -> Result<(), Error> {
        let arguments = [to.index, to.depth, ioapic_pin.0, ioapic_pin.1, level, polarity, vector];
        self.void(control, label::X86_IRQ_ISSUE_IRQ_HANDLER_IOAPIC, &arguments, &[to.root])
    }

    /// The notification that an interrupt signals.
    pub fn irq_handler_set_notification(&mut self, handler: CPtr, notification: CPtr) -> Result<(), Error> {
        self.void(handler, label::IRQ_SET_IRQ_HANDLER, &[], &[notification])
    }

    /// Lets an interrupt come again.
    pub fn irq_handler_ack(&mut self, handler: CPtr) -> Result<(), Error> {
        self.void(handler, label::IRQ_ACK_IRQ, &[], &[])
    }

    /// Reads a byte from an I/O port.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel answers with a byte")]
    pub fn io_port_in8(&mut self, io: CPtr, port: u16) -> Result<u8, Error> {
        self.invoke(io, label::X86_IO_PORT_IN8, &[port.into()], &[]).map(|words| words[0] as u8)
    }

    /// Reads a word from an I/O port.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel answers with 16 bits")]
    pub fn io_port_in16(&mut self, io: CPtr, port: u16) -> Result<u16, Error> {
        self.invoke(io, label::X86_IO_PORT_IN16, &[port.into()], &[]).map(|words| words[0] as u16)
    }

    /// Reads a double word from an I/O port.
    #[allow(clippy::cast_possible_truncation, reason = "the kernel answers with 32 bits")]
    pub fn io_port_in32(&mut self, io: CPtr, port: u16) -> Result<u32, Error> {
        self.invoke(io, label::X86_IO_PORT_IN32, &[port.into()], &[]).map(|words| words[0] as u32)
    }

    /// Writes a byte to an I/O port.
    pub fn io_port_out8(&mut self, io: CPtr, port: u16, value: u8) -> Result<(), Error> {
        self.void(io, label::X86_IO_PORT_OUT8, &[port.into(), value.into()], &[])
    }

    /// Writes a word to an I/O port.
    pub fn io_port_out16(&mut self, io: CPtr, port: u16, value: u16) -> Result<(), Error> {
        self.void(io, label::X86_IO_PORT_OUT16, &[port.into(), value.into()], &[])
    }

    /// Writes a double word to an I/O port.
    pub fn io_port_out32(&mut self, io: CPtr, port: u16, value: u32) -> Result<(), Error> {
        self.void(io, label::X86_IO_PORT_OUT32, &[port.into(), value.into()], &[])
    }
}
