//! Who is in the room, as far as the messages tell: for the completion of names.

use std::net::IpAddr;

use super::message::{Kind, Message};
use crate::protocol::name;
use crate::protocol::wording::OPERATOR_PREFIX;

/// Beyond this, those who have been silent longest are forgotten.
const MAX_PEOPLE: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct People {
    /// The latest speaker first.
    names: Vec<String>,
    /// How many names of the answer to `/who` are still to come.
    listed: usize,
}

impl People {
    /// Notes the people in `message`.
    pub(crate) fn heard(&mut self, message: &Message<'_>) {
        if let Some(name) = message.name {
            self.listed = 0;
            return self.spoke(name);
        }
        if message.kind != Kind::Notice {
            return;
        }
        if self.listed > 0 {
            return self.list(message.text);
        }
        if let Some(count) = count_by_name(message.text) {
            self.listed = count;
        } else if message.text.ends_with(" here)")
            && !message.text.starts_with(OPERATOR_PREFIX)
            && let Some((changes, _)) = message.text.rsplit_once(" (")
        {
            self.change(changes);
        }
    }

    /// The names that begin with `beginning`, without regard to case; the latest speaker
    /// comes first.
    pub(crate) fn beginning_with<'a>(&'a self, beginning: &str) -> impl Iterator<Item = &'a str> {
        let beginning = name::fold(beginning);
        let is_meant = move |name: &&String| name::fold(name).starts_with(&beginning);
        self.names.iter().filter(is_meant).map(String::as_str)
    }

    fn spoke(&mut self, name: &str) {
        match self.names.iter().position(|known| known == name) {
            // The common case: the same person speaks again.
            Some(0) => {}
            Some(at) => {
                self.names[..=at].rotate_right(1);
            }
            // What a server of another kind sends may be no name.
            None if !is_name(name) && name.parse::<IpAddr>().is_err() => {}
            None => {
                self.names.truncate(MAX_PEOPLE - 1);
                self.names.insert(0, name.to_owned());
            }
        }
    }

    /// Adds somebody who has said nothing yet.
    fn is_here(&mut self, name: &str) {
        let is_new = !self.names.iter().any(|known| known == name);
        if is_new && self.names.len() < MAX_PEOPLE {
            self.names.push(name.to_owned());
        }
    }

    /// Parses a line of the answer to `/who`: `alice, bob,`.
    fn list(&mut self, names: &str) {
        for name in names.split(',').map(str::trim) {
            if self.listed > 0 && is_name(name) {
                self.is_here(name);
                self.listed -= 1;
            }
        }
        if !names.ends_with(',') {
            self.listed = 0;
        }
    }

    /// Parses a presence notice: `alice and bob joined, carol left, dave is now eve`.
    fn change(&mut self, changes: &str) {
        let mut named: Vec<&str> = Vec::new();
        let mut words = changes
            .split_whitespace()
            .map(|word| word.trim_end_matches(','));
        while let Some(word) = words.next() {
            match word {
                "joined" => named.drain(..).for_each(|name| self.is_here(name)),
                "left" => named
                    .drain(..)
                    .for_each(|name| self.names.retain(|known| known != name)),
                "is" => {
                    let after = words.nth(1).filter(|name| is_name(name));
                    let before = named.pop();
                    match self
                        .names
                        .iter()
                        .position(|known| Some(known.as_str()) == before)
                    {
                        Some(at) => {
                            self.names.remove(at);
                            if let Some(after) = after {
                                self.names.retain(|known| known != after);
                                self.names
                                    .insert(at.min(self.names.len()), after.to_owned());
                            }
                        }
                        None => after.into_iter().for_each(|after| self.is_here(after)),
                    }
                }
                "and" | "from" => {}
                _ => named.extend(Some(word).filter(|word| is_name(word))),
            }
        }
    }
}

/// How many names follow `text`, if it is the first line of the answer to `/who`.
fn count_by_name(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once(" here: ")?;
    let (count, _) = rest.split_once(" by name, ")?;
    count.replace(',', "").parse().ok()
}

