//! The protected procedure call to the policy domain.

use pmu_api::Message;
use sel4_microkit::{Channel, GONE_LABEL, MessageInfo, with_msg_regs, with_msg_regs_mut};
use vmm_core::PmuLink;

/// The channel of system.xml.
const CHANNEL: Channel = Channel::new(1);

/// The policy domain at the other end of the channel.
#[derive(Debug)]
pub struct PolicyDomain;

impl PmuLink for PolicyDomain {
    fn call(&mut self, request: &Message) -> Option<Message> {
        let words = request.words();
        with_msg_regs_mut(|registers| {
            registers.iter_mut().zip(words).for_each(|(register, word)| *register = *word);
        });
        let reply = CHANNEL.pp_call(MessageInfo::new(request.label(), words.len()));
        if reply.label() == GONE_LABEL {
            return None;
        }
        Some(with_msg_regs(|registers| {
            Message::received(reply.label(), registers.get(..reply.count()).unwrap_or(registers))
        }))
    }
}
