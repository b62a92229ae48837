//! The door of a room with a password: who waits before it, what they are told, and who gets in.
//!
//! It decides and does no I/O: it knows no socket and no clock. Whoever waits is no member, and
//! learns nothing of the room. All ways in come here, so that a guess costs the same on each.

use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::password::Password;
use crate::platform::addresses::{largest_crowds, network_of};
use crate::protocol::batch::{ClientId, Encoding, Frame};
use crate::protocol::command::{self, Command};
use crate::protocol::event::json::max_object_bytes;
use crate::protocol::event::{Bye, ByeCode, ErrorCode, Event};
use crate::protocol::line::Decoded;
use crate::protocol::wording::{self, PASSWORD_NEEDED};
use crate::rate::{Bucket, Rate};
use crate::reactor::connection::OUTSIDE_BYTES;

/// How long somebody has to give the password.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many lines may come before the password, and wrong ones count.
const TRIES: u8 = 3;

/// Wrong passwords from one address. Nobody is locked out: whoever has none left waits ten
/// seconds.
const GUESS_RATE: Rate = Rate::one_each(Duration::from_secs(10), 5);

/// The same from one /64 with IPv6, where one guesser has all addresses: as if it had eight. It
/// may also be everybody's on a LAN, who must not have to wait for one guesser there.
const NETWORK_GUESS_RATE: Rate = Rate::one_each(Duration::from_millis(1250), 40);

/// Addresses whose guesses are counted each by itself. Above this, all others count as one.
const MAX_GUESSERS: usize = 4096;

/// Why somebody is not let in by a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotLetIn {
    Wrong,
    /// There were too many wrong ones: nothing is compared for so many seconds.
    TooMany {
        seconds: u64,
    },
}

/// What comes of a line of somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing.
    Waits,
    /// It is told this, and waits on.
    Told(Frame),
    /// It is told this, and sent away.
    SentAway(Frame),
    /// It has given the password, from this address.
    Knows(IpAddr),
}

/// Who waits before the door.
struct Waiting {
    id: ClientId,
    address: IpAddr,
    reads: Encoding,
    tries_left: u8,
}

/// Whose wrong passwords are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Guesser {
    Address(IpAddr),
    Network(IpAddr),
}

impl Guesser {
    /// Whose those from `address` are.
    fn all_of(address: IpAddr) -> impl Iterator<Item = Self> {
        let address = address.to_canonical();
        let network = address
            .is_ipv6()
            .then(|| Self::Network(network_of(address)));
        iter::once(Self::Address(address)).chain(network)
    }

    fn rate(self) -> Rate {
        match self {
            Self::Address(_) => GUESS_RATE,
            Self::Network(_) => NETWORK_GUESS_RATE,
        }
    }
}

pub(crate) struct Door {
    password: Password,
    /// In the order in which they came, which is that of their serial numbers.
    waiting: Vec<Waiting>,
    max_waiting: usize,
    /// Wrong passwords, by address, and by network where that is another.
    guesses: HashMap<Guesser, Bucket>,
    /// Those of addresses that are not counted by themselves.
    other_guesses: Bucket,
    /// Who was not let in last, to be logged.
    failure: Option<(IpAddr, NotLetIn)>,
    max_line_bytes: u32,
}

impl Door {
    pub(crate) fn new(password: Password, max_waiting: usize, max_line_bytes: u32) -> Self {
        Self {
            password,
            waiting: Vec::new(),
            max_waiting,
            guesses: HashMap::new(),
            other_guesses: Bucket::default(),
            failure: None,
            max_line_bytes,
        }
    }

    /// From now on it is this one.
    pub(crate) fn set_password(&mut self, password: Password) {
        self.password = password;
    }

    /// `client`, at `address`, has come, and waits. Returns who has to go for that, and what it is
    /// told: of the network from which most wait, the one that has waited longest.
    pub(crate) fn came(&mut self, client: ClientId, address: IpAddr) -> Option<(ClientId, Frame)> {
        let crowded_out = if self.waiting.len() < self.max_waiting {
            None
        } else {
            self.first_of_largest_crowd()
        };
        let turned_away = crowded_out.and_then(|id| Some((id, self.remove(id)?)));
        self.waiting.push(Waiting {
            id: client,
            address,
            reads: Encoding::Text,
            tries_left: TRIES,
        });
        let (id, reads) = turned_away?;
        Some((
            id,
            self.bye(
                "too many connections wait to give the password; try again",
                Some(1),
                reads,
            ),
        ))
    }

