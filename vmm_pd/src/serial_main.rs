//! The serial line that several virtual machine monitors share: each line arrives whole.

#![no_std]
#![no_main]

use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, MessageInfo, protection_domain};

struct Serial;

#[protection_domain]
fn init() -> impl Handler {
    vmm_pd::serial::set_up(vmm_pd::serial::COM1);
    Serial
}

impl Handler for Serial {
    type Error = Infallible;

    /// A neighbour that may notify this domain must not end it for the others.
    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        Ok(())
    }

    fn protected(&mut self, _: Channel, message: MessageInfo) -> Result<MessageInfo, Infallible> {
        Ok(vmm_pd::serial::answer(&message))
    }
}
