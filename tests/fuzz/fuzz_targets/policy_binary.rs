//! Changes of a valid binary policy, with the checksum made right again: accepted or a named error, and what is
//! accepted can serve.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmu_api::Request;
use pmu_core::policy::{CHECKSUM_WORD, policy_checksum};
use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry, RegionCells};
use pmu_fuzz::policy;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// A context that takes everything: the policy may permit anything but off-core events.
struct Any;

impl PmuPort for Any {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let leaf_a = [5 | 8 << 8 | 48 << 16 | 8 << 24, 0, 0xF, 4 | 48 << 5 | 1 << 15];
        Ok(RawGeometry { leaf_a, perf_capabilities: 1 << 13, flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE | RawGeometry::SELECTS_TRANSACTIONS })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, _: u32) -> Result<u64, PortError> {
        Ok(0)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let off_core = [0x01B7, 0x01BB, 0x012A, 0x012B].contains(&(value & 0xFFFF));
        assert!(!matches!(msr, 0x186..=0x18D) || !off_core || value >> 22 & 1 == 0);
        Ok(())
    }
}

fuzz_target!(|input: (Vec<(u16, u64)>, u16, bool, Vec<u64>)| {
    static VALID: OnceLock<Vec<u64>> = OnceLock::new();
    let mut words = VALID.get_or_init(policy).clone();
    let (changes, length, sealed, raw) = input;
    if !raw.is_empty() {
        words = raw;
    }
    for (place, value) in changes {
        // The header and the records are where decisions are made.
        let place = usize::from(place) % if place % 2 == 0 { 40 } else { words.len().max(1) };
        if let Some(word) = words.get_mut(place) {
            *word = value;
        }
    }
    words.truncate(if length % 4 == 0 { usize::from(length) } else { words.len() });
    if sealed && words.len() > CHECKSUM_WORD {
        let covered = usize::try_from(words[2]).unwrap_or(usize::MAX).min(words.len());
        words[CHECKSUM_WORD] = policy_checksum(&words[..covered]);
    }
    let region: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
    let statistics = RegionCells::new();
    let mut domain = Domain::new(&region, &region, &statistics, |_| Any);
    for channel in 0..62 {
        for request in [
            Request::Open,
            Request::Write { msr: 0x186, value: 0x43_01B7 },
            Request::Write { msr: 0x38D, value: 0xBBBB },
            Request::ReplaceFilter { vm: 0 },
        ] {
            domain.handle(channel, &request.encode(), 0);
        }
    }
});
