//! Goes on while others crash: of the lowest priority, it runs after each of them.

#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, GONE_LABEL, Handler, MessageInfo, NullHandler, debug_println, protection_domain,
};

const SERVER: Channel = Channel::new(1);
const PANICKER: Channel = Channel::new(2);
/// Channels above this are to domains that fault: channel FAULTERS + kind.
const FAULTERS: usize = 10;
/// Kinds of faults, from 1.
const KINDS: usize = 6;
/// The label that ends the server.
const END: u64 = 1000;

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
    // The call that ends the server has an answer, and so has the next one.
    for label in [END, 7] {
        let answer = SERVER.pp_call(MessageInfo::new(label, 0));
        assert_eq!((answer.label(), answer.count()), (GONE_LABEL, 0));
    }
    debug_println!("witness: the server is gone");
    // A domain that faults while it serves a call answers that call, and the next one.
    for kind in 1..=KINDS {
        let faulter = Channel::new(FAULTERS + kind);
        assert_eq!(faulter.pp_call(MessageInfo::new(0, 0)).label(), 1);
        for _ in 0..2 {
            let answer = faulter.pp_call(MessageInfo::new(kind as u64, 0));
            assert_eq!((answer.label(), answer.count()), (GONE_LABEL, 0), "kind {kind}");
        }
    }
    debug_println!("witness: {KINDS} that faulted are gone");
    debug_println!("crash: passed");
    NullHandler::new()
}
