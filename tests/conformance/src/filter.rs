//! The event filter with the semantics of KVM's KVM_SET_PMU_EVENT_FILTER, entry by entry.

use pmu_core::arch::OFFCORE_EVENTS;
use pmu_core::shadow::TABLE_WORDS;

/// An event filter.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// The listed events are denied; else only they are allowed.
    pub deny: bool,
    /// Entries are masked entries.
    pub masked: bool,
    /// Entries: event select 7:0; unit mask 15:8; in masked entries exclude 55 and the unit mask's mask 63:56.
    pub entries: Vec<u64>,
    /// The listed fixed counters.
    pub fixed: u64,
}

impl EventFilter {
    /// Every event, off-core responses apart.
    pub const fn everything() -> Self {
        Self { deny: true, masked: false, entries: Vec::new(), fixed: 0 }
    }

    fn lists(&self, key: u64) -> bool {
        if !self.masked {
            return self.entries.iter().any(|entry| entry & 0xFFFF == key);
        }
        let hits = |entry: u64| entry & 0xFF == key & 0xFF && (key >> 8) & (entry >> 56) == entry >> 8 & 0xFF;
        let (exclude, include): (Vec<u64>, Vec<u64>) = self.entries.iter().partition(|e| **e >> 55 & 1 != 0);
        include.into_iter().any(hits) && !exclude.into_iter().any(hits)
    }

    /// Whether the event of a selector may count.
    pub fn permits(&self, selector: u64) -> bool {
        let key = selector & 0xFFFF;
        let offcore = OFFCORE_EVENTS.iter().any(|event| u64::from(*event) == key);
        !offcore && self.deny != self.lists(key)
    }

    /// Whether fixed counter `index` may count.
    pub fn permits_fixed(&self, index: usize) -> bool {
        self.deny != (self.fixed >> index & 1 != 0)
    }

    /// The table of 65,536 bits that pmu_core looks events up in.
    pub fn table(&self) -> Vec<u64> {
        let mut table = vec![0; TABLE_WORDS];
        for (place, word) in table.iter_mut().enumerate() {
            for bit in 0..64 {
                let key = place as u64 * 64 + bit;
                *word |= u64::from(self.permits(key)) << bit;
            }
        }
        table
    }
}
