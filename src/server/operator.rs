//! What the operator, who holds the server's terminal, asks for.
//!
//! Pure: a line in, a request out. The [server](crate::server) carries it out.

pub(crate) mod actions;
pub(crate) mod input;

use std::time::Duration;

use ipnet::IpNet;

use crate::protocol::command::{nearest, split_word};
use crate::server::network;

/// What an operator can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// To have everybody told this.
    Say(&'a [u8]),
    /// To be told who is here.
    Who,
    /// To have whoever is called so, or comes from there, sent away.
    Kick(&'a str),
    /// To have nobody let in from there, and those who are here sent away.
    Ban {
        /// A network, or a member's name.
        whom: &'a str,
        /// How long; `None` for as long as the server runs.
        time: Option<Duration>,
    },
    /// To end a ban.
    Unban(IpNet),
    /// To be told of the bans.
    Bans,
    /// To be told the server's figures.
    Stats,
    /// To be told what there is to ask for.
    Help,
    /// To close the room.
    Quit,
}

/// The longest ban in minutes: a year.
const MAX_BAN_MINUTES: u32 = 525_600;

const COMMANDS: [&str; 8] = [
    "/who", "/kick", "/ban", "/unban", "/bans", "/stats", "/help", "/quit",
];

/// What an operator can do, in lines of less than 80 columns.
pub(crate) const HELP: &str = "\
What you type is said to everybody, unless it begins with a slash:
  /who                        see who is here
  /kick NAME                  send NAME away; or all from an ADDRESS
  /ban ADDRESS [MINUTES]      let nobody in from there, and send them away;
                              from a network, such as 192.168.1.0/24, or from
                              where the member NAME is
  /unban ADDRESS              let them in again
  /bans                       see who is not let in, and how long
  /stats                      see the server's figures
  /help                       see this
  /quit                       close the room
  //TEXT                      say /TEXT
";

/// What `line` asks for, typed by the operator; `None` for nothing.
///
/// # Errors
///
/// What is wrong with it, and what to type instead.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Request<'_>>, String> {
    let text = match line {
        [b'/', b'/', ..] => &line[1..],
        [b'/', ..] => return parse_command(line).map(Some),
        _ => line,
    };
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
        .map_err(|_| "that is not UTF-8 text".to_owned())?;
    let needed = |usage: &str| {
        if rest.is_empty() {
            Err(format!("something is missing: {usage}"))
        } else {
            Ok(rest)
        }
    };
    match &word[..] {
        b"/who" => Ok(Request::Who),
        b"/kick" => match needed("/kick NAME, or /kick ADDRESS")? {
            name if name.contains(char::is_whitespace) => {
                Err("a name has no blanks: /kick NAME".to_owned())
            }
            name => Ok(Request::Kick(name)),
        },
        b"/ban" => parse_ban(needed(
            "/ban ADDRESS [MINUTES], such as /ban 192.168.1.7 60",
        )?),
        b"/unban" => {
            let network = network::parse(needed("/unban ADDRESS (/bans lists them)")?)?;
            Ok(Request::Unban(network))
        }
        b"/bans" => Ok(Request::Bans),
        b"/stats" => Ok(Request::Stats),
        b"/help" => Ok(Request::Help),
        b"/quit" => Ok(Request::Quit),
        b"/nick" | b"/me" | b"/msg" => Err(
            "that is for members; what you type without a slash is said to everybody".to_owned(),
        ),
        _ => Err(match nearest(&word, &COMMANDS) {
            Some(meant) => format!("there is no such command; did you mean {meant}?"),
            None => "there is no such command; /help lists them all".to_owned(),
        }),
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
            "{text:?} is no time: a whole number of minutes from 1 to {MAX_BAN_MINUTES}, \
             or none for as long as the server runs"
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
    fn requests_are_understood_as_people_type_them() {
        let ban = |whom, minutes: Option<u64>| Request::Ban {
            whom,
            time: minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        };
        let table: &[(&[u8], Option<Request<'_>>)] = &[
            (b"", None),
            (b" \t", None),
            (b"hello all", Some(Request::Say(b"hello all"))),
            (b"//quit", Some(Request::Say(b"/quit"))),
            (b"/who", Some(Request::Who)),
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
    fn what_is_wrong_is_told_with_what_to_type_instead() {
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
            (b"/nick bob", "for members"),
            (b"/dance", "/help"),
            (b"/", "/help"),
            (b"/kick \xff", "UTF-8"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn help_fits_a_terminal_and_tells_of_every_command() {
        assert!(HELP.lines().count() < 24);
        assert!(HELP.lines().all(|line| line.len() < 80), "{HELP}");
        for command in COMMANDS {
            assert!(HELP.contains(&format!("  {command} ")), "{command}");
        }
    }
}
