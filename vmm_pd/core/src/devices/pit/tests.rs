//! The rules of the 82C54 data sheet. The time-stamp counter counts 10 cycles a tick.

use super::{HZ, Pit};

const TICK: u64 = 10;

fn pit() -> Pit {
    Pit::new(TICK * HZ)
}

/// Channel 0 with this control word and count at time 0.
fn timer(control: u8, count: u16) -> Pit {
    let mut pit = pit();
    let [low, high] = count.to_le_bytes();
    pit.write(0x43, control, 0);
    pit.write(0x40, low, 0);
    pit.write(0x40, high, 0);
    pit
}

fn count(pit: &mut Pit, now: u64) -> u16 {
    pit.write(0x43, 0, now);
    u16::from_le_bytes([pit.read(0x40, now), pit.read(0x40, now)])
}

/// "Mode 0: interrupt on terminal count".
#[test]
fn mode_0_rises_once() {
    let mut pit = timer(0x30, 100);
    assert_eq!(pit.deadline(), Some(1000));
    assert!(!pit.interrupt(999));
    assert!(pit.interrupt(1000) && !pit.interrupt(1001));
    assert_eq!(pit.deadline(), None);
    assert_eq!(count(&mut pit, 400), 60);
    assert_eq!(count(&mut pit, 1010), 0xffff, "it goes on counting");
    assert!(pit.write(0x43, 0x30, 2000), "a control word sets the output low");
    assert_eq!(pit.deadline(), None, "without a count it does not count");
}

/// "Mode 2: rate generator".
#[test]
fn mode_2_repeats() {
    let mut pit = timer(0x34, 100);
    for period in 1..4 {
        assert_eq!(pit.deadline(), Some(period * 1000));
        assert!(!pit.interrupt(period * 1000 - 1));
        assert!(pit.interrupt(period * 1000));
    }
    assert_eq!(count(&mut pit, 4000), 100);
    assert_eq!(count(&mut pit, 4990), 1);
    assert!(pit.interrupt(99_000) && !pit.interrupt(99_000), "missed periods are one edge");
    assert_eq!(pit.deadline(), Some(100_000));
}

/// "Writing a new count while counting does not affect the current counting sequence."
#[test]
fn a_new_count_waits_for_the_end_of_the_period() {
    let mut pit = timer(0x34, 100);
    pit.write(0x40, 50, 2500);
    pit.write(0x40, 0, 2500);
    assert!(pit.interrupt(2500));
    assert_eq!(pit.deadline(), Some(3000));
    assert_eq!(count(&mut pit, 2990), 1);
    assert!(pit.interrupt(3000));
    assert_eq!(pit.deadline(), Some(3500));
    assert!(pit.interrupt(3500) && !pit.interrupt(3999) && pit.interrupt(4000));
}

/// "Mode 3: square wave mode": it counts by two; the output is high for the first half.
#[test]
fn mode_3_is_high_for_the_first_half() {
    let mut pit = timer(0x36, 100);
    let status = |pit: &mut Pit, now| {
        pit.write(0x43, 0xe2, now);
        pit.read(0x40, now)
    };
    assert_eq!(status(&mut pit, 490), 0xb6);
    assert_eq!(status(&mut pit, 500), 0x36);
    assert_eq!((count(&mut pit, 0), count(&mut pit, 100), count(&mut pit, 600)), (100, 80, 80));
    assert!(pit.interrupt(1000));
    assert_eq!(pit.deadline(), Some(2000));
}

/// "Modes 4 and 5: strobe": low for one tick.
#[test]
fn mode_4_strobes_once() {
    let mut pit = timer(0x38, 10);
    assert_eq!(pit.deadline(), Some(110));
    assert!(!pit.interrupt(109) && pit.interrupt(110));
    assert_eq!(pit.deadline(), None);
}

/// "Read-back command": status before count; what is latched stays.
#[test]
fn read_back_latches_status_and_count() {
    let mut pit = timer(0x34, 1000);
    pit.write(0x43, 0xc2, 100);
    pit.write(0x43, 0xc2, 200);
    assert_eq!(pit.read(0x40, 300), 0xb4);
    assert_eq!(u16::from_le_bytes([pit.read(0x40, 300), pit.read(0x40, 300)]), 990);
    let mut empty = pit;
    empty.write(0x43, 0x34, 0);
    empty.write(0x43, 0xe2, 0);
    assert_eq!(empty.read(0x40, 0), 0x80 | 0x40 | 0x34, "no count yet");
}

/// "Binary coded decimal": 0 is 10000.
#[test]
fn decimal_counting() {
    let mut pit = timer(0x31, 0x0100);
    assert_eq!(pit.deadline(), Some(1000));
    assert_eq!(count(&mut pit, 10), 0x0099);
    assert_eq!(timer(0x31, 0).deadline(), Some(100_000));
    assert_eq!(timer(0x30, 0).deadline(), Some(655_360), "binary: 65536");
}

