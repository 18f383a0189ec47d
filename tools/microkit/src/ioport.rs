//! I/O ports that system.xml gives to this protection domain.

use crate::slots::{BASE_IOPORT, MAX_IOPORTS};
use crate::symbols::pd_ioports;
use crate::{Error, kernel::with_ipc};

/// A range of I/O ports, by its identifier in system.xml (`<ioport id=...>`).
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub struct IoPort {
    id: usize,
}

impl IoPort {
    /// The range with the given identifier.
    ///
    /// # Panics
    /// If `id` is above 62, the largest that Microkit knows.
    pub const fn new(id: usize) -> Self {
        assert!(id < MAX_IOPORTS);
        Self { id }
    }

    /// Whether system.xml has a range with this identifier in this protection domain.
    pub fn exists(&self) -> bool {
        pd_ioports() & (1 << self.id) != 0
    }

    /// Reads a byte from the port at `address`, which is refused outside the range.
    pub fn in8(&self, address: u16) -> Result<u8, Error> {
        with_ipc(|ipc| ipc.io_port_in8(self.slot(), address))
    }

    /// Writes a byte to the port at `address`, which is refused outside the range.
    pub fn out8(&self, address: u16, value: u8) -> Result<(), Error> {
        with_ipc(|ipc| ipc.io_port_out8(self.slot(), address, value))
    }

    /// The slot of the capability; the kernel refuses an invocation of an empty one.
    pub(crate) fn slot(&self) -> u64 {
        BASE_IOPORT + self.id as u64
    }
}
