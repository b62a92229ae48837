//! Sessions: who a reader of JSON is, beyond the end of its connection.
//!
//! The end of a connection is only a loss. The session is held for a while, and another
//! connection resumes it with the token: the last one to do so has it. A session ends when that
//! time has run out, or somebody means it to end (`/quit`, a kick, a ban, shutdown).
//!
//! What is held is bounded, in all and for each address, so that nobody's sessions cost others
//! theirs. Random bits come from outside, as time does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::protocol::batch::ClientId;

/// How long a session without a connection is held.
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// How long after a loss others are told that a member has left: most are back before.
pub(crate) const ABSENCE: Duration = Duration::from_secs(10);

/// A session is resumed once in this time: each costs a replay.
pub(crate) const RESUME_INTERVAL: Duration = Duration::from_secs(1);

/// Sessions without a connection, in all. Above this, the oldest one of the address with the
/// most of them ends.
pub(crate) const MAX_LOST: usize = 20_000;

/// Sessions of one address without a connection. Generous, because many may be behind a router
/// that restarts. Above this, the oldest one ends.
pub(crate) const MAX_LOST_PER_ADDRESS: usize = 1000;

/// From where a session may be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// The token went in clear, so somebody may have read it: only from this address.
    Clear(IpAddr),
    /// The token went over TLS: from anywhere, over TLS. The address counts for the bounds.
    Tls(IpAddr),
}

/// What proves that a connection may resume a session. Displayed as `57.`, and the secret in
/// hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    id: u64,
    secret: u128,
}

/// Why a session is not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotResumed {
    /// There is no such session, or none any more, or it is somebody else's.
    Unknown,
    /// It was resumed just now.
    TooSoon,
}

/// What a connection takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    pub(crate) id: u64,
    /// The number of lines that the room has acted on.
    pub(crate) heard: u64,
    /// The connection that had the session until now. It must not be heard any more.
    pub(crate) replaced: Option<ClientId>,
}

/// What time has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Others are to be told that the member has left. It may come back.
    Absent(u64),
    /// The session has ended.
    Ended(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// By id: the serial number of the connection on which it began, never used again.
    sessions: BTreeMap<u64, Session>,
    /// Invariant: the sessions that have a connection, by that.
    connected: HashMap<ClientId, u64>,
    /// Invariant: the sessions that have none, and whose loss others have not been told.
    untold: BTreeSet<Loss>,
    /// Invariant: those whose loss they have.
    told: BTreeSet<Loss>,
    /// Invariant: all of these, by address; no set is empty.
    lost_at: HashMap<IpAddr, BTreeSet<Loss>>,
    /// Invariant: how many each address has there.
    crowds: BTreeSet<(usize, IpAddr)>,
}

#[derive(Debug)]
struct Session {
    secret: u128,
    origin: Origin,
    heard: u64,
    /// When it was last resumed.
    resumed_at: Option<Instant>,
    /// It is about to end: nobody resumes it any more.
    is_revoked: bool,
    holder: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Connection(ClientId),
    /// Nobody since then.
    Nobody(Instant),
}

/// When a session lost its connection, and its id: so losses are in order.
type Loss = (Instant, u64);

impl Sessions {
    /// Begins a session for `connection`. `secret` must be random.
    pub(crate) fn begin(&mut self, connection: ClientId, origin: Origin, secret: u128) -> Token {
        let id = connection.serial;
        let before = self.connected.insert(connection, id);
        debug_assert!(before.is_none(), "{connection:?} has a session");
        self.sessions.insert(
            id,
            Session {
                secret,
                origin,
                heard: 0,
                resumed_at: None,
                is_revoked: false,
                holder: Holder::Connection(connection),
            },
        );
        Token { id, secret }
    }

