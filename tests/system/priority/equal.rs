//! Two of these, of the same priority, each wait for the other without giving up the processor: only the end of
//! their time slices lets them go on.

#![no_std]
#![no_main]

mod log;

use log::{Log, Word};
use sel4_microkit::{Handler, NullHandler, debug_println, pd_name, protection_domain};

const TURNS: u64 = 5;

#[protection_domain]
fn init() -> impl Handler {
    let log = Log::new();
    let (mine, other) = match pd_name() {
        Ok("left") => (Word::Left, Word::Right),
        Ok("right") => (Word::Right, Word::Left),
        name => panic!("unknown name {name:?}"),
    };
    for turn in 1..=TURNS {
        log.set(mine, turn);
        while log.get(other) < turn {}
        assert_eq!(log.get(Word::LowStarted), 0, "low ran before {}", pd_name().unwrap_or("?"));
    }
    debug_println!("{}: {TURNS} turns", pd_name().unwrap_or("?"));
    NullHandler::new()
}
