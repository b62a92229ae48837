//! Events as lines of text, for people who read them with `nc`.
//!
//! The first characters of a line tell its kind; no client can forge another. What people say
//! to everybody is read as well, for a transcript is all that is left of a room that ended.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::Write;
use std::net::IpAddr;

use super::{Bye, Changes, Event, Here, Person, Rename, Reply, Several, Speech};
use crate::protocol::name::Name;
use crate::protocol::text::{LEFT_TO_RIGHT_MARK, has_right_to_left, made_safe, mark_after};
use crate::protocol::wording::{NOTICE_PREFIX, OPERATOR, OPERATOR_PREFIX, REFUSAL_PREFIX, WELCOME};

impl Event<'_> {
    /// Appends its lines, the last one without its LF. Nothing for [`Event::Wait`], which only
    /// programs are told.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(_) => push(out, WELCOME),
            Self::Message(speech) => push_speech(out, ["<", &speech.name, "> "], &speech.text),
            Self::Action(speech) => push_speech(out, ["* ", &speech.name, " "], &speech.text),
            Self::Private { speech, .. } => {
                push_speech(out, ["[", &speech.name, "] "], &speech.text);
            }
            Self::Operator { text } => push_speech(out, [NOTICE_PREFIX, OPERATOR_PREFIX, ""], text),
            Self::Presence(changes) => push_words(out, NOTICE_PREFIX, changes),
            Self::Reply(reply) => push_reply(out, reply),
            Self::Error { text, .. } => push_words(out, REFUSAL_PREFIX, text),
            Self::You { name } => push_reply(out, &Reply::nick(&**name)),
            Self::Wait => {}
            Self::Notice { text } | Self::Bye(Bye { text, .. }) => {
                push_words(out, NOTICE_PREFIX, text);
            }
        }
    }
}

/// Reads a line of what somebody says to everybody. `None` for all other lines, those of other
/// programs too.
pub(crate) fn read_speech(line: &str) -> Option<Event<'_>> {
    if let Some(text) = line
        .strip_prefix(NOTICE_PREFIX)
        .and_then(|line| line.strip_prefix(OPERATOR_PREFIX))
    {
        let text = made_safe(without_mark("", text).as_bytes()).into();
        return Some(Event::Operator { text });
    }
    let (event, name, text) = if let Some(line) = line.strip_prefix('<') {
        let (name, text) = line.split_once("> ")?;
        (Event::Message as fn(_) -> _, name, text)
    } else {
        let (name, text) = line.strip_prefix("* ")?.split_once(' ')?;
        (Event::Action as fn(_) -> _, name, text)
    };
    let is_operator = name == OPERATOR && line.starts_with('*');
    let is_label = name.parse::<IpAddr>().is_ok() || Name::parse(name.as_bytes()).is_ok();
    (is_label || is_operator).then(|| {
        event(Speech {
            from: None,
            n: None,
            name: name.into(),
            text: made_safe(without_mark(name, text).as_bytes()).into(),
        })
    })
}

/// The text that [`push_speech`] was given.
fn without_mark<'a>(name: &str, text: &'a str) -> &'a str {
    match text.strip_prefix(LEFT_TO_RIGHT_MARK) {
        Some(marked) if has_right_to_left(name) || has_right_to_left(marked) => marked,
        _ => text,
    }
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push_words(out: &mut Vec<u8>, prefix: &str, words: impl Display) {
    write!(out, "{prefix}{words}").expect("a Vec takes every write");
}

/// Appends `text` after what shows the sender; between them a mark where either needs it.
fn push_speech(out: &mut Vec<u8>, before: [&str; 3], text: &str) {
    for part in before {
        push(out, part);
    }
    if has_right_to_left(before[1]) || has_right_to_left(text) {
        push(out, LEFT_TO_RIGHT_MARK);
    }
    push(out, text);
}

