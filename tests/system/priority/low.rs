//! Runs when nobody else wants to: last at the start, and after high when it has notified high.

#![no_std]
#![no_main]

mod log;

use log::{Log, Word};
use sel4_microkit::{Channel, Handler, NullHandler, debug_println, protection_domain};

const HIGH: Channel = Channel::new(0);
const NOTIFICATIONS: u64 = 3;
const TURNS: u64 = 5;

#[protection_domain]
fn init() -> impl Handler {
    let log = Log::new();
    log.set(Word::LowStarted, 1);
    assert_eq!((log.get(Word::Left), log.get(Word::Right)), (TURNS, TURNS));
    for round in 1..=NOTIFICATIONS {
        log.set(Word::Low, log.get(Word::Low) + 1);
        HIGH.notify();
        assert_eq!(log.get(Word::High), round, "high did not run at once");
    }
    debug_println!("priority: passed");
    NullHandler::new()
}
