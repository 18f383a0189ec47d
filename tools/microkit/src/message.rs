//! Messages: the tag and the message registers.

use crate::kernel;

/// The label of a [`MessageInfo`].
pub type MessageLabel = u64;

/// The value of a message register.
pub type MessageRegisterValue = u64;

/// A message's tag: its label and how many message registers it uses.
#[derive(Debug, Clone)]
pub struct MessageInfo {
    inner: kernel::MessageInfo,
}

impl MessageInfo {
    pub(crate) fn from_inner(inner: kernel::MessageInfo) -> Self {
        Self { inner }
    }

    pub(crate) fn into_inner(self) -> kernel::MessageInfo {
        self.inner
    }

    /// A tag; `label` has [`Self::label_width`] bits and `count` is at most 120.
    pub fn new(label: MessageLabel, count: usize) -> Self {
        Self::from_inner(kernel::MessageInfo::new(label, 0, 0, count))
    }

    /// The label.
    pub fn label(&self) -> MessageLabel {
        self.inner.label()
    }

    /// How many bits a label has.
    pub const fn label_width() -> usize {
        kernel::MessageInfo::label_width()
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
    kernel::with_ipc_buffer(|buffer| f(&buffer.msg))
}

/// Gives `f` the message registers to read and write.
pub fn with_msg_regs_mut<T>(f: impl FnOnce(&mut [MessageRegisterValue]) -> T) -> T {
    kernel::with_ipc_buffer(|buffer| f(&mut buffer.msg))
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
    fn message_registers_keep_their_values() {
        set_mr(119, 5);
        with_msg_regs_mut(|registers| registers[0] = 6);
        assert_eq!((get_mr(119), get_mr(0)), (5, 6));
    }
}
