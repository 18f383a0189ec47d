//! The root task's hold on the kernel while it works: system calls, free slots, untyped memory.

use crate::error::Error;
use crate::untyped::{Step, Untyped, Untypeds};
use capdist::{ObjectId, View};
use sel4_abi::invocations::Slot;
use sel4_abi::numbers::{object, slot};
use sel4_abi::{BootInfo, Error as Refusal, Ipc};

/// What the root task works with.
pub(crate) struct Kernel<'k, 'a> {
    pub(crate) ipc: &'k mut Ipc,
    pub(crate) view: View<'a>,
    untypeds: Untypeds,
    /// The slot of object 0; the others follow.
    first: u64,
    next: u64,
    end: u64,
    /// A slot that was emptied again.
    emptied: Option<u64>,
}

/// A slot of the root task's own CNode.
pub(crate) fn own(slot: u64) -> Slot {
    Slot::of(slot::INIT_CNODE, slot)
}

impl<'k, 'a> Kernel<'k, 'a> {
    /// Takes the empty slots and the untyped memory that the kernel tells of.
    pub(crate) fn new(ipc: &'k mut Ipc, boot_info: &BootInfo, view: View<'a>) -> Result<Self, Error<'a>> {
        let mut untypeds = Untypeds::new();
        for (slot, untyped) in boot_info.untyped() {
            untypeds.add(Untyped {
                slot,
                address: untyped.physical_address,
                bits: untyped.size_bits,
                device: untyped.is_device != 0,
                used: 0,
            });
        }
        let empty = boot_info.empty;
        let (first, end) = (empty.start, empty.end);
        let next = first + u64::from(view.object_count());
        if next > end {
            return Err(Error::Slots);
        }
        Ok(Kernel { ipc, view, untypeds, first, next, end, emptied: None })
    }

    /// The slot of an object's first capability.
    pub(crate) fn slot(&self, id: ObjectId) -> u64 {
        self.first + u64::from(id.0)
    }

    /// An empty slot.
    pub(crate) fn free_slot(&mut self) -> Result<u64, Error<'a>> {
        if let Some(slot) = self.emptied.take() {
            return Ok(slot);
        }
        if self.next == self.end {
            return Err(Error::Slots);
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Says that a slot is empty again; one such slot is remembered.
    pub(crate) fn empty_again(&mut self, slot: u64) {
        self.emptied = Some(slot);
    }

    /// The first slot that was never used.
    pub(crate) fn used_end(&self) -> u64 {
        self.next
    }

    /// That the kernel refused `operation` on an object.
    pub(crate) fn refused(
        &self,
        id: ObjectId,
        operation: &'static str,
    ) -> impl Fn(Refusal) -> Error<'a> + use<'a> {
        let object = self.view.name(id);
        move |reason| Error::Refused { object, operation, reason }
    }

    /// Makes an object of 2^`bits` bytes in `to`; `argument` is the size that the kernel wants to be told.
    pub(crate) fn make(
        &mut self,
        name: &'a str,
        kind: u64,
        bits: u8,
        argument: u8,
        to: u64,
    ) -> Result<(), Error<'a>> {
        let untyped = self.untypeds.take(bits).ok_or(Error::Memory { object: name, bits })?;
        self.retype(name, untyped, kind, argument, to)
    }

    /// Makes a frame of 2^`bits` bytes at a physical address.
    pub(crate) fn make_at(
        &mut self,
        name: &'a str,
        kind: u64,
        bits: u8,
        address: u64,
        to: u64,
    ) -> Result<(), Error<'a>> {
        loop {
            let missing = Error::Physical { object: name, address };
            match self.untypeds.take_at(address, bits).ok_or(missing)? {
                Step::Frame(untyped) => return self.retype(name, untyped, kind, 0, to),
                Step::Filler { from, bits } => {
                    let filler = self.free_slot()?;
                    self.retype(name, from, object::UNTYPED, bits, filler)?;
                    self.untypeds.add_filler(from, bits, filler);
                }
            }
        }
    }

    fn retype(
        &mut self,
        name: &'a str,
        untyped: u64,
        kind: u64,
        argument: u8,
        to: u64,
    ) -> Result<(), Error<'a>> {
        let node = Slot { root: slot::INIT_CNODE, index: 0, depth: 0 };
        self.ipc
            .untyped_retype(untyped, kind, argument.into(), node, to, 1)
            .map_err(|reason| Error::Refused { object: name, operation: "making it", reason })
    }
}
