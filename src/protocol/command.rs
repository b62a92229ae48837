//! Slash commands: a line in, a command out.

use super::text::is_invisible;

/// A member's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Take a name.
    Nick(&'a [u8]),
    /// Perform an action: `* alice waves`.
    Me(&'a [u8]),
    /// Send a private message to a member, given by name or address.
    Message {
        to: &'a [u8],
        text: &'a [u8],
    },
    /// List who is here.
    Who,
    Help,
    Quit,
    /// See what was said before: how much, and up to which event.
    Last {
        count: u64,
        seq: Option<u64>,
    },
    /// Read JSON from now on.
    Json,
    /// Go on with the session of this token, after this event.
    Resume {
        token: &'a str,
        seq: u64,
    },
    /// Give the room's password.
    Pass(&'a [u8]),
}

/// Why a line is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum BadCommand {
    /// No such command, and the likeliest intended one.
    Unknown(Option<&'static str>),
    /// An argument is missing, and the usage.
    Incomplete(&'static str),
    /// Only the operator has this command.
    Operators,
    /// The line does not begin with its slash.
    Misplaced,
}

/// Those that people type. The others are for programs, and nobody means them by a typo.
pub(crate) const COMMANDS: [&str; 6] = ["/nick", "/me", "/msg", "/who", "/help", "/quit"];

const NICK_USAGE: &str = "/nick NAME";
const ME_USAGE: &str = "/me ACTION";
const MESSAGE_USAGE: &str = "/msg NAME TEXT";
const LAST_USAGE: &str = "/last N";
const RESUME_USAGE: &str = "/resume TOKEN SEQ";
const PASS_USAGE: &str = "/pass PASSWORD";

/// Of the commands that take arguments.
pub(crate) const USAGES: [&str; 6] = [
    NICK_USAGE,
    ME_USAGE,
    MESSAGE_USAGE,
    LAST_USAGE,
    RESUME_USAGE,
    PASS_USAGE,
];

/// Names from other chat programs, and our commands for them.
const ALIASES: [(&str, &str); 21] = [
    ("/name", "/nick"),
    ("/rename", "/nick"),
    ("/nickname", "/nick"),
    ("/emote", "/me"),
    ("/action", "/me"),
    ("/dm", "/msg"),
    ("/pm", "/msg"),
    ("/tell", "/msg"),
    ("/query", "/msg"),
    ("/whisper", "/msg"),
    ("/message", "/msg"),
    ("/names", "/who"),
    ("/whois", "/who"),
    ("/users", "/who"),
    ("/list", "/who"),
    ("/commands", "/help"),
    ("/?", "/help"),
    ("/exit", "/quit"),
    ("/bye", "/quit"),
    ("/leave", "/quit"),
    ("/part", "/quit"),
];

/// A word at a greater edit distance from a command is not a typo of it.
const MAX_EDITS: usize = 2;

/// A longer word is not a typo of any command.
const MAX_WORD_BYTES: usize = 12;

/// Parses `line`, which begins with one slash. Commands ignore case.
///
/// # Errors
///
/// Why it is not a command.
pub(crate) fn parse(line: &[u8]) -> Result<Command<'_>, BadCommand> {
    let (word, rest) = split_word(line);
    let need = |rest: &'_ [u8], usage| {
        if rest.is_empty() {
            Err(BadCommand::Incomplete(usage))
        } else {
            Ok(())
        }
    };
    let word = word.to_ascii_lowercase();
    match &word[..] {
        b"/nick" => need(rest, NICK_USAGE).map(|()| Command::Nick(rest.trim_ascii_end())),
        b"/me" => need(rest, ME_USAGE).map(|()| Command::Me(rest)),
        b"/msg" => {
            let (to, text) = split_word(rest);
            // People write `/msg bob: hi`. No name ends with these.
            let to = to
                .strip_suffix(b":")
                .or(to.strip_suffix(b","))
                .unwrap_or(to);
            need(text, MESSAGE_USAGE).map(|()| Command::Message { to, text })
        }
        b"/who" => Ok(Command::Who),
        b"/help" => Ok(Command::Help),
        b"/quit" => Ok(Command::Quit),
        b"/last" => last(rest).ok_or(BadCommand::Incomplete(LAST_USAGE)),
        b"/json" => Ok(Command::Json),
        b"/resume" => resume(rest).ok_or(BadCommand::Incomplete(RESUME_USAGE)),
        b"/pass" => need(rest, PASS_USAGE).map(|()| Command::Pass(rest)),
        b"/kick" | b"/mute" | b"/unmute" | b"/ban" | b"/unban" | b"/bans" | b"/stats" => {
            Err(BadCommand::Operators)
        }
        _ => Err(BadCommand::Unknown(nearest(&word, &COMMANDS))),
    }
}

fn last(arguments: &[u8]) -> Option<Command<'_>> {
    let (count, seq) = split_word(arguments.trim_ascii_end());
    Some(Command::Last {
        count: number(count)?,
        seq: if seq.is_empty() {
            None
        } else {
            Some(number(seq)?)
        },
    })
}

