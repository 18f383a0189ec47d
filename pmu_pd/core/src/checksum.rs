//! CRC-64/XZ over words in little-endian byte order.

use crc::{CRC_64_XZ, Crc, Table};

static CRC: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&CRC_64_XZ);

/// The checksum of `words`.
pub fn checksum(words: impl Iterator<Item = u64>) -> u64 {
    let mut digest = CRC.digest();
    words.for_each(|word| digest.update(&word.to_le_bytes()));
    digest.finalize()
}
