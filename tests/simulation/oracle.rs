//! What everybody in a room should hear, derived from what was sent: small, slow, and without a
//! line of the server's code.
//!
//! It is told only what the event loop decides: who came and left when, whose next line was
//! heard when, and when presence was announced. It decides by itself what these lines mean, and
//! who hears what in which words. It knows as much of names and text as the world uses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use chat::protocol::close::CloseReason;

use crate::cutter::Line;

const HELP: &str = "\
-- What you type is said to everybody, unless it begins with a slash:
--   /nick NAME        be called NAME from now on
--   /me ACTION        let everybody see that you ACTION
--   /msg NAME TEXT    say TEXT to NAME alone
--   /who              see who is here
--   /help             see this
--   /quit             leave
--   //TEXT            say /TEXT";

/// The widest line of a list of names.
const MAX_LIST_COLUMNS: usize = 78;

/// How long a name is held for its last bearer.
const HOLD: Duration = Duration::from_secs(60);

/// How long a claim to a name stands.
const CLAIM: Duration = Duration::from_secs(150);

/// How long joins and leaves are gathered.
const WINDOW: Duration = Duration::from_secs(1);

/// Above this many, a notice gives a number instead of names.
const MAX_TOLD_BY_NAME: usize = 5;

/// Somebody in the room.
#[derive(Debug)]
struct Person {
    address: IpAddr,
    name: Option<String>,
    has_spoken: bool,
    /// Why it is about to leave, by its own request.
    leaves: Option<CloseReason>,
}

impl Person {
    fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.address.to_string())
    }
}

/// A name that others cannot have, nor any that looks like it.
#[derive(Debug)]
struct Owned {
    name: String,
    owner: Owner,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Person(usize),
    HeldFor(IpAddr, Instant),
}

#[derive(Clone, Debug)]
struct Claim {
    claimant: usize,
    bearer: usize,
    name: String,
    until: Instant,
}

#[derive(Debug)]
struct Renamed {
    person: usize,
    from: String,
}

/// Why a name cannot be had.
enum Conflict {
    Taken(usize),
    LooksLike(String),
    Held(Duration),
}

/// The room. People are known by numbers, which are never reused.
#[derive(Debug)]
pub(crate) struct Oracle {
    history_lines: usize,
    announces_presence: bool,
    people: BTreeMap<usize, Person>,
    owned: Vec<Owned>,
    /// Oldest first.
    claims: Vec<Claim>,
    history: Vec<String>,
    said_at: Option<Instant>,
    joined: Vec<usize>,
    renamed: Vec<Renamed>,
    left: Vec<String>,
    due_at: Option<Instant>,
    /// What each should have heard, including those who have left.
    heard: BTreeMap<usize, Vec<u8>>,
    /// Everything said to everybody.
    said: Vec<u8>,
}

/// Equal for names that look alike. Covers the names that the world uses.
fn look(name: &str) -> String {
    name.to_lowercase().replace('0', "o")
}

/// Whether these are the same name.
fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// `line` as a terminal may show it. Covers the text that the world uses.
fn shown(line: &str) -> String {
    let picture = |c: char| match c {
        '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).expect("a control picture"),
        ' '..='~' => c,
        _ => panic!("nobody in this world says {c:?}"),
    };
    line.chars().map(picture).collect()
}

/// Labels as a notice lists them.
fn list(labels: &[String]) -> String {
    let mut items: Vec<String> = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        // Several at one address are told together. A name belongs to one person at a time,
        // though several may have had it in turn.
        let is_address = label.parse::<IpAddr>().is_ok();
        if is_address && labels[..index].contains(label) {
            continue;
        }
        let count = labels.iter().filter(|other| *other == label).count();
        items.push(if is_address && count > 1 {
            format!("{count} from {label}")
        } else {
            label.clone()
        });
    }
    match items.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        items => items.concat(),
    }
}

/// Old and new names, sorted so that nobody is announced under a name that somebody else still
/// has; unless all are in such a circle.
fn one_name_at_a_time(mut renamed: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut told = Vec::new();
    while !renamed.is_empty() {
        let still_borne: Vec<String> = renamed.iter().map(|(from, _)| from.clone()).collect();
        let next = renamed.iter().position(|(_, to)| !still_borne.contains(to));
        told.push(renamed.remove(next.unwrap_or_default()));
    }
    told
}

