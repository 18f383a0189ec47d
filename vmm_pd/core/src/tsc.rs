//! The guest's time-stamp counter, which differs from the processor's once the guest has written it (SDM vol. 3B, 18.17).

/// The counter: the processor's and an offset, modulo 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeStampCounter {
    offset: u64,
    adjust: u64,
}

impl TimeStampCounter {
    /// What is added to the processor's counter.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Its value when the processor's is `now`.
    pub const fn read(&self, now: u64) -> u64 {
        now.wrapping_add(self.offset)
    }

    /// A write of IA32_TIME_STAMP_COUNTER moves IA32_TSC_ADJUST by as much (18.17.3).
    pub const fn write(&mut self, value: u64, now: u64) {
        self.set_adjust(self.adjust.wrapping_add(value.wrapping_sub(self.read(now))));
    }

    /// IA32_TSC_ADJUST.
    pub const fn adjust(&self) -> u64 {
        self.adjust
    }

    /// A write of IA32_TSC_ADJUST moves the counter by as much (18.17.3).
    pub const fn set_adjust(&mut self, value: u64) {
        self.offset = self.offset.wrapping_add(value.wrapping_sub(self.adjust));
        self.adjust = value;
    }
}

#[cfg(test)]
mod tests {
    use super::TimeStampCounter;

    /// SDM vol. 3B, 18.17.3.
    #[test]
    fn a_write_of_either_register_moves_the_other() {
        let mut tsc = TimeStampCounter::default();
        assert_eq!((tsc.read(1000), tsc.adjust()), (1000, 0));
        tsc.set_adjust(50);
        assert_eq!((tsc.read(1000), tsc.offset()), (1050, 50));
        tsc.write(0, 2000);
        assert_eq!((tsc.read(2000), tsc.read(2007)), (0, 7));
        assert_eq!(tsc.adjust(), 50u64.wrapping_sub(2050));
        tsc.set_adjust(0);
        assert_eq!((tsc.read(3000), tsc.offset()), (3000, 0));
        tsc.write(u64::MAX, 4000);
        assert_eq!(tsc.read(4001), 0);
    }
}
