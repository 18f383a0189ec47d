//! The message: a label and at most eight words.

use crate::malformed::Malformed;
use static_assertions::{assert_eq_align, assert_eq_size};

/// The protocol's version; it is in the label of every message.
pub const VERSION: u64 = 1;

/// The longest message, in words of 64 bits.
pub const MAX_WORDS: usize = 8;

const VERSION_SHIFT: u32 = 8;
const BYTE: u64 = 0xFF;

/// A message as it crosses the protected procedure call. Words from `count` on are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Message {
    label: u64,
    count: u64,
    words: [u64; MAX_WORDS],
}
assert_eq_size!(Message, [u64; 10]);
assert_eq_align!(Message, u64);

impl Message {
    /// A message from what arrived: `words` is what the sender says it sent. More than [`MAX_WORDS`] words are
    /// kept as a length only; decoding refuses them.
    #[inline]
    pub fn received(label: u64, words: &[u64]) -> Self {
        Self { label, count: words.len() as u64, words: padded(words) }
    }

    /// Whether this is the message with this code and these words.
    #[inline]
    pub(crate) fn is<const N: usize>(&self, code: u64, words: [u64; N]) -> bool {
        self.label == VERSION << VERSION_SHIFT | code && self.exactly() == Ok(words)
    }

    #[inline]
    pub(crate) fn new<const N: usize>(code: u64, words: [u64; N]) -> Self {
        const { assert!(N <= MAX_WORDS) }
        Self::received(VERSION << VERSION_SHIFT | code, &words)
    }

    /// The label: operation or reply code in bits 7:0, version in bits 15:8.
    #[inline]
    pub const fn label(&self) -> u64 {
        self.label
    }

    /// The words sent.
    #[inline]
    pub fn words(&self) -> &[u64] {
        self.words.get(..usize::try_from(self.count).unwrap_or(MAX_WORDS)).unwrap_or(&self.words)
    }

    /// Puts the words into message registers, of which there are at least [`MAX_WORDS`].
    #[inline]
    pub fn store(&self, registers: &mut [u64]) {
        match (self.words(), registers) {
            ([a], [to, ..]) => *to = *a,
            (words, registers) => registers.iter_mut().zip(words).for_each(|(to, from)| *to = *from),
        }
    }

    /// The operation or reply code of a label of this version.
    pub(crate) fn code(&self) -> Result<u64, Malformed> {
        if self.label >> VERSION_SHIFT == VERSION {
            Ok(self.label & BYTE)
        } else {
            Err(Malformed::Version { label: self.label })
        }
    }

    /// The words, if there are exactly `N`.
    #[inline]
    pub(crate) fn exactly<const N: usize>(&self) -> Result<[u64; N], Malformed> {
        match self.words.first_chunk() {
            Some(words) if self.count == N as u64 => Ok(*words),
            _ => Err(Malformed::Length { expected: N as u64, found: self.count }),
        }
    }
}

/// `words`, then zeros. Accesses and their answers have one word or two: no loop for these.
#[inline]
fn padded(words: &[u64]) -> [u64; MAX_WORDS] {
    match *words {
        [a] => [a, 0, 0, 0, 0, 0, 0, 0],
        [a, b] => [a, b, 0, 0, 0, 0, 0, 0],
        _ => core::array::from_fn(|i| words.get(i).copied().unwrap_or(0)),
    }
}

/// A 32-bit value in word `index`; the upper half must be 0.
pub(crate) fn word32(words: &[u64], index: usize) -> Result<u32, Malformed> {
    let word = words.get(index).copied().unwrap_or(0);
    u32::try_from(word).map_err(|_| Malformed::Word { index: index as u64 })
}

/// `bit` if `set`, else 0.
pub(crate) fn flag(set: bool, bit: u64) -> u64 {
    if set { bit } else { 0 }
}
