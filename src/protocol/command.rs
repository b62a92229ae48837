//! Slash commands: a line in, a command out.

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
}

pub(crate) const COMMANDS: [&str; 6] = ["/nick", "/me", "/msg", "/who", "/help", "/quit"];

const NICK_USAGE: &str = "/nick NAME";
const ME_USAGE: &str = "/me ACTION";
const MESSAGE_USAGE: &str = "/msg NAME TEXT";

/// Of the commands that take arguments.
pub(crate) const USAGES: [&str; 3] = [NICK_USAGE, ME_USAGE, MESSAGE_USAGE];

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
        b"/kick" | b"/ban" | b"/unban" | b"/bans" | b"/stats" => Err(BadCommand::Operators),
        _ => Err(BadCommand::Unknown(nearest(&word, &COMMANDS))),
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
    fn aliases_suggest_commands() {
        for (name, command) in ALIASES {
            assert!(COMMANDS.contains(&command) && !COMMANDS.contains(&name));
            assert_eq!(nearest(name.as_bytes(), &COMMANDS), Some(command));
        }
        assert_eq!(nearest(b"/names", &["/help"]), None);
    }
}
