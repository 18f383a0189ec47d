//! The part of a protection domain's main loop that the application supplies.

use crate::ipc::{self, ChannelSet, Event};
use crate::{Channel, Child, MessageInfo};
use core::fmt;

pub use core::convert::Infallible;

/// What a protection domain does with what reaches it.
pub trait Handler {
    /// What ends the protection domain when an entry point returns it.
    type Error: fmt::Display;

    /// Called with the channels that were notified since the last call. Panics unless overridden.
    fn notified(&mut self, channels: ChannelSet) -> Result<(), Self::Error> {
        panic!("unexpected notification from channels {}", channels.display())
    }

    /// Called for a protected procedure call; the arguments are in the message registers, and the reply's words
    /// are to be left there. Panics unless overridden.
    fn protected(&mut self, channel: Channel, msg_info: MessageInfo) -> Result<MessageInfo, Self::Error> {
        panic!("unexpected protected procedure call from channel {channel:?} with msg_info={msg_info:?}")
    }

    /// Called for a child's fault; a reply resumes the child. Panics unless overridden.
    fn fault(&mut self, child: Child, msg_info: MessageInfo) -> Result<Option<MessageInfo>, Self::Error> {
        panic!("unexpected fault from protection domain {child:?} with msg_info={msg_info:?}")
    }

    /// The main loop. A virtual machine monitor overrides it with one around [`crate::vcpu::enter`].
    #[doc(hidden)]
    fn run(&mut self) -> Result<Never, Self::Error> {
        let mut reply: Option<MessageInfo> = None;
        loop {
            let event = match reply.take() {
                Some(msg_info) => ipc::reply_recv(msg_info),
                None => ipc::recv(),
            };
            match event {
                Event::Notified(channels) => self.notified(channels)?,
                Event::Protected(channel, msg_info) => reply = Some(self.protected(channel, msg_info)?),
                Event::Fault(child, msg_info) => reply = self.fault(child, msg_info)?,
            }
        }
    }
}

/// The type of which there is no value: a main loop never returns one.
#[derive(Debug)]
pub enum Never {}

impl Handler for Never {
    type Error = Infallible;
}

/// A [`Handler`] that expects nothing: any event is a panic.
pub struct NullHandler(());

impl NullHandler {
    /// The handler.
    #[allow(clippy::new_without_default)] // upstream has no Default either
    pub fn new() -> Self {
        Self(())
    }
}

impl Handler for NullHandler {
    type Error = Infallible;
}
