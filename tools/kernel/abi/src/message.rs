/// Message registers that travel in processor registers; the others travel in the IPC buffer.
pub const MESSAGE_REGISTERS: usize = 4;

/// The word that describes a message: its label, its length in words, its capabilities (seL4_MessageInfo_t).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MessageInfo(pub u64);

const LENGTH_BITS: u32 = 7;
const EXTRA_CAPS_BITS: u32 = 2;
const CAPS_UNWRAPPED_BITS: u32 = 3;
const LABEL_BITS: u32 = 20;
const EXTRA_CAPS_SHIFT: u32 = LENGTH_BITS;
const CAPS_UNWRAPPED_SHIFT: u32 = EXTRA_CAPS_SHIFT + EXTRA_CAPS_BITS;
const LABEL_SHIFT: u32 = CAPS_UNWRAPPED_SHIFT + CAPS_UNWRAPPED_BITS;

const fn field(word: u64, shift: u32, bits: u32) -> u64 {
    (word >> shift) & ((1 << bits) - 1)
}

impl MessageInfo {
    /// A message with `label` (20 bits), `extra_caps` capabilities (at most 3) and `length` words (at most 120).
    /// Bits beyond a field are dropped.
    #[must_use]
    pub const fn new(label: u64, extra_caps: u64, length: u64) -> Self {
        MessageInfo(
            field(label, 0, LABEL_BITS) << LABEL_SHIFT
                | field(extra_caps, 0, EXTRA_CAPS_BITS) << EXTRA_CAPS_SHIFT
                | field(length, 0, LENGTH_BITS),
        )
    }

    /// What the message is; of a reply to an invocation, the error.
    #[must_use]
    pub const fn label(self) -> u64 {
        field(self.0, LABEL_SHIFT, LABEL_BITS)
    }

    /// Number of words. The kernel never delivers more than 120.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "a field of 7 bits")]
    pub const fn length(self) -> usize {
        field(self.0, 0, LENGTH_BITS) as usize
    }

    /// Number of capabilities sent or received.
    #[must_use]
    pub const fn extra_caps(self) -> u64 {
        field(self.0, EXTRA_CAPS_SHIFT, EXTRA_CAPS_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::MessageInfo;

    #[test]
    fn fields_do_not_overlap() {
        let info = MessageInfo::new(0xf_ffff, 0, 0);
        assert_eq!((info.label(), info.extra_caps(), info.length()), (0xf_ffff, 0, 0));
        let info = MessageInfo::new(0, 3, 0);
        assert_eq!((info.label(), info.extra_caps(), info.length()), (0, 3, 0));
        let info = MessageInfo::new(0, 0, 120);
        assert_eq!((info.label(), info.extra_caps(), info.length()), (0, 0, 120));
    }
}
