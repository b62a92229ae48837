//! The operator's commands: a line from the server's standard input in, a request out.
//!
//! The operator is whoever types at the server's terminal. What a program writes to its pipe
//! is only said, unless the server is told that the pipe may command, too.

pub(crate) mod actions;
pub(crate) mod input;

use std::time::Duration;

use ipnet::IpNet;

use crate::protocol::command::{is_misplaced, nearest, split_word};
use crate::server::network;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Say this to everybody.
    Say(&'a [u8]),
    /// Show everybody this action.
    Act(&'a str),
    /// Say this to one member alone.
    Whisper {
        to: &'a str,
        text: &'a str,
    },
    /// List the members and their addresses.
    Who,
    /// Show this many of the last lines.
    Last(usize),
    /// Disconnect the member with this name, or all members at this address.
    Kick(&'a str),
    /// Let nobody see what the member with this name says, or all members at this address.
    Mute(&'a str),
    Unmute(&'a str),
    /// Disconnect an address or network, and refuse it from now on.
    Ban {
        /// A network, or a member's name for its address.
        whom: &'a str,
        /// `None` until the server exits.
        time: Option<Duration>,
    },
    Unban(IpNet),
    /// List the bans, and who is muted.
    Bans,
    Stats,
    Help,
    /// Close the room.
    Quit,
}

/// A year.
const MAX_BAN_MINUTES: u32 = 525_600;

/// What `/last` shows of itself: about a screen.
const LAST_LINES: usize = 20;

pub(crate) const COMMANDS: [&str; 13] = [
    "/me", "/msg", "/who", "/last", "/kick", "/mute", "/unmute", "/ban", "/unban", "/bans",
    "/stats", "/help", "/quit",
];

/// Fits a terminal of 80 by 24, with times before its lines.
pub(crate) const HELP: &str = "\
Everybody sees what you type, unless it begins with a slash:
  /me ACTION              show everybody that you ACTION
  /msg NAME TEXT          say TEXT to NAME alone
  /who                    list who is here
  /last [N]               show the last N lines
  /kick NAME              disconnect a member, or all at an ADDRESS
  /mute NAME              silence a member, or everybody at an ADDRESS
  /unmute NAME            let NAME, or an ADDRESS, speak again
  /ban ADDRESS [MINUTES]  shut out an address, a network such as
                          10.0.1.0/24, or the address NAME is at
  /unban ADDRESS          end a ban
  /bans                   list the bans and who is muted
  /stats                  show statistics, and the key for TLS
  /help                   show this list
  /quit                   close the room
  //TEXT                  say /TEXT
";

/// Parses a line from the operator. `None` if it is blank.
///
/// # Errors
///
/// What is wrong with it, and what to type instead.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Request<'_>>, String> {
    let text = match line {
        [b'/', b'/', ..] => &line[1..],
        [b'/', ..] => return parse_command(line).map(Some),
        _ if is_misplaced(line) => {
            let words = "not sent, it looks like a command: type / first";
            return Err(words.to_owned());
        }
        _ => line,
    };
    parse_speech(text)
}

/// Parses a line that is no command, whatever it begins with. `None` if it is blank.
pub(crate) fn parse_speech(text: &[u8]) -> Result<Option<Request<'_>>, String> {
    if text.trim_ascii().is_empty() {
        Ok(None)
    } else {
        Ok(Some(Request::Say(text)))
    }
}

fn parse_command(line: &[u8]) -> Result<Request<'_>, String> {
    let (word, rest) = split_word(line);
    let word = word.to_ascii_lowercase();
    let rest = std::str::from_utf8(rest.trim_ascii_end())
        .map_err(|_| "the command is not valid UTF-8".to_owned())?;
    let needed = |usage: &str| {
        if rest.is_empty() {
            Err(format!("usage: {usage}"))
        } else {
            Ok(rest)
        }
    };
    let member = |usage: &str| match needed(usage)? {
        name if name.contains(char::is_whitespace) => {
            Err(format!("a name has no spaces; usage: {usage}"))
        }
        name => Ok(name),
    };
    match &word[..] {
        b"/me" => needed("/me ACTION").map(Request::Act),
        b"/msg" => parse_whisper(rest),
        b"/who" => Ok(Request::Who),
        b"/last" => parse_last(rest),
        b"/kick" => member("/kick NAME, or /kick ADDRESS").map(Request::Kick),
        b"/mute" => member("/mute NAME, or /mute ADDRESS").map(Request::Mute),
        b"/unmute" => member("/unmute NAME, or /unmute ADDRESS (/bans lists who is muted)")
            .map(Request::Unmute),
        b"/ban" => parse_ban(needed(
            "/ban ADDRESS [MINUTES], such as /ban 192.168.1.7 60",
        )?),
        b"/unban" => {
            let network = network::parse(needed("/unban ADDRESS (/bans lists all bans)")?)?;
            Ok(Request::Unban(network))
        }
        b"/bans" => Ok(Request::Bans),
        b"/stats" => Ok(Request::Stats),
        b"/help" => Ok(Request::Help),
        // What was meant to be said must not close the room.
        b"/quit" if !rest.is_empty() => Err("usage: /quit, with nothing behind it".to_owned()),
        b"/quit" => Ok(Request::Quit),
        b"/nick" => {
            Err("everybody knows you as operator; to talk, type without a slash".to_owned())
        }
        _ => Err(match nearest(&word, &COMMANDS) {
            Some(meant) => format!("unknown command; did you mean {meant}?"),
            None => "unknown command; /help lists all".to_owned(),
        }),
    }
}

fn parse_whisper(arguments: &str) -> Result<Request<'_>, String> {
    let (to, text) = arguments
        .split_once(char::is_whitespace)
        .unwrap_or_default();
    let text = text.trim_start();
    if text.is_empty() {
        return Err("usage: /msg NAME TEXT".to_owned());
    }
    // People write `/msg bob: hi`. No name ends with these.
    let to = to.strip_suffix([':', ',']).unwrap_or(to);
    Ok(Request::Whisper { to, text })
}

