//! What a server can do wrong under load.

use std::fmt;
use std::time::Duration;

use indicatif::HumanCount;

use super::delays::Time;
use super::round::STALL_TIMEOUT;
use crate::exit::Exit;

/// One kind of fault, and how often it was seen. A count of 0 is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Deliveries that never came to a reader still there.
    Lost {
        /// How many.
        count: u64,
        /// The server's last refusal of a line.
        complaint: Option<String>,
    },
    /// Lines that were torn, glued or made up.
    Garbled(u64),
    /// Lines that reached a reader again.
    Duplicated(u64),
    /// Lines that reached a reader after a later one of the same talker.
    Reordered(u64),
    /// The server delivered nothing for long while it owed something.
    Stalled(bool),
    /// Connections that ended.
    Dropped {
        /// How many.
        count: u64,
        /// The server's last words to one of them.
        last_words: Option<String>,
    },
    /// Connections that were not made.
    Failed {
        /// How many.
        count: u64,
        /// Why one of them failed.
        failure: Option<String>,
    },
    /// Connections that the server refused.
    Refused {
        /// How many.
        count: u64,
        /// Why, in the server's words.
        refusal: Option<String>,
    },
    /// More than one delivery in a hundred took longer than the test allows.
    Slow {
        /// How long the 99th percentile is.
        p99: Duration,
        /// How long it may be.
        max: Duration,
    },
}

impl Flaw {
    /// Whether a line did not reach every reader once, in order. Other flaws say whom the
    /// server kept, and how fast it was.
    pub(crate) fn is_of_deliveries(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::Garbled(_)
                | Self::Duplicated(_)
                | Self::Reordered(_)
                | Self::Stalled(_)
        )
    }

    pub(crate) fn is_none(&self) -> bool {
        match *self {
            Self::Lost { count, .. }
            | Self::Garbled(count)
            | Self::Duplicated(count)
            | Self::Reordered(count)
            | Self::Dropped { count, .. }
            | Self::Failed { count, .. }
            | Self::Refused { count, .. } => count == 0,
            Self::Stalled(stalled) => !stalled,
            Self::Slow { p99, max } => p99 <= max,
        }
    }

    /// The exit code when this is the gravest flaw.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Lost { .. }
            | Self::Garbled(_)
            | Self::Duplicated(_)
            | Self::Reordered(_)
            | Self::Stalled(_)
            | Self::Slow { .. } => Exit::Failure,
            Self::Dropped { .. } => Exit::ConnectionLost,
            Self::Failed { .. } => Exit::CannotConnect,
            Self::Refused { .. } => Exit::Refused,
        }
    }
}

impl Flaw {
    /// What happened how often, as singular and plural, and why. `None` if it has no count.
    fn counted(&self) -> Option<(u64, [&'static str; 2], Option<&String>)> {
        Some(match self {
            Self::Lost { count, complaint } => (
                *count,
                ["delivery lost", "deliveries lost"],
                complaint.as_ref(),
            ),
            Self::Garbled(count) => (*count, ["line garbled", "lines garbled"], None),
            Self::Duplicated(count) => (
                *count,
                ["delivery duplicated", "deliveries duplicated"],
                None,
            ),
            Self::Reordered(count) => (
                *count,
                ["delivery out of order", "deliveries out of order"],
                None,
            ),
            Self::Dropped { count, last_words } => (
                *count,
                ["client dropped", "clients dropped"],
                last_words.as_ref(),
            ),
            Self::Failed { count, failure } => (
                *count,
                ["connection failed", "connections failed"],
                failure.as_ref(),
            ),
            Self::Refused { count, refusal } => (
                *count,
                ["connection refused", "connections refused"],
                refusal.as_ref(),
            ),
            Self::Stalled(_) | Self::Slow { .. } => return None,
        })
    }

    /// A few words for a table: `50 refused`.
    pub(crate) fn brief(&self) -> String {
        match self.counted() {
            Some((count, [singular, _], _)) => {
                let (_, what) = singular.split_once(' ').unwrap_or(("", singular));
                format!("{} {what}", HumanCount(count))
            }
            None if matches!(self, Self::Slow { .. }) => "p99 too long".to_owned(),
            None => "stalled".to_owned(),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((count, [singular, plural], why)) = self.counted() {
            let what = if count == 1 { singular } else { plural };
            write!(f, "{} {what}", HumanCount(count))?;
            return match why {
                Some(why) => write!(f, " ({why})"),
                None => Ok(()),
            };
        }
        match *self {
            Self::Slow { p99, max } => write!(
                f,
                "the 99th percentile of the delays was {}, above the {} of --max-p99",
                Time(p99),
                Time(max)
            ),
            _ => write!(
                f,
                "no delivery for {} s while some were outstanding",
                STALL_TIMEOUT.as_secs()
            ),
        }
    }
}

/// Several flaws as one text.
#[derive(Debug)]
pub struct List<'a>(pub &'a [Flaw]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, flaw) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{flaw}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_says_how_often_and_why() {
        let flaws = [
            Flaw::Lost {
                count: 1234,
                complaint: Some("!! too long".to_owned()),
            },
            Flaw::Stalled(true),
            Flaw::Dropped {
                count: 1,
                last_words: None,
            },
        ];
        assert_eq!(
            List(&flaws).to_string(),
            "1,234 deliveries lost (!! too long); no delivery for 10 s while some were \
             outstanding; 1 client dropped"
        );
    }

    #[test]
    fn each_flaw_has_its_exit_code_and_none_is_none() {
        assert!(Flaw::Duplicated(0).is_none() && Flaw::Stalled(false).is_none());
        let refused = Flaw::Refused {
            count: 2,
            refusal: None,
        };
        assert!(!refused.is_none());
        assert_eq!(refused.exit(), Exit::Refused);
        assert_eq!(refused.brief(), "2 refused");
        assert_eq!(Flaw::Reordered(1).brief(), "1 out of order");
        let ms = Duration::from_millis;
        let slow = |p99, max| Flaw::Slow {
            p99: ms(p99),
            max: ms(max),
        };
        assert!(slow(50, 50).is_none() && !slow(51, 50).is_none());
        assert!(
            slow(51, 50)
                .to_string()
                .contains("was 51.0 ms, above the 50.0 ms")
        );
        assert!(!slow(51, 50).is_of_deliveries() && Flaw::Stalled(true).is_of_deliveries());
        assert_eq!(Flaw::Stalled(true).exit(), Exit::Failure);
    }
}
