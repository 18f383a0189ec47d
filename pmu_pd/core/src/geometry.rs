//! Which counters there are: the hardware's, and the guest's.

use crate::arch::{ARCHITECTURAL_EVENTS, MAX_FIXED, MAX_GENERAL, MAX_VERSION, capabilities, leaf_a};
use crate::port::RawGeometry;
use crate::validity::{counter_bits, width_mask};
use pmu_api::UnavailableReason;

/// The hardware's PMU, from CPUID leaf 0xA (volume 2A, CPUID) and IA32_PERF_CAPABILITIES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    version: u8,
    general: u8,
    fixed: u8,
    /// There are fixed counters that no vPMU has.
    more_fixed: bool,
    width: u8,
    fixed_width: u8,
    event_bits: u8,
    unavailable_events: u32,
    full_width_writes: bool,
    saves_global_control: bool,
    selects_transactions: bool,
    without_extension: bool,
}

/// What the policy wants a guest to have; `None` means as much as the hardware has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// PMU version, 0 to 5.
    pub version: Option<u8>,
    /// General-purpose counters, 1 to 8.
    pub general: Option<u8>,
    /// Fixed counters, 0 to 4.
    pub fixed: Option<u8>,
    /// The guest's CPUID has RTM or HLE.
    pub tsx: bool,
}

/// The guest's PMU. Version 0 has no counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    version: u8,
    general: u8,
    fixed: u8,
    width: u8,
    fixed_width: u8,
    full_width_writes: bool,
    tsx: bool,
}

/// Length of the event vector in CPUID leaf 0xA EBX.
const EVENT_BITS: u8 = ARCHITECTURAL_EVENTS.len().to_le_bytes()[0];

/// Bits `shift + 7 ..= shift`.
const fn byte(register: u32, shift: u32) -> u8 {
    (register >> shift).to_le_bytes()[0]
}

/// How many lowest bits of a bitmap of fixed counters are set without a gap.
const fn contiguous(bitmap: u8) -> u8 {
    bitmap.trailing_ones().to_le_bytes()[0]
}

/// The lowest `count` bits, all 8 for more.
const fn low_bits(count: u8) -> u8 {
    width_mask(count as u32).to_le_bytes()[0]
}

impl Hardware {
    /// No PMU: what mode off needs to know.
    pub const NONE: Self = Self {
        version: 0,
        general: 0,
        fixed: 0,
        more_fixed: false,
        width: 0,
        fixed_width: 0,
        event_bits: 0,
        unavailable_events: 0,
        full_width_writes: false,
        saves_global_control: false,
        selects_transactions: false,
        without_extension: false,
    };

    /// The hardware that `raw` describes, cut to what a vPMU can have: version 5, [`MAX_GENERAL`] and [`MAX_FIXED`]
    /// counters.
    ///
    /// # Errors
    /// [`UnavailableReason::Hardware`] if there is no PMU, no counter, the kernel gives it to no VM, or a counter width
    /// that IA32_PMCi cannot have (20.2.1: at least 32 bits; at most 64).
    pub fn new(raw: &RawGeometry) -> Result<Self, UnavailableReason> {
        let [eax, ebx, ecx, edx] = raw.leaf_a;
        let version = byte(eax, 0);
        let has_fixed = version >= leaf_a::GLOBAL_VERSION;
        let listed = width_mask(u32::from(byte(edx, 0) & leaf_a::LISTED_FIXED));
        let bitmap = if version >= leaf_a::BITMAP_VERSION { u64::from(ecx) } else { 0 };
        let present = if has_fixed { listed | bitmap } else { 0 };
        let fixed = present & width_mask(u32::from(MAX_FIXED));
        let hardware = Self {
            version,
            general: byte(eax, 8),
            fixed: fixed.to_le_bytes()[0],
            more_fixed: fixed != present,
            width: byte(eax, 16),
            fixed_width: byte(edx, 5),
            event_bits: byte(eax, 24).min(EVENT_BITS),
            unavailable_events: ebx,
            full_width_writes: raw.perf_capabilities & capabilities::FW_WRITES != 0,
            saves_global_control: raw.flags & RawGeometry::SAVES_GLOBAL_CONTROL != 0,
            selects_transactions: raw.flags & RawGeometry::SELECTS_TRANSACTIONS != 0,
            without_extension: raw.flags & RawGeometry::WITHOUT_EXTENSION != 0,
        };
        let widths = 32..=64;
        let usable = raw.flags & RawGeometry::USABLE != 0
            && version > 0
            && hardware.general > 0
            && widths.contains(&hardware.width)
            && (fixed == 0 || widths.contains(&hardware.fixed_width));
        if usable { Ok(hardware) } else { Err(UnavailableReason::Hardware) }
    }

