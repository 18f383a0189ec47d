//! One VM's record in the binary policy.

use super::{CHANNELS, channel_number};
use crate::arch::{MAX_FIXED, MAX_GENERAL, MAX_VERSION};
use crate::geometry::Wanted;
use crate::pmi::PmiLimit;
use crate::validity::width_mask;
use core::ops::RangeInclusive;
use pmu_api::Mode;

/// Words of a record.
pub const RECORD_WORDS: usize = 8;

/// The byte that stands for "as much as the hardware has".
const HARDWARE: u8 = 0xFF;
const TSX: u8 = 1;

/// One VM's record.
///
/// | word | content |
/// |---|---|
/// | 0 | a byte each from bit 0 on: channel, mode, version, general-purpose counters, fixed counters (0xFF each: as the hardware), flags (bit 0 TSX), 0, 0 |
/// | 1 | bitmap of the permitted fixed counters |
/// | 2 | PMIs in a window, or 0 for no limit |
/// | 3 | the window in TSC cycles, or 0 for no limit |
/// | 4 | the table's first word, from the policy's |
/// | 5-7 | the VM's name, UTF-8, filled up with zeros |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmRecord {
    /// The channel of its VMM.
    pub channel: u8,
    /// How it is served.
    pub mode: Mode,
    /// The vPMU that it wants.
    pub wanted: Wanted,
    /// Bitmap of the permitted fixed counters.
    pub fixed_permitted: u64,
    /// Its PMI limit.
    pub pmi_limit: Option<PmiLimit>,
    /// Where its filter's table begins, in words from the policy's first.
    pub table: u64,
    /// Its name.
    pub name: [u8; 24],
}

impl VmRecord {
    /// The record's words.
    pub fn words(&self) -> [u64; RECORD_WORDS] {
        let Wanted { version, general, fixed, tsx } = self.wanted;
        let or_hardware = |value: Option<u8>| value.unwrap_or(HARDWARE);
        let mode = self.mode.code().to_le_bytes()[0];
        let flags = if tsx { TSX } else { 0 };
        let limit = self.pmi_limit.map_or([0, 0], |limit| [u64::from(limit.count), limit.cycles]);
        let (names, _) = self.name.as_chunks::<8>();
        let name = |i: usize| names.get(i).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let first = u64::from_le_bytes([
            self.channel,
            mode,
            or_hardware(version),
            or_hardware(general),
            or_hardware(fixed),
            flags,
            0,
            0,
        ]);
        [first, self.fixed_permitted, limit[0], limit[1], self.table, name(0), name(1), name(2)]
    }

    /// The record in `words`.
    ///
    /// # Errors
    /// The index of the first word that is out of range.
    pub fn from_words(words: [u64; RECORD_WORDS]) -> Result<Self, usize> {
        let [first, fixed_permitted, count, cycles, table, name @ ..] = words;
        let [channel, mode, version, general, fixed, flags, 0, 0] = first.to_le_bytes() else {
            return Err(0);
        };
        if u64::from(channel) >= CHANNELS || flags & !TSX != 0 {
            return Err(0);
        }
        let wanted = Wanted {
            version: in_range(version, 0..=MAX_VERSION).ok_or(0_usize)?,
            general: in_range(general, 1..=MAX_GENERAL).ok_or(0_usize)?,
            fixed: in_range(fixed, 0..=MAX_FIXED).ok_or(0_usize)?,
            tsx: flags & TSX != 0,
        };
        if fixed_permitted & !width_mask(MAX_FIXED as u32) != 0 {
            return Err(1);
        }
        let pmi_limit = match (count, cycles) {
            (0, 0) => None,
            (0, _) => return Err(2),
            (_, 0) => return Err(3),
            _ => Some(PmiLimit { count: u32::try_from(count).map_err(|_| 2_usize)?, cycles }),
        };
        let mut bytes = [0; 24];
        let (places, _) = bytes.as_chunks_mut::<8>();
        places.iter_mut().zip(name).for_each(|(place, word)| *place = word.to_le_bytes());
        Ok(Self {
            channel: channel_number(u64::from(channel)).ok_or(0_usize)?,
            mode: Mode::from_code(u64::from(mode)).ok_or(0_usize)?,
            wanted,
            fixed_permitted,
            pmi_limit,
            table,
            name: bytes,
        })
    }
}

/// `None` if `value` is neither in `range` nor [`HARDWARE`].
fn in_range(value: u8, range: RangeInclusive<u8>) -> Option<Option<u8>> {
    match value {
        HARDWARE => Some(None),
        _ if range.contains(&value) => Some(Some(value)),
        _ => None,
    }
}