fn is_name(text: &str) -> bool {
    name::Name::parse(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Instant;

    use super::*;
    use crate::protocol::batch::ClientId;
    use crate::protocol::name::Name;
    use crate::protocol::wording::NOTICE_PREFIX;
    use crate::room::member::Label;
    use crate::room::names::NameRegistry;
    use crate::room::presence::Presence;
    use crate::room::roster::{Unnamed, roster};

    fn people(lines: &[&str]) -> People {
        let mut people = People::default();
        for line in lines {
            people.heard(&Message::parse(line));
        }
        people
    }

    #[track_caller]
    fn assert_known(people: &People, beginning: &str, expected: &[&str]) {
        assert_eq!(
            people.beginning_with(beginning).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn the_latest_speaker_comes_first() {
        let people = people(&["<al> 1", "* alice 2", "[ALF] 3", "<bob> 4", "<al> 5"]);
        assert_known(&people, "al", &["al", "ALF", "alice"]);
        assert_known(&people, "AL", &["al", "ALF", "alice"]);
        assert_known(&people, "", &["al", "bob", "ALF", "alice"]);
    }

    #[test]
    fn presence_notices_are_understood() {
        let mut people = people(&["-- alice and 10.0.0.7 joined, 2 from 10.0.0.1 left (5 here)"]);
        assert_known(&people, "", &["alice"]);
        let mut notice = |text| people.heard(&Message::parse(text));
        notice("-- bob, carol and dave joined, alice is now alicia (6 here)");
        notice("-- carol left, 10.0.0.7 is now eve, dave is now bob (1,005 here)");
        notice("-- operator: bob left (or so it seems, 3 here)");
        assert_known(&people, "", &["alicia", "eve", "bob"]);
    }

    #[test]
    fn the_answer_to_who_adds_the_silent() {
        let people = people(&[
            "-- 1,005 here: 3 by name, 1,002 by address",
            "-- alice, bob,",
            "-- carol",
            "-- 10.0.0.1 (1,002)",
            "-- dave, and so on",
        ]);
        assert_known(&people, "", &["alice", "bob", "carol"]);
    }

    /// In the room's own words.
    #[test]
    fn our_room_is_understood() {
        let now = Instant::now();
        let name = |name: &str| Rc::new(Name::parse(name.as_bytes()).unwrap());
        let label = |text: &str| Label::Name(name(text));
        let mut people = People::default();
        let mut tell = |presence: &mut Presence, called: &[&str]| {
            let label = |ClientId { key: id, .. }| label(called[id]);
            let words = presence.notice(called.len(), label, std::iter::empty);
            let line = format!("{NOTICE_PREFIX}{}", words.unwrap());
            people.heard(&Message::parse(&line));
            people.names.clone()
        };
        let mut presence = Presence::new();
        for id in 0..3 {
            presence.joined(ClientId::nth(id), now);
        }
        let told = tell(&mut presence, &["alice", "bob", "carol"]);
        assert_eq!(told, ["alice", "bob", "carol"]);
        presence.left(ClientId::nth(0), label("alice"), now);
        presence.renamed(ClientId::nth(1), label("bob"), now);
        let told = tell(&mut presence, &["", "robert", "carol"]);
        assert_eq!(told, ["robert", "carol"]);

        let mut registry = NameRegistry::new();
        for (id, text) in ["alice", "bob"].into_iter().enumerate() {
            let name = Name::clone(&name(text));
            registry
                .take(ClientId::nth(id), [10, 0, 0, 1].into(), None, name, now)
                .unwrap();
        }
        let answer = roster(&registry, &Unnamed::default(), |name, _| Rc::clone(name));
        let mut people = People::default();
        for line in std::str::from_utf8(&answer).unwrap().lines() {
            people.heard(&Message::parse(line));
        }
        assert_eq!(people.names, ["alice", "bob"]);
    }

    #[test]
    fn the_silent_are_forgotten_past_the_bound() {
        let mut people = People::default();
        for number in 0..2 * MAX_PEOPLE {
            people.heard(&Message::parse(&format!("<n{number}> hi")));
        }
        assert_eq!(people.names.len(), MAX_PEOPLE);
        people.heard(&Message::parse("-- late joined (3 here)"));
        assert_known(&people, "late", &[]);
    }
}
