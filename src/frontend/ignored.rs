//! Ignored people: this client does not show what they say.

use super::message::{Message, Told};
use crate::protocol::event::{Event, Rename, Several, Speech};
use crate::protocol::name::{self, Name};

/// Nobody ignores more people.
const MAX_IGNORED: usize = 100;

/// What is entered for that, and not for the room.
pub(crate) const COMMANDS: [&str; 2] = ["/ignore", "/unignore"];

/// What a person can ask for, with a name or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Ignore(&'a str),
    Unignore(&'a str),
    List,
}

impl<'a> Request<'a> {
    /// What `line` asks for, if it is one of [`COMMANDS`].
    pub(crate) fn of(line: &'a str) -> Option<Self> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // As after `/msg`, people write `bob:`.
        let name = rest.trim().trim_end_matches([':', ',']);
        match COMMANDS
            .iter()
            .position(|it| word.eq_ignore_ascii_case(it))?
        {
            0 if name.is_empty() => Some(Self::List),
            0 => Some(Self::Ignore(name)),
            _ => Some(Self::Unignore(name)),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ignored {
    people: Vec<Somebody>,
}

#[derive(Debug)]
struct Somebody {
    /// Where the room tells, and this is no address, which several may share.
    id: Option<u64>,
    name: String,
}

impl Somebody {
    fn is_called(&self, name: &str) -> bool {
        name::fold(&self.name) == name::fold(name)
    }
}

impl Ignored {
    /// Carries out `request`. Returns what to say of it, and whether that went wrong.
    pub(crate) fn obey(&mut self, request: Request<'_>) -> (String, bool) {
        let at = |people: &[Somebody], name| people.iter().position(|it| it.is_called(name));
        match request {
            Request::List if self.people.is_empty() => {
                let words = "ignoring nobody; /ignore NAME hides what NAME says, for you alone";
                (words.to_owned(), false)
            }
            Request::List => {
                let names: Vec<_> = self.people.iter().map(|it| &it.name[..]).collect();
                (format!("ignoring {}", names.join(", ")), false)
            }
            Request::Ignore(_) if self.people.len() == MAX_IGNORED => {
                let words = format!("you ignore {MAX_IGNORED} people already: /unignore some");
                (words, true)
            }
            Request::Ignore(name) => {
                if at(&self.people, name).is_none() {
                    let name = name.to_owned();
                    self.people.push(Somebody { id: None, name });
                }
                (
                    format!("ignoring {name}; /unignore {name} ends that"),
                    false,
                )
            }
            Request::Unignore("") => ("usage: /unignore NAME".to_owned(), true),
            Request::Unignore(name) => match at(&self.people, name) {
                Some(at) => {
                    self.people.remove(at);
                    (format!("no longer ignoring {name}"), false)
                }
                None => {
                    let words = format!("you do not ignore {name}; /ignore lists whom you do");
                    (words, true)
                }
            },
        }
    }

    /// Whether `message` is not to be shown. Notes who has which name.
    pub(crate) fn hides(&mut self, message: &Message<'_>) -> bool {
        if self.people.is_empty() {
            return false;
        }
        let event = message.told.and_then(|told| told.event);
        if let Some(Event::Presence(changes)) = event
            && let Several::Named(renamed) = &changes.renamed
        {
            renamed.iter().for_each(|rename| self.follow(rename));
        }
        let is_own = matches!(message.told, Some(Told { is_own: true, .. }));
        let Some(name) = message.name.filter(|_| !is_own) else {
            return false;
        };
        let from = match event {
            Some(Event::Message(speech) | Event::Action(speech))
            | Some(Event::Private { speech, .. }) => {
                let Speech { from, .. } = speech;
                *from
            }
            _ => None,
        };
        let is_theirs = |it: &Somebody| it.is_called(name) || (from.is_some() && it.id == from);
        let Some(somebody) = self.people.iter_mut().find(|it| is_theirs(it)) else {
            return false;
        };
        if Name::parse(name.as_bytes()).is_ok() {
            somebody.id = from.or(somebody.id);
        }
        true
    }

    /// An ignored person stays ignored under another name.
    fn follow(&mut self, Rename { id, from, to }: &Rename<'_>) {
        let is_theirs = |it: &Somebody| match it.id {
            Some(known) => known == *id,
            None => it.is_called(from) && Name::parse(from.as_bytes()).is_ok(),
        };
        if let Some(somebody) = self.people.iter_mut().find(|it| is_theirs(it)) {
            somebody.id = Some(*id);
            somebody.name = to.to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(ignored: &mut Ignored, line: &str) -> String {
        let (words, is_trouble) = ignored.obey(Request::of(line).expect("a request"));
        let prefix = if is_trouble { "!!" } else { "--" };
        format!("{prefix} {words}")
    }

    fn hides(ignored: &mut Ignored, line: &str) -> bool {
        ignored.hides(&Message::parse(line))
    }

    /// Whether what the object says is hidden.
    fn hides_object(ignored: &mut Ignored, json: &str, is_own: bool) -> bool {
        let (_, event) = Event::read_json(json.as_bytes()).unwrap().unwrap();
        let mut line = Vec::new();
        event.write_text(&mut line);
        let line = String::from_utf8(line).unwrap();
        let told = Told {
            json,
            event: Some(&event),
            is_own,
        };
        ignored.hides(&Message {
            told: Some(told),
            ..Message::parse(&line)
        })
    }

    #[test]
    fn requests_are_told_from_lines() {
        for (line, request) in [
            ("/ignore bob", Some(Request::Ignore("bob"))),
            ("/IGNORE  bob: ", Some(Request::Ignore("bob"))),
            ("/ignore", Some(Request::List)),
            ("/ignore ", Some(Request::List)),
            ("/unignore", Some(Request::Unignore(""))),
            ("/unignore Bob", Some(Request::Unignore("Bob"))),
            ("/ignorebob", None),
            ("//ignore bob", None),
            ("ignore bob", None),
        ] {
            assert_eq!(Request::of(line), request, "{line}");
        }
    }

    #[test]
    fn what_somebody_says_is_hidden_whatever_the_case() {
        let mut ignored = Ignored::default();
        assert!(ignore(&mut ignored, "/ignore").starts_with("-- ignoring nobody"));
        assert!(!hides(&mut ignored, "<bob> hi"));
        let told = ignore(&mut ignored, "/ignore Bob");
        assert_eq!(told, "-- ignoring Bob; /unignore Bob ends that");
        ignore(&mut ignored, "/ignore 10.0.0.7");
        ignore(&mut ignored, "/ignore BOB");
        for (line, is_hidden) in [
            ("<bob> hi", true),
            ("* BOB waves", true),
            ("[bob] psst", true),
            ("<10.0.0.7> hi", true),
            ("<bobby> hi", false),
            ("-- bob joined (2 here)", false),
            ("<alice> hi bob", false),
        ] {
            assert_eq!(hides(&mut ignored, line), is_hidden, "{line}");
        }
        assert_eq!(ignore(&mut ignored, "/ignore"), "-- ignoring Bob, 10.0.0.7");
        let told = ignore(&mut ignored, "/unignore bob");
        assert_eq!(told, "-- no longer ignoring bob");
        assert!(!hides(&mut ignored, "<bob> hi"));
        assert!(ignore(&mut ignored, "/unignore bob").starts_with("!! you do not ignore bob"));
        assert_eq!(
            ignore(&mut ignored, "/unignore"),
            "!! usage: /unignore NAME"
        );
    }

    #[test]
    fn a_room_that_tells_who_speaks_lets_nobody_escape_by_a_name() {
        let mut ignored = Ignored::default();
        ignore(&mut ignored, "/ignore bob");
        let says = |id: u64, name: &str| {
            format!(r#"{{"kind":"message","from":{id},"name":"{name}","text":"hi"}}"#)
        };
        let renamed = |id: u64, from: &str, to: &str| {
            format!(
                "{{\"kind\":\"presence\",\"joined\":[],\"left\":[],\
                 \"renamed\":[[{id},\"{from}\",\"{to}\"]],\"here\":3}}"
            )
        };
        assert!(hides_object(&mut ignored, &says(2, "bob"), false));
        // A name is told with the presence, a little later.
        assert!(hides_object(&mut ignored, &says(2, "rob"), false));
        assert!(!hides_object(
            &mut ignored,
            &renamed(2, "bob", "rob"),
            false
        ));
        assert!(hides_object(&mut ignored, &says(2, "rob"), false));
        assert!(
            !hides_object(&mut ignored, &says(3, "bob"), false),
            "another"
        );
        assert_eq!(ignore(&mut ignored, "/ignore"), "-- ignoring rob");
        // A member that comes back under the name has another id.
        assert!(hides_object(&mut ignored, &says(4, "rob"), false));
        assert!(
            !hides_object(&mut ignored, &says(4, "rob"), true),
            "ourselves"
        );
        let mut ignored = Ignored::default();
        ignore(&mut ignored, "/ignore 10.0.0.7");
        assert!(!hides_object(
            &mut ignored,
            &renamed(5, "10.0.0.7", "eve"),
            false
        ));
        assert!(!hides_object(&mut ignored, &says(5, "eve"), false));
    }
}
