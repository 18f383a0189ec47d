//! What `Open` returns: the vPMU that the guest gets.

use crate::codes::codes;
use crate::malformed::Malformed;
use crate::message::flag;

codes! {
    /// How a VM's PMU is served; the policy chooses. Never 0 on the wire.
    Mode {
        /// CPUID leaf 0xA is zero; PMU MSRs and RDPMC give #GP(0).
        Off = 1,
        /// Control MSRs exit and are decided by policy; data MSRs and RDPMC are direct where
        /// [`Configuration::direct`] says so.
        Mediated = 2,
        /// Every PMU access exits (for comparison).
        Emulated = 3,
        /// No PMU access exits; no policy applies (for comparison, and only by an explicit policy).
        Passthrough = 4,
    }
}

bitflags::bitflags! {
    /// PMU registers that the guest uses without a VM exit. What is not listed exits and is the VMM's to
    /// forward.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Direct: u64 {
        /// IA32_PMCi at 0xC1 + i, i below the guest's general-purpose counters.
        const LEGACY_COUNTERS = 1 << 0;
        /// IA32_A_PMCi at 0x4C1 + i, likewise.
        const FULL_WIDTH_COUNTERS = 1 << 1;
        /// IA32_FIXED_CTRi at 0x309 + i, for the guest's fixed counters.
        const FIXED_COUNTERS = 1 << 2;
        /// IA32_PERF_GLOBAL_STATUS 0x38E, IA32_PERF_GLOBAL_CTRL 0x38F, IA32_PERF_GLOBAL_STATUS_RESET 0x390.
        const GLOBAL = 1 << 3;
        /// RDPMC.
        const RDPMC = 1 << 4;
        /// IA32_PERFEVTSELi and IA32_FIXED_CTR_CTRL (passthrough only).
        const CONTROL = 1 << 5;
    }
}

/// The guest's vPMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// How it is served.
    pub mode: Mode,
    /// What does not exit.
    pub direct: Direct,
    /// CPUID leaf 0xA for the guest: EAX, EBX, ECX, EDX (SDM volume 2A, CPUID).
    pub leaf_a: [u32; 4],
    /// IA32_PERF_CAPABILITIES (0x345) for the guest. Not zero only where [`pdcm`](Self::pdcm) is set.
    pub perf_capabilities: u64,
    /// CPUID leaf 1, ECX bit 15 (PDCM), for the guest: IA32_PERF_CAPABILITIES exists.
    pub pdcm: bool,
    /// The policy limits PMIs: the VMM sends [`Request::Overflow`](crate::Request::Overflow) for each PMI
    /// before it delivers it. Otherwise it delivers at once.
    pub report_overflow: bool,
}

const DIRECT_SHIFT: u32 = 8;
const DIRECT_MASK: u64 = 0xFF;
const PDCM: u64 = 1 << 16;
const REPORT_OVERFLOW: u64 = 1 << 17;
const MODE_MASK: u64 = 0xFF;
const ALL: u64 = MODE_MASK | DIRECT_MASK << DIRECT_SHIFT | PDCM | REPORT_OVERFLOW;

impl Configuration {
    /// Word 0: mode in bits 7:0, direct in 15:8, PDCM in 16, report_overflow in 17; word 1: EAX, EBX << 32; word
    /// 2: ECX, EDX << 32; word 3: IA32_PERF_CAPABILITIES.
    pub(crate) fn words(&self) -> [u64; 4] {
        let [eax, ebx, ecx, edx] = self.leaf_a.map(u64::from);
        let flags = flag(self.pdcm, PDCM) | flag(self.report_overflow, REPORT_OVERFLOW);
        let first = self.mode.code() | self.direct.bits() << DIRECT_SHIFT | flags;
        [first, eax | ebx << 32, ecx | edx << 32, self.perf_capabilities]
    }

    pub(crate) fn from_words(words: [u64; 4]) -> Result<Self, Malformed> {
        let [first, ab, cd, perf_capabilities] = words;
        let mode = Mode::from_code(first & MODE_MASK);
        let direct = Direct::from_bits(first >> DIRECT_SHIFT & DIRECT_MASK);
        let (Some(mode), Some(direct), 0) = (mode, direct, first & !ALL) else {
            return Err(Malformed::Word { index: 0 });
        };
        let pdcm = first & PDCM != 0;
        if !pdcm && perf_capabilities != 0 {
            return Err(Malformed::Word { index: 3 });
        }
        let leaf_a = [low(ab), low(ab >> 32), low(cd), low(cd >> 32)];
        let report_overflow = first & REPORT_OVERFLOW != 0;
        Ok(Self { mode, direct, leaf_a, perf_capabilities, pdcm, report_overflow })
    }
}

/// Bits 31:0.
fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