    /// Hands the session of `token` to `connection`, which comes from `origin`. If that has
    /// another one, this ends.
    ///
    /// # Errors
    ///
    /// Why not. Nothing has changed then.
    pub(crate) fn resume(
        &mut self,
        token: Token,
        connection: ClientId,
        origin: Origin,
        now: Instant,
    ) -> Result<Resumed, NotResumed> {
        let session = self.sessions.get_mut(&token.id);
        let session = session.ok_or(NotResumed::Unknown)?;
        let is_right = session.secret == token.secret && session.origin.lets_in(origin);
        if !is_right || session.is_revoked {
            return Err(NotResumed::Unknown);
        }
        match session.holder {
            // It has run out, though nobody has looked yet.
            Holder::Nobody(since) if since + HOLD <= now => return Err(NotResumed::Unknown),
            // There is nothing to resume.
            Holder::Connection(holder) if holder == connection => {
                return Err(NotResumed::Unknown);
            }
            _ => {}
        }
        let resumed_at = session.resumed_at;
        if resumed_at.is_some_and(|at| now < at + RESUME_INTERVAL) {
            return Err(NotResumed::TooSoon);
        }
        let heard = session.heard;
        let before = std::mem::replace(&mut session.holder, Holder::Connection(connection));
        session.resumed_at = Some(now);
        let lost_from = std::mem::replace(&mut session.origin, origin);
        let replaced = match before {
            Holder::Connection(replaced) => {
                self.connected.remove(&replaced);
                Some(replaced)
            }
            Holder::Nobody(since) => {
                self.forget_loss((since, token.id), lost_from);
                None
            }
        };
        // What the connection had before is nobody's.
        if let Some(fresh) = self.connected.insert(connection, token.id) {
            self.sessions.remove(&fresh);
        }
        Ok(Resumed {
            id: token.id,
            heard,
            replaced,
        })
    }

    /// From now on nobody resumes the session `id`. It ends with its connection.
    pub(crate) fn revoke(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_revoked = true;
        }
    }

    /// The same for all: the room is closing.
    pub(crate) fn revoke_all(&mut self) {
        for session in self.sessions.values_mut() {
            session.is_revoked = true;
        }
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether the session `id` can be resumed.
    pub(crate) fn is_resumable(&self, id: u64) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| !session.is_revoked)
    }

    /// What proves that a connection may resume the session `id`.
    pub(crate) fn token(&self, id: u64) -> Option<Token> {
        let secret = self.sessions.get(&id)?.secret;
        Some(Token { id, secret })
    }

    /// The session that `connection` has.
    fn of(&self, connection: ClientId) -> Option<u64> {
        self.connected.get(&connection).copied()
    }

    /// How many lines of the session `id` the room has acted on. `None` if there is none.
    pub(crate) fn heard(&self, id: u64) -> Option<u64> {
        Some(self.sessions.get(&id)?.heard)
    }

    /// The room acts on a line of `connection` that is not empty. Returns the number of the line,
    /// which its answer has. `None` if the connection has no session, or not any more: the line
    /// must not be acted on.
    pub(crate) fn hear(&mut self, connection: ClientId) -> Option<u64> {
        let id = self.of(connection)?;
        let session = self.sessions.get_mut(&id).expect("it has a connection");
        session.heard += 1;
        Some(session.heard)
    }

    /// `connection` is lost. Returns the session that ends for this, if there are too many
    /// now: it may be that of another.
    pub(crate) fn lose(&mut self, connection: ClientId, now: Instant) -> Option<u64> {
        let id = self.connected.remove(&connection)?;
        let session = self.sessions.get_mut(&id).expect("it had a connection");
        session.holder = Holder::Nobody(now);
        let address = session.origin.address();
        self.untold.insert((now, id));
        let lost_here = self.lost_at.entry(address).or_default();
        let before = lost_here.len();
        lost_here.insert((now, id));
        self.crowds.remove(&(before, address));
        self.crowds.insert((before + 1, address));
        let crowd = if before + 1 > MAX_LOST_PER_ADDRESS {
            address
        } else if self.untold.len() + self.told.len() > MAX_LOST {
            self.crowds.last()?.1
        } else {
            return None;
        };
        let &(_, oldest) = self.lost_at.get(&crowd)?.first()?;
        self.end(oldest);
        Some(oldest)
    }

    /// Ends the session `id`: nobody resumes it any more.
    pub(crate) fn end(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        match session.holder {
            Holder::Connection(connection) => {
                self.connected.remove(&connection);
            }
            Holder::Nobody(since) => {
                self.forget_loss((since, id), session.origin);
            }
        }
    }

    /// When [`Sessions::expire`] is due. `None` while nobody is lost.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let told_at = self.untold.first().map(|&(since, _)| since + ABSENCE);
        let ends_at = self.told.first().map(|&(since, _)| since + HOLD);
        told_at.into_iter().chain(ends_at).min()
    }

    /// One thing that is due. Call it until there is none.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Expired> {
        if let Some(&(since, id)) = self.untold.first()
            && since + ABSENCE <= now
        {
            self.untold.remove(&(since, id));
            self.told.insert((since, id));
            return Some(Expired::Absent(id));
        }
        let &(since, id) = self.told.first()?;
        (since + HOLD <= now).then(|| {
            self.end(id);
            Expired::Ended(id)
        })
    }

    fn forget_loss(&mut self, loss: Loss, origin: Origin) {
        let address = origin.address();
        let lost_here = self.lost_at.get_mut(&address).expect("it is listed");
        lost_here.remove(&loss);
        let left = lost_here.len();
        self.crowds.remove(&(left + 1, address));
        if left > 0 {
            self.crowds.insert((left, address));
        } else {
            self.lost_at.remove(&address);
        }
        if !self.untold.remove(&loss) {
            self.told.remove(&loss);
        }
    }
}

