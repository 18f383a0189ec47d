//! Ways to end the machine, and ACPI's fixed hardware (ACPI specification 6.5, chapter 4): the tables that the guest
//! is given name its ports.

use super::clock::Clock;
use super::described::{PM_TIMER, PM1A_CONTROL, PM1A_EVENT, RESET, SLEEP_TYPE_OFF};

const PM_TIMER_LAST: u16 = PM_TIMER + 3;
/// The bits of the reset register: 2 resets when it is set.
const RESET_NOW: u8 = 1 << 2;
/// The keyboard controller's command port, and the command that pulses the processor's reset.
const KEYBOARD: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xfe;
/// System control port A: bit 0 resets the processor; bit 1, address line 20, is always on.
const PORT_A: u16 = 0x92;
const PORT_A_RESET: u8 = 1 << 0;
const PORT_A_LINE_20: u8 = 1 << 1;
/// Rate of the timer in Hz.
const PM_TIMER_HZ: u64 = 3_579_545;
/// PM1 control: ACPI mode; sleep type in bits 12:10; sleep.
const SCI_ENABLED: u16 = 1 << 0;
const SLEEP: u16 = 1 << 13;

/// How the guest ended its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Power off.
    Off,
    /// Reset.
    Reset,
}

/// The registers.
#[derive(Debug, Clone)]
pub struct Power {
    timer: Clock,
    enable: [u8; 2],
    control: [u8; 2],
    reset: u8,
}

impl Power {
    /// A machine in ACPI mode.
    pub const fn new(tsc_hz: u64) -> Self {
        Self { timer: Clock::new(tsc_hz, PM_TIMER_HZ), enable: [0; 2], control: [0; 2], reset: 0 }
    }

    /// Whether the port is one of its own.
    pub const fn has(port: u16) -> bool {
        matches!(port, PM1A_EVENT..PM1A_EVENT_END | PM1A_CONTROL..PM1A_CONTROL_END)
            || matches!(port, PM_TIMER..=PM_TIMER_LAST | RESET | KEYBOARD | PORT_A)
    }

    /// A byte of IN. `now` in cycles of the time-stamp counter.
    pub fn read(&self, port: u16, now: u64) -> u8 {
        match port {
            PM_TIMER..=PM_TIMER_LAST => self.timer.ticks(now).to_le_bytes()[usize::from(port - PM_TIMER)],
            // No event is ever there.
            PM1A_EVENT..PM1A_ENABLE => 0,
            PM1A_ENABLE..PM1A_EVENT_END => self.enable[usize::from(port - PM1A_ENABLE)],
            PM1A_CONTROL..PM1A_CONTROL_END => {
                let i = usize::from(port - PM1A_CONTROL);
                self.control[i] | SCI_ENABLED.to_le_bytes()[i]
            }
            RESET => self.reset,
            PORT_A => PORT_A_LINE_20,
            // There is no keyboard controller.
            _ => 0xff,
        }
    }

    /// A byte of OUT.
    pub fn write(&mut self, port: u16, value: u8) -> Option<End> {
        match port {
            PM1A_ENABLE..PM1A_EVENT_END => self.enable[usize::from(port - PM1A_ENABLE)] = value,
            PM1A_CONTROL..PM1A_CONTROL_END => {
                self.control[usize::from(port - PM1A_CONTROL)] = value;
                let word = u16::from_le_bytes(self.control);
                // SLP_EN reads 0.
                self.control = (word & !SLEEP).to_le_bytes();
                if word & SLEEP != 0 && word >> 10 & 7 == u16::from(SLEEP_TYPE_OFF) {
                    return Some(End::Off);
                }
            }
            RESET => {
                self.reset = value & !RESET_NOW;
                return (value & RESET_NOW != 0).then_some(End::Reset);
            }
            KEYBOARD => return (value == KEYBOARD_RESET).then_some(End::Reset),
            PORT_A => return (value & PORT_A_RESET != 0).then_some(End::Reset),
            _ => {}
        }
        None
    }
}

const PM1A_ENABLE: u16 = PM1A_EVENT + 2;
const PM1A_EVENT_END: u16 = PM1A_EVENT + 4;
const PM1A_CONTROL_END: u16 = PM1A_CONTROL + 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::described::RESET_VALUE;

    #[test]
    fn the_timer_counts_at_its_rate() {
        let power = Power::new(1_000_000_000);
        let timer = |now| {
            u32::from_le_bytes(core::array::from_fn(|i| {
                power.read(PM_TIMER + u16::try_from(i).expect("0 to 3"), now)
            }))
        };
        assert_eq!((timer(0), timer(1_000_000_000), timer(2_000_000_000)), (0, 3_579_545, 7_159_090));
    }

    /// ACPI 4.8.3.2.1: SLP_TYP and SLP_EN in one write, or in two.
    #[test]
    fn only_the_sleep_type_of_the_tables_switches_off() {
        let mut power = Power::new(1);
        assert_eq!(power.read(PM1A_CONTROL, 0), 1, "SCI_EN");
        assert_eq!(power.write(PM1A_CONTROL + 1, 0x20), None, "S0");
        assert_eq!(power.write(PM1A_CONTROL + 1, 5 << 2), None, "without SLP_EN");
        assert_eq!(power.read(PM1A_CONTROL + 1, 0), 5 << 2);
        assert_eq!(power.write(PM1A_CONTROL + 1, 5 << 2 | 0x20), Some(End::Off));
        assert_eq!(power.read(PM1A_CONTROL + 1, 0), 5 << 2, "SLP_EN reads 0");
    }

    #[test]
    fn three_ways_to_reset() {
        let mut power = Power::new(1);
        assert_eq!(power.write(RESET, 2), None);
        assert_eq!(power.write(RESET, RESET_VALUE), Some(End::Reset));
        assert_eq!(power.write(KEYBOARD, 0xd1), None);
        assert_eq!(power.write(KEYBOARD, 0xfe), Some(End::Reset));
        assert_eq!((power.write(PORT_A, 2), power.read(PORT_A, 0)), (None, 2));
        assert_eq!(power.write(PORT_A, 3), Some(End::Reset));
    }

    #[test]
    fn enables_are_kept_and_no_event_is_there() {
        let mut power = Power::new(1);
        power.write(PM1A_EVENT + 3, 1);
        power.write(PM1A_EVENT, 0xff);
        assert_eq!((power.read(PM1A_EVENT + 3, 0), power.read(PM1A_EVENT, 0)), (1, 0));
    }
}