    fn first_of_largest_crowd(&self) -> Option<ClientId> {
        let crowds = largest_crowds(self.waiting.iter().map(|it| it.address));
        let first = self.waiting.iter().find(|it| crowds.contains(&it.address));
        first.map(|waiting| waiting.id)
    }

    fn position(&self, client: ClientId) -> Option<usize> {
        let found = (self.waiting).binary_search_by_key(&client.serial, |it| it.id.serial);
        found.ok()
    }

    fn waiting(&mut self, client: ClientId) -> Option<&mut Waiting> {
        let at = self.position(client)?;
        self.waiting.get_mut(at)
    }

    /// Whether `client` waits.
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.position(client).is_some()
    }

    /// `client` does not wait any more. Returns how it reads, if it did.
    pub(crate) fn remove(&mut self, client: ClientId) -> Option<Encoding> {
        let at = self.position(client)?;
        Some(self.waiting.remove(at).reads)
    }

    /// What a newcomer is told.
    pub(crate) fn greeting() -> Frame {
        wording::notice(format_args!(
            "{}\n{}{PASSWORD_NEEDED}",
            wording::WELCOME,
            wording::NOTICE_PREFIX
        ))
    }

    /// `client` has had its time, or said too much. Returns what it is told.
    pub(crate) fn give_up(&mut self, client: ClientId) -> Option<Frame> {
        let reads = self.remove(client)?;
        let words = format!(
            "goodbye: no password within {} s or {OUTSIDE_BYTES} bytes",
            PATIENCE.as_secs()
        );
        Some(self.bye(&words, None, reads))
    }

    /// Hears a line of `client`, which waits. Returns how it reads from now on, and what comes of
    /// that line.
    pub(crate) fn hear(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        now: Instant,
    ) -> (Encoding, Outcome) {
        let Some(waiting) = self.waiting(client) else {
            return (Encoding::Text, Outcome::Waits);
        };
        let address = waiting.address;
        let command = match line {
            // As inside, it says nothing.
            Decoded::Line(b"") => return (waiting.reads, Outcome::Waits),
            Decoded::Line(line @ [b'/', ..]) => command::parse(line).ok(),
            Decoded::Line(_) | Decoded::TooLong(_) => None,
        };
        match command {
            Some(Command::Json) if waiting.reads == Encoding::Text => {
                waiting.reads = Encoding::Json;
                let told = self.error(ErrorCode::PasswordNeeded, PASSWORD_NEEDED, Encoding::Json);
                (Encoding::Json, Outcome::Told(told))
            }
            // It comes again after the password, by whoever knows that there is one.
            Some(Command::Resume { .. }) if waiting.reads == Encoding::Json => {
                (waiting.reads, Outcome::Waits)
            }
            Some(Command::Pass(guess)) => {
                let outcome = match self.check(address, guess, now) {
                    Ok(()) => Outcome::Knows(address),
                    Err(NotLetIn::Wrong) => self.tried(client, ErrorCode::WrongPassword),
                    Err(NotLetIn::TooMany { seconds }) => {
                        self.send_away(client, &too_many(seconds), Some(seconds))
                    }
                };
                (self.reads(client), outcome)
            }
            Some(Command::Quit) => {
                let reads = waiting.reads;
                (reads, self.send_away(client, "goodbye", None))
            }
            _ => {
                let reads = waiting.reads;
                (reads, self.tried(client, ErrorCode::PasswordNeeded))
            }
        }
    }

    /// Compares `guess`, which was made at `address`, with the password.
    ///
    /// # Errors
    ///
    /// Why whoever made it is not let in.
    pub(crate) fn check(
        &mut self,
        address: IpAddr,
        guess: &[u8],
        now: Instant,
    ) -> Result<(), NotLetIn> {
        if self.guesses.len() >= MAX_GUESSERS {
            self.guesses.retain(|_, bucket| !bucket.is_full(now));
        }
        let ready_at = Guesser::all_of(address).filter_map(|guesser| {
            let bucket = self.bucket(guesser);
            bucket.ready_at(guesser.rate(), now)
        });
        let failure = if let Some(at) = ready_at.max() {
            let seconds = (at - now).as_secs() + 1;
            NotLetIn::TooMany { seconds }
        } else if self.password.is(guess) {
            return Ok(());
        } else {
            for guesser in Guesser::all_of(address) {
                self.bucket(guesser).take(guesser.rate(), now);
            }
            NotLetIn::Wrong
        };
        self.failure = Some((address, failure));
        Err(failure)
    }

    fn bucket(&mut self, guesser: Guesser) -> &mut Bucket {
        let is_known = self.guesses.contains_key(&guesser);
        if is_known || self.guesses.len() < MAX_GUESSERS {
            self.guesses.entry(guesser).or_default()
        } else {
            &mut self.other_guesses
        }
    }

    /// Who was not let in since the last call, and why.
    pub(crate) fn take_failure(&mut self) -> Option<(IpAddr, NotLetIn)> {
        self.failure.take()
    }

    fn reads(&self, client: ClientId) -> Encoding {
        let at = self.position(client);
        at.map_or(Encoding::Text, |at| self.waiting[at].reads)
    }

    /// `client` has said something else than the password.
    fn tried(&mut self, client: ClientId, code: ErrorCode) -> Outcome {
        let Some(waiting) = self.waiting(client) else {
            return Outcome::Waits;
        };
        waiting.tries_left -= 1;
        let (reads, left) = (waiting.reads, waiting.tries_left);
        let is_wrong = code == ErrorCode::WrongPassword;
        if left == 0 {
            let words = if is_wrong {
                "goodbye: wrong password; ask the host for it"
            } else {
                "goodbye: this room has a password; ask the host for it"
            };
            return self.send_away(client, words, None);
        }
        let words = if is_wrong {
            "wrong password; try again"
        } else {
            PASSWORD_NEEDED
        };
        Outcome::Told(self.error(code, words, reads))
    }

    fn send_away(&mut self, client: ClientId, words: &str, again: Option<u64>) -> Outcome {
        match self.remove(client) {
            Some(reads) => Outcome::SentAway(self.bye(words, again, reads)),
            None => Outcome::Waits,
        }
    }

    fn error(&self, code: ErrorCode, words: &str, reads: Encoding) -> Frame {
        let text = words.into();
        self.frame(
            &Event::Error {
                n: None,
                code,
                text,
            },
            reads,
        )
    }

    fn bye(&self, words: &str, again: Option<u64>, reads: Encoding) -> Frame {
        let bye = Bye {
            n: None,
            code: ByeCode::Password,
            heard: None,
            again,
            text: words.into(),
        };
        self.frame(&Event::Bye(bye), reads)
    }

    fn frame(&self, event: &Event<'_>, reads: Encoding) -> Frame {
        let mut line = Vec::new();
        match reads {
            Encoding::Text => event.write_text(&mut line),
            Encoding::Json => {
                event.write_json(None, max_object_bytes(self.max_line_bytes), &mut line);
            }
        }
        line.push(b'\n');
        Frame::from(line)
    }
}

