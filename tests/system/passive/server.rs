//! A passive server: answers with the caller's channel and argument, and writes into a shared page how often it
//! ran.

#![no_std]
#![no_main]

use core::ptr::NonNull;
use sel4_microkit::{
    Channel, Handler, Infallible, MessageInfo, debug_println, get_mr, memory_region_symbol, pd_is_passive,
    protection_domain, set_mr,
};

struct Server {
    runs: NonNull<u64>,
}

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("first line");
    assert!(pd_is_passive());
    Server { runs: memory_region_symbol!(log_vaddr: *mut u64) }
}

impl Handler for Server {
    type Error = Infallible;

    fn protected(&mut self, channel: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        assert_eq!(call.count(), 1);
        // SAFETY: the page is mapped for writing, and nobody else writes it.
        unsafe { self.runs.write_volatile(self.runs.read_volatile() + 1) };
        let argument = get_mr(0);
        set_mr(0, argument + 1);
        set_mr(1, channel.index() as u64);
        Ok(MessageInfo::new(0, 2))
    }
}
