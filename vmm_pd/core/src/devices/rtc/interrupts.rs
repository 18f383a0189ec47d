//! The three interrupts of the clock (MC146818A data sheet, "Interrupts", "Periodic interrupt selection"): periodic, alarm,
//! update ended. Their flags are set whether or not they are enabled.

use super::super::clock::Clock;
use super::date::Date;
use super::{A, A_DIVIDER, A_DIVIDER_32768, A_RATE, B, HOURS, MINUTES, Rtc, SECONDS};

/// Registers B and C: the interrupts' enable bits and flags are at the same places.
pub const PERIODIC: u8 = 1 << 6;
pub const ALARM: u8 = 1 << 5;
pub const UPDATE: u8 = 1 << 4;
const EACH: u8 = PERIODIC | ALARM | UPDATE;
/// Register C: an enabled interrupt has its flag set.
const REQUEST: u8 = 1 << 7;
/// An alarm register with these bits set matches every value.
const ANY: u8 = 0xc0;
/// The rate of the oscillator that the periodic interrupt is divided from.
const OSCILLATOR_HZ: u64 = 32_768;
/// Ticks of it before an update, which takes no time here, in which a program that has found no update in progress reads
/// all of the time: 244 us ("Update cycle").
const ANNOUNCED: u64 = 8;
/// Seconds after which every alarm has come.
const DAY: u64 = 86_400;

/// The flags, and until when they are known.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    oscillator: Clock,
    flags: u8,
    known: u64,
}

impl Flags {
    pub const fn new(tsc_hz: u64) -> Self {
        Self { oscillator: Clock::new(tsc_hz, OSCILLATOR_HZ), flags: 0, known: 0 }
    }

    /// Nothing before `now` counts.
    pub const fn start(&mut self, now: u64) {
        self.known = now;
    }
}

impl Rtc {
    /// Whether the interrupt line is active.
    pub const fn interrupt(&self) -> bool {
        self.flags.flags & self.memory[B as usize] & EACH != 0
    }

    /// When [`Rtc::look`] is to be called next, if an interrupt can come of it.
    pub fn deadline(&self) -> Option<u64> {
        let enabled = self.register(B);
        if self.interrupt() || enabled & EACH == 0 {
            return None;
        }
        let Flags { oscillator, known, .. } = self.flags;
        let periodic = self.period().filter(|_| enabled & PERIODIC != 0).map(|period| {
            let next = (oscillator.ticks(known) / period + 1).saturating_mul(period);
            oscillator.cycles(next)
        });
        let each_second = enabled & (ALARM | UPDATE) != 0 && self.held.is_none();
        let second = each_second.then(|| self.clock.cycles(self.clock.ticks(known) + 1));
        match (periodic, second) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Sets the flags of what has happened until `now`.
    pub fn look(&mut self, now: u64) {
        // The time runs from the first use on.
        self.date(now);
        let Flags { oscillator, known: from, .. } = self.flags;
        let now = now.max(from);
        self.flags.known = now;
        if self
            .period()
            .is_some_and(|period| oscillator.ticks(from) / period < oscillator.ticks(now) / period)
        {
            self.flags.flags |= PERIODIC;
        }
        let (first, last) = (self.clock.ticks(from), self.clock.ticks(now));
        if first >= last || self.held.is_some() {
            return;
        }
        self.flags.flags |= UPDATE;
        if self.flags.flags & ALARM == 0 {
            let seconds = first.max(last.saturating_sub(DAY)) + 1..=last;
            let base = self.base;
            if seconds.into_iter().any(|second| self.is_alarm(&Date::of(base.wrapping_add(second)))) {
                self.flags.flags |= ALARM;
            }
        }
    }

    /// Whether the time changes soon.
    pub fn is_updating(&self, now: u64) -> bool {
        let tick = self.flags.oscillator.ticks(now) % OSCILLATOR_HZ;
        self.held.is_none() && tick >= OSCILLATOR_HZ - ANNOUNCED
    }

    /// Register C: reading it clears it.
    pub fn take_flags(&mut self, now: u64) -> u8 {
        self.look(now);
        let request = if self.interrupt() { REQUEST } else { 0 };
        request | core::mem::take(&mut self.flags.flags)
    }

    /// Each alarm register is the one after that of the time.
    fn is_alarm(&self, date: &Date) -> bool {
        let matches = |register: u8, value: u8| {
            let alarm = self.register(register + 1);
            alarm & ANY == ANY || alarm == value
        };
        matches(SECONDS, self.number(date.second))
            && matches(MINUTES, self.number(date.minute))
            && matches(HOURS, self.hours(date))
    }

    /// The period of the periodic interrupt in ticks of the oscillator, if it is selected ("Periodic interrupt rate", table).
    fn period(&self) -> Option<u64> {
        let select = self.register(A) & A_RATE;
        let running = self.register(A) & A_DIVIDER == A_DIVIDER_32768;
        match select {
            0 => None,
            // 256 Hz and 128 Hz, as 8 and 9.
            1 | 2 => Some(1 << (select + 6)),
            _ => Some(1 << (select - 1)),
        }
        .filter(|_| running)
    }
}
