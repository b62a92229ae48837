//! What a line that begins with a slash asks for.

/// What a member can ask the room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// To be called so.
    Nick(&'a [u8]),
    /// To have everybody see it do this.
    Me(&'a [u8]),
    /// To tell one member something.
    Message {
        /// The name, or address, of the member.
        to: &'a [u8],
        /// What it is told.
        text: &'a [u8],
    },
    /// To be told who is here.
    Who,
    /// To be told what there is to ask for.
    Help,
    /// To be let go.
    Quit,
}

/// What it did not ask for in a way that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum BadCommand {
    /// There is no such command; perhaps this one was meant.
    Unknown(Option<&'static str>),
    /// It has to say more: this is how.
    Incomplete(&'static str),
    /// It is the operator's to ask for.
    Operators,
}

/// The commands, as they are typed.
pub(crate) const COMMANDS: [&str; 6] = ["/nick", "/me", "/msg", "/who", "/help", "/quit"];

const HOW_TO_NICK: &str = "/nick NAME";
const HOW_TO_ME: &str = "/me ACTION";
const HOW_TO_MESSAGE: &str = "/msg NAME TEXT";

/// How the commands that need more are used.
pub(crate) const USAGES: [&str; 3] = [HOW_TO_NICK, HOW_TO_ME, HOW_TO_MESSAGE];

/// What the commands are called elsewhere.
const ELSEWHERE: [(&str, &str); 21] = [
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

/// A word that needs more edits than this to become a command is none mistyped.
const MAX_EDITS: usize = 2;

/// A longer word is none mistyped, either.
const MAX_WORD_BYTES: usize = 12;

/// What `line` asks for, which begins with one slash. The word after that counts
/// without regard to case.
///
/// # Errors
///
/// What it could have been.
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
        b"/nick" => need(rest, HOW_TO_NICK).map(|()| Command::Nick(rest.trim_ascii_end())),
        b"/me" => need(rest, HOW_TO_ME).map(|()| Command::Me(rest)),
        b"/msg" => {
            let (to, text) = split_word(rest);
            // As people address each other: no name ends so.
            let to = to
                .strip_suffix(b":")
                .or(to.strip_suffix(b","))
                .unwrap_or(to);
            need(text, HOW_TO_MESSAGE).map(|()| Command::Message { to, text })
        }
        b"/who" => Ok(Command::Who),
        b"/help" => Ok(Command::Help),
        b"/quit" => Ok(Command::Quit),
        b"/kick" | b"/ban" | b"/unban" | b"/bans" | b"/stats" => Err(BadCommand::Operators),
        _ => Err(BadCommand::Unknown(nearest(&word, &COMMANDS))),
    }
}

/// The first word of `text`, and what follows the blanks after it.
pub(crate) fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

/// Which of `commands` may have been meant by `word`, in lower case.
pub(crate) fn nearest(word: &[u8], commands: &[&'static str]) -> Option<&'static str> {
    let word = std::str::from_utf8(word).ok()?;
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let is_there = |command: &&'static str| commands.contains(command);
    if let Some((_, command)) = ELSEWHERE.iter().find(|(name, _)| *name == word) {
        return Some(*command).filter(is_there);
    }
    let begun = commands.iter().find(|command| command.starts_with(word));
    if let Some(command) = begun.filter(|_| word.len() > 1) {
        return Some(command);
    }
    let edits = |command: &&str| strsim::osa_distance(word, command);
    let is_near = |command: &&&'static str| {
        // The shorter the command, the less of it may differ.
        let most = MAX_EDITS.min(command.len().saturating_sub(3));
        // Counting is dear, and a flood of such lines may come.
        command.len().abs_diff(word.len()) <= most && edits(command) <= most
    };
    let near = commands.iter().filter(is_near);
    near.min_by_key(|command| edits(command)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_as_people_type_them() {
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
    fn what_lacks_something_is_told_how_it_is_used() {
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
    fn what_is_unknown_is_answered_with_the_nearest() {
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
    fn what_the_operator_does_is_not_for_members() {
        for line in [&b"/kick bob"[..], b"/BAN 10.0.0.1", b"/stats"] {
            assert_eq!(parse(line), Err(BadCommand::Operators));
        }
    }

    #[test]
    fn whatever_they_are_called_elsewhere_is_a_command_here() {
        for (name, command) in ELSEWHERE {
            assert!(COMMANDS.contains(&command) && !COMMANDS.contains(&name));
            assert_eq!(nearest(name.as_bytes(), &COMMANDS), Some(command));
        }
        assert_eq!(nearest(b"/names", &["/help"]), None);
    }
}
