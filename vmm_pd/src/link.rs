//! The protected procedure call to the policy domain.

use core::array;
use pmu_api::Message;
use sel4_microkit::short::{self, WORDS};
use sel4_microkit::{Channel, GONE_LABEL, MessageInfo, with_msg_regs_mut};
use vmm_core::PmuLink;

/// The channel of system.xml.
const CHANNEL: Channel = Channel::new(1);

/// The policy domain at the other end of the channel.
#[derive(Debug)]
pub struct PolicyDomain;

impl PmuLink for PolicyDomain {
    #[inline(always)]
    fn call(&mut self, request: &Message) -> Option<Message> {
        let words = request.words();
        let mut first: [u64; WORDS] = array::from_fn(|i| words.get(i).copied().unwrap_or(0));
        if words.len() > WORDS {
            with_msg_regs_mut(|registers| registers[..words.len()].copy_from_slice(words));
        }
        let reply = short::pp_call(CHANNEL, MessageInfo::new(request.label(), words.len()), &mut first);
        if reply.label() == GONE_LABEL {
            return None;
        }
        Some(match (reply.count(), first.get(..reply.count())) {
            // Most of them.
            (1, _) => Message::received(reply.label(), &first[..1]),
            (_, Some(words)) => Message::received(reply.label(), words),
            (_, None) => long(&reply, first),
        })
    }
}

/// A reply of which only the `first` words travelled in registers.
#[cold]
fn long(reply: &MessageInfo, first: [u64; WORDS]) -> Message {
    with_msg_regs_mut(|registers| {
        registers[..WORDS].copy_from_slice(&first);
        Message::received(reply.label(), registers.get(..reply.count()).unwrap_or(registers))
    })
}
