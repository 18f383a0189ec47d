//! A hardware, its VMs and their filters, and the same as a policy for pmu_core.

use crate::filter::EventFilter;
use crate::reference::Reference;
use crate::registers::Geometry;
use pmu_api::Mode;
use pmu_core::Wanted;
use pmu_core::pmi::PmiLimit;
use pmu_core::policy::{FORMAT, HEADER_WORDS, MAGIC, RECORD_WORDS, VmRecord, policy_checksum};
use pmu_core::shadow::TABLE_WORDS;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// The channel of the manager, which replaces filters.
pub const MANAGER: u8 = 40;

/// What the policy says about a VM.
#[derive(Clone, Copy, Debug)]
pub struct VmConfig {
    /// How it is served.
    pub mode: Mode,
    /// PMU version of the guest.
    pub version: u8,
    /// Its general-purpose counters.
    pub general: u8,
    /// Its fixed counters, the lowest; `None`: as many as it can have.
    pub fixed: Option<u8>,
    /// Its CPUID has RTM or HLE.
    pub tsx: bool,
    /// Index of its first filter.
    pub filter: usize,
    /// At most so many PMIs in so many TSC cycles.
    pub pmi_limit: Option<PmiLimit>,
}

/// The whole.
#[derive(Clone, Debug)]
pub struct System {
    /// The hardware.
    pub hardware: Geometry,
    /// The VMs.
    pub vms: Vec<VmConfig>,
    /// Every filter that a VM may have.
    pub filters: Rc<[EventFilter]>,
}

impl System {
    /// What guest `vm` sees (CPUID leaf 0xA), as the specification has it.
    pub fn guest(&self, vm: usize) -> Geometry {
        let config = self.vms[vm];
        let hardware = &self.hardware;
        let version = if config.mode == Mode::Off { 0 } else { config.version };
        Geometry {
            version,
            general: if version == 0 { 0 } else { usize::from(config.general) },
            width: self.hardware.width,
            fixed: match (version, config.fixed) {
                (0 | 1, _) => 0,
                (_, Some(count)) => lowest(u32::from(count)),
                (5.., None) => hardware.fixed,
                (_, None) => lowest(hardware.fixed_without_gap()),
            },
            fixed_width: self.hardware.fixed_width,
            tsx: config.tsx,
            p6: config.mode != Mode::Off,
            capabilities: if version == 0 { 0 } else { self.hardware.capabilities },
        }
    }

    /// The reference for guest `vm`.
    pub fn reference(&self, vm: usize) -> Reference {
        Reference::new(self.guest(vm), self.filters.clone(), &self.vms[vm])
    }

    /// Whether the data registers of guest `vm` are the hardware's: it has every counter.
    pub fn is_direct(&self, vm: usize) -> bool {
        let (guest, hardware) = (self.guest(vm), &self.hardware);
        matches!(self.vms[vm].mode, Mode::Mediated | Mode::Passthrough)
            && guest.version >= 2
            && (guest.general, guest.fixed) == (hardware.general, hardware.fixed)
    }

    /// Whether WRMSR and RDMSR of `msr` by guest `vm` exit.
    pub fn exits(&self, vm: usize, msr: u32) -> bool {
        let open = match msr {
            0xC1..=0xC8 | 0x4C1..=0x4C8 | 0x309..=0x30C | 0x38E..=0x390 => true,
            0x186..=0x18D | 0x38D | 0x391 => self.vms[vm].mode == Mode::Passthrough,
            _ => false,
        };
        !open || !self.is_direct(vm) || self.reference(vm).read(msr).is_none()
    }

    /// The channel of VM `vm`.
    pub fn channel(vm: usize) -> u8 {
        vm.to_le_bytes()[0] + 1
    }

    /// The policy with filter `filters[i]` for VM i, in pmu_core's binary form.
    pub fn policy(&self, filters: &[usize]) -> Vec<u64> {
        let tables = HEADER_WORDS + RECORD_WORDS * self.vms.len();
        let length = tables + TABLE_WORDS * self.vms.len();
        let count = self.vms.len() as u64;
        let mut policy = vec![MAGIC, FORMAT | count << 32, length as u64, 0, u64::from(MANAGER), 0, 0, 0];
        for (i, config) in self.vms.iter().enumerate() {
            let filter = &self.filters[filters[i]];
            let permitted = (0..4).filter(|j| filter.permits_fixed(*j)).fold(0, |bits, j| bits | 1 << j);
            let record = VmRecord {
                channel: Self::channel(i),
                mode: config.mode,
                wanted: Wanted {
                    version: Some(config.version),
                    general: Some(config.general),
                    fixed: config.fixed,
                    tsx: config.tsx,
                },
                fixed_permitted: permitted,
                pmi_limit: config.pmi_limit,
                table: (tables + TABLE_WORDS * i) as u64,
                name: [0; 24],
            };
            policy.extend(record.words());
        }
        for filter in filters.iter().take(self.vms.len()) {
            policy.extend(self.filters[*filter].table());
        }
        policy[3] = policy_checksum(&policy);
        policy
    }
}

/// The lowest `count` bits, at most 8.
fn lowest(count: u32) -> u8 {
    u8::try_from((1_u32 << count) - 1).unwrap_or(u8::MAX)
}

/// Words as pmu_core reads them from a region.
pub fn cells(words: &[u64]) -> Vec<AtomicU64> {
    words.iter().map(|word| AtomicU64::new(*word)).collect()
}
