//! Goes on while others crash: of the lowest priority, it runs after each of them.

#![no_std]
#![no_main]

use sel4_microkit::{Channel, Handler, MessageInfo, NullHandler, debug_println, protection_domain};

const SERVER: Channel = Channel::new(1);
const PANICKER: Channel = Channel::new(2);

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("witness: two have crashed");
    assert_eq!(SERVER.pp_call(MessageInfo::new(5, 0)).label(), 6);
    // The panicker has the higher priority: it has crashed when this returns.
    PANICKER.notify();
    debug_println!("witness: three have crashed");
    // Nobody receives this; it stops nobody.
    PANICKER.notify();
    for label in 0..1000 {
        assert_eq!(SERVER.pp_call(MessageInfo::new(label, 0)).label(), label + 1);
    }
    SERVER.notify();
    debug_println!("crash: passed");
    NullHandler::new()
}
