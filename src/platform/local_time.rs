//! Local time stamps.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::warn;

/// The format of a time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 3339 with the offset from UTC: `2026-11-25T15:54:07+01:00`.
    Rfc3339,
    /// `15:54`
    HoursMinutes,
    /// `15:54:07`
    HoursMinutesSeconds,
}

/// Formats local times, and caches the text for a second.
#[derive(Debug)]
pub struct Stamp {
    zone: TimeZone,
    format: Format,
    /// The time in `text`. Invariant: whole seconds.
    time: Timestamp,
    text: String,
}

impl Stamp {
    /// Times in the system's current time zone (`TZ`, or `/etc/localtime`). If that is
    /// unknown, logs a warning and uses UTC.
    pub fn local(format: Format) -> Self {
        let zone = TimeZone::try_system().unwrap_or_else(|e| {
            warn!("showing times in UTC: unknown time zone: {e} (set TZ)");
            TimeZone::UTC
        });
        Self::new(zone, format)
    }

    /// Times in `zone`.
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

    /// `now` as text.
    pub fn at(&mut self, now: Timestamp) -> &str {
        if now.as_second() != self.time.as_second() {
            self.time = whole_seconds(now);
            self.text = written(&self.zone, self.format, self.time);
        }
        &self.text
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("no farther from the epoch")
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
    fn rfc_3339_times_have_their_offset_and_whole_seconds() {
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
            // The night in which an hour repeats.
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
    fn the_text_follows_a_clock_that_is_set_back() {
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
    fn times_of_day_have_the_precision_of_their_format() {
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
