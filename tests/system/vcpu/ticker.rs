//! When it is notified, notifies back after it got the processor from the guest again: the two have the same
//! priority.

#![no_std]
#![no_main]

use sel4_microkit::{ChannelSet, Handler, Infallible, protection_domain};

struct Ticker;

#[protection_domain]
fn init() -> impl Handler {
    Ticker
}

impl Handler for Ticker {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        channels.iter().for_each(|channel| channel.notify());
        Ok(())
    }
}
