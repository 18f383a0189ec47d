//! Receiving and sending, and the set of notified channels.

use crate::kernel;
use crate::slots::INPUT;
use crate::{Channel, Child, MessageInfo};
use core::fmt;

/// Set in the badge of a protected procedure call; the other bits are the channel.
const IS_ENDPOINT_BADGE_BIT: u32 = 63;
/// Set in the badge of a child's fault; the other bits are the child.
const IS_FAULT_BADGE_BIT: u32 = 62;

/// What reaches a protection domain.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub enum Event {
    /// These channels were notified.
    Notified(ChannelSet),
    /// The other end of the channel calls and waits.
    Protected(Channel, MessageInfo),
    /// The child faulted and waits.
    Fault(Child, MessageInfo),
}

impl Event {
    fn new((info, badge): (sel4_abi::MessageInfo, u64)) -> Self {
        let info = MessageInfo::from_inner(info);
        // The badges are those that the image build minted: their low bits are indices that it checked.
        if is_call(badge) {
            Self::Protected(Channel::new(low_byte(badge)), info)
        } else if badge >> IS_FAULT_BADGE_BIT != 0 {
            Self::Fault(Child::new(low_byte(badge)), info)
        } else {
            Self::Notified(ChannelSet::from_badge(badge))
        }
    }
}

/// Whether a message with this badge is a protected procedure call.
pub(crate) fn is_call(badge: u64) -> bool {
    badge >> IS_ENDPOINT_BADGE_BIT != 0
}

fn low_byte(badge: u64) -> usize {
    usize::from(badge.to_le_bytes()[0])
}

/// Channels that were notified.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelSet(u64);

impl ChannelSet {
    /// The set in a notification's badge: bit i is channel i.
    pub(crate) const fn from_badge(badge: u64) -> Self {
        Self(badge)
    }

    /// Whether `channel` was notified.
    pub fn contains(&self, channel: Channel) -> bool {
        self.0 & (1 << channel.index()) != 0
    }

    /// The channels, from the lowest index up.
    pub fn iter(&self) -> ChannelSetIter {
        ChannelSetIter(self.0)
    }

    /// The indices as text: `{1, 5}`.
    pub fn display(&self) -> DisplayChannelSet<'_> {
        DisplayChannelSet(self)
    }
}

/// The channels of a [`ChannelSet`].
#[doc(hidden)]
pub struct ChannelSetIter(u64);

impl Iterator for ChannelSetIter {
    type Item = Channel;

    fn next(&mut self) -> Option<Channel> {
        let index = self.0.trailing_zeros() as usize;
        // Clears the lowest bit.
        self.0 &= self.0.checked_sub(1)?;
        Some(Channel::new(index))
    }
}

/// A [`ChannelSet`] as text.
pub struct DisplayChannelSet<'a>(&'a ChannelSet);

impl fmt::Display for DisplayChannelSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, channel) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{}", channel.index())?;
        }
        f.write_str("}")
    }
}

/// Waits for the next event.
pub fn recv() -> Event {
    Event::new(kernel::recv(INPUT))
}

/// Replies to the caller, then waits for the next event.
pub fn reply_recv(msg_info: MessageInfo) -> Event {
    Event::new(kernel::reply_recv(INPUT, msg_info.into_inner()))
}

/// Replies to the caller.
pub fn reply(msg_info: MessageInfo) {
    kernel::reply(msg_info.into_inner());
}

pub(crate) fn signal(slot: u64) {
    kernel::signal(slot);
}

pub(crate) fn call(slot: u64, msg_info: MessageInfo) -> MessageInfo {
    MessageInfo::from_inner(kernel::call(slot, msg_info.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::{ChannelSet, Event};
    use crate::Channel;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn a_set_lists_its_channels_in_order() {
        let set = ChannelSet::from_badge(1 << 61 | 1 << 5 | 1);
        let indices: Vec<usize> = set.iter().map(|c| c.index()).collect();
        assert_eq!(indices, [0, 5, 61]);
        assert!(set.contains(Channel::new(5)) && !set.contains(Channel::new(4)));
        assert_eq!(set.display().to_string(), "{0, 5, 61}");
        assert_eq!(ChannelSet::from_badge(0).display().to_string(), "{}");
    }

    #[test]
    fn the_badge_says_what_an_event_is() {
        let event = |badge| Event::new((sel4_abi::MessageInfo::new(3, 0, 2), badge));
        assert!(matches!(event(1 << 63 | 7), Event::Protected(c, m) if c.index() == 7 && m.label() == 3));
        assert!(matches!(event(1 << 62 | 9), Event::Fault(c, m) if c.index() == 9 && m.count() == 2));
        assert!(matches!(event(6), Event::Notified(s) if s == ChannelSet::from_badge(6)));
    }
}
