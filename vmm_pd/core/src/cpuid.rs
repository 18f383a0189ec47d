//! CPUID as the guest sees it: a table of our own. No leaf shows the processor below, except leaf 0xA and
//! PDCM, which the policy domain decides.

use pmu_api::Configuration;

/// The result of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct Leaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { eax, ebx, ecx, edx }
}

/// Highest basic leaf: Architectural Performance Monitoring.
const LAST_BASIC: u32 = 0xa;
/// Highest extended leaf: address sizes.
const LAST_EXTENDED: u32 = 0x8000_0008;
/// First leaf that hypervisors use.
const HYPERVISOR: u32 = 0x4000_0000;
const FIRST_EXTENDED: u32 = 0x8000_0000;

/// Family 6, model 0: no model-specific registers are to be expected.
const SIGNATURE: u32 = 0x600;

/// Leaf 1 (SDM vol. 2A, tables 3-10 and 3-11).
mod leaf1 {
    /// Bits 15:8: CLFLUSH line in units of 8 bytes.
    pub const CLFLUSH_64: u32 = 8 << 8;
    pub const PDCM: u32 = 1 << 15;
    pub const X2APIC: u32 = 1 << 21;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const HYPERVISOR: u32 = 1 << 31;
    /// SSE3 and CMPXCHG16B, which every x86-64 processor with VMX has.
    pub const SSE3_CX16: u32 = 1 | 1 << 13;
    pub const APIC: u32 = 1 << 9;
    /// FPU, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2: every x86-64 processor.
    pub const BASELINE: u32 = 1
        | 1 << 3
        | 1 << 4
        | 1 << 5
        | 1 << 6
        | 1 << 8
        | 1 << 11
        | 1 << 13
        | 1 << 15
        | 1 << 16
        | 1 << 19
        | 1 << 23
        | 1 << 24
        | 1 << 25
        | 1 << 26;
}

/// Leaf 0x80000001, EDX: NX and long mode. SYSCALL is absent, for its MSRs are the host's.
const NX_LM: u32 = 1 << 20 | 1 << 29;
/// Leaf 0x80000008, EAX: 36 bits of physical and 48 of linear address.
const ADDRESS_BITS: u32 = 36 | 48 << 8;
/// The first physical address that there is not.
pub const PHYSICAL_ADDRESSES: u64 = 1 << (ADDRESS_BITS & 0xff);

/// Three letters of a string at a time, as CPUID returns them.
const fn word(text: &[u8; 12], i: usize) -> u32 {
    u32::from_le_bytes([text[i], text[i + 1], text[i + 2], text[i + 3]])
}

/// CPUID with these values in EAX and ECX. `apic` says whether IA32_APIC_BASE has the APIC on.
pub fn cpuid(eax: u32, pmu: &Configuration, apic: bool) -> Leaf {
    const VENDOR: &[u8; 12] = b"GenuineIntel";
    const NAME: &[u8; 12] = b"sel4-vpmu\0\0\0";
    let pdcm = if pmu.pdcm { leaf1::PDCM } else { 0 };
    let apic = if apic { leaf1::APIC } else { 0 };
    match eax {
        0 => leaf(LAST_BASIC, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)),
        1 => leaf(
            SIGNATURE,
            leaf1::CLFLUSH_64 | 1 << 16,
            leaf1::SSE3_CX16 | leaf1::X2APIC | leaf1::TSC_DEADLINE | leaf1::HYPERVISOR | pdcm,
            leaf1::BASELINE | apic,
        ),
        LAST_BASIC => {
            let [eax, ebx, ecx, edx] = pmu.leaf_a;
            leaf(eax, ebx, ecx, edx)
        }
        HYPERVISOR => leaf(HYPERVISOR, word(NAME, 0), word(NAME, 4), word(NAME, 8)),
        FIRST_EXTENDED => leaf(LAST_EXTENDED, 0, 0, 0),
        0x8000_0001 => leaf(0, 0, 0, NX_LM),
        LAST_EXTENDED => leaf(ADDRESS_BITS, 0, 0, 0),
        // SDM vol. 2A, CPUID: above the highest basic leaf, the data of the highest basic leaf.
        _ if eax > LAST_BASIC && eax < HYPERVISOR || eax > LAST_EXTENDED => cpuid(LAST_BASIC, pmu, false),
        _ => Leaf::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmu_api::{Direct, Mode};

    fn configuration() -> Configuration {
        Configuration {
            mode: Mode::Mediated,
            direct: Direct::empty(),
            leaf_a: [0x0730_0402, 0, 0, 0x603],
            perf_capabilities: 0x2000,
            pdcm: true,
            report_overflow: false,
        }
    }

    #[test]
    fn leaf_a_and_pdcm_are_the_policy_domains() {
        let mut pmu = configuration();
        assert_eq!(cpuid(0xa, &pmu, true), leaf(0x0730_0402, 0, 0, 0x603));
        assert_ne!(cpuid(1, &pmu, true).ecx & 1 << 15, 0);
        pmu.leaf_a = [0; 4];
        pmu.pdcm = false;
        assert_eq!(cpuid(0xa, &pmu, true), Leaf::default());
        assert_eq!(cpuid(1, &pmu, true).ecx & 1 << 15, 0);
    }

    #[test]
    fn the_vendor_is_spelt_over_ebx_edx_ecx() {
        let Leaf { eax, ebx, ecx, edx } = cpuid(0, &configuration(), true);
        assert_eq!(eax, 0xa);
        assert_eq!([ebx, edx, ecx].map(u32::to_le_bytes).concat(), b"GenuineIntel");
    }

    /// SDM vol. 2A, CPUID, "INPUT EAX".
    #[test]
    fn leaves_past_the_highest_give_the_highest_basic_leaf() {
        let highest = cpuid(0xa, &configuration(), true);
        for eax in [0xb, 0x1f, 0x3fff_ffff, 0x8000_0009, u32::MAX] {
            assert_eq!(cpuid(eax, &configuration(), true), highest, "leaf {eax:#x}");
        }
    }

    /// SDM vol. 3A, 11.4.3.
    #[test]
    fn a_disabled_apic_is_not_there() {
        assert_ne!(cpuid(1, &configuration(), true).edx & 1 << 9, 0);
        assert_eq!(cpuid(1, &configuration(), false).edx & 1 << 9, 0);
    }

    #[test]
    fn nothing_that_needs_xsave_vmx_or_syscall_is_offered() {
        let pmu = configuration();
        let Leaf { ecx, .. } = cpuid(1, &pmu, true);
        for bit in [3, 5, 6, 12, 26, 27, 28] {
            assert_eq!(ecx & 1 << bit, 0, "ECX bit {bit} of leaf 1");
        }
        assert_eq!(cpuid(7, &pmu, true), Leaf::default());
        assert_eq!(cpuid(0x8000_0001, &pmu, true).edx & 1 << 11, 0);
    }
}
