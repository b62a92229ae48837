//! What a server can do wrong under load.

use std::fmt;

use indicatif::HumanCount;

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
}

impl Flaw {
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
        }
    }

    /// The exit code when this is the gravest flaw.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Lost { .. }
            | Self::Garbled(_)
            | Self::Duplicated(_)
            | Self::Reordered(_)
            | Self::Stalled(_) => Exit::Failure,
            Self::Dropped { .. } => Exit::ConnectionLost,
            Self::Failed { .. } => Exit::CannotConnect,
            Self::Refused { .. } => Exit::Refused,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, singular, plural, why) = match self {
            Self::Lost { count, complaint } => {
                (*count, "delivery lost", "deliveries lost", complaint)
            }
            Self::Garbled(count) => (*count, "line garbled", "lines garbled", &None),
            Self::Duplicated(count) => (
                *count,
                "delivery duplicated",
                "deliveries duplicated",
                &None,
            ),
            Self::Reordered(count) => (
                *count,
                "delivery out of order",
                "deliveries out of order",
                &None,
            ),
            Self::Stalled(_) => {
                return write!(
                    f,
                    "no delivery for {} s while some were outstanding",
                    STALL_TIMEOUT.as_secs()
                );
            }
            Self::Dropped { count, last_words } => {
                (*count, "client dropped", "clients dropped", last_words)
            }
            Self::Failed { count, failure } => {
                (*count, "connection failed", "connections failed", failure)
            }
            Self::Refused { count, refusal } => {
                (*count, "connection refused", "connections refused", refusal)
            }
        };
        let what = match count {
            1 => singular,
            _ => plural,
        };
        write!(f, "{} {what}", HumanCount(count))?;
        match why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
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
        assert_eq!(Flaw::Stalled(true).exit(), Exit::Failure);
    }
}
