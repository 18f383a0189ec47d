//! Calls the passive server a number of times; another client of the same priority does the same.

#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, Handler, MessageInfo, NullHandler, debug_println, get_mr, memory_region_symbol, pd_is_passive,
    pd_name, protection_domain, set_mr, var,
};

const CALLS: u64 = 20_000;

#[protection_domain]
fn init() -> impl Handler {
    assert!(!pd_is_passive());
    let server = Channel::new(*var!(server_id: usize = 0));
    let runs = memory_region_symbol!(log_vaddr: *mut u64);
    // SAFETY: the page is mapped for reading.
    let runs = || unsafe { runs.read_volatile() };
    // Each client has its own range of arguments, and its own channel at the server.
    let (base, id) = match pd_name() {
        Ok("first") => (0, 10),
        Ok("second") => (1 << 32, 20),
        other => panic!("unknown name {other:?}"),
    };
    for argument in base..base + CALLS {
        let before = runs();
        set_mr(0, argument);
        assert_eq!(server.pp_call(MessageInfo::new(0, 1)).count(), 2);
        assert_eq!((get_mr(0), get_mr(1)), (argument + 1, id));
        assert!(runs() > before);
    }
    debug_println!("{}: called {CALLS} times", pd_name().unwrap_or("?"));
    // The client that ends last sees every call of both.
    if runs() == 2 * CALLS {
        debug_println!("passive: passed");
    }
    NullHandler::new()
}
