//! One counter of the interval timer. What it shows is calculated from when it began to count.

use super::super::clock::Clock;

/// Bits 3:1 of a control word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// 0: interrupt on terminal count.
    TerminalCount,
    /// 1: one-shot that the gate triggers.
    OneShot,
    /// 2: rate generator.
    Rate,
    /// 3: square wave.
    Square,
    /// 4: strobe that a count triggers.
    SoftwareStrobe,
    /// 5: strobe that the gate triggers.
    HardwareStrobe,
}

impl Mode {
    const fn of(word: u8) -> Self {
        match word >> 1 & 7 {
            0 => Self::TerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::Rate,
            3 | 7 => Self::Square,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    /// The counter starts anew by itself.
    const fn repeats(self) -> bool {
        matches!(self, Self::Rate | Self::Square)
    }

    /// It waits for a rising gate.
    const fn waits(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }
}

/// Which bytes of a count a read or write transfers: bits 5:4 of a control word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Low,
    High,
    Both,
}

/// Status byte: output; no count is loaded.
const STATUS_OUTPUT: u8 = 1 << 7;
const STATUS_NULL: u8 = 1 << 6;
/// Periods after which a count follows that only a trigger loads.
const NEVER: u64 = u64::MAX;

/// The counter of a channel.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Bits 5:0 of the control word.
    word: u8,
    mode: Mode,
    bytes: Bytes,
    decimal: bool,
    gate: bool,
    /// The count that is loaded, 1 to 65536; none before the first one.
    count: Option<u32>,
    /// When it was loaded, and the ticks that it had counted by then; none while it does not count.
    since: Option<u64>,
    counted: u64,
    /// How often the output had risen by then.
    edges_before: u64,
    /// The count that follows, and after how many periods; a trigger of the gate loads it before.
    next: Option<(u32, u64)>,
    low: Option<u8>,
    high_next: bool,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Channel {
    pub const fn new(gate: bool) -> Self {
        Self {
            word: 0,
            mode: Mode::TerminalCount,
            bytes: Bytes::Both,
            decimal: false,
            gate,
            count: None,
            since: None,
            counted: 0,
            edges_before: 0,
            next: None,
            low: None,
            high_next: false,
            latched: None,
            status: None,
        }
    }

    pub const fn gate(&self) -> bool {
        self.gate
    }

    /// A control word for this channel; whether it stops the counter, which a counter latch command does not.
    pub fn control(&mut self, word: u8, clock: Clock, now: u64) -> bool {
        let bytes = match word >> 4 & 3 {
            0 => {
                self.latch(true, false, clock, now);
                return false;
            }
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::Both,
        };
        let mode = Mode::of(word);
        *self = Self { word: word & 0x3f, mode, bytes, decimal: word & 1 != 0, ..Self::new(self.gate) };
        true
    }

    /// A byte of a count; whether it starts the counter anew.
    pub fn write(&mut self, value: u8, clock: Clock, now: u64) -> bool {
        let bytes = match (self.bytes, self.low.take()) {
            (Bytes::Low, _) => [value, 0],
            (Bytes::High, _) => [0, value],
            (Bytes::Both, Some(low)) => [low, value],
            (Bytes::Both, None) => {
                self.low = Some(value);
                if self.mode == Mode::TerminalCount {
                    // "Writing the first byte disables counting. OUT is set low immediately."
                    self.stop();
                    return true;
                }
                return false;
            }
        };
        let count = self.decode(u16::from_le_bytes(bytes));
        self.settle(clock, now);
        if self.mode.waits() {
            self.next = Some((count, NEVER));
            return false;
        }
        if self.mode.repeats() && self.since.is_some() {
            // "Writing a new count while counting does not affect the current counting sequence."
            let periods = self.elapsed(clock, now) / u64::from(self.count.unwrap_or(1));
            self.next = Some((count, periods + 1));
            return false;
        }
        self.count = Some(count);
        self.start(now);
        true
    }

    /// The gate: it triggers, or it lets the counter count.
    pub fn set_gate(&mut self, gate: bool, clock: Clock, now: u64) {
        let rises = gate && !self.gate;
        let falls = !gate && self.gate;
        self.settle(clock, now);
        if falls && !self.mode.waits() {
            self.counted = self.elapsed(clock, now);
            self.since = None;
        }
        self.gate = gate;
        if !rises {
            return;
        }
        let triggers = self.mode.waits() || self.mode.repeats();
        if let Some((next, _)) = self.next.filter(|_| triggers) {
            self.count = Some(next);
        }
        match self.count {
            Some(_) if triggers => self.start(now),
            Some(_) => self.since = Some(now),
            None => {}
        }
    }

    fn start(&mut self, now: u64) {
        self.counted = 0;
        self.edges_before = 0;
        self.next = None;
        self.since = (self.gate || self.mode.waits()).then_some(now);
    }

    fn stop(&mut self) {
        self.count = None;
        self.since = None;
        self.counted = 0;
    }

    /// A count that waited for the end of the period takes effect.
    fn settle(&mut self, clock: Clock, now: u64) {
        let (Some((next, periods)), Some(since), Some(count)) = (self.next, self.since, self.count) else {
            return;
        };
        let end = since.saturating_add(clock.cycles(periods.saturating_mul(count.into())));
        if end <= now {
            self.count = Some(next);
            self.next = None;
            self.since = Some(end);
            self.edges_before = self.edges_before.saturating_add(periods);
        }
    }

    /// Ticks since the count was loaded.
    fn elapsed(&self, clock: Clock, now: u64) -> u64 {
        let running = self.since.map_or(0, |since| clock.ticks(now.saturating_sub(since)));
        self.counted.saturating_add(running)
    }

    /// The level of the output.
    pub fn output(&self, clock: Clock, now: u64) -> bool {
        let elapsed = self.elapsed(clock, now);
        let Some(count) = self.count.map(u64::from) else { return self.mode != Mode::TerminalCount };
        match self.mode {
            Mode::TerminalCount => elapsed >= count,
            Mode::OneShot => self.since.is_none() || elapsed >= count,
            Mode::Rate => !self.gate || elapsed % count != count - 1,
            Mode::Square => !self.gate || elapsed % count < count.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != count,
        }
    }

    /// How often the output has risen since the counter started anew.
    pub fn edges(&mut self, clock: Clock, now: u64) -> u64 {
        self.settle(clock, now);
        let Some(count) = self.count.map(u64::from) else { return 0 };
        let elapsed = self.elapsed(clock, now);
        self.edges_before.saturating_add(match self.mode {
            Mode::TerminalCount | Mode::OneShot => u64::from(elapsed >= count),
            Mode::Rate | Mode::Square => elapsed / count,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => u64::from(elapsed > count),
        })
    }

    /// When the output, which has risen `seen` times, rises again.
    pub fn time_of_edge(&self, seen: u64, clock: Clock) -> Option<u64> {
        let (since, count) = (self.since?, u64::from(self.count?));
        let ticks = match self.mode {
            Mode::TerminalCount | Mode::OneShot if seen == 0 => count,
            Mode::SoftwareStrobe | Mode::HardwareStrobe if seen == 0 => count + 1,
            Mode::Rate | Mode::Square => {
                seen.saturating_sub(self.edges_before).saturating_add(1).saturating_mul(count)
            }
            _ => return None,
        };
        Some(since.saturating_add(clock.cycles(ticks.saturating_sub(self.counted))))
    }

    /// The bytes of a count as a number: 0 is the largest.
    fn decode(&self, word: u16) -> u32 {
        let word = u32::from(word);
        let number = if self.decimal {
            (0..4).rev().fold(0, |number, digit| number * 10 + (word >> (4 * digit) & 0xf))
        } else {
            word
        };
        match number {
            0 if self.decimal => 10_000,
            0 => 0x1_0000,
            number => number,
        }
    }

    fn encode(&self, number: u64) -> u16 {
        let [a, b, ..] = if self.decimal {
            let number = number % 10_000;
            (0..4)
                .fold(0, |word, digit| word | ((number / 10u64.pow(digit) % 10) << (4 * digit)))
                .to_le_bytes()
        } else {
            number.to_le_bytes()
        };
        u16::from_le_bytes([a, b])
    }

    /// What the counting element shows.
    fn current(&self, clock: Clock, now: u64) -> u16 {
        let Some(count) = self.count.map(u64::from) else { return 0 };
        let elapsed = self.elapsed(clock, now);
        let number = match self.mode {
            Mode::Rate => count - elapsed % count,
            Mode::Square => {
                // It counts down by two, twice a period.
                let place = elapsed % count;
                let half = count.div_ceil(2);
                (count & !1).saturating_sub(2 * if place < half { place } else { place - half })
            }
            // "Rolls over to FFFF, or 9999 for decimal counting, and continues."
            _ if self.decimal => (10_000 + count - elapsed % 10_000) % 10_000,
            _ => count.wrapping_sub(elapsed),
        };
        self.encode(number)
    }

    /// Counter latch and read-back commands. What is latched stays until it is read.
    pub fn latch(&mut self, count: bool, status: bool, clock: Clock, now: u64) {
        self.settle(clock, now);
        if count && self.latched.is_none() {
            self.latched = Some(self.current(clock, now));
        }
        if status && self.status.is_none() {
            let output = if self.output(clock, now) { STATUS_OUTPUT } else { 0 };
            let null = if self.count.is_none() || self.next.is_some() { STATUS_NULL } else { 0 };
            self.status = Some(output | null | self.word);
        }
    }

    /// A read of the counter's port: latched status, then latched count, else the counting element.
    pub fn read(&mut self, clock: Clock, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        self.settle(clock, now);
        let [low, high] = self.latched.unwrap_or_else(|| self.current(clock, now)).to_le_bytes();
        let (byte, last) = match (self.bytes, self.high_next) {
            (Bytes::Low, _) => (low, true),
            (Bytes::High, _) | (Bytes::Both, true) => (high, true),
            (Bytes::Both, false) => (low, false),
        };
        self.high_next = !last;
        if last {
            self.latched = None;
        }
        byte
    }
}
