//! The MSRs outside the PMU that stock Linux touches and Bochs does not have (SDM vol. 4, tables 2-2, 2-25).
//!
//! Every other MSR faults, unless Bochs itself has it. That includes two that Linux probes and expects to fault:
//! 0x492, IA32_VMX_PROCBASED_CTLS3, which exists only with tertiary controls (SDM vol. 3D, A.3.4), and 0x66A, which
//! the SDM does not define for these processors.
#![forbid(unsafe_code)]

use crate::frequency::Frequency;
use std::ops::RangeInclusive;

/// What software sees of an MSR.
#[derive(Clone, Copy)]
enum Kind {
    /// Reads as this; a write faults.
    Constant(u64),
    /// Reads as this; writes of these bits are accepted and forgotten, of others they fault.
    Ignores(u64, u64),
    /// Starts as `initial`; `writable` bits are kept, `fixed` bits keep their value whatever is written, any
    /// other bit faults.
    Stored { initial: u64, writable: u64, fixed: u64 },
    /// Reads as the ratio of the TSC's frequency to 100 MHz times the first, plus the second; a write faults.
    Ratio(u64, u64),
    /// Counts unhalted cycles from the value last written.
    Cycles,
}

/// IA32_MISC_ENABLE.
const IA32_MISC_ENABLE: u32 = 0x1A0;
/// Fast strings, automatic thermal control, Enhanced SpeedStep, MONITOR, xTPR disable.
const MISC_ENABLE_WRITABLE: u64 = 1 | 1 << 3 | 1 << 16 | 1 << 18 | 1 << 23;
/// Performance monitoring available, BTS unavailable, PEBS unavailable.
const MISC_ENABLE_FIXED: u64 = 1 << 7 | 1 << 11 | 1 << 12;

const MSRS: &[(RangeInclusive<u32>, Kind)] = &[
    (0x33..=0x33, Kind::Constant(0)), // MSR_TEST_CTRL: no split-lock detection
    (0x34..=0x34, Kind::Constant(0)), // MSR_SMI_COUNT
    (0x8B..=0x8B, Kind::Ignores(0xBC << 32, u64::MAX)), // IA32_BIOS_SIGN_ID: microcode revision
    (0xCE..=0xCE, Kind::Ratio(1 << 8, 0)), // MSR_PLATFORM_INFO: maximum non-turbo ratio
    (0xE2..=0xE2, Kind::Constant(1 << 15)), // MSR_PKG_CST_CONFIG_CONTROL: locked, C0 only
    (0xE7..=0xE7, Kind::Cycles),      // IA32_MPERF
    (0xE8..=0xE8, Kind::Cycles),      // IA32_APERF
    (0x140..=0x140, Kind::Ignores(0, 0)), // MSR_MISC_FEATURES_ENABLES: none
    (0x19B..=0x19B, Kind::Stored { initial: 0, writable: 0x3FF_FFFF, fixed: 0 }), // IA32_THERM_INTERRUPT
    (0x19C..=0x19C, Kind::Ignores(1 << 31 | 0x40 << 16, u64::MAX)), // IA32_THERM_STATUS: valid, 64 degrees below
    (
        IA32_MISC_ENABLE..=IA32_MISC_ENABLE,
        Kind::Stored {
            initial: 0x4_0001 | MISC_ENABLE_FIXED,
            writable: MISC_ENABLE_WRITABLE,
            fixed: MISC_ENABLE_FIXED,
        },
    ),
    (0x1AD..=0x1AD, Kind::Ratio(0x0101_0101_0101_0101, 0)), // MSR_TURBO_RATIO_LIMIT
    (0x1B0..=0x1B0, Kind::Stored { initial: 6, writable: 0xF, fixed: 0 }), // IA32_ENERGY_PERF_BIAS
    (0x1B1..=0x1B1, Kind::Ignores(1 << 31 | 0x40 << 16, u64::MAX)), // IA32_PACKAGE_THERM_STATUS
    (0x1B2..=0x1B2, Kind::Stored { initial: 0, writable: 0x3FF_FFFF, fixed: 0 }), // IA32_PACKAGE_THERM_INTERRUPT
    (0x64E..=0x64E, Kind::Cycles),                                                // MSR_PPERF
    (0x770..=0x770, Kind::Stored { initial: 0, writable: 1, fixed: 0 }),          // IA32_PM_ENABLE
    (0x771..=0x771, Kind::Ratio(0x01_0101, 1 << 24)),                             // IA32_HWP_CAPABILITIES
    (0x772..=0x772, Kind::Stored { initial: 0, writable: 0x3FF_FFFF_FFFF, fixed: 0 }), // IA32_HWP_REQUEST_PKG
    (0x773..=0x773, Kind::Stored { initial: 0, writable: 0xF, fixed: 0 }),        // IA32_HWP_INTERRUPT
    (0x774..=0x774, Kind::Stored { initial: 0, writable: u64::MAX, fixed: 0 }),   // IA32_HWP_REQUEST
    (0x777..=0x777, Kind::Ignores(0, u64::MAX)),                                  // IA32_HWP_STATUS
    // Branch records: Linux takes them for given on these processors. The registers exist, but recording cannot be
    // enabled: IA32_DEBUGCTL.LBR is reserved in this machine.
    (0x1C8..=0x1C8, Kind::Stored { initial: 0, writable: 0x3FF, fixed: 0 }), // MSR_LBR_SELECT
    (0x1C9..=0x1C9, Kind::Stored { initial: 0, writable: 0x1F, fixed: 0 }),  // MSR_LASTBRANCH_TOS
    (0x680..=0x69F, Kind::Stored { initial: 0, writable: u64::MAX, fixed: 0 }), // MSR_LASTBRANCH_i_FROM_IP
    (0x6C0..=0x6DF, Kind::Stored { initial: 0, writable: u64::MAX, fixed: 0 }), // MSR_LASTBRANCH_i_TO_IP
    (0xDC0..=0xDDF, Kind::Stored { initial: 0, writable: u64::MAX, fixed: 0 }), // MSR_LBR_INFO_i
];

