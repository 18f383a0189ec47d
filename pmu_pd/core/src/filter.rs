//! The event filter: a bit for each event of a general-purpose counter, a bit for each fixed counter.

use crate::arch::{ARCHITECTURAL_EVENTS, MAX_FIXED, OFFCORE_EVENTS, fixed_control};
use crate::registers::{EventSelect, FixedControl};
use crate::shadow::{self, TABLE_WORDS};
use crate::validity::{spread, width_mask};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A filter as the policy compiler made it. The table stays where it is, in a region that this domain only
/// reads: a lookup is one load, whatever the filter's size.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    table: &'a [AtomicU64; TABLE_WORDS],
    fixed_fields: u64,
}

impl<'a> Filter<'a> {
    /// The filter with this table and these permitted fixed counters (bits 3:0).
    ///
    /// `None` if the table permits an off-core event ([`OFFCORE_EVENTS`]) or `fixed` has other bits.
    pub fn new(table: &'a [AtomicU64; TABLE_WORDS], fixed: u64) -> Option<Self> {
        let filter = Self { table, fixed_fields: spread(fixed, fixed_control::FIELD) };
        let offcore = OFFCORE_EVENTS.iter().any(|&key| filter.permits(EventSelect(u64::from(key))));
        let in_range = fixed & !width_mask(MAX_FIXED as u32) == 0;
        (in_range && !offcore).then_some(filter)
    }

    fn word(&self, selector: EventSelect) -> u64 {
        self.table[shadow::table_index(selector.0)].load(Relaxed)
    }

    /// Whether the event of `selector` may count.
    pub fn permits(&self, selector: EventSelect) -> bool {
        shadow::permitted(selector.0, self.word(selector)) != 0
    }

    /// What reaches IA32_PERFEVTSELi when the guest's value is `selector`.
    pub fn selector(&self, selector: EventSelect) -> u64 {
        shadow::hardware_selector(selector.0, self.word(selector))
    }

    /// What reaches IA32_FIXED_CTR_CTRL when the guest's value is `control`.
    pub fn fixed_control(&self, control: FixedControl) -> u64 {
        shadow::hardware_fixed_control(control.0, self.fixed_fields)
    }

    /// The architectural events that the filter denies, as bits of CPUID leaf 0xA EBX ("not available"): the
    /// guest then knows, instead of reading zeros.
    pub fn denied_architectural(&self) -> u32 {
        let denied = |key: u16| u32::from(!self.permits(EventSelect(u64::from(key))));
        (0_u32..).zip(&ARCHITECTURAL_EVENTS).fold(0, |bits, (i, event)| bits | denied(event.key) << i)
    }
}

impl core::fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Filter").field("fixed_fields", &self.fixed_fields).finish_non_exhaustive()
    }
}