fn resume(arguments: &[u8]) -> Option<Command<'_>> {
    let (token, seq) = split_word(arguments.trim_ascii_end());
    Some(Command::Resume {
        token: std::str::from_utf8(token).ok()?,
        seq: number(seq)?,
    })
}

/// Nothing but digits.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

/// Whether `line` is a command to the eye of its sender, though it does not begin with a
/// slash: something invisible stands before that (a space, a byte-order mark, a control
/// sequence, bytes that are not text), or it is one of an input method's. Said aloud, a
/// private message would be public.
pub(crate) fn is_misplaced(line: &[u8]) -> bool {
    // Most lines.
    if let [b'!'..=b'~', ..] | [] = line {
        return false;
    }
    let text = String::from_utf8_lossy(line);
    let mut chars = without_invisible(&text).chars();
    if !chars.next().is_some_and(is_slash) || chars.as_str().starts_with('/') {
        return false;
    }
    let word = chars
        .take_while(|c| !c.is_whitespace())
        .filter(|&c| !shows_nothing(c))
        .map(halfwidth)
        .take(MAX_WORD_BYTES);
    let word: String = ['/'].into_iter().chain(word).collect();
    parse(word.as_bytes()) != Err(BadCommand::Unknown(None))
}

/// `text` without what shows nothing at its beginning, and without control sequences,
/// which keys that move the cursor and pastes send (ECMA-48, section 5.4).
fn without_invisible(mut text: &str) -> &str {
    loop {
        let rest = text.trim_start_matches(shows_nothing);
        let invisible = &text[..text.len() - rest.len()];
        let sequence = match invisible.chars().next_back() {
            Some('\u{1b}') => rest.strip_prefix(['[', 'O']),
            Some('\u{9b}') => Some(rest),
            _ => None,
        };
        let Some(sequence) = sequence else {
            return rest;
        };
        let end = sequence.trim_start_matches(|c| matches!(c, '0'..='?'));
        text = end.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(end);
    }
}

fn shows_nothing(c: char) -> bool {
    is_invisible(c) || c.is_control() || c == char::REPLACEMENT_CHARACTER
}

/// A slash, or what looks like one.
fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}')
}

/// The ASCII character that `c` is the full width of, or else `c`.
fn halfwidth(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).expect("it is ASCII"),
        _ => c,
    }
}

/// The first word of `text`, and the rest after white space.
pub(crate) fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