fn push_reply(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let Reply {
        to,
        name,
        people,
        text,
        ..
    } = reply;
    if let Some(text) = text {
        for (nth, line) in text.split('\n').enumerate() {
            if nth > 0 {
                out.push(b'\n');
            }
            push_words(out, NOTICE_PREFIX, line);
        }
    } else if let Some(Here { here, people }) = people {
        push_words(
            out,
            NOTICE_PREFIX,
            format_args!("{} here: {}", Count(*here as usize), Names(people)),
        );
        let more = (*here as usize).saturating_sub(people.len());
        if more > 0 {
            push_words(out, ", and ", format_args!("{} more", Count(more)));
        }
    } else if let Some(name) = name {
        match &**to {
            "nick" => push_words(out, NOTICE_PREFIX, format_args!("you are now {name}")),
            _ => push_words(out, NOTICE_PREFIX, format_args!("sent to {name}")),
        }
    }
}

/// Displayed as `alice left, dora was kicked, bob is now rob, carol joined (12 here)`.
impl Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clauses = Vec::new();
        clauses.extend(clause(&without(&self.left, &self.kicked), "left"));
        let verb = match &self.kicked {
            Several::Named(kicked) if kicked.len() == 1 => "was kicked",
            _ => "were kicked",
        };
        clauses.extend(clause(&self.kicked, verb));
        match &self.renamed {
            Several::Named(renamed) => clauses.extend(renamed.iter().map(ToString::to_string)),
            Several::Counted(count) => {
                clauses.push(format!("{} changed names", Count(*count as usize)))
            }
        }
        clauses.extend(clause(&self.joined, "joined"));
        write!(
            f,
            "{} ({} here)",
            clauses.join(", "),
            Count(self.here as usize)
        )
    }
}

/// Those who have left that were not kicked.
fn without<'a>(left: &Several<Person<'a>>, kicked: &Several<Person<'a>>) -> Several<Person<'a>> {
    match (left, kicked) {
        (Several::Named(left), Several::Named(kicked)) => {
            let is_kicked = |person: &&Person<'_>| kicked.iter().any(|it| it.id == person.id);
            let others = left.iter().filter(|person| !is_kicked(person));
            Several::Named(others.cloned().collect())
        }
        _ => match left.count().saturating_sub(kicked.count()) {
            0 => Several::Named(Vec::new()),
            others => Several::Counted(others),
        },
    }
}

fn clause(people: &Several<Person<'_>>, verb: &str) -> Option<String> {
    match people {
        Several::Named(people) if people.is_empty() => None,
        Several::Named(people) => Some(format!("{} {verb}", Names(people))),
        Several::Counted(count) => Some(format!("{} {verb}", Count(*count as usize))),
    }
}

/// A right-to-left name is followed by a mark, so that it does not reorder the text after it.
impl Display for Rename<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        let marks = [from, to].map(|name| mark_after(name));
        write!(f, "{from}{} is now {to}{}", marks[0], marks[1])
    }
}

/// Displayed as a list: `alice, bob and 2 from 10.0.0.1`.
pub(crate) struct Names<'a>(pub(crate) &'a [Person<'a>]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<Cow<'_, str>> = Vec::new();
        for (nth, Person { name, .. }) in self.0.iter().enumerate() {
            // Only an address can be that of several.
            let is_same = |other: &&Person<'_>| other.name == *name;
            match self.0.iter().filter(is_same).count() {
                1 => items.push(Cow::Borrowed(name)),
                _ if self.0[..nth].iter().any(|other| is_same(&other)) => {}
                count => items.push(Cow::Owned(format!("{count} from {name}"))),
            }
        }
        match items.split_last() {
            Some((last, before @ [_, ..])) => write!(f, "{} and {last}", before.join(", ")),
            _ => f.write_str(&items.concat()),
        }
    }
}

