//! The machine's clock.

use super::{Functions, Object, OfClock, field};
use crate::elf::symbol;

/// The machine's clock: the fields of `bx_pc_system` that count ticks.
pub struct Clock {
    system: Object,
    countdown: *mut u32,
    period: *mut u32,
    total: *mut u64,
    countdown_event: OfClock,
}

impl Clock {
    pub(super) fn find(functions: &Functions) -> Self {
        let system = symbol("bx_pc_system");
        let range = (system.address as usize, system.address as usize + system.size);
        Self {
            system: system.address,
            countdown: field(functions, range, "bochs.pc_system.currCountdown").cast(),
            period: field(functions, range, "bochs.pc_system.currCountdownPeriod").cast(),
            total: field(functions, range, "bochs.pc_system.ticksTotal").cast(),
            countdown_event: functions.countdown_event,
        }
    }

    /// Ticks since power-up.
    pub fn now(&self) -> u64 {
        // SAFETY: fields of the static bx_pc_system; Bochs simulates in one thread, which this is.
        unsafe { *self.total + u64::from((*self.period).wrapping_sub(*self.countdown)) }
    }

    /// Lets `ticks` pass, with every timer event in them, as Bochs does between two instructions. Timers may
    /// call hooks: no borrow of this library's state may be alive.
    pub fn advance(&self, mut ticks: u64) {
        loop {
            // SAFETY: as in `now`.
            let left = unsafe { *self.countdown };
            if ticks < u64::from(left) {
                // SAFETY: as in `now`; smaller than `left`, so it fits and does not reach 0.
                unsafe { *self.countdown = left - u32::try_from(ticks).unwrap_or(0) };
                return;
            }
            ticks -= u64::from(left);
            // SAFETY: as in `now`; a countdown of 0 is when Bochs itself calls this function.
            unsafe {
                *self.countdown = 0;
                (self.countdown_event)(self.system);
            }
        }
    }
}
