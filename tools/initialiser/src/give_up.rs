//! The end of the root task's authority.
//!
//! The kernel destroys an object with its last capability, so the capabilities of threads, tables and frames
//! must stay somewhere. They go into a *vault*: a CNode that in the end holds the only capability to itself, so
//! that no thread can ever name anything in it. Authority that no object needs (untyped memory, interrupts, I/O
//! ports, ASIDs to come) is deleted. What remains is the capability of the root task's own thread, with which
//! it stops itself.

use crate::console::Console;
use crate::debug;
use crate::error::Error;
use crate::kernel::{Kernel, own};
use core::ops::Range;
use sel4_abi::invocations::Slot;
use sel4_abi::numbers::{label, object, size_bits, slot};
use sel4_abi::{BootInfo, Error as Refusal, Ipc};

const NAME: &str = "the root task";

/// What the root task holds.
#[derive(Debug)]
pub struct Hold {
    /// One more than the last slot that was ever used.
    end: u64,
    untyped: Range<u64>,
    vault: u64,
    vault_bits: u8,
}

/// Authority that the kernel gave the root task and that no object of the system depends on.
const DELETED: [u64; 5] =
    [slot::IRQ_CONTROL, slot::ASID_CONTROL, slot::IO_PORT, slot::IO_SPACE, slot::DOMAIN];

impl Hold {
    /// Makes the vault, the last object, with room for a capability from each slot.
    pub(crate) fn new<'a>(kernel: &mut Kernel<'_, 'a>, boot_info: &BootInfo) -> Result<Hold, Error<'a>> {
        let vault = kernel.free_slot()?;
        let end = kernel.used_end();
        let vault_bits = u8::try_from(end.next_power_of_two().ilog2()).unwrap_or(u8::MAX);
        kernel.make(NAME, object::CNODE, vault_bits + size_bits::SLOT, vault_bits, vault)?;
        let untyped = boot_info.untyped;
        Ok(Hold { end, untyped: untyped.slots(), vault, vault_bits })
    }

    /// Gives up everything and checks, slot by slot, that it is gone; how many slots were checked. With a console
    /// on COM1, its capability and the CNode's go after the check: call [`Hold::finish`] then.
    ///
    /// # Errors
    /// The kernel refused to delete or move a capability, or one is left.
    pub fn give_up(&self, ipc: &mut Ipc, console: Console) -> Result<u64, Error<'static>> {
        for slot in 1..self.end {
            if self.is_kept(slot, console) || slot == self.vault {
                continue;
            }
            if DELETED.contains(&slot) || self.untyped.contains(&slot) {
                ipc.cnode_delete(own(slot)).map_err(refused("deleting a capability"))?;
            } else {
                ipc.cnode_move(self.in_vault(slot), own(slot)).map_err(refused("moving a capability"))?;
            }
        }
        let closed = ipc.cnode_move(self.in_vault(self.vault), own(self.vault));
        closed.map_err(refused("closing the vault"))?;
        if console == Console::Kernel {
            self.finish(ipc, console)?;
        }
        self.check(ipc, console)
    }

    /// Deletes the last capabilities but that of the own thread.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn finish(&self, ipc: &mut Ipc, console: Console) -> Result<(), Error<'static>> {
        if let Console::Serial(port) = console {
            ipc.cnode_delete(own(port)).map_err(refused("deleting the I/O ports"))?;
        }
        ipc.cnode_delete(own(slot::INIT_CNODE)).map_err(refused("deleting its CNode"))
    }

    /// Whether a capability is needed until the end.
    fn is_kept(&self, slot: u64, console: Console) -> bool {
        [slot::INIT_TCB, slot::INIT_CNODE].contains(&slot) || console == Console::Serial(slot)
    }

    fn in_vault(&self, index: u64) -> Slot {
        Slot { root: self.vault, index, depth: self.vault_bits.into() }
    }

    fn check(&self, ipc: &mut Ipc, console: Console) -> Result<u64, Error<'static>> {
        let mut checked = 0;
        for slot in 0..self.end {
            let gone = match console {
                // The kernel would print a line for each refusal.
                Console::Kernel => slot == slot::INIT_TCB || debug::is_empty(slot),
                Console::Serial(_) if self.is_kept(slot, console) => continue,
                Console::Serial(_) => {
                    let tried = ipc.invoke(slot, label::INVALID_INVOCATION, &[], &[]);
                    tried == Err(Refusal::InvalidCapability)
                }
            };
            if !gone {
                return Err(Error::Left { slot });
            }
            checked += u64::from(slot != slot::INIT_TCB);
        }
        Ok(checked)
    }
}

fn refused(operation: &'static str) -> impl Fn(Refusal) -> Error<'static> {
    move |reason| Error::Refused { object: NAME, operation, reason }
}