/// The one of `commands` that `word`, in lower case, most likely stands for.
pub(crate) fn nearest(word: &[u8], commands: &[&'static str]) -> Option<&'static str> {
    let word = std::str::from_utf8(word).ok()?;
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let is_there = |command: &&'static str| commands.contains(command);
    if let Some((_, command)) = ALIASES.iter().find(|(name, _)| *name == word) {
        return Some(*command).filter(is_there);
    }
    let begun = commands.iter().find(|command| command.starts_with(word));
    if let Some(command) = begun.filter(|_| word.len() > 1) {
        return Some(command);
    }
    let edits = |command: &&str| strsim::osa_distance(word, command);
    let is_near = |command: &&&'static str| {
        // The shorter the command, the fewer edits count as a typo.
        let most = MAX_EDITS.min(command.len().saturating_sub(3));
        // Compare lengths first: the distance is expensive, and clients may flood.
        command.len().abs_diff(word.len()) <= most && edits(command) <= most
    };
    let near = commands.iter().filter(is_near);
    near.min_by_key(|command| edits(command)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_commands_in_any_case_and_spacing() {
        let table: &[(&[u8], Command<'_>)] = &[
            (b"/nick alice", Command::Nick(b"alice")),
            (b"/NICK   alice  ", Command::Nick(b"alice")),
            (b"/nick a b", Command::Nick(b"a b")),
            (b"/me waves  twice ", Command::Me(b"waves  twice ")),
            (
                b"/msg bob  see  you",
                Command::Message {
                    to: b"bob",
                    text: b"see  you",
                },
            ),
            (
                b"/msg bob: hi",
                Command::Message {
                    to: b"bob",
                    text: b"hi",
                },
            ),
            (b"/who", Command::Who),
            (b"/who is there", Command::Who),
            (b"/Help\t", Command::Help),
            (b"/quit", Command::Quit),
        ];
        for &(line, command) in table {
            assert_eq!(parse(line), Ok(command), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_missing_argument_gives_the_usage() {
        for (line, usage) in [
            (&b"/nick"[..], "/nick NAME"),
            (b"/nick  ", "/nick NAME"),
            (b"/me", "/me ACTION"),
            (b"/msg", "/msg NAME TEXT"),
            (b"/msg bob", "/msg NAME TEXT"),
            (b"/msg bob ", "/msg NAME TEXT"),
            (b"/last", "/last N"),
            (b"/last x", "/last N"),
            (b"/last 3 +4", "/last N"),
            (b"/resume 57.00", "/resume TOKEN SEQ"),
            (b"/resume 57.00 -1", "/resume TOKEN SEQ"),
        ] {
            assert_eq!(parse(line), Err(BadCommand::Incomplete(usage)));
            assert!(USAGES.contains(&usage));
        }
    }

    #[test]
    fn unknown_commands_suggest_the_nearest() {
        for (line, meant) in [
            (&b"/nik alice"[..], Some("/nick")),
            (b"/ncik alice", Some("/nick")),
            (b"/n", Some("/nick")),
            (b"/mgs bob hi", Some("/msg")),
            (b"/whois bob", Some("/who")),
            (b"/hlep", Some("/help")),
            (b"/h", Some("/help")),
            (b"/?", Some("/help")),
            (b"/qiut", Some("/quit")),
            (b"/EXIT", Some("/quit")),
            (b"/whisper bob hi", Some("/msg")),
            (b"/", None),
            (b"/ who", None),
            (b"/dance", None),
            (b"/tmp/file", None),
            (b"/x", None),
            (b"/\xff\xfe", None),
        ] {
            let expected = Err(BadCommand::Unknown(meant));
            assert_eq!(parse(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn operator_commands_are_not_for_members() {
        for line in [&b"/kick bob"[..], b"/BAN 10.0.0.1", b"/stats"] {
            assert_eq!(parse(line), Err(BadCommand::Operators));
        }
    }

    #[test]
    fn a_command_behind_something_invisible_is_misplaced() {
        for before in [
            " ",
            "\t",
            "\u{feff}",
            "\0",
            "\r",
            "\u{8}",
            "\u{7f}",
            "\u{1b}",
            "\u{1b}[D",
            "\u{1b}[1;5C",
            "\u{1b}OA",
            "\u{1b}[200~",
            "\u{9b}200~",
            "\u{1b}[",
            "\u{1b}O",
            "\u{a0}",
            "\u{3000}",
            "\u{200b}",
            "\u{200e}",
            "\u{202e}",
            "\u{2066}",
            "\u{301}",
            "\u{ad}",
            "\u{fffd}",
            " \u{1b}[A \u{1b}[B\u{feff} ",
        ] {
            for command in [
                "/msg bob PIN",
                "/MSG bob",
                "/nick x",
                "/me",
                "/who",
                "/help",
                "/quit",
            ] {
                let line = format!("{before}{command}");
                assert!(is_misplaced(line.as_bytes()), "{line:?}");
            }
        }
        for line in [
            &b"\xff/msg bob PIN"[..],
            b"\xef\xbb/who",
            b"\xff\xfe \xf4/quit",
            b" /tell bob PIN",
            b" /mgs bob PIN",
            b" /kick bob",
            " /m\u{200b}sg bob PIN".as_bytes(),
        ] {
            assert!(is_misplaced(line), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_command_of_an_input_method_is_misplaced() {
        for line in [
            "／msg bob PIN",
            "／ｍｓｇ　bob　PIN",
            "　／ＷＨＯ",
            "⁄msg bob PIN",
            "∕msg bob PIN",
            "⧸quit",
        ] {
            assert!(is_misplaced(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_may_begin_with_something_invisible() {
        for line in [
            "",
            "hello",
            "see /msg bob hi",
            "  indented",
            "  /etc/passwd",
            " /tmp/file",
            " / who",
            " //msg bob is how to whisper",
            "\u{feff}hello /who",
            "漢字",
            "／",
            "１／２",
            "½ /me",
            "\u{1b}[31mred",
            "\u{1b}[/",
            "\u{9b}",
        ] {
            assert!(!is_misplaced(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn aliases_suggest_commands() {
        for (name, command) in ALIASES {
            assert!(COMMANDS.contains(&command) && !COMMANDS.contains(&name));
            assert_eq!(nearest(name.as_bytes(), &COMMANDS), Some(command));
        }
        assert_eq!(nearest(b"/names", &["/help"]), None);
    }
}
