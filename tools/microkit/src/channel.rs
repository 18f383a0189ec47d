//! Channels and children: the indices that system.xml gives to the ends of channels and to nested domains.

use crate::MessageInfo;
use crate::slots::{BASE_ENDPOINT, BASE_IRQ, BASE_OUTPUT_NOTIFICATION, MAX_CHANNELS};
use crate::symbols::{pd_irqs, pd_notifications, pd_pps};
use crate::{Error, ipc, kernel::with_ipc};
use core::fmt;

/// A channel between this protection domain and another, or an interrupt, by its index in system.xml.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Channel {
    index: usize,
}

impl Channel {
    /// The channel with the given index.
    ///
    /// # Panics
    /// If `index` is above 61, the largest that Microkit knows.
    pub const fn new(index: usize) -> Self {
        assert!(index < MAX_CHANNELS);
        Self { index }
    }

    /// The index in system.xml.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Signals the protection domain at the other end.
    ///
    /// # Panics
    /// If this protection domain may not notify on the channel.
    pub fn notify(&self) {
        ipc::signal(self.slot("notify", pd_notifications(), BASE_OUTPUT_NOTIFICATION));
    }

    /// Acknowledges the interrupt, which allows the next one.
    ///
    /// # Panics
    /// If the channel is not an interrupt of this protection domain.
    pub fn irq_ack(&self) -> Result<(), IrqAckError> {
        let slot = self.slot("irq_ack", pd_irqs(), BASE_IRQ);
        with_ipc(|ipc| ipc.irq_handler_ack(slot)).map_err(IrqAckError)
    }

    /// Calls the other end's `protected` entry point with the message registers as they are, and waits for the
    /// reply, whose words are then in the message registers.
    ///
    /// # Panics
    /// If this protection domain may not call on the channel.
    pub fn pp_call(&self, msg_info: MessageInfo) -> MessageInfo {
        ipc::call(self.endpoint(), msg_info)
    }

    /// The slot of the endpoint that a protected procedure call goes to.
    pub(crate) fn endpoint(&self) -> u64 {
        self.slot("pp_call", pd_pps(), BASE_ENDPOINT)
    }

    /// The slot of this channel's capability; `allowed` is the set of channels that have one.
    fn slot(&self, operation: &str, allowed: usize, base: u64) -> u64 {
        assert!(allowed & (1 << self.index) != 0, "{operation}: not valid for channel '{}'", self.index);
        base + self.index as u64
    }
}

/// Why [`Channel::irq_ack`] failed.
#[derive(Debug, PartialEq, Eq)]
pub struct IrqAckError(Error);

impl fmt::Display for IrqAckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "irq ack error: {:?}", self.0)
    }
}

/// A child protection domain, by its identifier in system.xml.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Child {
    index: usize,
}

impl Child {
    /// The child with the given identifier.
    pub const fn new(index: usize) -> Self {
        Self { index }
    }

    /// The identifier in system.xml.
    pub const fn index(&self) -> usize {
        self.index
    }
}
