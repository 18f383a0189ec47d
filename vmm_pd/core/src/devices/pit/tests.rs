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
