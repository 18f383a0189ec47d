//! The event filter with KVM's semantics, and the table that it becomes.

use pmu_core::arch::{ARCHITECTURAL_EVENTS, MAX_FIXED, OFFCORE_EVENTS};
use pmu_core::shadow::{TABLE_WORDS, table_index};

/// The most entries of a filter (KVM_PMU_EVENT_FILTER_MAX_EVENTS).
pub const MAX_ENTRIES: usize = 300;

/// What becomes of the events in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only they count.
    Allow,
    /// Only they do not count.
    Deny,
}

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Event select.
    pub event: u8,
    /// The unit mask, after `mask`.
    pub umask: u8,
    /// The bits of the unit mask that are compared; 0xFF for an entry that is not masked.
    pub mask: u8,
    /// Takes events out of the list again.
    pub exclude: bool,
}

impl Entry {
    fn hits(&self, event: u8, umask: u8) -> bool {
        self.event == event && umask & self.mask == self.umask
    }
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// What becomes of listed events.
    pub action: Action,
    /// The list.
    pub entries: Vec<Entry>,
    /// The listed fixed counters, as bits 3:0.
    pub fixed: u64,
}

impl EventFilter {
    /// Whether a general-purpose counter may count this event.
    pub fn permits(&self, event: u8, umask: u8) -> bool {
        let hit = |exclude| self.entries.iter().any(|e| e.exclude == exclude && e.hits(event, umask));
        (hit(false) && !hit(true)) == (self.action == Action::Allow)
    }

    /// The fixed counters that may count, as bits 3:0.
    pub fn permitted_fixed(&self) -> u64 {
        match self.action {
            Action::Allow => self.fixed & ALL_FIXED,
            Action::Deny => !self.fixed & ALL_FIXED,
        }
    }
}

/// Every fixed counter.
pub(crate) const ALL_FIXED: u64 = (1 << MAX_FIXED) - 1;

/// A filter's table; 65,536 bits.
pub(crate) type Table = [u64; TABLE_WORDS];

/// The table of the events that `permits` (event select, unit mask), off-core events apart.
pub(crate) fn table(permits: impl Fn(u8, u8) -> bool) -> Table {
    let mut table = [0; TABLE_WORDS];
    for key in 0..=u16::MAX {
        let [event, umask] = key.to_le_bytes();
        if permits(event, umask) && !OFFCORE_EVENTS.contains(&key) {
            table[table_index(u64::from(key))] |= 1 << (key & 63);
        }
    }
    table
}

/// Whether the event may count where the file is silent: architectural and, beside other VMs, not about a
/// shared resource.
pub(crate) fn is_default(event: u8, umask: u8, tenants: usize) -> bool {
    let key = u16::from_le_bytes([event, umask]);
    ARCHITECTURAL_EVENTS.iter().any(|e| e.key == key && !(tenants > 1 && e.shared))
}
