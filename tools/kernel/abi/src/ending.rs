//! What a protection domain that panics says: to the monitor, and to whoever calls it.

use crate::message::MESSAGE_REGISTERS;
use core::fmt;

/// Label of the message by which a protection domain tells the monitor why it ends: [`LastWords`].
pub const LAST_WORDS: u64 = 0xF_FFFE;
/// Label of the empty answer that every caller of a protection domain that has ended gets. Labels have 20 bits.
pub const GONE: u64 = 0xF_FFFF;

/// Words of the longest text.
const WORDS: usize = 64;

/// Text in a message's words: its bytes, little-endian, filled up with zeros. What does not fit is cut off.
#[derive(Clone, Debug)]
pub struct LastWords {
    words: [u64; WORDS],
    bytes: usize,
}

impl LastWords {
    /// The text of `arguments`.
    #[must_use]
    pub fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self { words: [0; WORDS], bytes: 0 };
        // Our writer never fails; an error of a value's own formatting is not worth another panic.
        let _ = fmt::write(&mut text, arguments);
        text
    }

    /// The text in the `count` words of a message, of which `word` gives each.
    #[must_use]
    pub fn from_message(count: usize, word: impl Fn(usize) -> u64) -> Self {
        let mut words = [0; WORDS];
        words.iter_mut().take(count).enumerate().for_each(|(i, to)| *to = word(i));
        Self { words, bytes: count.min(WORDS) * size_of::<u64>() }
    }

    /// The message's words; at least [`MESSAGE_REGISTERS`].
    #[must_use]
    pub fn words(&self) -> &[u64] {
        let count = self.bytes.div_ceil(size_of::<u64>()).max(MESSAGE_REGISTERS);
        self.words.get(..count).unwrap_or(&self.words)
    }
}

impl fmt::Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(word) = self.words.get_mut(self.bytes / size_of::<u64>()) else { return Ok(()) };
            *word |= u64::from(byte) << (self.bytes % size_of::<u64>() * 8);
            self.bytes += 1;
        }
        Ok(())
    }
}

/// On one line, whatever the sender wrote: a line's end is a space, other bytes than printable ASCII are `?`.
impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes()).take(self.bytes);
        bytes.take_while(|byte| *byte != 0).try_for_each(|byte| {
            fmt::Write::write_char(
                f,
                match byte {
                    b'\n' => ' ',
                    b' '..=b'~' => char::from(byte),
                    _ => '?',
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{LastWords, WORDS};
    use std::string::{String, ToString};

    fn carried(text: &str) -> String {
        let sent = LastWords::new(format_args!("{text}"));
        let words = sent.words();
        LastWords::from_message(words.len(), |i| words[i]).to_string()
    }

    #[test]
    fn a_text_arrives_on_one_line() {
        assert_eq!(carried("panicked at a.rs:1:2:\nno\tway é"), "panicked at a.rs:1:2: no?way ??");
        assert_eq!(carried(""), "");
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "x".repeat(WORDS * 8 + 1);
        assert_eq!(carried(&long), long[1..]);
        let all = LastWords::from_message(usize::MAX, |_| u64::from_le_bytes(*b"abcdefgh"));
        assert_eq!(all.to_string().len(), WORDS * 8);
    }
}
