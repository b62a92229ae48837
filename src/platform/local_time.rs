//! The system's time: whether it can be right, and local time stamps.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::warn;
use tz::{DateTime, TimeZone};

/// When this program was made at the earliest, in seconds since 1970: no clock that is right
/// shows less. Whoever builds it can say so more exactly
/// (<https://reproducible-builds.org/specs/source-date-epoch/>); else it is 2026-11-01.
const BUILT_AT_SECONDS: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    None => 1_793_491_200,
    Some(seconds) => match u64::from_str_radix(seconds, 10) {
        Ok(seconds) => seconds,
        Err(_) => panic!("SOURCE_DATE_EPOCH must be a number of seconds"),
    },
};

/// Whether `now` is later than this program. A small box without a battery for its clock starts
/// in 1970, or when it was last switched off, until it has asked the network.
pub(crate) fn is_believable(now: SystemTime) -> bool {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.is_ok_and(|since| since >= Duration::from_secs(BUILT_AT_SECONDS))
}

/// The format of a time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 3339 with the offset from UTC: `2026-11-25T15:54:07+01:00`.
    Rfc3339,
    /// `15:54`
    HoursMinutes,
    /// `15:54:07`
    HoursMinutesSeconds,
    /// `2026-11-25`
    Day,
}

/// Formats local times, and caches the text for a second.
#[derive(Debug)]
pub struct Stamp {
    zone: TimeZone,
    format: Format,
    /// The time in `text`, in seconds since the epoch.
    second: i64,
    text: String,
}

impl Stamp {
    /// Times in the system's current time zone (`TZ`, or `/etc/localtime`). If that is
    /// unknown, logs a warning and uses UTC.
    pub fn local(format: Format) -> Self {
        let zone = system_zone().unwrap_or_else(|e| {
            warn!("showing times in UTC: unknown time zone: {e} (set TZ)");
            TimeZone::utc()
        });
        Self::new(zone, format)
    }

    /// Times in `zone`.
    pub fn new(zone: TimeZone, format: Format) -> Self {
        let text = written(&zone, format, 0);
        Self {
            zone,
            format,
            second: 0,
            text,
        }
    }

    /// The same zone in another format.
    #[cfg(feature = "client")]
    pub(crate) fn with_format(&self, format: Format) -> Self {
        Self::new(self.zone.clone(), format)
    }

    /// `now` as text.
    pub fn at(&mut self, now: SystemTime) -> &str {
        let second = second_of(now);
        if second != self.second {
            self.second = second;
            self.text = written(&self.zone, self.format, second);
        }
        &self.text
    }
}

/// The zone that tzset(3) would use.
fn system_zone() -> Result<TimeZone, tz::Error> {
    match env::var("TZ") {
        Ok(name) if name.is_empty() => Ok(TimeZone::utc()),
        Ok(name) => TimeZone::from_posix_tz(&name),
        Err(_) => TimeZone::local(),
    }
}

/// Whole seconds since the epoch, rounded down.
fn second_of(time: SystemTime) -> i64 {
    let (since, is_before) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since, false),
        Err(e) => (e.duration(), true),
    };
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    if is_before {
        -seconds - i64::from(since.subsec_nanos() > 0)
    } else {
        seconds
    }
}

fn written(zone: &TimeZone, format: Format, second: i64) -> String {
    // A zone's file may not reach that far; a clock may be off by billions of years.
    let local = DateTime::from_timespec(second, 0, zone.as_ref())
        .or_else(|_| DateTime::from_timespec(second, 0, TimeZone::utc().as_ref()));
    let Ok(local) = local else {
        return written(zone, format, 0);
    };
    let (hour, minute, second) = (local.hour(), local.minute(), local.second());
    match format {
        Format::Rfc3339 => {
            let offset_minutes = local.local_time_type().ut_offset() / 60;
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let offset_minutes = offset_minutes.unsigned_abs();
            format!(
                "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{sign}{:02}:{:02}",
                local.year(),
                local.month(),
                local.month_day(),
                offset_minutes / 60,
                offset_minutes % 60
            )
        }
        Format::HoursMinutes => format!("{hour:02}:{minute:02}"),
        Format::HoursMinutesSeconds => format!("{hour:02}:{minute:02}:{second:02}"),
        Format::Day => format!(
            "{:04}-{:02}-{:02}",
            local.year(),
            local.month(),
            local.month_day()
        ),
    }
}

