//! On each notification keeps the processor for several time slices; nobody below may run meanwhile.

#![no_std]
#![no_main]

mod log;

use log::{Log, Word};
use sel4_microkit::{ChannelSet, Handler, Infallible, debug_println, protection_domain};

/// Reads of the page: several time slices (10 ms each) on any machine that the tests use.
const READS: u64 = 8_000_000;

struct High(Log);

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("first line");
    High(Log::new())
}

impl Handler for High {
    type Error = Infallible;

    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        let log = self.0;
        let before = log.get(Word::Low);
        for _ in 0..READS {
            assert_eq!(log.get(Word::Low), before, "low ran while high did");
        }
        log.set(Word::High, log.get(Word::High) + 1);
        Ok(())
    }
}
