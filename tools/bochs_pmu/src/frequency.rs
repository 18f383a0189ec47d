//! The frequency of the TSC, as CPUID and the ratio MSRs tell it.
#![forbid(unsafe_code)]

const MHZ: u64 = 1_000_000;
/// The unit of the ratio MSRs (SDM vol. 4, table 2-39, MSR_PLATFORM_INFO).
const RATIO_UNIT: u64 = 100 * MHZ;

/// Ticks of the TSC in a second of the machine's time, which PIT, HPET and RTC keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    hertz: u64,
}

impl Frequency {
    /// A TSC of this frequency.
    pub fn new(hertz: u64) -> Self {
        Self { hertz }
    }

    /// CPUID leaves 0x15 and 0x16 (SDM vol. 2A, CPUID): EAX, EBX, ECX, EDX. The TSC runs at the frequency of
    /// the crystal, as the local APIC's timer does; base and maximum frequency are rounded to MHz.
    pub fn cpuid(self, leaf: u32) -> Option<[u32; 4]> {
        let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match leaf {
            0x15 => Some([1, 1, word(self.hertz), 0]),
            0x16 => {
                let mhz = word((self.hertz + MHZ / 2) / MHZ);
                Some([mhz, mhz, word(RATIO_UNIT / MHZ), 0])
            }
            _ => None,
        }
    }

    /// The ratio of the TSC's frequency to 100 MHz, from 1 to 255: at other frequencies than multiples of
    /// 100 MHz it is the nearest.
    pub fn ratio(self) -> u64 {
        ((self.hertz + RATIO_UNIT / 2) / RATIO_UNIT).clamp(1, 0xFF)
    }
}

#[cfg(test)]
mod tests {
    use super::Frequency;

    /// SDM vol. 2A, CPUID leaf 0x15: TSC frequency = ECX * EBX / EAX; leaf 0x16 is in MHz.
    #[test]
    fn the_leaves_give_the_frequency_back() {
        let frequency = Frequency::new(49_600_000);
        let [denominator, numerator, crystal, _] = frequency.cpuid(0x15).unwrap();
        assert_eq!(crystal * numerator / denominator, 49_600_000);
        assert_eq!(frequency.cpuid(0x16), Some([50, 50, 100, 0]));
        assert_eq!(frequency.cpuid(0x14), None);
    }

    #[test]
    fn the_ratio_fits_its_field() {
        let ratio = |hertz| Frequency::new(hertz).ratio();
        assert_eq!([1, 100_000_000, 160_000_000, 100_000_000_000].map(ratio), [1, 1, 2, 0xFF]);
    }
}
