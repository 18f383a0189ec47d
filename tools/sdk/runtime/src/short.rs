//! Messages whose words travel in the processor's registers: in our own runtime, without the message registers. Upstream
//! has them there only.

use crate::{Channel, MessageInfo, MessageRegisterValue, with_msg_regs, with_msg_regs_mut};

/// How many words of a message do.
pub const WORDS: usize = 4;

/// As [`Channel::pp_call`], with the first words in `words`; so are the first words of the reply. Further ones, of either,
/// are in the message registers from [`WORDS`] on.
///
/// # Panics
/// If this protection domain may not call on the channel.
pub fn pp_call(
    channel: Channel,
    msg_info: MessageInfo,
    words: &mut [MessageRegisterValue; WORDS],
) -> MessageInfo {
    with_msg_regs_mut(|registers| registers[..WORDS].copy_from_slice(words));
    let reply = channel.pp_call(msg_info);
    with_msg_regs(|registers| words.copy_from_slice(&registers[..WORDS]));
    reply
}
