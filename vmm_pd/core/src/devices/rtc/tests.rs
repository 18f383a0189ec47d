//! The rules of the MC146818A data sheet.

use super::*;

const HZ: u64 = 1000;

fn read(rtc: &mut Rtc, index: u8, now: u64) -> u8 {
    rtc.write(INDEX, index, now);
    rtc.read(DATA, now)
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: u64) {
    rtc.write(INDEX, index, now);
    rtc.write(DATA, value, now);
}

fn time(rtc: &mut Rtc, now: u64) -> [u8; 7] {
    [0x32, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS].map(|index| read(rtc, index, now))
}

#[test]
fn it_starts_at_its_date_in_decimal_digits_and_runs() {
    let mut rtc = Rtc::new(HZ);
    assert_eq!(time(&mut rtc, 5000), [0x20, 0x26, 1, 1, 0, 0, 0]);
    assert_eq!(read(&mut rtc, WEEKDAY, 5000), 5, "a Thursday");
    assert_eq!(time(&mut rtc, 5000 + 59_999), [0x20, 0x26, 1, 1, 0, 0, 0x59]);
    let later = 5000 + ((24 * 59 + 13) * 3600 + 62) * HZ;
    assert_eq!(time(&mut rtc, later), [0x20, 0x26, 3, 1, 0x13, 1, 2]);
}

/// "Data mode" and "24/12".
#[test]
fn register_b_chooses_binary_and_twelve_hours() {
    let mut rtc = Rtc::new(HZ);
    let afternoon = (13 * 3600 + 45 * 60) * HZ;
    read(&mut rtc, SECONDS, 0);
    write(&mut rtc, B, B_BINARY | B_24_HOURS, 0);
    assert_eq!((read(&mut rtc, HOURS, afternoon), read(&mut rtc, MINUTES, afternoon)), (13, 45));
    write(&mut rtc, B, 0, 0);
    assert_eq!((read(&mut rtc, HOURS, afternoon), read(&mut rtc, MINUTES, afternoon)), (0x81, 0x45));
    assert_eq!(read(&mut rtc, HOURS, 0), 0x12, "midnight");
    write(&mut rtc, HOURS, 0x92, 0);
    assert_eq!(read(&mut rtc, HOURS, 0), 0x92, "noon");
}

/// "SET": the time does not run while it is written.
#[test]
fn a_time_is_set_while_updates_stop() {
    let mut rtc = Rtc::new(HZ);
    write(&mut rtc, B, B_SET | B_24_HOURS, 0);
    let fields = [(YEAR, 0x28), (MONTH, 2), (DAY, 0x29), (HOURS, 0x23), (MINUTES, 0x59), (SECONDS, 0x59)];
    for (index, value) in fields {
        write(&mut rtc, index, value, 100);
    }
    assert_eq!(time(&mut rtc, 90_000), [0x20, 0x28, 2, 0x29, 0x23, 0x59, 0x59]);
    write(&mut rtc, B, B_24_HOURS, 100_000);
    assert_eq!(time(&mut rtc, 101_000), [0x20, 0x28, 3, 1, 0, 0, 0], "the day after a leap day");
}

#[test]
fn registers_that_only_show_and_memory_that_keeps() {
    let mut rtc = Rtc::new(HZ);
    assert_eq!((read(&mut rtc, A, 0), read(&mut rtc, C, 0), read(&mut rtc, D, 0)), (0x26, 0, 0x80));
    write(&mut rtc, D, 0, 0);
    write(&mut rtc, 0x40, 0x5a, 0);
    assert_eq!((read(&mut rtc, D, 0), read(&mut rtc, 0x40, 0)), (0x80, 0x5a));
    assert_eq!(read(&mut rtc, 0xc0, 0), 0x5a, "bit 7 is the NMI mask");
    rtc.set_memory(256 << 20);
    let word = |rtc: &mut Rtc, at: u8| u16::from_le_bytes([read(rtc, at, 0), read(rtc, at + 1, 0)]);
    assert_eq!((word(&mut rtc, 0x15), word(&mut rtc, 0x17), word(&mut rtc, 0x34)), (640, 0xfc00, 240 * 16));
}