#[cfg(test)]
mod tests {

    use jiff::Timestamp;

    use super::*;

    fn time(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn a_clock_before_the_program_is_not_believed() {
        let built_at = SystemTime::UNIX_EPOCH + Duration::from_secs(BUILT_AT_SECONDS);
        let second = Duration::from_secs(1);
        assert!(is_believable(SystemTime::now()));
        assert!(is_believable(built_at) && !is_believable(built_at - second));
        assert!(!is_believable(SystemTime::UNIX_EPOCH - second));
    }

    #[test]
    fn rfc_3339_times_have_their_offset_and_whole_seconds() {
        let berlin = TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let kathmandu = TimeZone::from_posix_tz("<+0545>-5:45").unwrap();
        let newfoundland = TimeZone::from_posix_tz("NST3:30NDT,M3.2.0,M11.1.0").unwrap();
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
                &TimeZone::utc(),
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
        let mut stamp = Stamp::new(TimeZone::utc(), Format::Rfc3339);
        assert_eq!(stamp.at(UNIX_EPOCH), "1970-01-01T00:00:00+00:00");
        let noon = time("2026-11-25T12:00:00Z");
        for (seconds, expected) in [
            (0.0, "12:00:00"),
            (0.9, "12:00:00"),
            (1.0, "12:00:01"),
            (1.1, "12:00:01"),
            (-60.0, "11:59:00"),
            (-60.5, "11:58:59"),
        ] {
            let now = if seconds < 0.0 {
                noon - Duration::from_secs_f64(-seconds)
            } else {
                noon + Duration::from_secs_f64(seconds)
            };
            let expected = format!("2026-11-25T{expected}+00:00");
            assert_eq!(stamp.at(now), expected);
        }
    }

    #[test]
    fn times_of_day_have_the_precision_of_their_format() {
        let zone = TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (format, winter, summer) in [
            (Format::HoursMinutes, "01:00", "09:05"),
            (Format::HoursMinutesSeconds, "01:00:00", "09:05:09"),
        ] {
            let mut stamp = Stamp::new(zone.clone(), format);
            assert_eq!(stamp.at(UNIX_EPOCH), winter);
            assert_eq!(stamp.at(time("2026-07-01T07:05:09.9Z")), summer);
        }
    }

    #[test]
    fn no_clock_is_too_wrong_to_be_shown() {
        let mut stamp = Stamp::new(TimeZone::utc(), Format::Rfc3339);
        let before = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(stamp.at(before), "1969-12-31T23:59:59+00:00");
        let longest = Duration::from_secs(i64::MAX as u64);
        for absurd in [UNIX_EPOCH + longest, UNIX_EPOCH - longest] {
            assert_eq!(stamp.at(absurd), "1970-01-01T00:00:00+00:00");
        }
    }

    /// jiff is an oracle here: it reads the same files by other code.
    #[test]
    fn the_system_s_zones_have_the_offsets_that_others_find() {
        let folder = jiff::tz::TimeZoneDatabase::from_env();
        let names = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"];
        for name in names {
            let (Ok(zone), Ok(theirs)) = (TimeZone::from_posix_tz(name), folder.get(name)) else {
                println!("skipped: this machine does not know the time zone {name}");
                return;
            };
            let mut stamp = Stamp::new(zone, Format::Rfc3339);
            // Every nine days until 2051, at changing times of day.
            for nth in 0..3300 {
                let time = Timestamp::from_second(nth * 777_777).unwrap();
                let expected = time.display_with_offset(theirs.to_offset(time));
                assert_eq!(stamp.at(time.into()), expected.to_string(), "{name}");
            }
        }
    }
}
