//! Answers calls with the words in reverse order, returns each notification, and counts both.

#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, MessageInfo, protection_domain, set_mr, with_msg_regs_mut,
};

const CLIENT: Channel = Channel::new(7);
const SECOND: Channel = Channel::new(1);
/// Labels of the calls.
const REVERSE: u64 = 0xf_edcb;
const NOTIFY_BOTH: u64 = 1;
const COUNTS: u64 = 2;

#[derive(Default)]
struct Server {
    calls: u64,
    notifications: u64,
}

#[protection_domain]
fn init() -> impl Handler {
    Server::default()
}

impl Handler for Server {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        for channel in channels.iter() {
            assert_eq!(channel, CLIENT);
            self.notifications += 1;
            channel.notify();
        }
        Ok(())
    }

    fn protected(&mut self, channel: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        assert_eq!(channel, CLIENT);
        match call.label() {
            REVERSE => {
                self.calls += 1;
                with_msg_regs_mut(|words| words[..call.count()].reverse());
                Ok(MessageInfo::new(call.label() ^ 1, call.count()))
            }
            NOTIFY_BOTH => {
                // The client waits for the reply, so that it sees all three as one event.
                SECOND.notify();
                CLIENT.notify();
                SECOND.notify();
                Ok(MessageInfo::default())
            }
            COUNTS => {
                set_mr(0, self.calls);
                set_mr(1, self.notifications);
                Ok(MessageInfo::new(0, 2))
            }
            other => panic!("unknown label {other}"),
        }
    }
}
