//! Pieces of a snapshot.

use crate::malformed::Malformed;
use crate::message::MAX_WORDS;

/// Words of the snapshot in one chunk; the message's first word is the chunk's place.
pub const CHUNK_WORDS: usize = MAX_WORDS - 1;

/// The most chunks of a snapshot: a snapshot has at most 512 bytes.
pub const MAX_CHUNKS: u64 = 512_u64.div_ceil(CHUNK_WORDS as u64 * 8);

const TOTAL_SHIFT: u32 = 8;

/// One piece of a snapshot. The last one is filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    index: u64,
    total: u64,
    /// The snapshot's words from `index * CHUNK_WORDS` on.
    pub data: [u64; CHUNK_WORDS],
}

impl Chunk {
    /// Chunk `index` of `total`; `None` unless `index < total <= MAX_CHUNKS`.
    pub const fn new(index: u64, total: u64, data: [u64; CHUNK_WORDS]) -> Option<Self> {
        if index < total && total <= MAX_CHUNKS { Some(Self { index, total, data }) } else { None }
    }

    /// Its place, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many chunks the snapshot has.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether it is the last one.
    pub const fn is_last(&self) -> bool {
        self.index + 1 == self.total
    }

    /// First word: the index in bits 7:0, the total in bits 15:8; never 0.
    pub(crate) fn words(&self) -> [u64; MAX_WORDS] {
        let mut words = [0; MAX_WORDS];
        let [first, data @ ..] = &mut words;
        *first = self.total << TOTAL_SHIFT | self.index;
        *data = self.data;
        words
    }

    pub(crate) fn from_words(words: [u64; MAX_WORDS]) -> Result<Self, Malformed> {
        let [first, data @ ..] = words;
        Self::new(first & 0xFF, first >> TOTAL_SHIFT, data).ok_or(Malformed::Word { index: 0 })
    }
}