/// What somebody is told whose network has given too many wrong passwords.
pub(crate) fn too_many(seconds: u64) -> String {
    format!("too many wrong passwords from your address; try again in {seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = "!! this room has a password: /pass PASSWORD\n";

    fn door(max_waiting: usize) -> Door {
        Door::new(Password::new("green tea"), max_waiting, 4096)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn say(door: &mut Door, client: ClientId, line: &str, now: Instant) -> (Encoding, Outcome) {
        door.hear(client, Decoded::Line(line.as_bytes()), now)
    }

    fn words(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Told(frame) | Outcome::SentAway(frame) => str::from_utf8(frame).unwrap(),
            other => panic!("{other:?} has no words"),
        }
    }

    #[test]
    fn whoever_waits_is_asked_until_it_knows_or_has_no_tries_left() {
        let now = Instant::now();
        let mut door = door(10);
        let client = ClientId::nth(0);
        assert_eq!(door.came(client, address("10.0.0.1")), None);
        assert_eq!(say(&mut door, client, "", now).1, Outcome::Waits);
        assert_eq!(words(&say(&mut door, client, "hello", now).1), ASKED);
        let wrong = say(&mut door, client, "/pass green  tea", now).1;
        assert_eq!(words(&wrong), "!! wrong password; try again\n");
        let (reads, right) = say(&mut door, client, "/PASS green tea", now);
        assert_eq!(
            (reads, right),
            (Encoding::Text, Outcome::Knows(address("10.0.0.1")))
        );
        let last = say(&mut door, client, " /pass green tea", now).1;
        assert!(matches!(last, Outcome::SentAway(_)), "{last:?}");
        assert!(!door.has(client));
    }

    #[test]
    fn a_program_is_answered_in_json_and_its_token_is_not_looked_at() {
        let now = Instant::now();
        let mut door = door(10);
        let client = ClientId::nth(0);
        door.came(client, address("::1"));
        let (reads, told) = say(&mut door, client, "/json", now);
        assert_eq!(reads, Encoding::Json);
        let object = r#"{"kind":"error","code":"password_needed","text":"this room has a password: /pass PASSWORD"}"#;
        assert_eq!(words(&told), format!("{object}\n"));
        let resumed = say(&mut door, client, "/resume 0.00 5", now);
        assert_eq!(resumed, (Encoding::Json, Outcome::Waits));
        let (_, told) = say(&mut door, client, "/pass no", now);
        assert!(words(&told).contains(r#""code":"wrong_password""#));
        let over = door.give_up(client).unwrap();
        let over = str::from_utf8(&over).unwrap();
        assert!(over.contains(r#""kind":"bye","code":"password""#), "{over}");
        assert!(over.contains(r#""again":null"#), "{over}");
    }

    #[test]
    fn guesses_are_counted_by_address_and_by_network_and_nobody_is_locked_out() {
        let mut now = Instant::now();
        let mut door = door(10);
        let mut guess =
            |from: &str, guess: &str, now| door.check(address(from), guess.as_bytes(), now);
        for _ in 0..5 {
            assert_eq!(guess("2001:db8::1", "x", now), Err(NotLetIn::Wrong));
        }
        let too_many = guess("2001:db8::1", "green tea", now);
        assert_eq!(too_many, Err(NotLetIn::TooMany { seconds: 11 }));
        // Others on its LAN need not wait for it, unless it has their addresses, too.
        assert_eq!(guess("2001:db8::2", "green tea", now), Ok(()));
        for nth in 5..40 {
            let from = format!("2001:db8::ffff:{nth}");
            assert_eq!(guess(&from, "x", now), Err(NotLetIn::Wrong));
        }
        let too_many = guess("2001:db8::2", "green tea", now);
        assert_eq!(too_many, Err(NotLetIn::TooMany { seconds: 2 }));
        assert_eq!(guess("2001:db8:0:1::1", "green tea", now), Ok(()));
        now += Duration::from_secs(10);
        assert_eq!(guess("2001:db8::1", "y", now), Err(NotLetIn::Wrong));
        assert!(matches!(
            guess("2001:db8::1", "z", now),
            Err(NotLetIn::TooMany { .. })
        ));
        now += Duration::from_secs(10);
        assert_eq!(guess("2001:db8::1", "green tea", now), Ok(()));
        // IPv4 in IPv6 is IPv4.
        for _ in 0..5 {
            assert_eq!(guess("::ffff:10.0.0.1", "x", now), Err(NotLetIn::Wrong));
        }
        assert!(guess("10.0.0.1", "green tea", now).is_err());
        assert_eq!(guess("10.0.0.2", "green tea", now), Ok(()));
    }

    #[test]
    fn guessers_without_number_share_what_is_left() {
        let now = Instant::now();
        let mut door = door(10);
        for nth in 0..MAX_GUESSERS as u32 {
            let from = IpAddr::from((0x0a00_0000 + nth).to_be_bytes());
            assert_eq!(door.check(from, b"x", now), Err(NotLetIn::Wrong));
        }
        for nth in 0..6_u8 {
            let checked = door.check(IpAddr::from([172, 16, 0, nth]), b"x", now);
            assert_eq!(checked == Err(NotLetIn::Wrong), nth < 5, "{nth}");
        }
        assert_eq!(door.guesses.len(), MAX_GUESSERS);
        assert_eq!(door.check(address("10.0.0.0"), b"green tea", now), Ok(()));
    }

    #[test]
    fn a_crowd_that_waits_makes_room_by_itself() {
        let mut door = door(4);
        for nth in 0..4 {
            let from = if nth == 1 { "10.0.0.9" } else { "10.0.0.1" };
            assert_eq!(door.came(ClientId::nth(nth), address(from)), None);
        }
        let (gone, _) = door.came(ClientId::nth(4), address("10.0.0.8")).unwrap();
        assert_eq!(gone, ClientId::nth(0));
        let (gone, words) = door.came(ClientId::nth(5), address("10.0.0.1")).unwrap();
        assert_eq!(gone, ClientId::nth(2));
        assert!(words.starts_with(b"-- too many connections"), "{words:?}");
        assert!(door.has(ClientId::nth(1)) && door.has(ClientId::nth(4)));
        assert_eq!(door.waiting.len(), 4);
    }
}