/// The number of MSRs in the table.
const COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < MSRS.len() {
        count += (*MSRS[i].0.end() - *MSRS[i].0.start() + 1) as usize;
        i += 1;
    }
    count
};

/// An MSR's kind, and its index among all.
fn find(msr: u32) -> Option<(Kind, usize)> {
    let mut first = 0;
    for (range, kind) in MSRS {
        if range.contains(&msr) {
            return Some((*kind, first + usize::try_from(msr - range.start()).ok()?));
        }
        first += range.clone().count();
    }
    None
}

/// The state of one processor's other MSRs.
pub struct OtherMsrs {
    frequency: Frequency,
    values: [u64; COUNT],
}

/// The processor raises #GP(0).
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl OtherMsrs {
    /// As after power-up.
    pub fn new(frequency: Frequency) -> Self {
        let initial = MSRS.iter().flat_map(|(range, kind)| {
            let value = if let Kind::Stored { initial, .. } = kind { *initial } else { 0 };
            range.clone().map(move |_| value)
        });
        let mut values = [0; COUNT];
        values.iter_mut().zip(initial).for_each(|(value, initial)| *value = initial);
        Self { frequency, values }
    }

    /// RDMSR; `cycles` are the processor's unhalted cycles. `None`: not one of these.
    pub fn rdmsr(&self, msr: u32, cycles: u64) -> Option<u64> {
        let (kind, i) = find(msr)?;
        Some(match kind {
            Kind::Constant(value) | Kind::Ignores(value, _) => value,
            Kind::Ratio(factor, rest) => self.frequency.ratio() * factor + rest,
            Kind::Stored { .. } => self.values[i],
            Kind::Cycles => cycles.wrapping_sub(self.values[i]),
        })
    }

    /// WRMSR. `None`: not one of these.
    pub fn wrmsr(&mut self, msr: u32, value: u64, cycles: u64) -> Option<Result<(), Refused>> {
        let (kind, i) = find(msr)?;
        let stored = &mut self.values[i];
        let refused = match kind {
            Kind::Constant(_) | Kind::Ratio(..) => true,
            Kind::Ignores(_, accepted) => value & !accepted != 0,
            Kind::Stored { writable, fixed, .. } if value & !(writable | fixed) == 0 => {
                *stored = value & writable | *stored & fixed;
                false
            }
            Kind::Stored { .. } => true,
            Kind::Cycles => {
                *stored = cycles.wrapping_sub(value);
                false
            }
        };
        Some(if refused { Err(Refused) } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Frequency, IA32_MISC_ENABLE, MISC_ENABLE_FIXED, OtherMsrs, Refused};

    /// SDM vol. 4, table 2-2, IA32_MISC_ENABLE: bits 7, 11 and 12 are read-only.
    #[test]
    fn misc_enable_keeps_its_read_only_bits() {
        let mut msrs = OtherMsrs::new(Frequency::new(200_000_000));
        assert_eq!(msrs.wrmsr(IA32_MISC_ENABLE, 1, 0), Some(Ok(())));
        assert_eq!(msrs.rdmsr(IA32_MISC_ENABLE, 0), Some(1 | MISC_ENABLE_FIXED));
        assert_eq!(msrs.wrmsr(IA32_MISC_ENABLE, 1 << 63, 0), Some(Err(Refused)));
        assert_eq!(msrs.rdmsr(IA32_MISC_ENABLE, 0), Some(1 | MISC_ENABLE_FIXED));
    }

    /// SDM vol. 4, table 2-39: each branch record has its own registers.
    #[test]
    fn branch_records_are_apart() {
        let mut msrs = OtherMsrs::new(Frequency::new(200_000_000));
        for msr in (0x680..=0x69F).chain(0x6C0..=0x6DF).chain(0xDC0..=0xDDF) {
            assert_eq!(msrs.wrmsr(msr, msr.into(), 0), Some(Ok(())));
        }
        for msr in (0x680..=0x69F).chain(0x6C0..=0x6DF).chain(0xDC0..=0xDDF) {
            assert_eq!(msrs.rdmsr(msr, 0), Some(msr.into()));
        }
        assert_eq!(msrs.wrmsr(0x1C9, 32, 0), Some(Err(Refused)), "32 records");
        assert_eq!([0x67F, 0x6A0, 0xDE0].map(|msr| msrs.rdmsr(msr, 0)), [None; 3]);
        assert_eq!(msrs.rdmsr(IA32_MISC_ENABLE, 0), Some(0x4_0001 | MISC_ENABLE_FIXED));
    }

    /// SDM vol. 3B, 15.2: MPERF and APERF count on from what was written.
    #[test]
    fn mperf_counts_on_from_a_write() {
        let mut msrs = OtherMsrs::new(Frequency::new(200_000_000));
        assert_eq!(msrs.rdmsr(0xE7, 1000), Some(1000));
        assert_eq!(msrs.wrmsr(0xE7, 5, 1000), Some(Ok(())));
        assert_eq!(msrs.rdmsr(0xE7, 1100), Some(105));
        assert_eq!(msrs.rdmsr(0xE8, 1100), Some(1100));
    }

    #[test]
    fn a_read_only_msr_refuses_writes_and_an_unknown_one_is_not_ours() {
        let mut msrs = OtherMsrs::new(Frequency::new(200_000_000));
        assert_eq!(msrs.rdmsr(0xCE, 0), Some(2 << 8), "MSR_PLATFORM_INFO: 2 * 100 MHz");
        assert_eq!(msrs.wrmsr(0xCE, 0, 0), Some(Err(Refused)));
        assert_eq!(msrs.wrmsr(0x140, 1, 0), Some(Err(Refused)));
        assert_eq!(msrs.rdmsr(0x492, 0), None);
        assert_eq!(msrs.wrmsr(0x492, 0, 0), None);
    }
}