    /// The guest's geometry for `wanted`: at most the hardware's, and version 0 on hardware of version 1.
    ///
    /// # Errors
    /// [`UnavailableReason::Geometry`] if it is more than this hardware can give.
    pub fn geometry(&self, wanted: Wanted) -> Result<Geometry, UnavailableReason> {
        if wanted.tsx && !self.selects_transactions {
            return Err(UnavailableReason::Geometry);
        }
        let version = wanted.version.unwrap_or(self.latest_guest_version());
        let general = wanted.general.unwrap_or(self.general.min(MAX_GENERAL));
        if version > self.latest_guest_version() || general > self.general.min(MAX_GENERAL) || general == 0 {
            return Err(UnavailableReason::Geometry);
        }
        // Before version 5 the guest can only be told a count (20.2.5.2).
        let present = match version {
            _ if version >= leaf_a::BITMAP_VERSION => self.fixed,
            _ if version >= leaf_a::GLOBAL_VERSION => low_bits(contiguous(self.fixed)),
            _ => 0,
        };
        let fixed = match wanted.fixed {
            None => present,
            Some(_) if version < leaf_a::GLOBAL_VERSION => 0,
            Some(count) if count <= MAX_FIXED && low_bits(count) & !present == 0 => low_bits(count),
            Some(_) => return Err(UnavailableReason::Geometry),
        };
        Ok(Geometry {
            version,
            general: if version == 0 { 0 } else { general },
            fixed,
            width: self.width,
            fixed_width: self.fixed_width,
            full_width_writes: self.full_width_writes && version > 0,
            tsx: wanted.tsx,
        })
    }

    /// The latest version that a guest may have. On hardware of version 1 that is 0, no counters: it has no
    /// IA32_PERF_GLOBAL_CTRL (20.2.2), by which VM entry and exit make the counters run for the guest alone.
    const fn latest_guest_version(&self) -> u8 {
        match self.version {
            0..leaf_a::GLOBAL_VERSION => 0,
            leaf_a::GLOBAL_VERSION..=MAX_VERSION => self.version,
            _ => MAX_VERSION,
        }
    }

    /// Whether a guest of this geometry may use the data registers without a VM exit: it has global registers and
    /// every counter of the hardware, and a VM exit saves IA32_PERF_GLOBAL_CTRL. Otherwise RDPMC or a global
    /// register would show more than its CPUID. IA32_PERF_GLOBAL_STATUS_SET and _INUSE exit in any case.
    pub const fn allows_direct(&self, guest: &Geometry) -> bool {
        self.saves_global_control
            && guest.has_global()
            && guest.general == self.general
            && guest.fixed == self.fixed
            && !self.more_fixed
    }

    /// Whether the guest may also use control registers and IA32_PERF_GLOBAL_STATUS_SET without a VM exit: it has them
    /// where the hardware does (20.2.4).
    pub const fn allows_passthrough(&self, guest: &Geometry) -> bool {
        self.allows_direct(guest) && guest.has_status_set() == (self.version >= leaf_a::STATUS_SET_VERSION)
    }

    /// The kernel has no PMU extension ([`RawGeometry::WITHOUT_EXTENSION`]).
    pub const fn is_without_extension(&self) -> bool {
        self.without_extension
    }

    /// General-purpose counters that a vPMU can use; the reset of a context clears them all.
    pub fn general_counters(&self) -> u32 {
        u32::from(self.general).min(MAX_GENERAL as u32)
    }

    /// Bitmap of the fixed counters.
    pub const fn fixed_counters(&self) -> u8 {
        self.fixed
    }

