//! The time of day as it is written before a line.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::warn;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As in RFC 3339, with the offset from UTC: `2026-11-25T15:54:07+01:00`.
    Rfc3339,
    /// `15:54`
    HoursMinutes,
    /// `15:54:07`
    HoursMinutesSeconds,
}

/// A local time as text, made once a second.
#[derive(Debug)]
pub struct Stamp {
    zone: TimeZone,
    format: Format,
    /// What `text` says. Invariant: whole seconds.
    time: Timestamp,
    text: String,
}

impl Stamp {
    /// Times of the system's time zone (`TZ`, or `/etc/localtime`) as it is now; of UTC
    /// where that is not known, which is logged.
    pub fn local(format: Format) -> Self {
        let zone = TimeZone::try_system().unwrap_or_else(|e| {
            warn!("times are UTC, the time zone is not known: {e}");
            TimeZone::UTC
        });
        Self::new(zone, format)
    }

    /// Times of `zone`.
    pub fn new(zone: TimeZone, format: Format) -> Self {
        let time = Timestamp::UNIX_EPOCH;
        let text = written(&zone, format, time);
        Self {
            zone,
            format,
            time,
            text,
        }
    }

    /// The time `now`, to the second or minute.
    pub fn at(&mut self, now: Timestamp) -> &str {
        if now.as_second() != self.time.as_second() {
            self.time = whole_seconds(now);
            self.text = written(&self.zone, self.format, self.time);
        }
        &self.text
    }
}

/// `time`, rounded to whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("it is no farther from the epoch")
}

fn written(zone: &TimeZone, format: Format, time: Timestamp) -> String {
    let offset = zone.to_offset(time);
    let clock = || offset.to_datetime(time).time();
    match format {
        Format::Rfc3339 => time.display_with_offset(offset).to_string(),
        Format::HoursMinutes => format!("{:02}:{:02}", clock().hour(), clock().minute()),
        Format::HoursMinutesSeconds => clock().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_local_with_their_offset_and_in_whole_seconds() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let kathmandu = TimeZone::posix("<+0545>-5:45").unwrap();
        let newfoundland = TimeZone::posix("NST3:30NDT,M3.2.0,M11.1.0").unwrap();
        for (zone, at, expected) in [
            (&berlin, "2026-11-25T14:54:07Z", "2026-11-25T15:54:07+01:00"),
            (
                &berlin,
                "2026-11-25T14:54:07.999999999Z",
                "2026-11-25T15:54:07+01:00",
            ),
            (&berlin, "2026-07-25T14:54:07Z", "2026-07-25T16:54:07+02:00"),
            // The night in which an hour comes twice.
            (&berlin, "2026-10-25T00:59:59Z", "2026-10-25T02:59:59+02:00"),
            (&berlin, "2026-10-25T01:00:00Z", "2026-10-25T02:00:00+01:00"),
            (
                &kathmandu,
                "2026-12-31T23:59:59Z",
                "2027-01-01T05:44:59+05:45",
            ),
            (
                &newfoundland,
                "2027-01-01T00:00:00.5Z",
                "2026-12-31T20:30:00-03:30",
            ),
            (
                &TimeZone::UTC,
                "2026-11-25T14:54:07Z",
                "2026-11-25T14:54:07+00:00",
            ),
        ] {
            let mut stamp = Stamp::new(zone.clone(), Format::Rfc3339);
            assert_eq!(stamp.at(time(at)), expected);
        }
    }

    #[test]
    fn the_time_is_made_anew_each_second_even_when_the_clock_is_set_back() {
        let mut stamp = Stamp::new(TimeZone::UTC, Format::Rfc3339);
        assert_eq!(stamp.at(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00+00:00");
        let noon = time("2026-11-25T12:00:00Z");
        for (seconds, expected) in [
            (0.0, "12:00:00"),
            (0.9, "12:00:00"),
            (1.0, "12:00:01"),
            (1.1, "12:00:01"),
            (-60.0, "11:59:00"),
            (-60.5, "11:58:59"),
        ] {
            let now = noon + SignedDuration::from_secs_f64(seconds);
            let expected = format!("2026-11-25T{expected}+00:00");
            assert_eq!(stamp.at(now), expected);
        }
    }

    #[test]
    fn a_time_of_day_is_as_long_as_was_asked_for() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (format, winter, summer) in [
            (Format::HoursMinutes, "01:00", "09:05"),
            (Format::HoursMinutesSeconds, "01:00:00", "09:05:09"),
        ] {
            let mut stamp = Stamp::new(zone.clone(), format);
            assert_eq!(stamp.at(Timestamp::UNIX_EPOCH), winter);
            assert_eq!(stamp.at(time("2026-07-01T07:05:09.9Z")), summer);
        }
    }
}
