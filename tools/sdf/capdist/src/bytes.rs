//! Little-endian words in byte slices, by index of the word.

/// Bytes of a word.
pub(crate) const WORD: usize = 8;

/// The word with index `index`, or `None` past the end.
pub(crate) fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let start = index.checked_mul(WORD)?;
    let word = bytes.get(start..start.checked_add(WORD)?)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// A record of `N` bytes from its words; `N` is a multiple of 8.
pub(crate) fn record<const W: usize, const N: usize>(words: [u64; W]) -> [u8; N] {
    const { assert!(N == W * WORD) };
    let mut record = [0; N];
    for (place, word) in record.chunks_exact_mut(WORD).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    record
}

/// The low and the high half of a word.
pub(crate) fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

/// The word with these halves.
pub(crate) fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}