impl Origin {
    fn address(self) -> IpAddr {
        let (Self::Clear(address) | Self::Tls(address)) = self;
        address
    }

    /// Whether a token that was given to this origin may be used by `other`.
    fn lets_in(self, other: Self) -> bool {
        match self {
            Self::Clear(_) => self == other,
            Self::Tls(_) => matches!(other, Self::Tls(_)),
        }
    }
}

impl Token {
    /// Reads what is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let is_canonical = secret.len() == 32 && !id.starts_with('+') && !secret.starts_with('+');
        is_canonical.then_some(Self {
            id: id.parse().ok()?,
            secret: u128::from_str_radix(secret, 16).ok()?,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:032x}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ANN: ClientId = ClientId::nth(0);
    const BOB: ClientId = ClientId::nth(1);
    const SECRET: u128 = 0xfeed << 96;

    fn clear(nth: u8) -> Origin {
        Origin::Clear([10, 0, 0, nth].into())
    }

    fn tls(nth: u8) -> Origin {
        Origin::Tls([10, 0, 0, nth].into())
    }

    fn expired(sessions: &mut Sessions, now: Instant) -> Vec<Expired> {
        std::iter::from_fn(|| sessions.expire(now)).collect()
    }

    #[test]
    fn a_token_is_read_as_it_is_shown() {
        let token = Token {
            id: 57,
            secret: SECRET + 1,
        };
        let text = token.to_string();
        assert_eq!(text, "57.0000feed000000000000000000000001");
        assert_eq!(Token::parse(&text), Some(token));
        for text in ["", "57", "57.", "57.1", ".0000feed000000000000000000000001"] {
            assert_eq!(Token::parse(text), None);
        }
        assert_eq!(Token::parse("57.+000feed000000000000000000000001"), None);
        assert_eq!(Token::parse("+57.0000feed000000000000000000000001"), None);
    }

    #[test]
    fn a_session_goes_on_where_the_lost_connection_ended() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let token = sessions.begin(ANN, clear(1), SECRET);
        assert_eq!(sessions.hear(ANN), Some(1));
        assert_eq!(sessions.hear(ANN), Some(2));
        assert_eq!(sessions.lose(ANN, now), None);
        assert_eq!(sessions.hear(ANN), None);
        assert_eq!(sessions.deadline(), Some(now + ABSENCE));
        let resumed = sessions.resume(token, BOB, clear(1), now);
        let expected = Resumed {
            id: token.id,
            heard: 2,
            replaced: None,
        };
        assert_eq!(resumed, Ok(expected));
        assert_eq!(sessions.deadline(), None);
        assert_eq!(sessions.hear(BOB), Some(3));
    }

