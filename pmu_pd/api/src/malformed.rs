//! Messages that are not of the protocol.

/// Why a message is neither a request nor a reply: its sender's error. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The label's version (its bits from 8 on) is not [`VERSION`](crate::VERSION).
    Version {
        /// The whole label.
        label: u64,
    },
    /// The label's operation is none of [`Operation`](crate::Operation) (or, of a reply,
    /// [`ReplyCode`](crate::ReplyCode)).
    Operation {
        /// Bits 7:0 of the label.
        code: u64,
    },
    /// The message has more or fewer words than its operation takes.
    Length {
        /// Words that the operation takes.
        expected: u64,
        /// Words that arrived.
        found: u64,
    },
    /// A word has a value outside its range.
    Word {
        /// The word, from 0.
        index: u64,
    },
}

const VERSION: u64 = 1;
const OPERATION: u64 = 2;
const LENGTH: u64 = 3;
const WORD: u64 = 4;

impl Malformed {
    /// How many kinds there are.
    pub const KINDS: usize = 4;

    /// The kind as a number from 1, and two details.
    pub(crate) const fn words(self) -> [u64; 3] {
        match self {
            Malformed::Version { label } => [VERSION, label, 0],
            Malformed::Operation { code } => [OPERATION, code, 0],
            Malformed::Length { expected, found } => [LENGTH, expected, found],
            Malformed::Word { index } => [WORD, index, 0],
        }
    }

    pub(crate) const fn from_words(words: [u64; 3]) -> Result<Self, Malformed> {
        match words {
            [VERSION, label, 0] => Ok(Malformed::Version { label }),
            [OPERATION, code, 0] => Ok(Malformed::Operation { code }),
            [LENGTH, expected, found] => Ok(Malformed::Length { expected, found }),
            [WORD, index, 0] => Ok(Malformed::Word { index }),
            [VERSION | OPERATION | WORD, ..] => Err(Malformed::Word { index: 2 }),
            _ => Err(Malformed::Word { index: 0 }),
        }
    }
}
