//! Messages: the tag and the message registers.

use crate::kernel::with_ipc;
use sel4_abi::numbers::limit::MESSAGE_LENGTH;

/// Bits of a label on the bundled kernel.
const LABEL_WIDTH: usize = 20;

/// The label of a [`MessageInfo`].
pub type MessageLabel = u64;

/// The value of a message register.
pub type MessageRegisterValue = u64;

/// A message's tag: its label and how many message registers it uses.
#[derive(Debug, Clone)]
pub struct MessageInfo {
    inner: sel4_abi::MessageInfo,
}

impl MessageInfo {
    pub(crate) fn from_inner(inner: sel4_abi::MessageInfo) -> Self {
        Self { inner }
    }

    pub(crate) fn into_inner(self) -> sel4_abi::MessageInfo {
        self.inner
    }

    /// A tag.
    ///
    /// # Panics
    /// If `label` has more than [`Self::label_width`] bits or `count` is above 120.
    pub fn new(label: MessageLabel, count: usize) -> Self {
        assert!(label >> LABEL_WIDTH == 0, "a label has {LABEL_WIDTH} bits");
        assert!(count <= MESSAGE_LENGTH, "a message has {MESSAGE_LENGTH} words at most");
        Self::from_inner(sel4_abi::MessageInfo::new(label, 0, count as u64))
    }

    /// The label.
    pub fn label(&self) -> MessageLabel {
        self.inner.label()
    }

    /// How many bits a label has on this kernel; newer ones have more.
    pub const fn label_width() -> usize {
        LABEL_WIDTH
    }

    /// How many message registers the message uses.
    pub fn count(&self) -> usize {
        self.inner.length()
    }
}

impl Default for MessageInfo {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

/// Gives `f` the message registers to read.
pub fn with_msg_regs<T>(f: impl FnOnce(&[MessageRegisterValue]) -> T) -> T {
    with_ipc(|ipc| f(&ipc.buffer().message))
}

/// Gives `f` the message registers to read and write.
pub fn with_msg_regs_mut<T>(f: impl FnOnce(&mut [MessageRegisterValue]) -> T) -> T {
    with_ipc(|ipc| f(&mut ipc.buffer_mut().message))
}

/// Sets message register `i`.
///
/// # Panics
/// If `i` is above 119.
pub fn set_mr(i: usize, value: MessageRegisterValue) {
    with_msg_regs_mut(|registers| registers[i] = value);
}

/// Message register `i`.
///
/// # Panics
/// If `i` is above 119.
pub fn get_mr(i: usize) -> MessageRegisterValue {
    with_msg_regs(|registers| registers[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_holds_label_and_count() {
        let largest = (1 << MessageInfo::label_width()) - 1;
        let tag = MessageInfo::new(largest, 120);
        assert_eq!((tag.label(), tag.count()), (largest, 120));
    }

    #[test]
    #[should_panic(expected = "a label has 20 bits")]
    fn a_label_that_would_lose_bits_is_refused() {
        MessageInfo::new(1 << MessageInfo::label_width(), 0);
    }

    #[test]
    fn message_registers_keep_their_values() {
        set_mr(119, 5);
        with_msg_regs_mut(|registers| registers[0] = 6);
        assert_eq!((get_mr(119), get_mr(0)), (5, 6));
    }
}
