//! One event: what it has counted, and what is left of its period.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Counters have 48 bits.
pub const WIDTH: u64 = (1 << 48) - 1;
/// Words of a record: what perf writes for a sample of several events is about as long.
const RECORD: usize = 8;
const RECORDS: usize = 512;

/// Where samples go; the oldest are overwritten.
static RING: [[AtomicU64; RECORD]; RECORDS] = [const { [const { AtomicU64::new(0) }; RECORD] }; RECORDS];
static HEAD: AtomicU32 = AtomicU32::new(0);

/// What is known of one event.
pub struct Event {
    /// Counted since the beginning.
    pub counted: AtomicU64,
    /// What fixed counter 0 counted in the time that the event had a counter.
    pub expected: AtomicU64,
    /// Samples taken.
    pub samples: AtomicU64,
    /// Ends of periods that were noticed without an interrupt, which came too late for a sample.
    pub late: AtomicU64,
    period: AtomicU64,
    /// Of the first period, what was left out.
    skipped: AtomicU64,
    /// Instructions left of the period; below 1 after its end.
    left: AtomicI64,
    /// The counter when it was last read or written.
    previous: AtomicU64,
}

impl Event {
    /// An event that is not used.
    pub const fn new() -> Self {
        Self {
            counted: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            late: AtomicU64::new(0),
            period: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            left: AtomicI64::new(0),
            previous: AtomicU64::new(0),
        }
    }

    /// Samples every `period` instructions, the first time `skipped` instructions sooner.
    pub fn open(&self, period: u64, skipped: u64) {
        self.period.store(period, Relaxed);
        self.skipped.store(skipped, Relaxed);
        self.left.store((period - skipped).cast_signed(), Relaxed);
    }

    /// Adds up what was counted: the counter is at `now`.
    pub fn update(&self, now: u64) {
        let counted = now.wrapping_sub(self.previous.swap(now, Relaxed)) & WIDTH;
        self.counted.fetch_add(counted, Relaxed);
        self.left.fetch_sub(counted.cast_signed(), Relaxed);
    }

    /// From what the counter must go on to overflow at the end of the period, and whether one is over.
    pub fn next_period(&self) -> (u64, bool) {
        let (mut left, period) = (self.left.load(Relaxed), self.period.load(Relaxed).cast_signed());
        let over = left <= 0;
        if left <= -period {
            left = period;
        } else if over {
            left += period;
        }
        self.left.store(left, Relaxed);
        let preset = left.cast_unsigned().wrapping_neg() & WIDTH;
        self.previous.store(preset, Relaxed);
        (preset, over)
    }

    /// Writes a record.
    pub fn sample(&self, time: u64) {
        let samples = self.samples.fetch_add(1, Relaxed);
        let place = HEAD.fetch_add(1, Relaxed) as usize % RECORDS;
        let record = [
            RECORD as u64,
            core::ptr::from_ref(self).addr() as u64,
            time,
            samples,
            self.period.load(Relaxed),
            self.counted.load(Relaxed),
            self.left.load(Relaxed).cast_unsigned(),
            place as u64,
        ];
        for (to, word) in RING[place].iter().zip(record) {
            to.store(word, Relaxed);
        }
        // Nobody reads the records; they are written all the same.
        core::hint::black_box(&RING[place]);
    }

    /// Periods that are over by what was counted.
    pub fn periods(&self) -> u64 {
        (self.counted.load(Relaxed) + self.skipped.load(Relaxed)) / self.period.load(Relaxed)
    }
}