/// Every day of 1970 to 2370, and what no calendar has.
#[test]
fn dates_and_seconds_agree() {
    let (mut year, mut month, mut day) = (1970u16, 1u8, 1u8);
    for number in 0..146_097u64 {
        let date = Date::of(number * 86_400 + 86_399);
        let of_year =
            (u16::from(date.century()) * 100 + u16::from(date.year_of_century()), date.month, date.day);
        assert_eq!(of_year, (year, month, day));
        assert_eq!(date.seconds(), number * 86_400 + 86_399);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (year, month, day) = match (month, day) {
            (12, 31) => (year + 1, 1, 1),
            (_, last) if last == days => (year, month + 1, 1),
            _ => (year, month, day + 1),
        };
    }
    for odd in [0u64, u64::MAX, u64::MAX / 2] {
        let _ = Date::of(odd).seconds();
    }
    let mut rtc = Rtc::new(HZ);
    for value in 0..=u8::MAX {
        for index in 0..=u8::MAX {
            write(&mut rtc, index, value, u64::from(index) << 56);
            read(&mut rtc, index, u64::MAX);
        }
    }
}

/// "Periodic interrupt selection": 32,768 Hz divided by 2^(rate - 1), but rates 1 and 2 are 256 Hz and 128 Hz.
#[test]
fn the_periodic_interrupt_comes_at_its_rate() {
    const HZ: u64 = 32_768_000;
    for (select, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        let mut rtc = Rtc::new(HZ);
        write(&mut rtc, A, 0x20 | select, 0);
        assert_eq!((rtc.deadline(), rtc.interrupt()), (None, false), "it is not enabled");
        write(&mut rtc, B, B_24_HOURS | interrupts::PERIODIC, 0);
        let mut now = 0;
        for _ in 0..3 {
            let next = rtc.deadline().expect("it is enabled");
            assert_eq!(next - now, HZ / hz, "select {select}");
            rtc.look(next - 1);
            assert!(!rtc.interrupt());
            rtc.look(next);
            assert!(rtc.interrupt());
            assert_eq!(rtc.deadline(), None, "no other before register C is read");
            assert_eq!(read(&mut rtc, C, next) & 0xc0, 0xc0);
            assert!(!rtc.interrupt(), "reading register C takes it back");
            assert_eq!(read(&mut rtc, C, next), 0);
            now = next;
        }
    }
    let mut rtc = Rtc::new(HZ);
    write(&mut rtc, B, B_24_HOURS | interrupts::PERIODIC, 0);
    for a in [0x20, 0x66] {
        write(&mut rtc, A, a, 0);
        assert_eq!(rtc.deadline(), None, "no rate, or the divider is held in reset");
    }
}

/// "Register C": flags do not depend on the enable bits; the request does.
#[test]
fn flags_without_interrupts() {
    let mut rtc = Rtc::new(HZ);
    read(&mut rtc, C, 500);
    assert_eq!(read(&mut rtc, C, 999) & 0xb0, 0);
    // The alarm registers are 0: midnight of the first day is past.
    assert_eq!(read(&mut rtc, C, 1500), interrupts::UPDATE | interrupts::PERIODIC);
    assert_eq!(rtc.deadline(), None);
}

/// "Update cycle", "SET".
#[test]
fn the_update_interrupt_comes_each_second_unless_updates_stop() {
    let mut rtc = Rtc::new(HZ);
    write(&mut rtc, B, B_24_HOURS | interrupts::UPDATE, 100);
    assert_eq!(rtc.deadline(), Some(1000));
    rtc.look(1000);
    assert!(rtc.interrupt());
    write(&mut rtc, B, B_SET | B_24_HOURS | interrupts::UPDATE, 1100);
    assert!(!rtc.interrupt(), "SET disables it");
    read(&mut rtc, C, 1100);
    assert_eq!((rtc.deadline(), read(&mut rtc, B, 1100)), (None, B_SET | B_24_HOURS));
    assert_eq!(read(&mut rtc, C, 5000) & interrupts::UPDATE, 0);
}

