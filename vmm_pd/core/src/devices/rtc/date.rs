//! Dates of the Gregorian calendar, 1970 to 9999, without leap seconds.

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Days of 400 years, which repeat.
const CYCLE: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;
const LAST_YEAR: u16 = 9999;

/// A date and time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    pub second: u8,
    pub minute: u8,
    pub hour: u8,
    pub day: u8,
    pub month: u8,
    year: u16,
}

impl Date {
    /// The date of a number of seconds since 1970.
    pub fn of(seconds: u64) -> Self {
        let (days, time) = (seconds / DAY, seconds % DAY);
        // Years that begin in March: the leap day is their last.
        let days = days.saturating_add(EPOCH);
        let (cycle, day) = (days / CYCLE, days % CYCLE);
        let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let january = month >= 10;
        Self {
            second: byte(time % MINUTE),
            minute: byte(time / MINUTE % 60),
            hour: byte(time / HOUR),
            day: byte(day - (153 * month + 2) / 5 + 1),
            month: byte(if january { month - 9 } else { month + 3 }),
            year: u16::try_from(cycle * 400 + year + u64::from(january)).unwrap_or(LAST_YEAR).min(LAST_YEAR),
        }
    }

    /// Seconds since 1970. Fields out of their range count on: the 31st of June is the 1st of July.
    pub fn seconds(&self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        let year = u64::from(self.year.max(1970)) - u64::from(month <= 2);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + u64::from(self.day).saturating_sub(1);
        let (cycle, year) = (year / 400, year % 400);
        let days = cycle * CYCLE + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH;
        days * DAY + u64::from(self.hour) * HOUR + u64::from(self.minute) * MINUTE + u64::from(self.second)
    }

    /// 1 for Sunday to 7.
    pub fn weekday(&self) -> u8 {
        // 1970 began on a Thursday.
        byte((self.seconds() / DAY + 4) % 7 + 1)
    }

    pub fn year_of_century(&self) -> u8 {
        byte(u64::from(self.year % 100))
    }

    pub fn century(&self) -> u8 {
        byte(u64::from(self.year / 100))
    }

    pub fn set_year_of_century(&mut self, year: u8) {
        self.year = self.year / 100 * 100 + u16::from(year % 100);
    }

    pub fn set_century(&mut self, century: u8) {
        self.year = u16::from(century % 100) * 100 + self.year % 100;
    }
}

const fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}
