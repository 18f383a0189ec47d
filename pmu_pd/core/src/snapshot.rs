//! The snapshot of a vPMU, version 1: 27 words of 64 bits, each little-endian in a byte stream, 216 bytes.
//!
//! | words | content |
//! |---|---|
//! | 0 | "PMUSNAP" and the version, 1 |
//! | 1 | the guest's geometry: version, general-purpose counters, bitmap of fixed counters, width, fixed width, flags (bit 0 full-width writes, bit 1 TSX), a byte each from bit 0 on |
//! | 2-9 | IA32_PERFEVTSEL0-7 as the guest wrote them |
//! | 10 | IA32_FIXED_CTR_CTRL as the guest wrote it |
//! | 11 | IA32_PERF_GLOBAL_CTRL |
//! | 12 | IA32_PERF_GLOBAL_STATUS, the counters' bits |
//! | 13-20 | IA32_A_PMC0-7 |
//! | 21-24 | IA32_FIXED_CTR0-3 |
//! | 25 | IA32_PERF_CAPABILITIES |
//! | 26 | CRC-64/XZ of words 0 to 25 |
//!
//! Registers that the geometry lacks are 0. The filter, the statistics and the PMI limiter stay with the domain.

use crate::arch::{FIXED_LEN, GENERAL_LEN};
use crate::checksum::checksum;
use crate::geometry::Geometry;
use crate::registers::{EventSelect, FixedControl};
use crate::validity::{fixed_control_allowed, selector_reserved};
use pmu_api::{CHUNK_WORDS, Chunk, MAX_CHUNKS, SnapshotReason};
use static_assertions::const_assert;

/// Words of a snapshot.
pub const SNAPSHOT_WORDS: usize = 7 + GENERAL_LEN * 2 + FIXED_LEN;
/// Chunks that a snapshot travels in.
pub const SNAPSHOT_CHUNKS: usize = SNAPSHOT_WORDS.div_ceil(CHUNK_WORDS);
/// The words of the chunks: the snapshot, filled up with zeros.
pub type Buffer = [u64; SNAPSHOT_CHUNKS * CHUNK_WORDS];

const_assert!(SNAPSHOT_WORDS * 8 <= 512);
const_assert!(SNAPSHOT_CHUNKS as u64 <= MAX_CHUNKS);

const MAGIC: u64 = u64::from_le_bytes(*b"PMUSNAP\x01");

/// The guest-visible registers of a vPMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// IA32_PERFEVTSELi.
    pub selectors: [EventSelect; GENERAL_LEN],
    /// IA32_FIXED_CTR_CTRL.
    pub fixed_control: FixedControl,
    /// IA32_PERF_GLOBAL_CTRL.
    pub global_control: u64,
    /// IA32_PERF_GLOBAL_STATUS.
    pub status: u64,
    /// IA32_A_PMCi.
    pub general: [u64; GENERAL_LEN],
    /// IA32_FIXED_CTRi.
    pub fixed: [u64; FIXED_LEN],
}

/// The snapshot of `registers` of a guest with `geometry`.
pub fn encode(geometry: &Geometry, registers: &Registers) -> Buffer {
    let mut buffer = [0; _];
    let Registers { selectors, fixed_control, global_control, status, general, fixed } = registers;
    let words = [MAGIC, geometry.word()]
        .into_iter()
        .chain(selectors.iter().map(|s| s.0))
        .chain([fixed_control.0, *global_control, *status])
        .chain(*general)
        .chain(*fixed)
        .chain([geometry.perf_capabilities()]);
    let mut sum = 0;
    for (i, (to, word)) in buffer.iter_mut().zip(words).enumerate() {
        *to = word;
        sum = i + 1;
    }
    let (content, rest) = buffer.split_at_mut(sum);
    if let Some(last) = rest.first_mut() {
        *last = checksum(content.iter().copied());
    }
    buffer
}