/// "Alarm": when the three registers are the time; 0xc0 and more match every value.
#[test]
fn the_alarm_comes_at_its_time() {
    let mut rtc = Rtc::new(HZ);
    for (register, value) in [(SECONDS, 5), (MINUTES, 0x12), (HOURS, 0x13)] {
        write(&mut rtc, register + 1, value, 0);
    }
    write(&mut rtc, B, B_24_HOURS | interrupts::ALARM, 0);
    let alarm = (13 * 3600 + 12 * 60 + 5) * HZ;
    for now in [1000, alarm - 1] {
        rtc.look(now);
        assert!(!rtc.interrupt());
    }
    assert_eq!(rtc.deadline(), Some(alarm));
    rtc.look(alarm + 10_000);
    assert!(rtc.interrupt(), "ten seconds late");
    assert_eq!(read(&mut rtc, C, alarm + 10_000) & 0xb0, 0xb0);
    // Each minute.
    write(&mut rtc, MINUTES + 1, 0xff, alarm + 10_000);
    write(&mut rtc, HOURS + 1, 0xc0, alarm + 10_000);
    rtc.look(alarm + 59_999);
    assert!(!rtc.interrupt());
    rtc.look(alarm + 60_000);
    assert!(rtc.interrupt());
}

/// What no clock shows can be written while updates stop.
#[test]
fn an_hour_that_is_none_reads_as_one() {
    let mut rtc = Rtc::new(HZ);
    write(&mut rtc, B, B_SET | B_BINARY | B_24_HOURS, 0);
    write(&mut rtc, HOURS, 255, 0);
    write(&mut rtc, B, B_SET | B_BINARY, 0);
    assert_eq!(read(&mut rtc, HOURS, 0), AFTERNOON | 3);
}

/// "Alarm": what compares is the time that is shown, not what it would have been by a time that was set later.
#[test]
fn a_time_that_is_set_makes_no_alarm_of_the_past() {
    let mut rtc = Rtc::new(HZ);
    let ten = 10 * HZ;
    write(&mut rtc, HOURS + 1, 0x11, 0);
    write(&mut rtc, MINUTES + 1, 0x59, 0);
    write(&mut rtc, SECONDS + 1, 0x55, 0);
    // 12:00:00: five seconds after the alarm, which is later than the last look.
    write(&mut rtc, HOURS, 0x12, ten);
    write(&mut rtc, SECONDS, 0, ten);
    assert_eq!(read(&mut rtc, C, ten) & (1 << 5), 0);
    // And one that the clock has passed stays, whatever is set then.
    write(&mut rtc, SECONDS + 1, 0x05, ten);
    write(&mut rtc, MINUTES + 1, 0x00, ten);
    write(&mut rtc, HOURS + 1, 0x12, ten);
    write(&mut rtc, HOURS, 0x20, ten + 6 * HZ);
    assert_eq!(read(&mut rtc, C, ten + 6 * HZ) & (1 << 5), 1 << 5);
}

/// "UIP": while it is 0, no update begins for at least 244 us, in which a program reads all of a time; SET clears it.
#[test]
fn an_update_is_announced() {
    const MICROSECOND: u64 = 1000;
    let mut rtc = Rtc::new(1_000_000 * MICROSECOND);
    let second = 1_000_000 * MICROSECOND;
    read(&mut rtc, A, 0);
    for (before, updating) in [(1, 1), (244 * MICROSECOND, 1), (245 * MICROSECOND, 0), (second, 0), (0, 0)] {
        assert_eq!(read(&mut rtc, A, 5 * second - before) >> 7, updating, "{before} ns before");
    }
    write(&mut rtc, B, B_SET | B_24_HOURS, 5 * second);
    assert_eq!(read(&mut rtc, A, 6 * second - 1) >> 7, 0);
    write(&mut rtc, A, 0xff, 7 * second);
    assert_eq!(read(&mut rtc, A, 7 * second), 0x7f, "it cannot be written");
}
