//! Messages whose words travel in the processor's registers.

use crate::{Channel, MessageInfo, MessageRegisterValue, kernel};

/// How many words of a message do.
pub const WORDS: usize = sel4_abi::MESSAGE_REGISTERS;

/// As [`Channel::pp_call`], with the first words in `words` and not in the message registers; so are the first words of
/// the reply. Further ones, of either, are in the message registers from [`WORDS`] on.
///
/// # Panics
/// If this protection domain may not call on the channel.
#[inline(always)]
pub fn pp_call(
    channel: Channel,
    msg_info: MessageInfo,
    words: &mut [MessageRegisterValue; WORDS],
) -> MessageInfo {
    MessageInfo::from_inner(kernel::call_short(channel.endpoint(), msg_info.into_inner(), words))
}
