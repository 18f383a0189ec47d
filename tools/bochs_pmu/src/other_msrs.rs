//! The MSRs outside the PMU that stock Linux touches and Bochs does not have (SDM vol. 4, tables 2-2, 2-25).
//!
//! Every other MSR faults, unless Bochs itself has it.

use crate::frequency::Frequency;

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

const MSRS: &[(u32, Kind)] = &[
    (0x33, Kind::Constant(0)),                   // MSR_TEST_CTRL: no split-lock detection
    (0x34, Kind::Constant(0)),                   // MSR_SMI_COUNT
    (0x8B, Kind::Ignores(0xBC << 32, u64::MAX)), // IA32_BIOS_SIGN_ID: microcode revision
    (0xCE, Kind::Ratio(1 << 8, 0)),              // MSR_PLATFORM_INFO: maximum non-turbo ratio
    (0xE2, Kind::Constant(1 << 15)),             // MSR_PKG_CST_CONFIG_CONTROL: locked, C0 only
    (0xE7, Kind::Cycles),                        // IA32_MPERF
    (0xE8, Kind::Cycles),                        // IA32_APERF
    (0x140, Kind::Ignores(0, 0)),                // MSR_MISC_FEATURES_ENABLES: none
    (0x19B, Kind::Stored { initial: 0, writable: 0x3FF_FFFF, fixed: 0 }), // IA32_THERM_INTERRUPT
    (0x19C, Kind::Ignores(1 << 31 | 0x40 << 16, u64::MAX)), // IA32_THERM_STATUS: valid, 64 degrees below
    (
        IA32_MISC_ENABLE,
        Kind::Stored {
            initial: 0x4_0001 | MISC_ENABLE_FIXED,
            writable: MISC_ENABLE_WRITABLE,
            fixed: MISC_ENABLE_FIXED,
        },
    ),
    (0x1AD, Kind::Ratio(0x0101_0101_0101_0101, 0)), // MSR_TURBO_RATIO_LIMIT
    (0x1B0, Kind::Stored { initial: 6, writable: 0xF, fixed: 0 }), // IA32_ENERGY_PERF_BIAS
    (0x1B1, Kind::Ignores(1 << 31 | 0x40 << 16, u64::MAX)), // IA32_PACKAGE_THERM_STATUS
    (0x1B2, Kind::Stored { initial: 0, writable: 0x3FF_FFFF, fixed: 0 }), // IA32_PACKAGE_THERM_INTERRUPT
    (0x64E, Kind::Cycles),                          // MSR_PPERF
    (0x770, Kind::Stored { initial: 0, writable: 1, fixed: 0 }), // IA32_PM_ENABLE
    (0x771, Kind::Ratio(0x01_0101, 1 << 24)),       // IA32_HWP_CAPABILITIES
    (0x772, Kind::Stored { initial: 0, writable: 0x3FF_FFFF_FFFF, fixed: 0 }), // IA32_HWP_REQUEST_PKG
    (0x773, Kind::Stored { initial: 0, writable: 0xF, fixed: 0 }), // IA32_HWP_INTERRUPT
    (0x774, Kind::Stored { initial: 0, writable: u64::MAX, fixed: 0 }), // IA32_HWP_REQUEST
    (0x777, Kind::Ignores(0, u64::MAX)),            // IA32_HWP_STATUS
];

/// The state of one processor's other MSRs.
pub struct OtherMsrs {
    frequency: Frequency,
    values: [u64; MSRS.len()],
}

/// The processor raises #GP(0).
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl OtherMsrs {
    /// As after power-up.
    pub fn new(frequency: Frequency) -> Self {
        let initial = |i: usize| match MSRS[i].1 {
            Kind::Stored { initial, .. } => initial,
            _ => 0,
        };
        Self { frequency, values: std::array::from_fn(initial) }
    }

    /// RDMSR; `cycles` are the processor's unhalted cycles. `None`: not one of these.
    pub fn rdmsr(&self, msr: u32, cycles: u64) -> Option<u64> {
        let i = MSRS.iter().position(|(number, _)| *number == msr)?;
        Some(match MSRS[i].1 {
            Kind::Constant(value) | Kind::Ignores(value, _) => value,
            Kind::Ratio(factor, rest) => self.frequency.ratio() * factor + rest,
            Kind::Stored { .. } => self.values[i],
            Kind::Cycles => cycles.wrapping_sub(self.values[i]),
        })
    }

    /// WRMSR. `None`: not one of these.
    pub fn wrmsr(&mut self, msr: u32, value: u64, cycles: u64) -> Option<Result<(), Refused>> {
        let i = MSRS.iter().position(|(number, _)| *number == msr)?;
        let stored = &mut self.values[i];
        let refused = match MSRS[i].1 {
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