fn parse_last(count: &str) -> Result<Request<'_>, String> {
    match count {
        "" => Ok(Request::Last(LAST_LINES)),
        count => match count.parse() {
            Ok(count @ 1..) => Ok(Request::Last(count)),
            _ => Err("usage: /last, or /last N for the last N lines".to_owned()),
        },
    }
}

fn parse_ban(arguments: &str) -> Result<Request<'_>, String> {
    let (whom, minutes) = match arguments.split_once(char::is_whitespace) {
        Some((whom, minutes)) => (whom, Some(minutes.trim())),
        None => (arguments, None),
    };
    let time = minutes.map(parse_minutes).transpose()?;
    Ok(Request::Ban { whom, time })
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(minutes @ 1..=MAX_BAN_MINUTES) => Ok(Duration::from_secs(60 * u64::from(minutes))),
        _ => Err(format!(
            "{text:?} is not a time: give a whole number of minutes from 1 to \
             {MAX_BAN_MINUTES}, or none for a ban until the server ends"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_command_behind_something_invisible_is_not_said() {
        for command in [
            "/kick bob",
            "/quit",
            "/ban 10.0.0.1",
            "/stats",
            "/unban 10.0.0.1",
        ] {
            for before in [" ", "\u{c}", "\u{feff}"] {
                let line = format!("{before}{command}");
                assert!(parse(line.as_bytes()).is_err(), "{line:?}");
            }
        }
        let said = parse(b" /tmp is full").unwrap();
        assert_eq!(said, Some(Request::Say(b" /tmp is full")));
    }

    #[test]
    fn parses_requests_in_any_case_and_spacing() {
        let ban = |whom, minutes: Option<u64>| Request::Ban {
            whom,
            time: minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        };
        let table: &[(&[u8], Option<Request<'_>>)] = &[
            (b"", None),
            (b" \t", None),
            (b"hello all", Some(Request::Say(b"hello all"))),
            (b"//quit", Some(Request::Say(b"/quit"))),
            (b"/me waves  twice ", Some(Request::Act("waves  twice"))),
            (
                b"/msg  bob:  see  you",
                Some(Request::Whisper {
                    to: "bob",
                    text: "see  you",
                }),
            ),
            (b"/who", Some(Request::Who)),
            (b"/last", Some(Request::Last(LAST_LINES))),
            (b"/LAST 3", Some(Request::Last(3))),
            (b"/mute bob ", Some(Request::Mute("bob"))),
            (b"/unmute 10.0.0.7", Some(Request::Unmute("10.0.0.7"))),
            (b"/KICK  bob ", Some(Request::Kick("bob"))),
            (b"/ban 10.0.0.7", Some(ban("10.0.0.7", None))),
            (b"/ban 10.0.0.0/8  60", Some(ban("10.0.0.0/8", Some(60)))),
            (
                b"/ban fe80::/10 525600",
                Some(ban("fe80::/10", Some(525_600))),
            ),
            (b"/unban ::1", Some(Request::Unban(network("::1/128")))),
            (b"/ban bob 5", Some(ban("bob", Some(5)))),
            (b"/bans", Some(Request::Bans)),
            (b"/stats", Some(Request::Stats)),
            (b"/help", Some(Request::Help)),
            (b"/quit", Some(Request::Quit)),
        ];
        for (line, request) in table {
            assert_eq!(parse(line), Ok(request.clone()), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn errors_say_what_to_type_instead() {
        for (line, words) in [
            (&b"/kick"[..], "/kick NAME"),
            (b"/ban", "/ban ADDRESS [MINUTES]"),
            (b"/kick bob please", "/kick NAME"),
            (b"/ban 10.0.0.1 soon", "minutes"),
            (b"/ban 10.0.0.1 0", "minutes"),
            (b"/ban 10.0.0.1 525601", "minutes"),
            (b"/ban 10.0.0.1 1 2", "minutes"),
            (b"/unban", "/unban ADDRESS"),
            (b"/unban bob", "192.168.1.0/24"),
            (b"/kcik bob", "did you mean /kick?"),
            (b"/exit", "did you mean /quit?"),
            (b"/nick bob", "operator"),
            (b"/me ", "/me ACTION"),
            (b"/msg", "/msg NAME TEXT"),
            (b"/msg bob", "/msg NAME TEXT"),
            (b"/msg bob ", "/msg NAME TEXT"),
            (b"/last 0", "/last N"),
            (b"/last all", "/last N"),
            (b"/mute", "/mute NAME"),
            (b"/mute bob please", "/mute NAME"),
            (b"/unmute", "/unmute NAME"),
            (b"/quit now?", "usage: /quit"),
            (b"/dance", "/help"),
            (b"/", "/help"),
            (b"/kick \xff", "UTF-8"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn help_fits_a_terminal_and_lists_every_command() {
        assert!(HELP.lines().count() < 24);
        let max_columns = 80 - "15:04 ".len();
        assert!(HELP.lines().all(|line| line.len() < max_columns), "{HELP}");
        for command in COMMANDS {
            assert!(HELP.contains(&format!("  {command} ")), "{command}");
        }
    }
}
