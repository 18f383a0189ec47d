//! Returns an error, which ends a protection domain too, when the call asks for it.

#![no_std]
#![no_main]

use core::fmt;
use sel4_microkit::{Channel, Handler, MessageInfo, protection_domain};

struct Server;

/// The label that ends the server.
const END: u64 = 1000;

/// The error that ends the server.
struct Asked;

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked to end")
    }
}

#[protection_domain]
fn init() -> impl Handler {
    Server
}

impl Handler for Server {
    type Error = Asked;

    fn protected(&mut self, _: Channel, call: MessageInfo) -> Result<MessageInfo, Asked> {
        if call.label() == END { Err(Asked) } else { Ok(MessageInfo::new(call.label() + 1, 0)) }
    }
}