/// The notice lines that list `items`.
fn columns(heading: &str, items: &[String]) -> String {
    let mut text = String::new();
    let mut line = heading.to_owned();
    for (nth, item) in items.iter().enumerate() {
        let separator = if nth == 0 { " " } else { ", " };
        if line.len() + separator.len() + item.len() < MAX_LIST_COLUMNS {
            line += &format!("{separator}{item}");
        } else {
            text += &format!("{line},\n");
            line = format!("-- {item}");
        }
    }
    text + &line
}

/// What the server tells somebody who leaves for this reason.
pub(crate) fn farewell(reason: CloseReason) -> Option<&'static str> {
    match reason {
        CloseReason::Stuck => Some("-- goodbye: you stopped reading for too long\n"),
        CloseReason::TooSlow => Some("-- goodbye: you read too slowly to catch up\n"),
        CloseReason::Idle => Some("-- goodbye: you said nothing for too long\n"),
        CloseReason::Quit => Some("-- goodbye\n"),
        _ => None,
    }
}

impl Oracle {
    pub(crate) fn new(history_lines: usize, announces_presence: bool) -> Self {
        Self {
            history_lines,
            announces_presence,
            people: BTreeMap::new(),
            owned: Vec::new(),
            claims: Vec::new(),
            history: Vec::new(),
            said_at: None,
            joined: Vec::new(),
            renamed: Vec::new(),
            left: Vec::new(),
            due_at: None,
            heard: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// What `person` should have heard if it has stayed and read.
    pub(crate) fn heard(&self, person: usize) -> &[u8] {
        self.heard.get(&person).map_or(&[], Vec::as_slice)
    }

    /// Everything said to everybody.
    pub(crate) fn said(&self) -> &[u8] {
        &self.said
    }

    /// When the next joins and leaves are to be announced.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Why `person` is about to leave, if it has asked to.
    pub(crate) fn leaves(&self, person: usize) -> Option<CloseReason> {
        self.people[&person].leaves
    }

    pub(crate) fn joined(&mut self, person: usize, address: IpAddr, now: Instant) {
        let newcomer = Person {
            address,
            name: None,
            has_spoken: false,
            leaves: None,
        };
        self.people.insert(person, newcomer);
        self.heard.insert(person, Vec::new());
        self.joined.push(person);
        self.presence_changed(now);
        self.tell(person, "Welcome to this chatroom!");
        if let Some(said_at) = self.said_at {
            let age = match (now - said_at).as_secs() / 60 {
                0 => "just now".to_owned(),
                1 => "1 minute ago".to_owned(),
                minutes => format!("{minutes} minutes ago"),
            };
            match self.history.len() {
                1 => self.tell(person, &format!("-- last line, {age}:")),
                count => self.tell(person, &format!("-- last {count} lines, latest {age}:")),
            }
            for line in self.history.clone() {
                self.tell(person, &line);
            }
        }
    }

    /// `person` leaves, by its own wish if `is_meant`. It is owed no more than the first `owed_bytes` of what it should have
    /// heard: it does not hear what becomes of others who leave with it.
    pub(crate) fn left(&mut self, person: usize, is_meant: bool, owed_bytes: usize, now: Instant) {
        let heard = self.heard.get_mut(&person).expect("it came");
        heard.truncate(owed_bytes);
        let gone = self.people.remove(&person).expect("a person in the room");
        let is_its_own = |renamed: &Renamed| renamed.person == person;
        let untold = self.renamed.iter().position(is_its_own);
        let untold = untold.map(|index| self.renamed.remove(index));
        if self.joined.contains(&person) {
            self.joined.retain(|joined| *joined != person);
        } else {
            self.left
                .push(untold.map_or(gone.label(), |untold| untold.from));
        }
        self.presence_changed(now);
        self.claims.retain(|claim| claim.claimant != person);
        if let Some(name) = gone.name {
            self.hold(&name, gone.address, now);
            let claim = self.end_claim(person);
            if let Some(claim) = claim.filter(|claim| !is_meant && now < claim.until) {
                let _ = self.give_name(claim.claimant, &claim.name, now);
            }
        }
    }

    /// The next line of `person` is heard.
    pub(crate) fn received(&mut self, person: usize, line: Line<'_>, now: Instant) {
        let speaker = self.people.get_mut(&person).expect("a person in the room");
        let Line::Whole(line) = line else {
            speaker.has_spoken = true;
            let words = "!! not sent: the line is longer than 200 bytes; split it";
            return self.tell(person, words);
        };
        let line = std::str::from_utf8(line).expect("all speak ASCII");
        if line.is_empty() {
            return;
        }
        let is_first = !speaker.has_spoken;
        speaker.has_spoken = true;
        let label = speaker.label();
        let is_foreign = line == "GET / HTTP/1.1" || line.starts_with('\u{1b}');
        if is_first && is_foreign {
            speaker.leaves = Some(CloseReason::WrongProtocol);
        } else if let Some(text) = line.strip_prefix("//") {
            self.say(person, format!("<{label}> /{}", shown(text)), now);
        } else if line.starts_with('/') {
            self.obey(person, line, now);
        } else if line.starts_with(" /") {
            let words = "!! not sent, it looks like a command: type / first; //text says /text";
            self.tell(person, words);
        } else {
            self.say(person, format!("<{label}> {}", shown(line)), now);
        }
    }

    /// Joins and leaves are to be announced.
    pub(crate) fn expired(&mut self, now: Instant) {
        if self.due_at.is_some_and(|due_at| due_at <= now) {
            self.tell_presence();
        }
    }

    /// Announces who left, who changed names, and who joined, each in the order in which that
    /// happened.
    fn tell_presence(&mut self) {
        self.due_at = None;
        let mut left = std::mem::take(&mut self.left);
        let renamed = std::mem::take(&mut self.renamed);
        let came = std::mem::take(&mut self.joined);
        let mut joined = Vec::new();
        for person in came {
            // Leaving and coming back cancel out.
            let label = self.people[&person].label();
            match left.iter().rposition(|gone| *gone == label) {
                Some(index) => drop(left.remove(index)),
                None => joined.push(label),
            }
        }
        let told = |labels: &[String], verb| match labels.len() {
            0 => None,
            1..=MAX_TOLD_BY_NAME => Some(format!("{} {verb}", list(labels))),
            many => Some(format!("{many} {verb}")),
        };
        let mut clauses = Vec::from_iter(told(&left, "left"));
        let renamed: Vec<(String, String)> = renamed
            .into_iter()
            .map(|renamed| (renamed.from, self.people[&renamed.person].label()))
            .filter(|(from, to)| from != to)
            .collect();
        match renamed.len() {
            0..=MAX_TOLD_BY_NAME => clauses.extend(
                one_name_at_a_time(renamed)
                    .iter()
                    .map(|(from, to)| format!("{from} is now {to}")),
            ),
            many => clauses.push(format!("{many} changed names")),
        }
        clauses.extend(told(&joined, "joined"));
        if !clauses.is_empty() {
            let here = self.people.len();
            self.tell_all(&format!("-- {} ({here} here)", clauses.join(", ")));
        }
    }

    /// The server is about to end.
    pub(crate) fn closing(&mut self) {
        self.tell_all("-- the room is closing");
    }

    fn obey(&mut self, person: usize, line: &str, now: Instant) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let label = self.people[&person].label();
        match word {
            "/nick" if rest.is_empty() => {
                self.tell(person, "!! usage: /nick NAME");
            }
            "/nick" if rest == "you" => {
                self.tell(person, "!! that name is reserved; choose another")
            }
            "/nick" => self.nick(person, rest, now),
            "/me" => {
                self.say(person, format!("* {label} {}", shown(rest)), now);
            }
            "/msg" => match rest.split_once(' ') {
                Some((to, text)) => self.whisper(person, to, text),
                None => self.tell(person, "!! usage: /msg NAME TEXT"),
            },
            "/who" => self.tell_who_is_here(person),
            "/help" => self.tell(person, HELP),
            "/quit" => {
                let person = self.people.get_mut(&person).expect("a person in the room");
                person.leaves = Some(CloseReason::Quit);
            }
            "/kick" => self.tell(
                person,
                "!! only the operator can do that; /help lists your commands",
            ),
            "/nik" => self.tell(
                person,
                "!! unknown command; did you mean /nick? (/help lists all)",
            ),
            "/command" => self.tell(
                person,
                "!! unknown command; /help lists all, and //text says /text",
            ),
            _ => panic!("nobody in this world asks for {word}"),
        }
    }

    fn nick(&mut self, person: usize, name: &str, now: Instant) {
        self.claims
            .retain(|claim| claim.claimant != person || claim.name == name);
        if self.people[&person].name.as_deref() == Some(name) {
            return self.tell(person, &format!("-- you are now {name}"));
        }
        let refusal = match self.give_name(person, name, now) {
            Ok(()) => return,
            Err(Conflict::Taken(bearer)) => {
                if self.people[&bearer].address == self.people[&person].address {
                    self.claim(person, bearer, name, now);
                    format!(
                        "!! {name} is in use from your own address. If that is an old \
                         connection of yours, you get the name when it times out"
                    )
                } else {
                    format!("!! {name} is in use; choose another")
                }
            }
            Err(Conflict::LooksLike(other)) => {
                format!("!! {name} looks like {other}, who is here; choose another")
            }
            Err(Conflict::Held(left)) => {
                let seconds = left.as_secs() + u64::from(left.subsec_millis() > 0);
                format!(
                    "!! {name} is kept for its last owner for another {seconds} s; choose another"
                )
            }
        };
        self.tell(person, &refusal);
    }

    fn give_name(&mut self, person: usize, name: &str, now: Instant) -> Result<(), Conflict> {
        let bearer = &self.people[&person];
        let (address, old, label) = (bearer.address, bearer.name.clone(), bearer.label());
        let looks_alike = |owned: &&Owned| look(&owned.name) == look(name);
        if let Some(owned) = self.owned.iter().find(looks_alike) {
            match owned.owner {
                Owner::Person(owner) if owner == person => {}
                Owner::Person(owner) if is_same(&owned.name, name) => {
                    return Err(Conflict::Taken(owner));
                }
                Owner::Person(_) => return Err(Conflict::LooksLike(owned.name.clone())),
                Owner::HeldFor(its, until) if its == address || until <= now => {}
                Owner::HeldFor(_, until) => return Err(Conflict::Held(until - now)),
            }
        }
        if let Some(old) = old {
            self.hold(&old, address, now);
        }
        self.own(name, Owner::Person(person));
        let bearer = self.people.get_mut(&person).expect("a person in the room");
        bearer.name = Some(name.to_owned());
        self.tell(person, &format!("-- you are now {name}"));
        if !self.joined.contains(&person) {
            let is_its_own = |renamed: &Renamed| renamed.person == person;
            let before = self.renamed.iter().position(is_its_own);
            let before = before.map(|index| self.renamed.remove(index));
            // The latest comes last.
            self.renamed.push(before.unwrap_or(Renamed {
                person,
                from: label,
            }));
            self.presence_changed(now);
        }
        self.claims.retain(|claim| claim.claimant != person);
        if let Some(claim) = self.end_claim(person)
            && is_same(&claim.name, name)
        {
            // Only its spelling differs now.
            self.claims.push(claim);
        }
        Ok(())
    }

    /// Gives `name` to `owner`, in place of whatever looks like it.
    fn own(&mut self, name: &str, owner: Owner) {
        self.owned.retain(|owned| look(&owned.name) != look(name));
        self.owned.push(Owned {
            name: name.to_owned(),
            owner,
        });
    }

    fn hold(&mut self, name: &str, address: IpAddr, now: Instant) {
        self.own(name, Owner::HeldFor(address, now + HOLD));
    }

    fn claim(&mut self, claimant: usize, bearer: usize, name: &str, now: Instant) {
        let claims_before = self.claims.len();
        let is_other = |claim: &Claim| claim.bearer != bearer;
        let was_its_own = self
            .claims
            .iter()
            .any(|claim| !is_other(claim) && claim.claimant == claimant);
        self.claims.retain(is_other);
        assert!(claims_before - self.claims.len() <= 1, "of one each");
        self.claims.push(Claim {
            claimant,
            bearer,
            name: name.to_owned(),
            until: now + CLAIM,
        });
        if !was_its_own {
            self.tell(
                bearer,
                "-- someone at your address asked for your name; you keep it",
            );
        }
    }

    /// The claim to the name of `bearer`, which has it no longer.
    fn end_claim(&mut self, bearer: usize) -> Option<Claim> {
        let claimed = self.claims.iter().position(|claim| claim.bearer == bearer);
        claimed.map(|index| self.claims.remove(index))
    }

    fn whisper(&mut self, person: usize, to: &str, text: &str) {
        let is_meant = |reader: &Person| match (&reader.name, to.parse::<IpAddr>()) {
            (None, Ok(address)) => reader.address == address,
            (Some(name), Err(_)) => is_same(name, to),
            _ => false,
        };
        let readers: Vec<usize> = (self.people.iter())
            .filter(|(_, reader)| is_meant(reader))
            .map(|(number, _)| *number)
            .collect();
        match readers[..] {
            [] => self.tell(
                person,
                &format!("!! nobody here is called {to}; /who lists everybody"),
            ),
            [reader] if reader == person => {
                self.tell(person, "!! that is you; /who lists the others")
            }
            [reader] => {
                self.introduce(person);
                let label = self.people[&person].label();
                self.tell(reader, &format!("[{label}] {}", shown(text)));
                let reader = self.people[&reader].label();
                self.tell(person, &format!("-- sent to {reader}"));
            }
            _ => {
                let count = readers.len();
                let words = format!(
                    "!! {count} people at {to} have no name; ask the one you mean to take one (/nick NAME)"
                );
                self.tell(person, &words);
            }
        }
    }

    fn tell_who_is_here(&mut self, person: usize) {
        let mut names: Vec<String> = Vec::new();
        let mut addresses: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for one in self.people.values() {
            match &one.name {
                Some(name) => names.push(name.clone()),
                None => *addresses.entry(one.address).or_default() += 1,
            }
        }
        names.sort_by_key(|name| name.to_lowercase());
        let count = |(address, count): (&IpAddr, &usize)| match count {
            1 => address.to_string(),
            count => format!("{address} ({count})"),
        };
        names.extend(addresses.iter().map(count));
        let heading = format!("-- {} here:", self.people.len());
        self.tell(person, &columns(&heading, &names));
    }

    /// `person` says `line`: all others hear it, and later newcomers do.
    fn say(&mut self, person: usize, line: String, now: Instant) {
        self.introduce(person);
        for (&listener, heard) in &mut self.heard {
            if listener != person && self.people.contains_key(&listener) {
                push_line(heard, &line);
            }
        }
        push_line(&mut self.said, &line);
        if self.history_lines > 0 {
            self.history.push(line);
            let too_many = self.history.len().saturating_sub(self.history_lines);
            self.history.drain(..too_many);
            self.said_at = Some(now);
        }
    }

    fn tell_all(&mut self, line: &str) {
        for (listener, heard) in &mut self.heard {
            if self.people.contains_key(listener) {
                push_line(heard, line);
            }
        }
        push_line(&mut self.said, line);
    }

    fn tell(&mut self, person: usize, line: &str) {
        push_line(self.heard.get_mut(&person).expect("it came"), line);
    }

    /// A speaker is announced before it is heard.
    fn introduce(&mut self, person: usize) {
        let is_untold = self.joined.contains(&person)
            || self.renamed.iter().any(|renamed| renamed.person == person);
        if self.announces_presence && is_untold {
            self.tell_presence();
        }
    }

    fn presence_changed(&mut self, now: Instant) {
        if self.announces_presence {
            self.due_at.get_or_insert(now + WINDOW);
        }
    }
}

fn push_line(text: &mut Vec<u8>, line: &str) {
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
}
