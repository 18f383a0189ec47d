//! I/O ports that system.xml gives to this protection domain.

use crate::slots::{BASE_IOPORT, MAX_IOPORTS};
use crate::{Error, checked};
use sel4::with_ipc_buffer_mut;

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
        unsafe extern "C" {
            /// Upstream's runtime declares it, and the Microkit tool patches it.
            #[link_name = "microkit_ioports"]
            static IO_PORTS: core::sync::atomic::AtomicUsize;
        }
        // SAFETY: the symbol is a word that nothing writes while the program runs.
        let ports = unsafe { IO_PORTS.load(core::sync::atomic::Ordering::Relaxed) };
        ports & (1 << self.id) != 0
    }

    /// Reads a byte from the port at `address`, which is refused outside the range.
    pub fn in8(&self, address: u16) -> Result<u8, Error> {
        let found = with_ipc_buffer_mut(|ipc| ipc.inner_mut().seL4_X86_IOPort_In8(self.slot(), address));
        checked(found.error, found.result)
    }

    /// Writes a byte to the port at `address`, which is refused outside the range.
    pub fn out8(&self, address: u16, value: u8) -> Result<(), Error> {
        let (address, value) = (u64::from(address), u64::from(value));
        checked(
            with_ipc_buffer_mut(|ipc| ipc.inner_mut().seL4_X86_IOPort_Out8(self.slot(), address, value)),
            (),
        )
    }

    fn slot(&self) -> u64 {
        BASE_IOPORT + self.id as u64
    }
}
