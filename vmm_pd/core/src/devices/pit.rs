//! The interval timer (Intel 82C54 data sheet, order number 231244) and system control port B, which has the gate of
//! channel 2. Channel 0 is interrupt line 0; channel 1 counts for nobody.

mod channel;

use super::clock::Clock;
use channel::Channel;

/// Rate of the counters in Hz.
const HZ: u64 = 1_193_182;
/// Control word register.
const CONTROL: u16 = 0x43;
/// First port: the counter of channel 0.
const FIRST: u16 = 0x40;
/// Control word: bits 7:6 name the channel, 3 the read-back command.
const READ_BACK: u8 = 3;
/// Read-back command: a clear bit latches the count, the status.
const KEEP_COUNT: u8 = 1 << 5;
const KEEP_STATUS: u8 = 1 << 4;
/// System control port B.
const PORT_B: u16 = 0x61;
/// Its bits: gate of channel 2, speaker, refresh (changes all the time), output of channel 2.
const GATE: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const REFRESH: u8 = 1 << 4;
const OUTPUT: u8 = 1 << 5;
/// The refresh bit changes at this rate in Hz: a refresh every 15 us.
const REFRESH_HZ: u64 = 66_288;

/// The interval timer.
#[derive(Debug, Clone)]
pub struct Pit {
    clock: Clock,
    refresh: Clock,
    channels: [Channel; 3],
    speaker: bool,
    /// Rising edges of channel 0's output that the interrupt line has had.
    edges: u64,
}

impl Pit {
    /// A timer that no one has programmed: it does not count.
    pub const fn new(tsc_hz: u64) -> Self {
        Self {
            clock: Clock::new(tsc_hz, HZ),
            refresh: Clock::new(tsc_hz, REFRESH_HZ),
            channels: [Channel::new(true), Channel::new(true), Channel::new(false)],
            speaker: false,
            edges: 0,
        }
    }

    /// Whether the port is one of its own.
    pub const fn has(port: u16) -> bool {
        matches!(port, FIRST..=CONTROL | PORT_B)
    }

    /// IN. `now` in cycles of the time-stamp counter, here and below.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        match port {
            PORT_B => {
                let [.., sound] = &self.channels;
                let refresh = if self.refresh.ticks(now).is_multiple_of(2) { 0 } else { REFRESH };
                let output = if sound.output(self.clock, now) { OUTPUT } else { 0 };
                let gate = if sound.gate() { GATE } else { 0 };
                refresh | output | gate | if self.speaker { SPEAKER } else { 0 }
            }
            CONTROL => 0xff,
            _ => self.channels[usize::from(port - FIRST) % 3].read(self.clock, now),
        }
    }

    /// OUT. True if it sets channel 0's output low.
    pub fn write(&mut self, port: u16, value: u8, now: u64) -> bool {
        let restarted = match port {
            PORT_B => {
                self.speaker = value & SPEAKER != 0;
                self.channels[2].set_gate(value & GATE != 0, self.clock, now);
                false
            }
            CONTROL => match value >> 6 {
                READ_BACK => {
                    for (i, channel) in self.channels.iter_mut().enumerate() {
                        if value & 2 << i != 0 {
                            let (count, status) = (value & KEEP_COUNT == 0, value & KEEP_STATUS == 0);
                            channel.latch(count, status, self.clock, now);
                        }
                    }
                    false
                }
                channel => {
                    self.channels[usize::from(channel) % 3].control(value, self.clock, now) && channel == 0
                }
            },
            _ => {
                let channel = usize::from(port - FIRST) % 3;
                self.channels[channel].write(value, self.clock, now) && channel == 0
            }
        };
        if restarted {
            self.edges = 0;
        }
        restarted
    }

    /// Whether channel 0's output has risen since the last call that said so.
    pub fn interrupt(&mut self, now: u64) -> bool {
        let [timer, ..] = &mut self.channels;
        let edges = timer.edges(self.clock, now);
        let risen = edges > self.edges;
        self.edges = edges;
        risen
    }

    /// When channel 0's output rises next.
    pub fn deadline(&self) -> Option<u64> {
        let [timer, ..] = &self.channels;
        timer.time_of_edge(self.edges, self.clock)
    }
}

#[cfg(test)]
mod tests;
