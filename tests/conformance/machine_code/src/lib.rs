//! The pure functions of pmu_core and `Vpmu::write` under C symbols, compiled as the release is, for symbolic execution
//! (`cargo xtask spec`). Arguments and results are 64 bits wide.

mod step;

use pmu_core::{shadow, validity};

/// [`shadow::table_index`].
// SAFETY: no other symbol of this library has this name.
#[unsafe(no_mangle)]
pub extern "C" fn table_index(guest: u64) -> u64 {
    shadow::table_index(guest) as u64
}

/// [`shadow::hardware_selector`].
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn hardware_selector(guest: u64, word: u64) -> u64 {
    shadow::hardware_selector(guest, word)
}

/// The same with a mistake for one value of 2^64: the check must find it.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn planted(guest: u64, word: u64) -> u64 {
    if guest == 0x0000_0001_5EED_003C { guest } else { shadow::hardware_selector(guest, word) }
}

/// [`shadow::hardware_fixed_control`].
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn hardware_fixed_control(guest: u64, permitted: u64) -> u64 {
    shadow::hardware_fixed_control(guest, permitted)
}

/// [`validity::legacy_counter_value`].
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn legacy_counter_value(value: u64, width_mask: u64) -> u64 {
    validity::legacy_counter_value(value, width_mask)
}

/// [`validity::selector_reserved`].
// SAFETY: as above.
#[unsafe(no_mangle)]
#[allow(clippy::cast_possible_truncation)] // 64-bit targets only.
pub extern "C" fn selector_reserved(index: u64, tsx: u64) -> u64 {
    validity::selector_reserved(index as usize, tsx != 0)
}

/// [`validity::fixed_control_allowed`].
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn fixed_control_allowed(fixed: u64) -> u64 {
    validity::fixed_control_allowed(fixed)
}

/// [`validity::counter_bits`] of the lowest 32 bits of `general`.
// SAFETY: as above.
#[unsafe(no_mangle)]
#[allow(clippy::cast_possible_truncation)] // The equivalence is claimed for `general` up to 32.
pub extern "C" fn counter_bits(general: u64, fixed: u64) -> u64 {
    validity::counter_bits(general as u32, fixed)
}

/// [`validity::status_allowed`].
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn status_allowed(counters: u64) -> u64 {
    validity::status_allowed(counters)
}
