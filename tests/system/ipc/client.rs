//! Calls the server with every message length, then exchanges notifications with it, and compares the counts.

#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, MessageInfo, debug_println, get_mr, pd_name, protection_domain,
    set_mr,
};

const SERVER: Channel = Channel::new(0);
const SECOND: Channel = Channel::new(61);
const REVERSE: u64 = 0xf_edcb;
const NOTIFY_BOTH: u64 = 1;
const COUNTS: u64 = 2;
/// Words in a message, at most.
const MESSAGE_REGISTERS: usize = 120;
const EXCHANGES: u64 = 1000;

struct Client {
    received: u64,
}

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("first line");
    assert_eq!(pd_name(), Ok("client"));
    (0..=MESSAGE_REGISTERS).for_each(reversed);
    SERVER.notify();
    Client { received: 0 }
}

/// Sends `count` words and expects them back in reverse order.
fn reversed(count: usize) {
    let word = |i: usize| (count as u64) << 32 | i as u64;
    (0..count).for_each(|i| set_mr(i, word(i)));
    let reply = SERVER.pp_call(MessageInfo::new(REVERSE, count));
    assert_eq!((reply.label(), reply.count()), (REVERSE ^ 1, count));
    (0..count).for_each(|i| assert_eq!(get_mr(i), word(count - 1 - i), "word {i} of {count}"));
}

impl Handler for Client {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        if self.received == EXCHANGES {
            assert_eq!(channels.iter().collect_array(), [Some(SERVER), Some(SECOND), None]);
            debug_println!("ipc: passed");
            return Ok(());
        }
        assert!(channels.contains(SERVER) && !channels.contains(SECOND), "{}", channels.display());
        self.received += 1;
        if self.received < EXCHANGES {
            SERVER.notify();
            return Ok(());
        }
        SERVER.pp_call(MessageInfo::new(COUNTS, 0));
        assert_eq!((get_mr(0), get_mr(1)), (MESSAGE_REGISTERS as u64 + 1, EXCHANGES));
        SERVER.pp_call(MessageInfo::new(NOTIFY_BOTH, 0));
        Ok(())
    }
}

/// The first three items.
trait CollectArray: Iterator + Sized {
    fn collect_array(mut self) -> [Option<Self::Item>; 3] {
        core::array::from_fn(|_| self.next())
    }
}

impl<I: Iterator> CollectArray for I {}