    #[test]
    fn the_last_to_resume_wins_and_the_loser_is_unheard() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let token = sessions.begin(ANN, clear(1), SECRET);
        let resumed = sessions.resume(token, BOB, clear(1), now).unwrap();
        assert_eq!(resumed.replaced, Some(ANN));
        assert_eq!((sessions.hear(ANN), sessions.of(ANN)), (None, None));
        // Its end is no loss any more.
        assert_eq!(sessions.lose(ANN, now), None);
        assert_eq!(sessions.of(BOB), Some(token.id));
        let soon = sessions.resume(token, ANN, clear(1), now);
        assert_eq!(soon, Err(NotResumed::TooSoon));
        let later = now + RESUME_INTERVAL;
        let resumed = sessions.resume(token, ANN, clear(1), later).unwrap();
        assert_eq!(resumed.replaced, Some(BOB));
    }

    #[test]
    fn a_token_works_where_it_was_given() {
        let now = Instant::now();
        for (given, used, works) in [
            (clear(1), clear(1), true),
            (clear(1), clear(2), false),
            (clear(1), tls(1), false),
            (tls(1), tls(1), true),
            (tls(1), tls(2), true),
            (tls(1), clear(1), false),
        ] {
            let mut sessions = Sessions::default();
            let token = sessions.begin(ANN, given, SECRET);
            sessions.lose(ANN, now);
            let resumed = sessions.resume(token, BOB, used, now);
            assert_eq!(resumed.is_ok(), works, "{given:?} {used:?}");
            sessions.lose(BOB, now);
            let forged = Token {
                secret: SECRET + 1,
                ..token
            };
            let resumed = sessions.resume(forged, BOB, given, now + HOLD / 2);
            assert_eq!(resumed, Err(NotResumed::Unknown));
        }
    }

    #[test]
    fn who_is_lost_is_told_as_gone_and_then_forgotten() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let [ann, bob] = [ANN, BOB].map(|who| sessions.begin(who, clear(1), SECRET));
        sessions.lose(ANN, now);
        sessions.lose(BOB, now + ABSENCE / 2);
        let told = now + ABSENCE;
        assert_eq!(expired(&mut sessions, told), [Expired::Absent(ann.id)]);
        assert_eq!(sessions.deadline(), Some(told + ABSENCE / 2));
        let resumed = sessions.resume(ann, ClientId::nth(2), clear(1), told);
        assert!(resumed.is_ok());
        let late = now + ABSENCE / 2 + HOLD;
        let forgotten = sessions.resume(bob, ClientId::nth(3), clear(1), late);
        assert_eq!(forgotten, Err(NotResumed::Unknown), "before anybody looks");
        let both = [Expired::Absent(bob.id), Expired::Ended(bob.id)];
        assert_eq!(expired(&mut sessions, late), both);
        assert_eq!(sessions.deadline(), None);
    }

    #[test]
    fn an_end_that_is_meant_is_final() {
        let now = Instant::now();
        for is_lost in [false, true] {
            let mut sessions = Sessions::default();
            let token = sessions.begin(ANN, clear(1), SECRET);
            if is_lost {
                sessions.lose(ANN, now);
            }
            sessions.end(token.id);
            assert_eq!((sessions.hear(ANN), sessions.deadline()), (None, None));
            let resumed = sessions.resume(token, BOB, clear(1), now);
            assert_eq!(resumed, Err(NotResumed::Unknown));
            let next = sessions.begin(BOB, clear(1), SECRET);
            assert_ne!(next.id, token.id, "never used again");
        }
    }

    #[test]
    fn one_address_does_not_cost_others_their_sessions() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let ann = sessions.begin(ANN, clear(1), SECRET);
        sessions.lose(ANN, now);
        let mut ended = 0;
        for nth in 1..=2 * MAX_LOST_PER_ADDRESS {
            let id = ClientId::nth(nth);
            sessions.begin(id, clear(2), SECRET);
            let at = now + Duration::from_micros(nth as u64);
            ended += usize::from(sessions.lose(id, at).is_some());
        }
        assert_eq!(ended, MAX_LOST_PER_ADDRESS);
        assert_eq!(sessions.untold.len(), 1 + MAX_LOST_PER_ADDRESS);
        assert!(sessions.resume(ann, ANN, clear(1), now).is_ok());
        // Many addresses: the one with most gives way.
        for nth in 0..MAX_LOST {
            let id = ClientId::nth(10_000 + nth);
            let address = Origin::Clear([10, 1, (nth / 250) as u8, (nth % 250) as u8].into());
            sessions.begin(id, address, SECRET);
            sessions.lose(id, now + Duration::from_millis(10));
        }
        assert_eq!(sessions.untold.len(), MAX_LOST);
        assert_eq!(sessions.lost_at.len(), MAX_LOST, "one for each");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Begin(u8),
        Resume {
            token: usize,
            from: u8,
            is_forged: bool,
        },
        Hear(usize),
        Lose(usize),
        End(usize),
        Wait(u64),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0_u8..3).prop_map(Act::Begin),
            (0_usize..8, 0_u8..3, prop::bool::weighted(0.1)).prop_map(
                |(token, from, is_forged)| Act::Resume {
                    token,
                    from,
                    is_forged
                }
            ),
            (0_usize..20).prop_map(Act::Hear),
            (0_usize..20).prop_map(Act::Lose),
            (0_usize..8).prop_map(Act::End),
            (0_u64..30_000).prop_map(Act::Wait),
        ]
    }

    /// What the test knows of a session.
    #[derive(Debug)]
    struct Known {
        token: Token,
        from: u8,
        heard: u64,
        has_ended: bool,
    }

    proptest! {
        #[test]
        fn each_session_has_one_voice_and_each_line_one_number(acts in vec(any_act(), 0..60)) {
            let mut now = Instant::now();
            let mut sessions = Sessions::default();
            let mut known: Vec<Known> = Vec::new();
            // The connections so far, and the session that each has.
            let mut has: Vec<Option<usize>> = Vec::new();
            for act in acts {
                let connection = ClientId::nth(has.len());
                match act {
                    Act::Begin(from) => {
                        let token = sessions.begin(connection, clear(from), SECRET + known.len() as u128);
                        prop_assert!(known.iter().all(|other| other.token.id != token.id));
                        has.push(Some(known.len()));
                        known.push(Known { token, from, heard: 0, has_ended: false });
                    }
                    Act::Resume { token, from, is_forged } if token < known.len() => {
                        let session = &known[token];
                        let mut shown = session.token;
                        shown.secret ^= u128::from(is_forged);
                        let resumed = sessions.resume(shown, connection, clear(from), now);
                        if let Ok(resumed) = resumed {
                            prop_assert!(!is_forged && from == session.from && !session.has_ended);
                            prop_assert_eq!(resumed.heard, session.heard);
                            let holder = has.iter().position(|held| *held == Some(token));
                            prop_assert_eq!(resumed.replaced, holder.map(ClientId::nth));
                            if let Some(holder) = holder {
                                has[holder] = None;
                            }
                            has.push(Some(token));
                        } else {
                            has.push(None);
                        }
                    }
                    Act::Hear(nth) if nth < has.len() => {
                        let heard = sessions.hear(ClientId::nth(nth));
                        let expected = has[nth].map(|session| {
                            known[session].heard += 1;
                            known[session].heard
                        });
                        prop_assert_eq!(heard, expected);
                    }
                    Act::Lose(nth) if nth < has.len() => {
                        prop_assert_eq!(sessions.lose(ClientId::nth(nth), now), None);
                        has[nth] = None;
                    }
                    Act::End(nth) if nth < known.len() => {
                        sessions.end(known[nth].token.id);
                        known[nth].has_ended = true;
                        has.iter_mut().filter(|held| **held == Some(nth)).for_each(|held| *held = None);
                    }
                    Act::Wait(millis) => {
                        now += Duration::from_millis(millis);
                        for expired in expired(&mut sessions, now) {
                            if let Expired::Ended(id) = expired {
                                let nth = known.iter().position(|session| session.token.id == id);
                                let nth = nth.unwrap();
                                prop_assert!(!known[nth].has_ended && !has.contains(&Some(nth)));
                                known[nth].has_ended = true;
                            }
                        }
                        prop_assert!(sessions.deadline().is_none_or(|at| at > now));
                    }
                    _ => {}
                }
                let connected = has.iter().flatten().count();
                prop_assert_eq!(sessions.connected.len(), connected);
                let alive = known.iter().filter(|session| !session.has_ended).count();
                prop_assert_eq!(sessions.sessions.len(), alive);
                prop_assert_eq!(sessions.untold.len() + sessions.told.len(), alive - connected);
                let listed: usize = sessions.lost_at.values().map(BTreeSet::len).sum();
                prop_assert_eq!(listed, alive - connected);
                let crowds = sessions.lost_at.iter().map(|(address, lost)| (lost.len(), *address));
                prop_assert_eq!(&sessions.crowds, &crowds.collect());
            }
        }
    }
}
