//! The policy's binary form, in a region that this domain only reads. Words of 64 bits, little-endian.
//!
//! | words | content |
//! |---|---|
//! | 0 | "PMUPOLCY" |
//! | 1 | format version (bits 31:0), number of VMs (bits 63:32) |
//! | 2 | length of the whole in words |
//! | 3 | CRC-64/XZ of words 4 up to the length |
//! | 4 | channel of the manager, or all ones |
//! | 5-7 | 0 |
//! | 8 and on | a [`VmRecord`] of 8 words for each VM |
//! | then | filter tables of 1,024 words, at the places that the records name |
//!
//! What follows the length is ignored, so that a region may be larger than its policy.

mod record;

pub use record::{RECORD_WORDS, VmRecord};

use crate::arch::MAX_VERSION;
use crate::checksum::checksum;
use crate::filter::Filter;
use crate::geometry::Wanted;
use crate::pmi::PmiLimit;
use crate::shadow::TABLE_WORDS;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapless::Vec;
use pmu_api::{MAX_VMS, Mode};

/// First word.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PMUPOLCY");
/// Format version.
pub const FORMAT: u64 = 1;
/// Words before the first record.
pub const HEADER_WORDS: usize = 8;
/// The word that holds the checksum.
pub const CHECKSUM_WORD: usize = 3;
/// Where the part that the checksum covers begins.
pub const COVERED_FROM: usize = 4;
/// The channel word of a policy without a manager.
pub const NO_CHANNEL: u64 = u64::MAX;
/// Channels are below this (Microkit: 62 channels, 0 to 61).
pub const CHANNELS: u64 = 62;

/// Why a region is not a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The region is shorter than a header or than its own length word says.
    Length,
    /// The first word is not [`MAGIC`].
    Magic,
    /// Another format version.
    Format,
    /// The checksum is wrong.
    Checksum,
    /// No VM, or more than [`MAX_VMS`].
    VmCount,
    /// A reserved word of the header is not 0, or the manager's channel is not one.
    Header,
    /// A word of a VM's record is out of range.
    Record {
        /// The VM, from 0.
        vm: usize,
        /// The word in its record, from 0.
        word: usize,
    },
    /// A VM's table is not in the region, or permits an off-core event.
    Table {
        /// The VM, from 0.
        vm: usize,
    },
    /// Two VMs, or a VM and the manager, have the same channel.
    Channel {
        /// The second of them, from 0.
        vm: usize,
    },
}

/// What the policy says about one VM.
#[derive(Clone, Copy, Debug)]
pub struct VmPolicy<'a> {
    /// The channel of its VMM.
    pub channel: u8,
    /// How it is served.
    pub mode: Mode,
    /// The vPMU that it wants.
    pub wanted: Wanted,
    /// Its event filter.
    pub filter: Filter<'a>,
    /// Its PMI limit.
    pub pmi_limit: Option<PmiLimit>,
}

/// A policy that was checked whole.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// The channel of the manager, if there is one.
    pub manager: Option<u8>,
    /// The VMs in order.
    pub vms: Vec<VmPolicy<'a>, MAX_VMS>,
}

impl<'a> Policy<'a> {
    /// The policy in `region`.
    ///
    /// # Errors
    /// [`PolicyError`]: the first thing that is wrong. Nothing of it is to be used then.
    pub fn parse(region: &'a [AtomicU64]) -> Result<Self, PolicyError> {
        let header: [u64; HEADER_WORDS] = words(region, 0).ok_or(PolicyError::Length)?;
        let [magic, format, length, sum, manager, reserved @ ..] = header;
        if magic != MAGIC {
            return Err(PolicyError::Magic);
        }
        if format & 0xFFFF_FFFF != FORMAT {
            return Err(PolicyError::Format);
        }
        let length = usize::try_from(length).map_err(|_| PolicyError::Length)?;
        let covered = region.get(COVERED_FROM..length).ok_or(PolicyError::Length)?;
        if checksum(covered.iter().map(load)) != sum {
            return Err(PolicyError::Checksum);
        }
        let vm_count = usize::try_from(format >> 32).map_err(|_| PolicyError::VmCount)?;
        if vm_count == 0 || vm_count > MAX_VMS {
            return Err(PolicyError::VmCount);
        }
        let manager = match manager {
            NO_CHANNEL => None,
            channel => Some(channel_number(channel).ok_or(PolicyError::Header)?),
        };
        if reserved != [0; 3] {
            return Err(PolicyError::Header);
        }
        let mut policy = Self { manager, vms: Vec::new() };
        for vm in 0..vm_count {
            let vm_policy = parse_vm(region.get(..length).unwrap_or(&[]), vm)?;
            let same = |other: &VmPolicy<'_>| other.channel == vm_policy.channel;
            if policy.vms.iter().any(same) || manager == Some(vm_policy.channel) {
                return Err(PolicyError::Channel { vm });
            }
            policy.vms.push(vm_policy).map_err(|_| PolicyError::VmCount)?;
        }
        Ok(policy)
    }
}

fn parse_vm(region: &[AtomicU64], vm: usize) -> Result<VmPolicy<'_>, PolicyError> {
    let start = HEADER_WORDS + vm * RECORD_WORDS;
    let record = words(region, start).ok_or(PolicyError::Length)?;
    let record = VmRecord::from_words(record).map_err(|word| PolicyError::Record { vm, word })?;
    let table_at = usize::try_from(record.table).map_err(|_| PolicyError::Table { vm })?;
    let table: Option<&[AtomicU64; TABLE_WORDS]> = region.get(table_at..).and_then(|tail| tail.first_chunk());
    let filter = table.and_then(|table| Filter::new(table, record.fixed_permitted));
    Ok(VmPolicy {
        channel: record.channel,
        mode: record.mode,
        wanted: record.wanted,
        filter: filter.ok_or(PolicyError::Table { vm })?,
        pmi_limit: record.pmi_limit,
    })
}

/// The checksum that goes into a policy's word 3: of its words from [`COVERED_FROM`] on.
pub fn policy_checksum(policy: &[u64]) -> u64 {
    checksum(policy.iter().skip(COVERED_FROM).copied())
}

fn load(word: &AtomicU64) -> u64 {
    u64::from_le(word.load(Relaxed))
}

fn words<const N: usize>(region: &[AtomicU64], start: usize) -> Option<[u64; N]> {
    let cells: &[AtomicU64; N] = region.get(start..)?.first_chunk()?;
    Some(core::array::from_fn(|i| load(&cells[i])))
}

fn channel_number(word: u64) -> Option<u8> {
    if word < CHANNELS { u8::try_from(word).ok() } else { None }
}

const _: () = assert!(MAX_VERSION < 0xFF);