    /// PMU version.
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// CPUID leaf 0xA for a guest of geometry `guest` whose filter denies the architectural events `denied` (as bits of
    /// EBX): EAX, EBX, ECX, EDX. All zero for version 0.
    pub const fn guest_leaf_a(&self, guest: &Geometry, denied: u32) -> [u32; 4] {
        if guest.version == 0 {
            return [0; 4];
        }
        let eax = u32::from_le_bytes([guest.version, guest.general, guest.width, self.event_bits]);
        let ebx = (self.unavailable_events | denied) & ((1 << self.event_bits) - 1);
        let ecx = if guest.version >= leaf_a::BITMAP_VERSION { guest.fixed as u32 } else { 0 };
        [eax, ebx, ecx, leaf_a_edx(guest)]
    }
}

/// EDX of CPUID leaf 0xA: fixed counters without a gap (4:0), their width (12:5), AnyThread deprecated (15).
const fn leaf_a_edx(guest: &Geometry) -> u32 {
    let width = if guest.fixed == 0 { 0 } else { (guest.fixed_width as u32) << 5 };
    contiguous(guest.fixed) as u32 | width | leaf_a::ANY_THREAD_DEPRECATED
}

impl Geometry {
    /// No PMU.
    pub const NONE: Self = Self {
        version: 0,
        general: 0,
        fixed: 0,
        width: 0,
        fixed_width: 0,
        full_width_writes: false,
        tsx: false,
    };

    /// PMU version, 0 (none) to 5 (20.2).
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// General-purpose counters, 0 to 8 (20.2.1).
    pub const fn general_counters(&self) -> u8 {
        self.general
    }

    /// Bitmap of the fixed counters, bits 3:0 (20.2.2, 20.2.5.2).
    pub const fn fixed_counters(&self) -> u8 {
        self.fixed
    }

    /// Whether there is a fixed counter `index`, any value (20.2.5.2).
    pub const fn has_fixed(&self, index: u32) -> bool {
        index < MAX_FIXED as u32 && self.fixed >> index & 1 != 0
    }

    /// Whether there are IA32_FIXED_CTR_CTRL and the global registers (20.2.2).
    pub const fn has_global(&self) -> bool {
        self.version >= leaf_a::GLOBAL_VERSION
    }

    /// Whether there are IA32_PERF_GLOBAL_STATUS_SET and _INUSE (20.2.4).
    pub const fn has_status_set(&self) -> bool {
        self.version >= leaf_a::STATUS_SET_VERSION
    }

    /// Whether there is IA32_A_PMCi (20.2.6).
    pub const fn full_width_writes(&self) -> bool {
        self.full_width_writes
    }

    /// Whether the guest's CPUID has RTM or HLE (20.3.6.5).
    pub const fn tsx(&self) -> bool {
        self.tsx
    }

    /// Mask of a general-purpose counter's bits (20.2.1, CPUID leaf 0xA EAX 23:16).
    pub const fn width_mask(&self) -> u64 {
        width_mask(self.width as u32)
    }

    /// Mask of a fixed counter's bits (20.2.2, CPUID leaf 0xA EDX 12:5).
    pub const fn fixed_width_mask(&self) -> u64 {
        width_mask(self.fixed_width as u32)
    }

    /// One bit for each counter, as in IA32_PERF_GLOBAL_CTRL (20.2.2, figure 20-3).
    pub const fn counter_bits(&self) -> u64 {
        counter_bits(self.general as u32, self.fixed as u64)
    }

    /// IA32_PERF_GLOBAL_CTRL after reset: one bit for each general-purpose counter (volume 3A, table 10-1). Before
    /// version 2 the guest has no such register and its counters obey EN alone.
    pub const fn reset_global_control(&self) -> u64 {
        counter_bits(self.general as u32, 0)
    }

    /// IA32_PERF_CAPABILITIES for the guest (20.2.6): full-width writes, nothing else (no PEBS, LBR or metrics).
    pub const fn perf_capabilities(&self) -> u64 {
        if self.full_width_writes { capabilities::FW_WRITES } else { 0 }
    }

    /// The geometry in a snapshot: version, counters, fixed bitmap, widths, and flags (bit 0 full-width writes, bit 1
    /// TSX), a byte each from bit 0 on.
    pub const fn word(&self) -> u64 {
        let flags = self.full_width_writes as u8 | (self.tsx as u8) << 1;
        let Self { version, general, fixed, width, fixed_width, .. } = *self;
        u64::from_le_bytes([version, general, fixed, width, fixed_width, flags, 0, 0])
    }
}