/// Least and most significant byte only.
#[test]
fn single_bytes() {
    let mut pit = pit();
    pit.write(0x43, 0x14, 0);
    pit.write(0x40, 100, 0);
    assert_eq!(pit.deadline(), Some(1000));
    assert_eq!(pit.read(0x40, 10), 99);
    pit.write(0x43, 0x20, 0);
    pit.write(0x40, 1, 0);
    assert_eq!(pit.deadline(), Some(2560));
    assert_eq!(pit.read(0x40, 10), 0);
}

/// Port 0x61: how a kernel measures 10 ms with channel 2 in mode 0.
#[test]
fn channel_2_counts_while_its_gate_is_high() {
    let mut pit = pit();
    pit.write(0x61, 0, 0);
    pit.write(0x43, 0xb0, 0);
    pit.write(0x42, 100, 0);
    pit.write(0x42, 0, 0);
    assert_eq!(pit.read(0x61, 5000) & 0x21, 0, "the gate is low");
    pit.write(0x61, 1, 5000);
    assert_eq!(pit.read(0x61, 5990) & 0x21, 1);
    pit.write(0x61, 0, 5500);
    pit.write(0x61, 3, 8000);
    assert_eq!(pit.read(0x61, 8499) & 0x23, 3);
    assert_eq!(pit.read(0x61, 8500) & 0x21, 0x21);
    assert_eq!(pit.deadline(), None, "channel 2 interrupts nobody");
}

/// "Mode 1: hardware retriggerable one-shot".
#[test]
fn mode_1_waits_for_a_rising_gate() {
    let mut pit = pit();
    pit.write(0x43, 0xb2, 0);
    pit.write(0x42, 100, 0);
    pit.write(0x42, 0, 0);
    assert_eq!(pit.read(0x61, 500) & 0x20, 0x20);
    pit.write(0x61, 1, 1000);
    assert_eq!(pit.read(0x61, 1999) & 0x20, 0);
    assert_eq!(pit.read(0x61, 2000) & 0x20, 0x20);
}

/// Channel 2 with this control word; its gate is low at time 0.
fn sound(control: u8) -> Pit {
    let mut pit = pit();
    pit.write(0x43, control, 0);
    pit
}

fn write_count(pit: &mut Pit, count: u8, now: u64) {
    pit.write(0x42, count, now);
    pit.write(0x42, 0, now);
}

fn trigger(pit: &mut Pit, now: u64) {
    pit.write(0x61, 0, now);
    pit.write(0x61, 1, now);
}

/// "Null count" of the status byte: what was written is not in the counting element yet.
fn waits(pit: &mut Pit, now: u64) -> bool {
    pit.write(0x43, 0xe8, now);
    pit.read(0x42, now) & 1 << 6 != 0
}

/// "Mode 2": "If a trigger is received after writing a new count but before the end of the current period, the Counter will
/// be loaded with the new count"; the same in mode 3.
#[test]
fn a_trigger_loads_the_count_that_waits_for_the_end_of_the_period() {
    for control in [0xb4, 0xb6] {
        let mut pit = sound(control);
        write_count(&mut pit, 100, 0);
        trigger(&mut pit, 0);
        write_count(&mut pit, 200, 300);
        assert!(waits(&mut pit, 300));
        trigger(&mut pit, 400);
        assert!(!waits(&mut pit, 400));
        pit.write(0x43, 0x80, 420);
        let count = [pit.read(0x42, 420), pit.read(0x42, 420)];
        assert_eq!(count, if control == 0xb4 { [198, 0] } else { [196, 0] });
    }
}

/// "Mode 1": "If a new count is written to the Counter during a one-shot pulse, the current one-shot is not affected unless
/// the Counter is retriggered"; the same of mode 5's sequence.
#[test]
fn a_one_shot_is_not_affected_by_a_count_until_it_is_triggered_again() {
    let is_high = |pit: &mut Pit, now| pit.read(0x61, now) & 1 << 5 != 0;
    let mut pit = sound(0xb2);
    write_count(&mut pit, 100, 0);
    assert!(waits(&mut pit, 0) && is_high(&mut pit, 0), "it waits for the gate");
    trigger(&mut pit, 0);
    write_count(&mut pit, 10, 200);
    assert!(waits(&mut pit, 200));
    assert_eq!([200, 999, 1000].map(|now| is_high(&mut pit, now)), [false, false, true]);
    trigger(&mut pit, 2000);
    assert!(!waits(&mut pit, 2000));
    assert_eq!([2000, 2099, 2100].map(|now| is_high(&mut pit, now)), [false, false, true]);
    let mut pit = sound(0xba);
    write_count(&mut pit, 100, 0);
    trigger(&mut pit, 0);
    write_count(&mut pit, 10, 50);
    assert_eq!([100, 1000, 1010].map(|now| is_high(&mut pit, now)), [true, false, true], "a strobe");
}
