//! CPUID as the guest sees it: a table of our own. No leaf shows the processor below, except leaf 0xA and PDCM, which
//! the policy domain decides, and the rate of the time-stamp counter.

use crate::arch::xcr0;
use crate::registers::low;
use crate::switched::SwitchedRegisters;
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

/// Highest basic leaf: the last one that says something, which is the frequencies if they are known.
const LAST_BASIC: u32 = leaf::FREQUENCIES;
const LAST_BASIC_WITHOUT_FREQUENCIES: u32 = leaf::EXTENDED_STATE;
/// Highest extended leaf: address sizes.
const LAST_EXTENDED: u32 = 0x8000_0008;
/// First leaf that hypervisors use.
const HYPERVISOR: u32 = 0x4000_0000;
const FIRST_EXTENDED: u32 = 0x8000_0000;

/// Leaves by their number.
mod leaf {
    pub const VENDOR: u32 = 0;
    pub const FEATURES: u32 = 1;
    pub const CACHES: u32 = 2;
    pub const POWER: u32 = 6;
    pub const STRUCTURED: u32 = 7;
    pub const PMU: u32 = 0xa;
    pub const TOPOLOGY: u32 = 0xb;
    pub const EXTENDED_STATE: u32 = 0xd;
    pub const TIME_STAMP_COUNTER: u32 = 0x15;
    pub const FREQUENCIES: u32 = 0x16;
    pub const EXTENDED_FEATURES: u32 = 0x8000_0001;
    pub const NAME_FIRST: u32 = 0x8000_0002;
    pub const NAME_LAST: u32 = 0x8000_0004;
    pub const INVARIANT: u32 = 0x8000_0007;
}

/// Family 6, model 0: no model-specific registers are to be expected.
const SIGNATURE: u32 = 0x600;

/// Leaf 1 (SDM vol. 2A, tables 3-10 and 3-11).
mod leaf1 {
    /// Bits 15:8: CLFLUSH line in units of 8 bytes.
    pub const CLFLUSH_64: u32 = 8 << 8;
    pub const PDCM: u32 = 1 << 15;
    pub const X2APIC: u32 = 1 << 21;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const XSAVE: u32 = 1 << 26;
    /// CR4.OSXSAVE.
    pub const OSXSAVE: u32 = 1 << 27;
    pub const AVX: u32 = 1 << 28;
    pub const HYPERVISOR: u32 = 1 << 31;
    /// CR4.DE.
    pub const DE: u32 = 1 << 2;
    /// SSE3 and CMPXCHG16B, which every x86-64 processor with VMX has.
    pub const SSE3_CX16: u32 = 1 | 1 << 13;
    pub const APIC: u32 = 1 << 9;
    /// FPU, PSE, TSC, MSR, PAE, CX8, SEP, MTRR, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2: every x86-64 processor.
    pub const BASELINE: u32 = 1
        | 1 << 3
        | 1 << 4
        | 1 << 5
        | 1 << 6
        | 1 << 8
        | 1 << 11
        | 1 << 12
        | 1 << 13
        | 1 << 15
        | 1 << 16
        | 1 << 19
        | 1 << 23
        | 1 << 24
        | 1 << 25
        | 1 << 26;
}

/// Leaf 0x80000001, EDX: NX and long mode; SYSCALL; RDTSCP.
const NX_LM: u32 = 1 << 20 | 1 << 29;
const SYSCALL: u32 = 1 << 11;
const RDTSCP: u32 = 1 << 27;
/// Leaf 0xD: bytes of the XSAVE area with x87 and SSE state and its header, and of the AVX state behind them (SDM vol. 1,
/// 13.4.1 and 13.4.3).
const XSAVE_BYTES: u32 = 576;
const AVX_BYTES: u32 = 256;
/// Leaf 0x80000008, EAX: 36 bits of physical and 48 of linear address.
const ADDRESS_BITS: u32 = 36 | 48 << 8;
/// The first physical address that there is not.
pub const PHYSICAL_ADDRESSES: u64 = 1 << (ADDRESS_BITS & 0xff);