/// The registers in a snapshot for a guest with `geometry`.
///
/// # Errors
/// The first thing that is wrong, in this order: version, length (padding not 0), checksum, geometry, reserved
/// bits.
pub fn decode(geometry: &Geometry, buffer: &Buffer) -> Result<Registers, SnapshotReason> {
    let (snapshot, padding) = buffer.split_at(SNAPSHOT_WORDS);
    let Some((&sum, content)) = snapshot.split_last() else { return Err(SnapshotReason::Length) };
    if content.first() != Some(&MAGIC) {
        return Err(SnapshotReason::Version);
    }
    if padding.iter().any(|&word| word != 0) {
        return Err(SnapshotReason::Length);
    }
    if checksum(content.iter().copied()) != sum {
        return Err(SnapshotReason::Checksum);
    }
    let mut words = content.iter().skip(1).copied();
    let mut next = || words.next().unwrap_or(0);
    if next() != geometry.word() {
        return Err(SnapshotReason::Geometry);
    }
    let registers = Registers {
        selectors: core::array::from_fn(|_| EventSelect(next())),
        fixed_control: FixedControl(next()),
        global_control: next(),
        status: next(),
        general: core::array::from_fn(|_| next()),
        fixed: core::array::from_fn(|_| next()),
    };
    if next() != geometry.perf_capabilities() {
        return Err(SnapshotReason::Geometry);
    }
    if is_valid(geometry, &registers) { Ok(registers) } else { Err(SnapshotReason::Reserved) }
}

/// Whether a guest of `geometry` can have these values.
fn is_valid(geometry: &Geometry, registers: &Registers) -> bool {
    let present = |i: usize| i < usize::from(geometry.general_counters());
    let selectors = registers.selectors.iter().enumerate().all(|(i, selector)| {
        let reserved = if present(i) { selector_reserved(i, geometry.tsx()) } else { u64::MAX };
        selector.0 & reserved == 0
    });
    let general = registers.general.iter().enumerate().all(|(i, value)| {
        let mask = if present(i) { geometry.width_mask() } else { 0 };
        value & !mask == 0
    });
    let fixed = (0_u32..).zip(&registers.fixed).all(|(i, value)| {
        let mask = if geometry.has_fixed(i) { geometry.fixed_width_mask() } else { 0 };
        value & !mask == 0
    });
    let fixed_counters = u64::from(geometry.fixed_counters());
    let global = if geometry.has_global() {
        (registers.global_control | registers.status) & !geometry.counter_bits() == 0
    } else {
        registers.global_control == geometry.reset_global_control() && registers.status == 0
    };
    selectors
        && general
        && fixed
        && global
        && registers.fixed_control.0 & !fixed_control_allowed(fixed_counters) == 0
}

/// Chunk `index` of `buffer`; `None` if there is none.
pub fn chunk(buffer: &Buffer, index: u64) -> Option<Chunk> {
    let start = usize::try_from(index).ok()?.checked_mul(CHUNK_WORDS)?;
    let data = buffer.get(start..)?.first_chunk()?;
    Chunk::new(index, SNAPSHOT_CHUNKS as u64, *data)
}

/// Collects the chunks of a snapshot in order.
#[derive(Clone, Copy, Debug)]
pub struct Collector {
    buffer: Buffer,
    next: u64,
}

/// What a chunk led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// The chunk with this index is awaited.
    Awaiting(u64),
    /// All are in [`Collector::buffer`].
    Complete,
}

impl Collector {
    /// Before the first chunk.
    pub const fn new() -> Self {
        Self { buffer: [0; _], next: 0 }
    }

    /// The chunks taken so far.
    pub const fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Takes a chunk. Chunk 0 always starts anew; `None` for one out of order, which also starts anew.
    ///
    /// # Errors
    /// [`SnapshotReason::Length`] if the snapshot is said to have another number of chunks.
    pub fn take(&mut self, chunk: &Chunk) -> Result<Option<Collected>, SnapshotReason> {
        let awaited = core::mem::take(&mut self.next);
        let expected = if chunk.index() == 0 { 0 } else { awaited };
        if chunk.total() != SNAPSHOT_CHUNKS as u64 {
            return Err(SnapshotReason::Length);
        }
        let (places, _) = self.buffer.as_chunks_mut::<CHUNK_WORDS>();
        let place = usize::try_from(chunk.index()).ok().and_then(|index| places.get_mut(index));
        let (Some(place), true) = (place, chunk.index() == expected) else { return Ok(None) };
        *place = chunk.data;
        if chunk.is_last() {
            self.next = 0;
            return Ok(Some(Collected::Complete));
        }
        self.next = expected + 1;
        Ok(Some(Collected::Awaiting(self.next)))
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}
