//! Who is in the room, as far as the messages tell: for the completion of names.

use std::net::IpAddr;

use super::message::Message;
use crate::protocol::event::{Event, Person, Rename, Reply, Several};
use crate::protocol::name;

/// Beyond this, those who have been silent longest are forgotten.
const MAX_PEOPLE: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct People {
    /// The latest speaker first.
    people: Vec<Somebody>,
}

#[derive(Debug)]
struct Somebody {
    /// Where the room tells.
    id: Option<u64>,
    name: String,
}

impl Somebody {
    fn is(&self, id: Option<u64>, name: &str) -> bool {
        match (self.id, id) {
            (Some(known), Some(id)) => known == id,
            _ => self.name == name,
        }
    }
}

impl People {
    /// Notes the people in `message`.
    pub(crate) fn heard(&mut self, message: &Message<'_>) {
        if let Some(told) = message.told {
            return told.event.into_iter().for_each(|event| self.told(event));
        }
        if let Some(name) = message.name {
            self.spoke(None, name);
        }
    }

    /// The names that begin with `beginning`, without regard to case; the latest speaker
    /// comes first.
    pub(crate) fn beginning_with<'a>(&'a self, beginning: &str) -> impl Iterator<Item = &'a str> {
        let beginning = name::fold(beginning);
        let names = self.people.iter().map(|somebody| &somebody.name[..]);
        names.filter(move |name| name::fold(name).starts_with(&beginning))
    }

    /// Whether somebody here has the name, without regard to case.
    pub(crate) fn has(&self, name: &str) -> bool {
        let folded = name::fold(name);
        self.people
            .iter()
            .any(|somebody| name::fold(&somebody.name) == folded)
    }

    /// These are here, and nobody else. Those who have spoken keep their places.
    pub(crate) fn set(&mut self, here: &[Person<'_>]) {
        let is_here = |known: &Somebody| {
            let mut here = here.iter();
            here.any(|person| known.is(Some(person.id), &person.name))
        };
        self.people.retain(is_here);
        self.are_here(here);
    }

    fn told(&mut self, event: &Event<'_>) {
        match event {
            Event::Hello(hello) => {
                self.people.clear();
                self.are_here(&hello.people);
            }
            Event::Message(speech) | Event::Action(speech) | Event::Private { speech, .. } => {
                self.spoke(speech.from, &speech.name);
            }
            Event::Presence(changes) => {
                // Some who were kicked may be among many that were only counted.
                for left in [&changes.left, &changes.kicked] {
                    let Several::Named(left) = left else {
                        continue;
                    };
                    let has_left = |somebody: &Somebody| {
                        left.iter().any(|person| Some(person.id) == somebody.id)
                    };
                    self.people.retain(|somebody| !has_left(somebody));
                }
                if let Several::Named(renamed) = &changes.renamed {
                    for Rename { id, to, .. } in renamed {
                        match self.people.iter_mut().find(|person| person.id == Some(*id)) {
                            Some(somebody) => somebody.name = to.to_string(),
                            None => self.is_here(Some(*id), to),
                        }
                    }
                }
                if let Several::Named(joined) = &changes.joined {
                    self.are_here(joined);
                }
            }
            Event::Reply(Reply {
                people: Some(here), ..
            }) => self.are_here(&here.people),
            _ => {}
        }
    }

    fn are_here(&mut self, people: &[Person<'_>]) {
        for Person { id, name } in people {
            self.is_here(Some(*id), name);
        }
    }

    fn spoke(&mut self, id: Option<u64>, name: &str) {
        match self.people.iter().position(|known| known.is(id, name)) {
            // The common case: the same person speaks again.
            Some(0) if self.people[0].name == name => {}
            Some(at) => {
                self.people[..=at].rotate_right(1);
                // By a name that is told with the presence, a little later.
                self.people[0].name = name.to_owned();
            }
            // What a server of another kind sends may be no name.
            None if !is_name(name) && name.parse::<IpAddr>().is_err() => {}
            None => {
                self.people.truncate(MAX_PEOPLE - 1);
                let name = name.to_owned();
                self.people.insert(0, Somebody { id, name });
            }
        }
    }

    /// Adds somebody who has said nothing yet.
    fn is_here(&mut self, id: Option<u64>, name: &str) {
        let is_new = !self.people.iter().any(|known| known.is(id, name));
        if is_new && self.people.len() < MAX_PEOPLE {
            let name = name.to_owned();
            self.people.push(Somebody { id, name });
        }
    }
}

fn is_name(text: &str) -> bool {
    name::Name::parse(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::message::Told;

    fn people(lines: &[&str]) -> People {
        let mut people = People::default();
        for line in lines {
            people.heard(&Message::parse(line));
        }
        people
    }

    /// Hears objects.
    fn tell(people: &mut People, objects: &[&str]) {
        for json in objects {
            let (_, event) = Event::read_json(json.as_bytes()).unwrap().unwrap();
            let told = Told {
                json,
                event: Some(&event),
                is_own: false,
            };
            people.heard(&Message {
                told: Some(told),
                ..Message::other("")
            });
        }
    }

    #[track_caller]
    fn assert_known(people: &People, beginning: &str, expected: &[&str]) {
        let known: Vec<_> = people.beginning_with(beginning).collect();
        assert_eq!(known, expected);
    }

    #[test]
    fn the_latest_speaker_comes_first() {
        let people = people(&["<al> 1", "* alice 2", "[ALF] 3", "<bob> 4", "<al> 5"]);
        assert_known(&people, "al", &["al", "ALF", "alice"]);
        assert_known(&people, "AL", &["al", "ALF", "alice"]);
        assert_known(&people, "", &["al", "bob", "ALF", "alice"]);
    }

    #[test]
    fn a_room_tells_who_is_here_by_id() {
        let mut people = people(&["<ghost> hi"]);
        let hello = concat!(
            r#"{"kind":"hello","wire":1,"version":"0","epoch":"e","seq":1,"you":1,"token":"t","#,
            r#""resumed":false,"heard":0,"lost":0,"hold":60,"name":"me","here":2,"#,
            r#""people":[[1,"me"],[2,"alice"],[3,"10.0.0.7"]],"max_line":4096}"#
        );
        tell(&mut people, &[hello]);
        assert_known(&people, "", &["me", "alice", "10.0.0.7"]);
        let presence = concat!(
            r#"{"kind":"presence","joined":[[4,"carol"]],"left":[[1,"me"]],"#,
            r#""renamed":[[2,"alice","alicia"],[5,"x","bob"]],"here":4}"#
        );
        tell(&mut people, &[presence]);
        assert_known(&people, "", &["alicia", "10.0.0.7", "bob", "carol"]);
        // Another of the same name, as its address is.
        let speech = r#"{"kind":"message","from":9,"name":"10.0.0.7","text":"hi"}"#;
        let renamed = r#"{"kind":"message","from":2,"name":"al","text":"hi"}"#;
        let counts = concat!(
            r#"{"kind":"presence","joined":[],"joined_count":9,"left":[],"left_count":7,"#,
            r#""renamed":[],"here":6}"#
        );
        let who = r#"{"kind":"reply","n":1,"to":"who","here":9,"people":[[8,"zoe"]]}"#;
        tell(&mut people, &[renamed, speech, counts, who]);
        let all = ["10.0.0.7", "al", "10.0.0.7", "bob", "carol", "zoe"];
        assert_known(&people, "", &all);
        assert!(people.has("Zoe") && !people.has("zo"));
    }

    #[test]
    fn who_is_here_is_set_and_the_latest_speaker_stays_first() {
        let mut people = people(&["<ghost> hi", "<bob> hi", "<zoe> hi"]);
        let person = |id, name: &'static str| Person {
            id,
            name: name.into(),
        };
        people.set(&[person(1, "alice"), person(2, "bob"), person(3, "zoe")]);
        assert_known(&people, "", &["zoe", "bob", "alice"]);
    }

    #[test]
    fn the_silent_are_forgotten_past_the_bound() {
        let mut people = People::default();
        for number in 0..2 * MAX_PEOPLE {
            people.heard(&Message::parse(&format!("<n{number}> hi")));
        }
        assert_eq!(people.people.len(), MAX_PEOPLE);
    }
}
