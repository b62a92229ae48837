//! Whether the system's clock can be right. A small box without a battery for it starts in
//! 1970, or when it was last switched off, until it has asked the network.

use std::time::{Duration, SystemTime};

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

/// Whether `now` is later than this program.
pub(crate) fn is_believable(now: SystemTime) -> bool {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.is_ok_and(|since| since >= Duration::from_secs(BUILT_AT_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_program_is_not_believed() {
        let built_at = SystemTime::UNIX_EPOCH + Duration::from_secs(BUILT_AT_SECONDS);
        let second = Duration::from_secs(1);
        assert!(is_believable(SystemTime::now()));
        assert!(is_believable(built_at) && !is_believable(built_at - second));
        assert!(!is_believable(SystemTime::UNIX_EPOCH - second));
    }
}
