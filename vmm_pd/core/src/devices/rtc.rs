//! The real-time clock and its memory (Motorola MC146818A data sheet).

mod date;
mod interrupts;

use super::clock::Clock;
use date::Date;
use interrupts::{Flags, UPDATE};

/// Ports: the register's number (bit 7 masks NMIs on a PC, of which this machine has none), and the register.
const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
/// Registers.
const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const WEEKDAY: u8 = 6;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const A: u8 = 10;
const B: u8 = 11;
const C: u8 = 12;
const D: u8 = 13;
/// Bytes of memory, registers among them.
const BYTES: usize = 128;
/// Register A after power-up on a PC: the divider for 32,768 Hz, the slowest periodic rate that PCs use.
const A_START: u8 = 0x26;
/// Register A: what the oscillator is divided by, which is right for 32,768 Hz; the periodic rate.
const A_DIVIDER: u8 = 7 << 4;
const A_DIVIDER_32768: u8 = 2 << 4;
const A_RATE: u8 = 0xf;
/// Update in progress, or about to begin.
const A_UPDATING: u8 = 1 << 7;
/// Register B: updates stop; numbers are binary; 24 hours. Bits 6:4 enable the interrupts.
const B_SET: u8 = 1 << 7;
const B_BINARY: u8 = 1 << 2;
const B_24_HOURS: u8 = 1 << 1;
/// Hours: afternoon.
const AFTERNOON: u8 = 1 << 7;
/// Register D: time and memory are valid.
const D_VALID: u8 = 1 << 7;
/// Where a PC's firmware notes the century.
const CENTURY: usize = 0x32;
/// Where it notes the size of memory: KiB below 1 MiB, KiB above it (twice), 64 KiB above 16 MiB.
const BASE_MEMORY: usize = 0x15;
const EXTENDED_MEMORY: [usize; 2] = [0x17, 0x30];
const HIGH_MEMORY: usize = 0x34;
/// The time at which every guest starts: 2026-01-01 00:00:00 UTC in seconds since 1970. The machine has no clock
/// that it could ask.
const START: u64 = 1_767_225_600;

/// The clock.
#[derive(Debug, Clone)]
pub struct Rtc {
    clock: Clock,
    /// Seconds since 1970 at time 0 of the time-stamp counter, which may be before 1970: modulo 2^64.
    base: u64,
    started: bool,
    /// The time that stands while updates are stopped.
    held: Option<Date>,
    flags: Flags,
    index: u8,
    memory: [u8; BYTES],
}

impl Rtc {
    /// A clock that begins at its first use.
    pub fn new(tsc_hz: u64) -> Self {
        let mut memory = [0; BYTES];
        memory[usize::from(A)] = A_START;
        memory[usize::from(B)] = B_24_HOURS;
        let flags = Flags::new(tsc_hz);
        Self { clock: Clock::new(tsc_hz, 1), base: 0, started: false, held: None, flags, index: 0, memory }
    }

    /// Notes the size of memory in bytes as a PC's firmware does.
    pub fn set_memory(&mut self, size: u64) {
        let mut note = |at: usize, value: u64| {
            let [low, high] = u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
            self.memory[at..at + 2].copy_from_slice(&[low, high]);
        };
        note(BASE_MEMORY, 640);
        for at in EXTENDED_MEMORY {
            note(at, (size.saturating_sub(1 << 20) >> 10).min(0xfc00));
        }
        note(HIGH_MEMORY, size.saturating_sub(1 << 24) >> 16);
    }

    /// Whether the port is one of its own.
    pub const fn has(port: u16) -> bool {
        matches!(port, INDEX | DATA)
    }

    /// IN. `now` in cycles of the time-stamp counter.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        if port == INDEX {
            return self.index;
        }
        let date = self.date(now);
        match self.index {
            SECONDS => self.number(date.second),
            MINUTES => self.number(date.minute),
            HOURS => self.hours(&date),
            WEEKDAY => self.number(date.weekday()),
            DAY => self.number(date.day),
            MONTH => self.number(date.month),
            YEAR => self.number(date.year_of_century()),
            A => self.register(A) & !A_UPDATING | if self.is_updating(now) { A_UPDATING } else { 0 },
            C => self.take_flags(now),
            D => D_VALID,
            index if usize::from(index) == CENTURY => self.number(date.century()),
            index => self.register(index),
        }
    }

    /// OUT.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        if port == INDEX {
            self.index = value & 0x7f;
            return;
        }
        // What has happened until now did so by the time and the registers until now.
        self.look(now);
        let mut date = self.date(now);
        let number = self.parse(value);
        match self.index {
            SECONDS => date.second = number,
            MINUTES => date.minute = number,
            HOURS if self.register(B) & B_24_HOURS != 0 => date.hour = number,
            HOURS => {
                let hour = self.parse(value & !AFTERNOON) % 12;
                date.hour = if value & AFTERNOON != 0 { hour + 12 } else { hour };
            }
            // It follows from the date.
            WEEKDAY | C | D => return,
            DAY => date.day = number,
            MONTH => date.month = number,
            YEAR => date.set_year_of_century(number),
            B => {
                let held = value & B_SET != 0;
                // "SET": it also disables the interrupt of updates.
                self.memory[usize::from(B)] = if held { value & !UPDATE } else { value };
                match (held, self.held) {
                    (true, None) => self.held = Some(date),
                    (false, Some(date)) => {
                        self.held = None;
                        self.set(&date, now);
                    }
                    _ => {}
                }
                return;
            }
            index if usize::from(index) == CENTURY => date.set_century(number),
            index => {
                self.memory[usize::from(index) % BYTES] = value;
                return;
            }
        }
        if self.held.is_some() {
            self.held = Some(date);
        } else {
            self.set(&date, now);
        }
    }

    fn register(&self, number: u8) -> u8 {
        self.memory[usize::from(number) % BYTES]
    }

    fn date(&mut self, now: u64) -> Date {
        if !self.started {
            self.started = true;
            self.flags.start(now);
            self.base = START.wrapping_sub(self.clock.ticks(now));
        }
        self.held.unwrap_or_else(|| Date::of(self.base.wrapping_add(self.clock.ticks(now))))
    }

    fn set(&mut self, date: &Date, now: u64) {
        self.base = date.seconds().wrapping_sub(self.clock.ticks(now));
    }

    /// The hours as register B wants them.
    fn hours(&self, date: &Date) -> u8 {
        if self.register(B) & B_24_HOURS != 0 {
            return self.number(date.hour);
        }
        // What was written while updates stop may be no hour.
        let afternoon = if date.hour >= 12 { AFTERNOON } else { 0 };
        self.number((date.hour % 24 + 11) % 12 + 1) | afternoon
    }

    /// A number as register B wants it: binary, or two decimal digits.
    fn number(&self, value: u8) -> u8 {
        if self.register(B) & B_BINARY != 0 { value } else { ((value / 10 % 10) << 4) | (value % 10) }
    }

    fn parse(&self, value: u8) -> u8 {
        if self.register(B) & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xf) }
    }
}

#[cfg(test)]
mod tests;
