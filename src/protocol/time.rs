//! Wall-clock time in UTC, to the millisecond, as events carry it.
//!
//! Written and read as RFC 3339. The calendar is the proleptic Gregorian one, counted in days
//! of a year that begins in March: the leap day is its last. (A time zone crate would do more,
//! and slower: one time is written for each line that is said.)

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1000;

/// The last millisecond of the year 9999: RFC 3339 has four digits for a year.
const MAX_MILLIS: u64 = 253_402_300_799_999;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

/// Days of 400 years, after which the calendar repeats itself.
const DAYS_AN_ERA: u64 = 146_097;

/// A moment from 1970 to 9999. Displayed as `2026-11-27T13:51:23.123Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Since 1970. Invariant: at most [`MAX_MILLIS`].
    millis: u64,
}

impl Time {
    /// So many milliseconds after the beginning of 1970, or the end of 9999 if that is sooner.
    pub fn from_millis(millis: u64) -> Self {
        Self {
            millis: millis.min(MAX_MILLIS),
        }
    }

    /// Its year, month and day.
    #[cfg(feature = "tls")]
    pub(crate) fn date(self) -> (u64, u64, u64) {
        date_of(self.millis / MILLIS_A_DAY)
    }

    /// The time from `earlier` to this; nothing if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }

    /// Reads RFC 3339 with any offset and fraction: `2026-11-27T14:51:23+01:00`. What is finer
    /// than a millisecond is dropped. `None` for anything else, leap seconds too.
    pub fn parse(text: &str) -> Option<Self> {
        let (date_time, rest) = text.split_at_checked("2026-11-27T14:51:23".len())?;
        let digits = |from: usize, to: usize| number(date_time.get(from..to)?);
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let bytes = date_time.as_bytes();
        if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
            return None;
        }
        let date = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let days = days_of(date)?;
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = (days * 24 + hour) * 3600 + minute * 60 + second;
        let (fraction_millis, zone) = fraction(rest)?;
        let local = i64::try_from(seconds * 1000 + fraction_millis).ok()?;
        let millis = u64::try_from(local - offset_millis(zone)?).ok()?;
        (millis <= MAX_MILLIS).then_some(Self { millis })
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(MAX_MILLIS))
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.millis)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.millis / MILLIS_A_DAY);
        let millis = self.millis % MILLIS_A_DAY;
        let [hour, minute, second] = [3_600_000, 60_000, 1000].map(|unit| millis / unit);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{:02}:{:02}.{:03}Z",
            minute % 60,
            second % 60,
            millis % 1000
        )
    }
}

/// Year, month and day so many days after 1970-01-01.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_AN_ERA, days % DAYS_AN_ERA);
    // Without its leap days, an era is a multiple of 365.
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / (DAYS_AN_ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - days_before(year_of_era);
    // From March on, five months have 153 days.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - days_before_month(month) + 1;
    let year = era * 400 + year_of_era;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

/// The inverse of [`date_of`]. `None` if there is no such day, or it is before 1970.
fn days_of(date: (u64, u64, u64)) -> Option<u64> {
    let (year, month, day) = date;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_era = days_before(year % 400) + days_before_month(month) + day - 1;
    let days = (year / 400 * DAYS_AN_ERA + day_of_era).checked_sub(DAYS_TO_1970)?;
    (date_of(days) == date).then_some(days)
}

/// Days of an era before its year `year`.
fn days_before(year: u64) -> u64 {
    365 * year + year / 4 - year / 100
}

/// Days of a year before its month `month`; March is 0.
fn days_before_month(month: u64) -> u64 {
    (153 * month + 2) / 5
}

/// The milliseconds of a fraction, if `text` begins with one, and what follows it.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let digits = rest[..end].bytes().chain(*b"000").take(3);
    let millis = digits.fold(0, |sum, digit| 10 * sum + u64::from(digit - b'0'));
    (end > 0).then_some((millis, &rest[end..]))
}

/// The offset from UTC in `zone`: `Z`, or `+01:00`.
fn offset_millis(zone: &str) -> Option<i64> {
    let (sign, clock) = match zone.as_bytes().first()? {
        b'Z' if zone.len() == 1 => return Some(0),
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some(sign * i64::try_from(minutes).ok()? * 60_000)
}

/// Digits alone: the standard library would take a sign.
fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::Offset;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_787_483_123, "2026-11-27T13:51:23.123Z"),
            (MAX_MILLIS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Time::from_millis(millis).to_string(), text);
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Time::from(before), Time::from_millis(0));
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        let time = Time::from_millis(1_795_787_483_120);
        for text in [
            "2026-11-27T13:51:23.12Z",
            "2026-11-27T13:51:23.1209999Z",
            "2026-11-27T14:51:23.120+01:00",
            "2026-11-26T23:21:23.120-14:30",
        ] {
            assert_eq!(Time::parse(text), Some(time), "{text}");
        }
        for text in [
            "",
            "2026-11-27",
            "2026-11-27T13:51:23",
            "2026-11-27T13:51:23.Z",
            "2026-11-27T13:51:23Z ",
            "2026-11-27 13:51:23Z",
            "2026-02-29T13:51:23Z",
            "2026-13-01T13:51:23Z",
            "2026-11-00T13:51:23Z",
            "2026-11-27T24:51:23Z",
            "2026-11-27T13:60:23Z",
            "2026-11-27T13:51:60Z",
            "2026-+1-27T13:51:23Z",
            "2026-11-27T13:51:23+1:00",
            "2026-11-27T13:51:2éZ",
            "1970-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_time_is_what_the_calendar_crate_has(
            millis in 0..=MAX_MILLIS,
            offset_minutes in -720_i32..=720,
        ) {
            let time = Time::from_millis(millis);
            // Up to the last day, which some zones see end before UTC does.
            prop_assume!(millis < MAX_MILLIS - MILLIS_A_DAY && millis > MILLIS_A_DAY);
            let theirs = Timestamp::from_millisecond(millis as i64).unwrap();
            prop_assert_eq!(time.to_string(), format!("{theirs:.3}"));
            let offset = Offset::from_seconds(60 * offset_minutes).unwrap();
            let local = theirs.display_with_offset(offset).to_string();
            prop_assert_eq!(Time::parse(&local), Some(time));
            prop_assert_eq!(Time::parse(&time.to_string()), Some(time));
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(text in "\\PC{0,30}") {
            Time::parse(&text);
        }
    }
}