/// A number, displayed with a thousands separator: `9,204`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (nth, digit) in digits.char_indices() {
            if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(event: &Event<'_>) -> String {
        let mut out = Vec::new();
        event.write_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn speech<'a>(name: &'a str, text: &'a str) -> Speech<'a> {
        Speech {
            from: Some(57),
            n: Some(1),
            name: name.into(),
            text: text.into(),
        }
    }

    fn people<'a>(names: &[&'a str]) -> Several<Person<'a>> {
        let person = |&name: &&'a str| Person {
            id: 1,
            name: name.into(),
        };
        Several::Named(names.iter().map(person).collect())
    }

    #[test]
    fn the_first_characters_tell_the_kind() {
        let to = Cow::Borrowed("bob");
        let private = Event::Private {
            speech: speech("alice", "psst"),
            to,
        };
        let operator = Event::Operator { text: "tea".into() };
        for (event, text) in [
            (Event::Message(speech("alice", "hi")), "<alice> hi"),
            (
                Event::Action(speech("10.0.0.1", "waves")),
                "* 10.0.0.1 waves",
            ),
            (private, "[alice] psst"),
            (operator, "-- operator: tea"),
            (Event::You { name: "bob".into() }, "-- you are now bob"),
            (Event::Reply(Reply::nick("bob")), "-- you are now bob"),
            (Event::Reply(Reply::sent("bob")), "-- sent to bob"),
            (
                Event::Reply(Reply::lines("help", "one\n  two")),
                "-- one\n--   two",
            ),
            (Event::Wait, ""),
        ] {
            assert_eq!(text_of(&event), text);
        }
    }

    #[test]
    fn a_mark_keeps_right_to_left_text_on_its_side() {
        for (name, text, written) in [
            ("אב", "hi", "<אב> \u{200e}hi"),
            ("bob", "שלום", "<bob> \u{200e}שלום"),
            ("bob", "é", "<bob> é"),
        ] {
            assert_eq!(text_of(&Event::Message(speech(name, text))), written);
        }
    }

    #[test]
    fn changes_are_told_in_an_order_in_which_no_name_stands_for_two() {
        let renamed = Rename {
            id: 1,
            from: "אב".into(),
            to: "al".into(),
        };
        let changes = Changes {
            joined: people(&["10.0.0.1", "bob", "10.0.0.1"]),
            left: Several::Counted(1234),
            kicked: Several::Named(Vec::new()),
            renamed: Several::Named(vec![renamed]),
            here: 9204,
        };
        let words = "1,234 left, אב\u{200e} is now al, 2 from 10.0.0.1 and bob joined (9,204 here)";
        assert_eq!(changes.to_string(), words);
    }

    #[test]
    fn counts_have_thousands_separators() {
        for (count, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (1_000_007, "1,000,007"),
        ] {
            assert_eq!(Count(count).to_string(), shown);
        }
    }

    #[test]
    fn other_programs_lines_are_no_speech() {
        for line in [
            "",
            "<alice>",
            "<> hi",
            "<al ice> hi",
            "<\u{1b}[2J> hi",
            "*",
            "* alice",
            "* ! hi",
            "-- alice left (1 here)",
            "-- 3 lines could not be written here",
            "Nov 27 13:51:23 box sshd[1]: session opened",
        ] {
            assert_eq!(read_speech(line), None, "{line}");
        }
        let forged = read_speech("<alice> \u{1b}[2J").unwrap();
        assert_eq!(text_of(&forged), "<alice> ␛[2J");
    }

    proptest! {
        #[test]
        fn speech_is_read_as_it_was_said(
            name in "[a-z]{1,9}|10\\.0\\.0\\.[1-9]|[א-ת]{2,9}|::1",
            text in "\u{200e}?([ -~]|[א-ת]|\\PC){0,40}",
            kind in 0..4,
        ) {
            let text = made_safe(text.as_bytes());
            let said = Speech { from: None, n: None, ..speech(&name, &text) };
            let event = match kind {
                0 => Event::Message(said),
                1 => Event::Action(said),
                3 => Event::Action(Speech { name: OPERATOR.into(), ..said }),
                _ => Event::Operator { text: said.text },
            };
            let line = text_of(&event);
            prop_assert_eq!(read_speech(&line), Some(event));
        }
    }
}