/// Leaf 2: nothing is said about caches.
const NO_CACHES: u32 = 1;
/// Leaf 7, EBX: IA32_TSC_ADJUST.
const TSC_ADJUST: u32 = 1 << 1;
/// Leaf 6, EAX: the local APIC's timer always runs.
const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;
/// Leaf 0xB, ECX 15:8: the kinds of level.
const LEVEL_THREADS: u32 = 1 << 8;
const LEVEL_CORES: u32 = 2 << 8;
/// Leaf 0x80000007, EDX: the time-stamp counter has one rate, always.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 0x16, ECX: the bus clock in MHz, as on every processor that has the leaf.
const BUS_MHZ: u32 = 100;
const NAME: &[u8; 48] = b"seL4 virtual processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What CPUID shows besides constants.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// What the guest gets of the PMU.
    pub pmu: &'a Configuration,
    /// IA32_APIC_BASE has the APIC on.
    pub apic: bool,
    /// The rate of the time-stamp counter in Hz, if it is known.
    pub tsc_hz: Option<u64>,
    /// Registers that the kernel switches.
    pub switched: &'a SwitchedRegisters,
    /// CR4.OSXSAVE.
    pub osxsave: bool,
}

/// Four letters of a string, as CPUID returns them.
const fn word(text: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([text[i], text[i + 1], text[i + 2], text[i + 3]])
}

/// Whether CPUID with this value in EAX shows CR4.OSXSAVE.
pub const fn shows_osxsave(eax: u32) -> bool {
    eax == leaf::FEATURES
}

/// CPUID with these values in EAX and ECX.
pub fn cpuid(eax: u32, ecx: u32, shown: &Shown<'_>) -> Leaf {
    const VENDOR: &[u8; 12] = b"GenuineIntel";
    const HYPERVISOR_NAME: &[u8; 12] = b"sel4-vpmu\0\0\0";
    let Shown { pmu, apic, tsc_hz, switched, osxsave } = *shown;
    let last = if tsc_hz.is_some() { LAST_BASIC } else { LAST_BASIC_WITHOUT_FREQUENCIES };
    let pdcm = if pmu.pdcm { leaf1::PDCM } else { 0 };
    let apic = if apic { leaf1::APIC } else { 0 };
    let xsave = if switched.offered() != 0 { leaf1::XSAVE } else { 0 };
    let osxsave = if osxsave { leaf1::OSXSAVE } else { 0 };
    let debug = if switched.bundled() { leaf1::DE } else { 0 };
    let avx = if switched.offered() & xcr0::AVX != 0 { leaf1::AVX } else { 0 };
    match (eax, tsc_hz) {
        (leaf::VENDOR, _) => leaf(last, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)),
        (leaf::FEATURES, _) => leaf(
            SIGNATURE,
            leaf1::CLFLUSH_64 | 1 << 16,
            leaf1::SSE3_CX16
                | leaf1::X2APIC
                | leaf1::TSC_DEADLINE
                | leaf1::HYPERVISOR
                | pdcm
                | xsave
                | osxsave
                | avx,
            leaf1::BASELINE | debug | apic,
        ),
        (leaf::CACHES, _) => leaf(NO_CACHES, 0, 0, 0),
        (leaf::POWER, _) => leaf(ALWAYS_RUNNING_TIMER, 0, 0, 0),
        (leaf::STRUCTURED, _) if ecx == 0 && switched.bundled() => leaf(0, TSC_ADJUST, 0, 0),
        (leaf::PMU, _) => {
            let [eax, ebx, ecx, edx] = pmu.leaf_a;
            leaf(eax, ebx, ecx, edx)
        }
        (leaf::TOPOLOGY, _) => topology(ecx),
        (leaf::EXTENDED_STATE, _) => extended_state(ecx, switched),
        (leaf::TIME_STAMP_COUNTER, Some(hz)) => time_stamp_counter(hz),
        (leaf::FREQUENCIES, Some(hz)) => {
            let mhz = u32::from(u16::try_from(hz / 1_000_000).unwrap_or(u16::MAX));
            leaf(mhz, mhz, BUS_MHZ, 0)
        }
        (HYPERVISOR, _) => {
            leaf(HYPERVISOR, word(HYPERVISOR_NAME, 0), word(HYPERVISOR_NAME, 4), word(HYPERVISOR_NAME, 8))
        }
        (FIRST_EXTENDED, _) => leaf(LAST_EXTENDED, 0, 0, 0),
        (leaf::EXTENDED_FEATURES, _) => {
            let syscall = if switched.syscall() { SYSCALL } else { 0 };
            let rdtscp = if switched.rdtscp() { RDTSCP } else { 0 };
            leaf(0, 0, 0, NX_LM | syscall | rdtscp)
        }
        (leaf::NAME_FIRST..=leaf::NAME_LAST, _) => {
            let at = (eax - leaf::NAME_FIRST) as usize * 16;
            leaf(word(NAME, at), word(NAME, at + 4), word(NAME, at + 8), word(NAME, at + 12))
        }
        (leaf::INVARIANT, Some(_)) => leaf(0, 0, 0, INVARIANT_TSC),
        (LAST_EXTENDED, _) => leaf(ADDRESS_BITS, 0, 0, 0),
        // SDM vol. 2A, CPUID: above the highest basic leaf, the data of the highest basic leaf.
        _ if eax > last && eax < HYPERVISOR || eax > LAST_EXTENDED => cpuid(last, ecx, shown),
        _ => Leaf::default(),
    }
}

