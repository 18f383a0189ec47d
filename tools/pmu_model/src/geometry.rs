//! What the PMU has, as CPUID leaf 0xA says it (SDM vol. 3B, 20.2; vol. 2A, CPUID).

use core::fmt;

/// General-purpose counters that the legacy MSR ranges have room for (IA32_PMC0-7).
pub const MAX_GP: usize = 8;
/// Fixed-function counters whose event the architecture defines (SDM vol. 3B, table 20-2).
pub const MAX_FIXED: usize = 4;

/// The four words of CPUID leaf 0xA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cpuid0A {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// A checked CPUID leaf 0xA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    version: u8,
    gp: u8,
    gp_width: u8,
    fixed_bitmap: u8,
    fixed_width: u8,
    available_events: u8,
    any_thread: bool,
}

/// Why a CPUID leaf 0xA describes no PMU that the model can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// Version 0: no architectural performance monitoring.
    NoPmu,
    /// A version later than 5.
    Version(u8),
    /// More general-purpose counters than [`MAX_GP`].
    GpCounters(u8),
    /// More fixed-function counters than [`MAX_FIXED`]; the bitmap of them.
    FixedCounters(u32),
    /// A counter width outside 32..=63 bits.
    Width(u8),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPmu => write!(f, "CPUID leaf 0xA reports no performance monitoring (version 0)"),
            Self::Version(v) => write!(f, "CPUID leaf 0xA reports version {v}; the model knows 1 to 5"),
            Self::GpCounters(n) => {
                write!(f, "CPUID leaf 0xA reports {n} general-purpose counters; at most {MAX_GP} are known")
            }
            Self::FixedCounters(bitmap) => write!(
                f,
                "CPUID leaf 0xA reports the fixed counters {bitmap:#b}; counters 0 to {} are known",
                MAX_FIXED - 1
            ),
            Self::Width(w) => {
                write!(f, "CPUID leaf 0xA reports counters of {w} bits; 32 to 63 bits are possible")
            }
        }
    }
}

impl core::error::Error for GeometryError {}

/// Bits `low..low + count` of `word`, at most eight.
fn byte(word: u32, low: u32, count: u32) -> u8 {
    let value = (word >> low) & ((1 << count) - 1);
    value.to_le_bytes()[0]
}

impl Geometry {
    /// Reads the leaf.
    ///
    /// # Errors
    /// [`GeometryError`] when the leaf says something that this model is not.
    pub fn from_cpuid(leaf: Cpuid0A) -> Result<Self, GeometryError> {
        let version = byte(leaf.eax, 0, 8);
        match version {
            0 => return Err(GeometryError::NoPmu),
            1..=5 => {}
            _ => return Err(GeometryError::Version(version)),
        }
        let gp = byte(leaf.eax, 8, 8);
        if usize::from(gp) > MAX_GP {
            return Err(GeometryError::GpCounters(gp));
        }
        let gp_width = byte(leaf.eax, 16, 8);
        if gp > 0 && !(32..=63).contains(&gp_width) {
            return Err(GeometryError::Width(gp_width));
        }
        // SDM 20.2.5: a fixed counter i exists when ECX[i] is set (version 5) or EDX[4:0] > i (version 2 on).
        let contiguous = if version >= 2 { (1_u32 << byte(leaf.edx, 0, 5)) - 1 } else { 0 };
        let bitmap = contiguous | if version >= 5 { leaf.ecx } else { 0 };
        let fixed_bitmap = byte(bitmap, 0, 8);
        if bitmap >> MAX_FIXED != 0 {
            return Err(GeometryError::FixedCounters(bitmap));
        }
        let fixed_width = byte(leaf.edx, 5, 8);
        if fixed_bitmap != 0 && !(32..=63).contains(&fixed_width) {
            return Err(GeometryError::Width(fixed_width));
        }
        // An event exists when its bit lies within the vector of EAX[31:24] bits and is clear in EBX.
        let length = byte(leaf.eax, 24, 8).min(8);
        let within = ((1_u32 << length) - 1) & !leaf.ebx;
        Ok(Self {
            version,
            gp,
            gp_width,
            fixed_bitmap,
            fixed_width,
            available_events: byte(within, 0, 8),
            // SDM 20.2.3: AnyThread came with version 3; EDX[15] says that it went.
            any_thread: version >= 3 && leaf.edx & (1 << 15) == 0,
        })
    }

    /// The version of architectural performance monitoring, 1 to 5.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The number of general-purpose counters.
    #[must_use]
    pub fn gp_counters(&self) -> usize {
        usize::from(self.gp)
    }

    /// Whether fixed-function counter `i` exists.
    #[must_use]
    pub fn has_fixed(&self, i: usize) -> bool {
        i < MAX_FIXED && self.fixed_bitmap & (1 << i) != 0
    }

    /// The largest value of a general-purpose counter.
    #[must_use]
    pub fn gp_mask(&self) -> u64 {
        (1 << self.gp_width) - 1
    }

    /// The largest value of a fixed-function counter.
    #[must_use]
    pub fn fixed_mask(&self) -> u64 {
        (1 << self.fixed_width) - 1
    }

    /// The counter bits of IA32_PERF_GLOBAL_CTRL and IA32_PERF_GLOBAL_STATUS (SDM 20.2.2).
    #[must_use]
    pub fn counter_bits(&self) -> u64 {
        self.gp_bits() | u64::from(self.fixed_bitmap) << 32
    }

    /// The general-purpose counters' share of [`Self::counter_bits`].
    #[must_use]
    pub fn gp_bits(&self) -> u64 {
        (1 << self.gp) - 1
    }

    /// Whether the AnyThread bits exist.
    #[must_use]
    pub fn any_thread(&self) -> bool {
        self.any_thread
    }

    /// Whether the architectural event with this bit number in EBX exists.
    #[must_use]
    pub fn has_event(&self, bit: u32) -> bool {
        self.available_events & (1 << bit) != 0
    }
}
