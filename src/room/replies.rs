//! The room's fixed replies, composed once and shared by all their readers.

use std::collections::BTreeMap;
use std::fmt;

use crate::protocol::batch::Frame;
use crate::protocol::command::{BadCommand, COMMANDS, USAGES};
use crate::protocol::event::text::Count;
use crate::protocol::event::{ErrorCode, Event, Reply};
use crate::protocol::name::BadName;

/// Fits a terminal of 80 by 24.
pub(crate) const HELP: &str = "\
What you type is said to everybody, unless it begins with a slash:
  /nick NAME        be called NAME from now on
  /me ACTION        let everybody see that you ACTION
  /msg NAME TEXT    say TEXT to NAME alone
  /who              see who is here
  /help             see this
  /quit             leave
  //TEXT            say /TEXT";

/// To a private message to its own sender.
pub(crate) const TO_ONESELF: &str = "that is you; /who lists the others";

/// To what a muted member says.
pub(crate) const MUTED: &str = "not sent: the operator muted you; wait until it ends";

/// As text. Whoever reads JSON gets an answer of its own, which has the number of its line.
#[derive(Debug)]
pub(crate) struct Replies {
    bad_commands: BTreeMap<BadCommand, Frame>,
    bad_names: BTreeMap<BadName, Frame>,
    pub(crate) help: Frame,
    pub(crate) too_long: Frame,
    /// [`TO_ONESELF`].
    pub(crate) to_oneself: Frame,
    /// [`MUTED`].
    pub(crate) muted: Frame,
}

impl Replies {
    pub(crate) fn new(max_line_bytes: u32) -> Self {
        let meant = COMMANDS.into_iter().map(Some).chain([None]);
        let unknown = meant.map(BadCommand::Unknown);
        let incomplete = USAGES.into_iter().map(BadCommand::Incomplete);
        Self {
            bad_commands: unknown
                .chain(incomplete)
                .chain([BadCommand::Operators, BadCommand::Misplaced])
                .map(|bad| (bad, refusal(bad.code(), bad)))
                .collect(),
            bad_names: BadName::ALL
                .into_iter()
                .map(|bad| (bad, refusal(ErrorCode::BadName, bad)))
                .collect(),
            help: frame(&Event::Reply(Reply::lines("help", HELP))),
            too_long: refusal(ErrorCode::TooLong, too_long(max_line_bytes)),
            to_oneself: refusal(ErrorCode::Yourself, TO_ONESELF),
            muted: refusal(ErrorCode::Muted, MUTED),
        }
    }

    pub(crate) fn bad_command(&self, bad: BadCommand) -> Frame {
        Frame::clone(&self.bad_commands[&bad])
    }

    pub(crate) fn bad_name(&self, bad: BadName) -> Frame {
        Frame::clone(&self.bad_names[&bad])
    }
}

/// The heading of the last `count` lines, for somebody who asks for some.
pub(crate) fn past_heading(count: usize) -> String {
    match count {
        0 => "nothing was said earlier".to_owned(),
        1 => "last line:".to_owned(),
        _ => format!("last {} lines:", Count(count)),
    }
}

/// To a line over the limit.
pub(crate) fn too_long(max_line_bytes: u32) -> String {
    format!("not sent: the line is longer than {max_line_bytes} bytes; split it")
}

impl BadCommand {
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::Unknown(_) => ErrorCode::UnknownCommand,
            Self::Operators => ErrorCode::Operators,
            Self::Misplaced => ErrorCode::Misplaced,
            Self::Incomplete(_) => ErrorCode::Usage,
        }
    }
}

impl fmt::Display for BadCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(Some(command)) => write!(
                f,
                "unknown command; did you mean {command}? (/help lists all)"
            ),
            Self::Unknown(None) => f.write_str(
                "unknown command; /help lists all, \
                 and //text says /text",
            ),
            Self::Operators => {
                f.write_str("only the operator can do that; /help lists your commands")
            }
            Self::Misplaced => {
                f.write_str("not sent, it looks like a command: type / first; //text says /text")
            }
            Self::Incomplete(usage) => write!(f, "usage: {usage}"),
        }
    }
}

/// `event` as lines of text, for one reader or several.
pub(crate) fn frame(event: &Event<'_>) -> Frame {
    let mut text = Vec::new();
    event.write_text(&mut text);
    text.push(b'\n');
    Frame::from(text)
}

/// What a member asked for is not done, for a reason in safe words.
pub(crate) fn refusal(code: ErrorCode, words: impl fmt::Display) -> Frame {
    frame(&Event::Error {
        n: None,
        code,
        text: words.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wording::REFUSAL_PREFIX;

    #[test]
    fn help_fits_a_terminal_and_lists_every_command() {
        let replies = Replies::new(4096);
        let text = std::str::from_utf8(&replies.help).unwrap();
        assert!(text.lines().count() < 24);
        for line in text.lines() {
            assert!(line.starts_with("-- ") && line.len() < 80, "{line}");
        }
        for command in COMMANDS {
            assert!(text.contains(&format!("--   {command} ")), "{command}");
        }
        let is_for_people =
            |usage: &&str| COMMANDS.iter().any(|command| usage.starts_with(command));
        for usage in USAGES.into_iter().filter(is_for_people) {
            assert!(text.contains(usage), "{usage}");
        }
    }

    #[test]
    fn every_refusal_is_one_line_and_names_a_remedy() {
        let replies = Replies::new(4096);
        let frames = (replies.bad_commands.values())
            .chain(replies.bad_names.values())
            .chain([&replies.too_long, &replies.to_oneself, &replies.muted]);
        for frame in frames {
            let text = std::str::from_utf8(frame).unwrap();
            assert!(text.starts_with(REFUSAL_PREFIX) && text.ends_with('\n'));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.len() < 100, "{text}");
            let names_a_remedy = [
                "usage: ", "type /", "/help", "/who", "split it", "a name ", "choose", "leave",
                "wait",
            ]
            .iter()
            .any(|remedy| text.contains(remedy));
            assert!(names_a_remedy, "{text}");
        }
        for meant in COMMANDS {
            let answer = replies.bad_command(BadCommand::Unknown(Some(meant)));
            let text = std::str::from_utf8(&answer).unwrap();
            assert!(text.contains(meant) && text.contains("/help"));
        }
    }
}
