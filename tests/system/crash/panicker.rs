//! Panics when it is notified.

#![no_std]
#![no_main]

use sel4_microkit::{ChannelSet, Handler, Infallible, protection_domain};

struct Panicker;

#[protection_domain]
fn init() -> impl Handler {
    Panicker
}

impl Handler for Panicker {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        panic!("notified by {}", channels.display());
    }
}