/// Leaf 0xB: one thread of one core, whose x2APIC ID is 0.
const fn topology(level: u32) -> Leaf {
    match level {
        0 => leaf(0, 1, LEVEL_THREADS, 0),
        1 => leaf(0, 1, 1 | LEVEL_CORES, 0),
        _ => leaf(0, 0, level & 0xff, 0),
    }
}

/// Leaf 0xD: the state components that XCR0 may have, and the size of their area.
fn extended_state(component: u32, switched: &SwitchedRegisters) -> Leaf {
    let size = |components: u64| XSAVE_BYTES + if components & xcr0::AVX != 0 { AVX_BYTES } else { 0 };
    match (component, switched.offered()) {
        (_, 0) => Leaf::default(),
        (0, offered) => leaf(low(offered), size(switched.xcr0()), size(offered), 0),
        (2, offered) if offered & xcr0::AVX != 0 => leaf(AVX_BYTES, XSAVE_BYTES, 0, 0),
        _ => Leaf::default(),
    }
}

/// Leaf 0x15: the counter's rate is the crystal's, which is the rate of the local APIC's timer too (SDM vol. 3A, 11.5.4),
/// unless it does not fit.
fn time_stamp_counter(hz: u64) -> Leaf {
    let ratio = hz / (u64::from(u32::MAX) + 1) + 1;
    let fit = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    leaf(1, fit(ratio), fit(hz / ratio), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::double::Playback;
    use pmu_api::{Direct, Mode};

    fn shown(pmu: &Configuration) -> Shown<'_> {
        const NONE: &SwitchedRegisters = &SwitchedRegisters::NONE;
        Shown { pmu, apic: true, tsc_hz: Some(50_000_000), switched: NONE, osxsave: false }
    }

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
        assert_eq!(cpuid(0xa, 0, &shown(&pmu)), leaf(0x0730_0402, 0, 0, 0x603));
        assert_ne!(cpuid(1, 0, &shown(&pmu)).ecx & 1 << 15, 0);
        pmu.leaf_a = [0; 4];
        pmu.pdcm = false;
        assert_eq!(cpuid(0xa, 0, &shown(&pmu)), Leaf::default());
        assert_eq!(cpuid(1, 0, &shown(&pmu)).ecx & 1 << 15, 0);
    }

    #[test]
    fn the_vendor_is_spelt_over_ebx_edx_ecx() {
        let Leaf { eax, ebx, ecx, edx } = cpuid(0, 0, &shown(&configuration()));
        assert_eq!(eax, 0x16);
        assert_eq!([ebx, edx, ecx].map(u32::to_le_bytes).concat(), b"GenuineIntel");
    }

    #[test]
    fn the_name_is_spelt_over_three_leaves() {
        let pmu = configuration();
        let name = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(|eax| {
            let Leaf { eax, ebx, ecx, edx } = cpuid(eax, 0, &shown(&pmu));
            [eax, ebx, ecx, edx].map(u32::to_le_bytes).concat()
        });
        assert!(name.concat().starts_with(b"seL4 virtual processor\0"));
    }

    /// SDM vol. 2A, CPUID, "INPUT EAX".
    #[test]
    fn leaves_past_the_highest_give_the_highest_basic_leaf() {
        let pmu = configuration();
        let without = Shown { tsc_hz: None, ..shown(&pmu) };
        for (shown, last) in [(shown(&pmu), 0x16), (without, 0xd)] {
            let highest = cpuid(last, 0, &shown);
            assert_eq!(cpuid(0, 0, &shown).eax, last);
            for eax in [0x17, 0x1f, 0x3fff_ffff, 0x8000_0009, u32::MAX] {
                assert_eq!(cpuid(eax, 0, &shown), highest, "leaf {eax:#x}");
            }
        }
    }

    /// SDM vol. 2A, CPUID, leaves 15H and 16H; vol. 3B, 19.7.3.
    #[test]
    fn the_rate_of_the_time_stamp_counter_is_shown_if_it_is_known() {
        let pmu = configuration();
        let rate = |tsc_hz| {
            let Leaf { eax, ebx, ecx, .. } = cpuid(0x15, 0, &Shown { tsc_hz, ..shown(&pmu) });
            (u64::from(ecx) * u64::from(ebx)).checked_div(eax.into())
        };
        for hz in [50_000_000, 4_294_967_295, 4_294_967_296, 6_000_000_000] {
            assert_eq!(rate(Some(hz)), Some(hz));
        }
        assert_eq!(cpuid(0x16, 0, &shown(&pmu)), leaf(50, 50, 100, 0));
        assert_eq!(cpuid(0x8000_0007, 0, &shown(&pmu)).edx, 1 << 8);
        let unknown = Shown { tsc_hz: None, ..shown(&pmu) };
        assert_eq!(cpuid(0x8000_0007, 0, &unknown), Leaf::default());
    }

    /// SDM vol. 2A, CPUID, leaf 0BH.
    #[test]
    fn the_topology_is_one_thread() {
        let pmu = configuration();
        assert_eq!(cpuid(0xb, 0, &shown(&pmu)), leaf(0, 1, 0x100, 0));
        assert_eq!(cpuid(0xb, 1, &shown(&pmu)), leaf(0, 1, 0x201, 0));
        assert_eq!(cpuid(0xb, 7, &shown(&pmu)), leaf(0, 0, 7, 0));
    }

    /// SDM vol. 3A, 11.4.3.
    #[test]
    fn a_disabled_apic_is_not_there() {
        let pmu = configuration();
        assert_ne!(cpuid(1, 0, &shown(&pmu)).edx & 1 << 9, 0);
        assert_eq!(cpuid(1, 0, &Shown { apic: false, ..shown(&pmu) }).edx & 1 << 9, 0);
    }

    /// SDM vol. 2A, CPUID, leaves 01H, 0DH and 80000001H.
    #[test]
    fn what_the_kernel_switches_is_shown() {
        let pmu = configuration();
        let mut vcpu = Playback { takes: |_, _| true, ..Playback::default() };
        let mut switched = SwitchedRegisters::of(&mut vcpu);
        let state = |switched: &SwitchedRegisters, component| {
            let Leaf { eax, ebx, ecx, .. } = cpuid(0xd, component, &Shown { switched, ..shown(&pmu) });
            [eax, ebx, ecx]
        };
        assert_eq!(state(&switched, 0), [7, 576, 832]);
        switched.xsetbv(&mut vcpu, 0, 7).expect("it takes 7");
        assert_eq!(
            [state(&switched, 0), state(&switched, 1), state(&switched, 2)],
            [[7, 832, 832], [0; 3], [256, 576, 0]]
        );
        let shown = Shown { switched: &switched, osxsave: true, ..shown(&pmu) };
        assert_eq!(cpuid(1, 0, &shown).ecx >> 26 & 7, 7);
        assert_eq!(cpuid(1, 0, &Shown { osxsave: false, ..shown }).ecx >> 26 & 7, 5);
        assert_eq!(cpuid(0x8000_0001, 0, &shown).edx & 0x0800_0800, 0x0800_0800);
        assert_ne!(cpuid(1, 0, &shown).edx & 1 << 2, 0, "CR4.DE");
        assert_eq!((cpuid(7, 0, &shown), cpuid(7, 1, &shown)), (leaf(0, 2, 0, 0), Leaf::default()));
    }

    #[test]
    fn nothing_that_needs_xsave_vmx_or_syscall_is_offered() {
        let pmu = configuration();
        let Leaf { ecx, .. } = cpuid(1, 0, &shown(&pmu));
        for bit in [3, 5, 6, 12, 26, 27, 28] {
            assert_eq!(ecx & 1 << bit, 0, "ECX bit {bit} of leaf 1");
        }
        assert_eq!(cpuid(7, 0, &shown(&pmu)), Leaf::default());
        assert_eq!(cpuid(0x8000_0001, 0, &shown(&pmu)).edx & 1 << 11, 0);
    }
}
