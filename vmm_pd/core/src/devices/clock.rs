//! Clocks at a fixed rate, told by the time-stamp counter.

/// A clock that counts at `hz` ticks a second while the time-stamp counter counts at `tsc_hz`.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    tsc_hz: u64,
    hz: u64,
}

impl Clock {
    /// A rate of 0 counts as 1.
    pub const fn new(tsc_hz: u64, hz: u64) -> Self {
        const fn rate(hz: u64) -> u64 {
            if hz == 0 { 1 } else { hz }
        }
        Self { tsc_hz: rate(tsc_hz), hz: rate(hz) }
    }

    /// Whole ticks in so many cycles of the time-stamp counter.
    pub const fn ticks(self, cycles: u64) -> u64 {
        convert(cycles, self.tsc_hz, self.hz, 0)
    }

    /// The least number of cycles in which so many ticks pass.
    pub const fn cycles(self, ticks: u64) -> u64 {
        convert(ticks, self.hz, self.tsc_hz, self.hz - 1)
    }
}

/// `count` at a rate of `from` as a count at a rate of `to`. The whole seconds apart: nothing overflows while the
/// product of the rates fits 64 bits.
const fn convert(count: u64, from: u64, to: u64, round: u64) -> u64 {
    let (seconds, rest) = (count / from, count % from);
    seconds.saturating_mul(to).saturating_add(rest.saturating_mul(to).saturating_add(round) / from)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn so_many_ticks_pass_in_their_cycles_and_not_in_one_less() {
        for tsc_hz in [50_000_000, 1_000_000_007, 4_200_000_000] {
            let clock = Clock::new(tsc_hz, 1_193_182);
            for ticks in [1, 2, 3, 65_536, 1_193_182, 10_000_000_001] {
                let cycles = clock.cycles(ticks);
                assert_eq!((clock.ticks(cycles), clock.ticks(cycles - 1)), (ticks, ticks - 1));
            }
        }
    }

    #[test]
    fn nothing_overflows() {
        let clock = Clock::new(u64::MAX, 0);
        assert_eq!(clock.ticks(u64::MAX), 1);
        assert_eq!(clock.cycles(u64::MAX), u64::MAX);
    }
}
