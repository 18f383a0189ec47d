//! From the guest's control value and the filter to the hardware's: the whole value, at each write. Pure and
//! free of branches.

use crate::arch::selector;

/// Words of a filter's table: 65,536 bits, one for each event select and unit mask.
pub const TABLE_WORDS: usize = 1024;

/// Which word of the table decides about the selector value `guest`; below [`TABLE_WORDS`] for every value.
pub const fn table_index(guest: u64) -> usize {
    // The mask keeps the value below 1024.
    #[allow(clippy::cast_possible_truncation)]
    let index = (guest >> 6) as usize;
    index & (TABLE_WORDS - 1)
}

/// 1 if the table's word `word` (the one at [`table_index`]) permits the event of `guest`, else 0.
pub const fn permitted(guest: u64, word: u64) -> u64 {
    word >> (guest & 63) & 1
}

/// The hardware's IA32_PERFEVTSELi (20.2.1.1): the guest's value with EN (bit 22) cleared unless its event is permitted.
pub const fn hardware_selector(guest: u64, word: u64) -> u64 {
    guest & (!selector::ENABLE | permitted(guest, word) << selector::ENABLE_SHIFT)
}

/// The hardware's IA32_FIXED_CTR_CTRL (20.2.2): the fields of the guest's value that `permitted_fields` has (0xF in the
/// field of each permitted counter), whatever field the guest changed.
pub const fn hardware_fixed_control(guest: u64, permitted_fields: u64) -> u64 {
    guest & permitted_fields
}
