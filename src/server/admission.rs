//! Admission: who may join, by address, by clients per address, and by clients in total.
//!
//! It decides and does no I/O: it knows no socket and no clock. The caller reports who
//! joins and leaves, and when a socket is closed: until then, a client that has left takes up
//! a place. One that only waits for its peer to close gives way to a newcomer.
//!
//! An IPv4-mapped IPv6 address, such as `::ffff:10.1.2.3`, counts as the IPv4 address, both
//! of clients and in rules.

mod bans;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use crate::protocol::batch::ClientId;
use crate::protocol::wording;
use crate::reactor::service::Policy;
use crate::server::network;

use self::bans::Bans;
pub(crate) use self::bans::{Ban, TooManyBans};

/// A rule for the addresses of a network. Bits beyond the prefix are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Let them in.
    Allow(IpNet),
    /// Refuse them.
    Deny(IpNet),
}

/// The options of admission.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The maximum number of clients.
    pub max_clients: usize,
    /// The maximum number of clients from one address. `None`: half of `max_clients`, or less
    /// if descriptors are scarce, but at least one, so that no address can fill the room; no
    /// limit for loopback.
    pub max_per_address: Option<usize>,
    /// The first matching rule decides. An address that no rule matches is refused if there
    /// is any `Allow`, and let in otherwise.
    pub rules: Vec<Rule>,
    /// In clear, only this machine may come.
    pub is_clear_local: bool,
}

/// Why a client is refused. Displayed as the words that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The operator has banned the address.
    Banned,
    /// The rules refuse the address.
    Denied,
    /// Others could read along.
    InClear,
    /// The address has the maximum number of clients.
    AddressFull {
        /// That number.
        clients: usize,
    },
    /// The room has the maximum number of clients.
    RoomFull {
        /// That number.
        clients: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned => f.write_str(wording::BANNED),
            Self::Denied => f.write_str(wording::DENIED),
            Self::InClear => f.write_str(wording::IN_CLEAR),
            Self::AddressFull { clients } => {
                write!(
                    f,
                    "too many connections from your address ({clients}); close one"
                )
            }
            Self::RoomFull { clients } => {
                write!(f, "the room is full ({clients} clients); try again later")
            }
        }
    }
}

/// The number of refused clients, by [`Refusal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusalCounts {
    pub(crate) banned: u64,
    pub(crate) denied: u64,
    pub(crate) address_full: u64,
    pub(crate) room_full: u64,
    /// Those who did not give the password.
    pub(crate) password: u64,
}

impl RefusalCounts {
    pub(crate) fn count(&mut self, refusal: Refusal) {
        let count = match refusal {
            Refusal::Banned => &mut self.banned,
            Refusal::Denied | Refusal::InClear => &mut self.denied,
            Refusal::AddressFull { .. } => &mut self.address_full,
            Refusal::RoomFull { .. } => &mut self.room_full,
        };
        *count += 1;
    }
}

/// What the process can hold, by its limit of descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Connections of any kind.
    connections: usize,
    /// Refused connections that are kept until they have taken the refusal.
    pub(crate) refused: usize,
}

/// Descriptors for everything that is no client's connection: standard streams, the poll,
/// signals, the listener, the transcript, and some to spare.
const RESERVED_DESCRIPTORS: usize = 32;

/// Of the connections, this part is for refused ones, if there are not enough for the usual
/// number.
const REFUSED_PART: usize = 16;

impl Capacity {
    pub(crate) fn of(descriptors: usize) -> Self {
        let connections = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
        Self {
            connections,
            refused: (connections / REFUSED_PART).min(Policy::DEFAULT.max_refused),
        }
    }
}

/// The limits, the bans, and the number of clients.
#[derive(Debug)]
pub struct Admission {
    /// Invariant: the networks of the rules are canonical.
    limits: Limits,
    /// The maximum number of clients from one address unless the limits have it.
    default_share: usize,
    /// Clients that give way and are not closed yet are at most so many.
    max_giving_way: usize,
    bans: Bans,
    /// Clients in the room, and those in `leaving`.
    client_count: usize,
    /// The same by address, for addresses with a maximum. Invariant: no count is 0, so there
    /// are at most `client_count` entries.
    counts: HashMap<IpAddr, usize>,
    /// Clients that have left and whose sockets are open.
    leaving: HashMap<ClientId, IpAddr>,
    /// Those of them that have got all they are owed.
    lingering: BTreeSet<(IpAddr, ClientId)>,
    /// Clients that are closed early, and do not count any more.
    giving_way: HashSet<ClientId>,
}

impl Admission {
    /// With no clients and no bans.
    pub fn new(limits: Limits) -> Self {
        Self::within(limits, Capacity::of(usize::MAX))
    }

    /// [`Admission::new`], with limits that are lowered to what the process can hold.
    pub(crate) fn within(mut limits: Limits, capacity: Capacity) -> Self {
        let Capacity {
            connections,
            refused,
        } = capacity;
        limits.max_clients = limits.max_clients.min(connections - refused).max(1);
        // One address may also have all the refused connections, and still leaves half to
        // the others.
        let share = (limits.max_clients / 2).min((connections / 2).saturating_sub(refused));
        for rule in &mut limits.rules {
            let (Rule::Allow(network) | Rule::Deny(network)) = rule;
            *network = network::canonical(*network);
        }
        Self {
            limits,
            default_share: share.max(1),
            max_giving_way: refused.max(1),
            bans: Bans::default(),
            client_count: 0,
            counts: HashMap::new(),
            leaving: HashMap::new(),
            lingering: BTreeSet::new(),
            giving_way: HashSet::new(),
        }
    }

    /// The maximum number of clients.
    pub(crate) fn max_clients(&self) -> usize {
        self.limits.max_clients
    }

    /// Whether a client from `address` may join at `now`.
    ///
    /// # Errors
    ///
    /// Why not. Of several reasons it is the ban, which was meant for this client, or else
    /// the one that is likely to last longest.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let address = address.to_canonical();
        if self.bans.is_banned(address, now) {
            return Err(Refusal::Banned);
        }
        if !self.is_allowed(address) {
            return Err(Refusal::Denied);
        }
        let clients = self.counts.get(&address).copied().unwrap_or(0);
        if self.max_from(address).is_some_and(|max| clients >= max) {
            return Err(Refusal::AddressFull { clients });
        }
        let clients = self.client_count;
        if clients >= self.limits.max_clients {
            return Err(Refusal::RoomFull { clients });
        }
        Ok(())
    }

    /// Whether `address` is let in at all at `now`, were there room for any number.
    ///
    /// # Errors
    ///
    /// [`Refusal::Banned`] or [`Refusal::Denied`].
    pub(crate) fn admits(&self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        match self.admit(address, now) {
            Err(refusal @ (Refusal::Banned | Refusal::Denied)) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Whether `address` may come over a connection that others can read, unless it
    /// `is_secured`.
    ///
    /// # Errors
    ///
    /// [`Refusal::InClear`].
    pub(crate) fn admits_by(&self, address: IpAddr, is_secured: bool) -> Result<(), Refusal> {
        let is_safe = is_secured || address.to_canonical().is_loopback();
        if self.limits.is_clear_local && !is_safe {
            return Err(Refusal::InClear);
        }
        Ok(())
    }

    /// How many more clients may come from `address`. `None`: any number.
    pub(crate) fn left_for(&self, address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        let clients = self.counts.get(&address).copied().unwrap_or(0);
        Some(self.max_from(address)?.saturating_sub(clients))
    }

    /// Whether a session of `address` may come back though its place has been taken: by so
    /// many clients the room, and each address, may exceed its limit for that.
    pub(crate) fn readmits(&self, address: IpAddr, most_above: usize) -> bool {
        let clients = self.counts.get(&address.to_canonical()).copied();
        let max_clients = self.max_from(address).unwrap_or(usize::MAX);
        self.client_count < self.limits.max_clients + most_above
            && clients.unwrap_or(0) < max_clients.saturating_add(most_above)
    }

    /// Counts a client from `address` that has joined after [`Admission::admit`].
    pub fn entered(&mut self, address: IpAddr) {
        self.client_count += 1;
        let address = address.to_canonical();
        if self.max_from(address).is_some() {
            *self.counts.entry(address).or_default() += 1;
        }
    }

    /// Makes room for a newcomer from `address`, if only that keeps it out. Returns the client
    /// whose socket is to be closed at once: one that lingers, from the same address if that
    /// has its maximum.
    pub(crate) fn make_room(&mut self, address: IpAddr, now: Instant) -> Option<ClientId> {
        if self.lingering.is_empty() || self.giving_way.len() >= self.max_giving_way {
            return None;
        }
        let from = match self.admit(address, now) {
            Err(Refusal::AddressFull { .. }) => Some(address.to_canonical()),
            Err(Refusal::RoomFull { .. }) => None,
            _ => return None,
        };
        let &(address, client) = match from {
            Some(from) => {
                let first = ClientId { key: 0, serial: 0 };
                let next = self.lingering.range((from, first)..).next();
                next.filter(|(address, _)| *address == from)?
            }
            None => self.lingering.first()?,
        };
        self.lingering.remove(&(address, client));
        self.leaving.remove(&client);
        self.left(address);
        self.giving_way.insert(client);
        Some(client)
    }

    /// `client`, from `address`, has left. Its socket is still open.
    pub(crate) fn departed(&mut self, client: ClientId, address: IpAddr) {
        self.leaving.insert(client, address.to_canonical());
    }

    /// `client` has left and has got all it is owed. Ignores clients that never joined.
    pub(crate) fn lingers(&mut self, client: ClientId) {
        if let Some(&address) = self.leaving.get(&client) {
            self.lingering.insert((address, client));
        }
    }

    /// The socket of `client` is closed. Ignores clients that never joined.
    pub(crate) fn closed(&mut self, client: ClientId) {
        if let Some(address) = self.leaving.remove(&client) {
            self.lingering.remove(&(address, client));
            self.left(address);
        }
        self.giving_way.remove(&client);
    }

    /// Counts a client from `address` that has left and is closed.
    pub fn left(&mut self, address: IpAddr) {
        debug_assert!(self.client_count > 0, "only clients that joined can leave");
        self.client_count -= 1;
        if let Entry::Occupied(mut count) = self.counts.entry(address.to_canonical()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Refuses `network` until `until`, or until [`Admission::unban`] if that is `None`.
    /// Loopback is no exception. Replaces a ban of the same network. Clients stay in the
    /// room; [`network::contains`] finds those that the ban concerns.
    ///
    /// # Errors
    ///
    /// If [`bans::MAX_BANS`] other bans are in force at `now`.
    pub(crate) fn ban(
        &mut self,
        network: IpNet,
        until: Option<Instant>,
        now: Instant,
    ) -> Result<(), TooManyBans> {
        self.bans.ban(network, until, now)
    }

    /// Ends the ban of exactly this network in any spelling: 10.0.0.7/24 is 10.0.0.0/24, see
    /// [`network::canonical`]. Returns whether there was one at `now`.
    pub(crate) fn unban(&mut self, network: IpNet, now: Instant) -> bool {
        self.bans.unban(network, now)
    }

    /// The bans in force at `now`, sorted by network, IPv4 first.
    pub(crate) fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> {
        self.bans.in_force(now)
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        let mut only_allowed = false;
        for rule in &self.limits.rules {
            match rule {
                Rule::Allow(network) if network.contains(&address) => return true,
                Rule::Deny(network) if network.contains(&address) => return false,
                Rule::Allow(_) => only_allowed = true,
                Rule::Deny(_) => {}
            }
        }
        !only_allowed
    }

    /// The maximum number of clients from `address`, if there is one.
    fn max_from(&self, address: IpAddr) -> Option<usize> {
        match self.limits.max_per_address {
            None if address.is_loopback() => None,
            None => Some(self.default_share),
            max => max,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn allow(network: &str) -> Rule {
        Rule::Allow(network.parse().unwrap())
    }

    fn deny(network: &str) -> Rule {
        Rule::Deny(network.parse().unwrap())
    }

    /// For a large room.
    fn with_rules(rules: &[Rule]) -> Admission {
        Admission::new(Limits {
            max_clients: 1000,
            max_per_address: None,
            rules: rules.to_vec(),
            is_clear_local: false,
        })
    }

    fn with_bounds(max_clients: usize, max_per_address: Option<usize>) -> Admission {
        Admission::new(Limits {
            max_clients,
            max_per_address,
            rules: Vec::new(),
            is_clear_local: false,
        })
    }

    /// Lets in clients from `from` until one is refused. Returns their number and the
    /// refusal.
    fn fill(admission: &mut Admission, from: &str) -> (usize, Refusal) {
        for count in 0.. {
            match admission.admit(address(from), Instant::now()) {
                Ok(()) => admission.entered(address(from)),
                Err(refusal) => return (count, refusal),
            }
        }
        unreachable!("there is a limit")
    }

    #[test]
    fn sessions_come_back_beyond_the_limits_only_so_far() {
        const MOST_ABOVE: usize = 2;
        let mut admission = with_bounds(6, Some(3));
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        fill(&mut admission, "10.0.0.1");
        for _ in 0..MOST_ABOVE {
            assert!(admission.readmits(one, MOST_ABOVE));
            admission.entered(one);
        }
        assert!(!admission.readmits(one, MOST_ABOVE), "its share");
        for _ in 0..3 {
            assert!(admission.readmits(other, MOST_ABOVE));
            admission.entered(other);
        }
        assert!(!admission.readmits(other, MOST_ABOVE), "the room");
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let lan = allow("192.168.1.0/24");
        let guest = deny("192.168.1.7/32");
        let table: &[(&[Rule], &[&str], &[&str])] = &[
            (&[], &["10.0.0.1", "::1"], &[]),
            (
                &[lan],
                &["192.168.1.7"],
                &["192.168.2.7", "127.0.0.1", "fe80::1"],
            ),
            (&[guest], &["192.168.1.8", "fe80::1"], &["192.168.1.7"]),
            (
                &[guest, lan],
                &["192.168.1.8"],
                &["192.168.1.7", "10.0.0.1"],
            ),
            (&[lan, guest], &["192.168.1.7"], &["10.0.0.1"]),
            (&[deny("0.0.0.0/0")], &["fe80::1"], &["10.0.0.1"]),
            (&[deny("fe80::/10")], &["10.0.0.1"], &["fe80::1"]),
            (
                &[allow("192.168.1.5/24")],
                &["192.168.1.7"],
                &["192.168.2.5"],
            ),
        ];
        for (rules, let_in, refused) in table {
            let admission = with_rules(rules);
            for from in *let_in {
                assert_eq!(
                    admission.admit(address(from), Instant::now()),
                    Ok(()),
                    "{from} {rules:?}"
                );
            }
            for from in *refused {
                let refusal = Err(Refusal::Denied);
                assert_eq!(
                    admission.admit(address(from), Instant::now()),
                    refusal,
                    "{from} {rules:?}"
                );
            }
        }
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_any_spelling() {
        for rule in ["10.1.0.0/16", "::ffff:10.1.0.0/112"] {
            let admission = with_rules(&[deny(rule)]);
            for (from, is_denied) in [
                ("10.1.2.3", true),
                ("::ffff:10.1.2.3", true),
                ("10.2.2.3", false),
                ("::ffff:10.2.2.3", false),
                ("::10.1.2.3", false),
            ] {
                let answer = admission.admit(address(from), Instant::now());
                assert_eq!(answer.is_err(), is_denied, "{from} by {rule}");
            }
        }
        let mut admission = with_bounds(10, Some(1));
        admission.entered(address("::ffff:10.1.2.3"));
        assert!(
            admission
                .admit(address("10.1.2.3"), Instant::now())
                .is_err()
        );
        admission.left(address("10.1.2.3"));
        assert!(
            admission
                .admit(address("::ffff:10.1.2.3"), Instant::now())
                .is_ok()
        );
    }

    #[test]
    fn only_loopback_can_fill_the_room_alone() {
        for (max_clients, half) in [(1, 1), (2, 1), (3, 1), (10, 5)] {
            let mut admission = with_bounds(max_clients, None);
            let (count, _) = fill(&mut admission, "10.0.0.1");
            assert_eq!(count, half, "of {max_clients}");
            for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                let full = Refusal::RoomFull {
                    clients: max_clients,
                };
                let mut admission = with_bounds(max_clients, None);
                assert_eq!(fill(&mut admission, loopback), (max_clients, full));
                assert!(admission.counts.is_empty(), "it is not even counted");
            }
        }
    }

    #[test]
    fn no_address_but_loopback_can_have_more_than_half_of_what_the_process_can_hold() {
        for descriptors in [0, 1, 33, 64, 256, 1024, 4096, 20_300, 1 << 20] {
            let capacity = Capacity::of(descriptors);
            let limits = Limits {
                max_clients: 20_000,
                max_per_address: None,
                rules: Vec::new(),
                is_clear_local: false,
            };
            let mut admission = Admission::within(limits, capacity);
            assert!(admission.max_clients() <= capacity.connections.max(1));
            let (count, _) = fill(&mut admission, "10.0.0.1");
            let most = (capacity.connections / 2).max(1);
            assert!(count + capacity.refused <= most, "{count} of {descriptors}");
            assert!(4 * count >= capacity.connections.min(20_000), "{count}");
            let (rest, refusal) = fill(&mut admission, "127.0.0.1");
            let clients = count + rest;
            assert_eq!(refusal, Refusal::RoomFull { clients });
            assert_eq!(clients, admission.max_clients());
        }
        let unbounded = with_bounds(20_000, None);
        assert_eq!(unbounded.max_from(address("10.0.0.1")), Some(10_000));
    }

    /// Lets in the client `nth` from `from`.
    fn enter(admission: &mut Admission, nth: usize, from: &str) -> ClientId {
        assert_eq!(admission.admit(address(from), Instant::now()), Ok(()));
        admission.entered(address(from));
        ClientId::nth(nth)
    }

    #[test]
    fn who_has_left_counts_until_its_socket_is_closed() {
        let now = Instant::now();
        let mut admission = with_bounds(3, Some(2));
        let [alice, bob] = [0, 1].map(|nth| enter(&mut admission, nth, "10.0.0.1"));
        admission.departed(alice, address("10.0.0.1"));
        let full = Err(Refusal::AddressFull { clients: 2 });
        assert_eq!(admission.admit(address("10.0.0.1"), now), full);
        // It still takes what it is owed.
        assert_eq!(admission.make_room(address("10.0.0.1"), now), None);
        admission.closed(alice);
        let carol = enter(&mut admission, 2, "::ffff:10.0.0.1");
        for client in [bob, carol] {
            admission.departed(client, address("10.0.0.1"));
            admission.closed(client);
        }
        assert_eq!(admission.client_count, 0);
        assert!(admission.counts.is_empty() && admission.leaving.is_empty());
    }

    #[test]
    fn who_lingers_gives_way_to_a_newcomer_that_needs_the_place() {
        let now = Instant::now();
        let mut admission = with_bounds(3, Some(2));
        let [alice, bob] = [0, 1].map(|nth| enter(&mut admission, nth, "10.0.0.1"));
        admission.departed(alice, address("10.0.0.1"));
        admission.lingers(alice);
        assert_eq!(
            admission.make_room(address("10.0.0.2"), now),
            None,
            "there is room"
        );
        assert_eq!(
            admission.make_room(address("10.0.0.1"), now),
            Some(alice),
            "its address is full"
        );
        let carol = enter(&mut admission, 2, "10.0.0.1");
        assert_eq!(admission.make_room(address("10.0.0.1"), now), None);
        let dave = enter(&mut admission, 3, "10.0.0.2");
        admission.departed(dave, address("10.0.0.2"));
        admission.lingers(dave);
        assert_eq!(
            admission.make_room(address("10.0.0.1"), now),
            None,
            "the one that lingers has another address"
        );
        assert_eq!(
            admission.make_room(address("10.0.0.3"), now),
            Some(dave),
            "the room is full"
        );
        for client in [alice, dave] {
            admission.closed(client);
        }
        for client in [bob, carol] {
            admission.departed(client, address("10.0.0.1"));
            admission.lingers(client);
            admission.closed(client);
        }
        assert_eq!(admission.client_count, 0);
        assert!(admission.lingering.is_empty() && admission.giving_way.is_empty());
    }

    #[test]
    fn an_explicit_limit_per_address_includes_loopback() {
        let mut admission = with_bounds(10, Some(2));
        let full = Refusal::AddressFull { clients: 2 };
        assert_eq!(fill(&mut admission, "127.0.0.1"), (2, full));
        assert_eq!(fill(&mut admission, "127.0.0.2"), (2, full));
        admission.left(address("127.0.0.1"));
        assert_eq!(fill(&mut admission, "127.0.0.1"), (1, full));
    }

    #[test]
    fn a_full_room_admits_again_after_a_client_leaves() {
        let mut admission = with_bounds(2, Some(2));
        let full = Refusal::RoomFull { clients: 2 };
        admission.entered(address("10.0.0.1"));
        assert_eq!(fill(&mut admission, "10.0.0.2"), (1, full));
        admission.left(address("10.0.0.1"));
        assert_eq!(admission.admit(address("10.0.0.3"), Instant::now()), Ok(()));
    }

    #[test]
    fn a_ban_is_the_first_reason_until_it_ends() {
        let now = Instant::now();
        let end = now + Duration::from_secs(60);
        let mut admission = Admission::new(Limits {
            max_clients: 1,
            max_per_address: Some(1),
            rules: vec![deny("10.0.0.1/32")],
            is_clear_local: false,
        });
        admission.entered(address("10.0.0.2"));
        let network = "::ffff:10.0.0.7/120".parse().unwrap();
        admission.ban(network, Some(end), now).unwrap();
        for from in ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::ffff:10.0.0.3"] {
            let answer = admission.admit(address(from), now);
            assert_eq!(answer, Err(Refusal::Banned), "{from}");
        }
        let full = Err(Refusal::RoomFull { clients: 1 });
        assert_eq!(admission.admit(address("10.0.1.3"), now), full);

        admission.left(address("10.0.0.2"));
        assert_eq!(admission.admit(address("10.0.0.3"), end), Ok(()));
        let denied = Err(Refusal::Denied);
        assert_eq!(admission.admit(address("10.0.0.1"), end), denied);
    }

    #[test]
    fn loopback_can_be_banned_and_a_ban_can_be_ended() {
        let now = Instant::now();
        let mut admission = with_bounds(10, None);
        let loopback = "127.0.0.0/8".parse().unwrap();
        admission.ban(loopback, None, now).unwrap();
        let bans: Vec<_> = admission.bans(now).collect();
        let expected = Ban {
            network: loopback,
            left: None,
        };
        assert_eq!(bans, [expected]);
        for from in ["127.0.0.1", "::ffff:127.0.0.1"] {
            let answer = admission.admit(address(from), now);
            assert_eq!(answer, Err(Refusal::Banned), "{from}");
        }
        assert_eq!(admission.admit(address("::1"), now), Ok(()));
        assert!(admission.unban("127.0.0.1/8".parse().unwrap(), now));
        assert_eq!(admission.admit(address("127.0.0.1"), now), Ok(()));
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut counts = RefusalCounts::default();
        for (times, refusal, words) in [
            (
                4,
                Refusal::Banned,
                "your address is banned here; ask the operator",
            ),
            (
                1,
                Refusal::Denied,
                "your address is not allowed here; ask the operator",
            ),
            (
                2,
                Refusal::AddressFull { clients: 5 },
                "too many connections from your address (5); close one",
            ),
            (
                3,
                Refusal::RoomFull { clients: 9 },
                "the room is full (9 clients); try again later",
            ),
        ] {
            assert_eq!(refusal.to_string(), words);
            (0..times).for_each(|_| counts.count(refusal));
        }
        let expected = RefusalCounts {
            banned: 4,
            denied: 1,
            address_full: 2,
            room_full: 3,
            password: 0,
        };
        assert_eq!(counts, expected);
    }

    /// The address as 128 bits, IPv4 mapped to IPv6.
    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    /// An independent, slow implementation.
    fn model(limits: &Limits, inside: &[IpAddr], from: IpAddr) -> Result<(), Refusal> {
        let matches = |rule: &&Rule| {
            let (Rule::Allow(network) | Rule::Deny(network)) = rule;
            let other_bits = u32::from(network.max_prefix_len() - network.prefix_len());
            let differing = bits(network.addr()) ^ bits(from);
            differing.checked_shr(other_bits).unwrap_or(0) == 0
        };
        let is_allow = |rule: &Rule| matches!(rule, Rule::Allow(_));
        let is_allowed = match limits.rules.iter().find(matches) {
            Some(rule) => is_allow(rule),
            None => !limits.rules.iter().any(is_allow),
        };
        let clients = inside.len();
        let of_address = inside
            .iter()
            .filter(|&&one| bits(one) == bits(from))
            .count();
        let default = if from.to_canonical().is_loopback() {
            usize::MAX
        } else {
            (limits.max_clients / 2).max(1)
        };
        match limits.max_per_address.unwrap_or(default) {
            _ if !is_allowed => Err(Refusal::Denied),
            max if of_address >= max => Err(Refusal::AddressFull {
                clients: of_address,
            }),
            _ if clients >= limits.max_clients => Err(Refusal::RoomFull { clients }),
            _ => Ok(()),
        }
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop::sample::select(&[
            "10.0.0.1",
            "::ffff:10.0.0.1",
            "10.0.0.2",
            "10.0.1.1",
            "127.0.0.1",
            "::1",
            "2001:db8::1",
            "2001:db8:1::1",
        ])
        .prop_map(address)
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let network = prop::sample::select(&[
            "10.0.0.1/32",
            "10.0.0.7/24",
            "::ffff:10.0.0.0/119",
            "0.0.0.0/0",
            "::ffff:0.0.0.0/96",
            "127.0.0.0/8",
            "2001:db8::/48",
            "2001:db8::/32",
            "::1/128",
        ]);
        (any::<bool>(), network).prop_map(|(is_allowed, network)| {
            if is_allowed {
                allow(network)
            } else {
                deny(network)
            }
        })
    }

    proptest! {
        #[test]
        fn any_joins_and_leaves_agree_with_the_model(
            max_clients in 1_usize..8,
            max_per_address in prop::option::of(1_usize..5),
            rules in prop::collection::vec(any_rule(), 0..5),
            // Who joins, or which of the clients leaves.
            steps in prop::collection::vec((any_address(), prop::option::of(0_usize..8)), 0..60),
        ) {
            let is_clear_local = false;
            let limits = Limits { max_clients, max_per_address, rules, is_clear_local };
            let mut admission = Admission::new(limits.clone());
            let mut inside = Vec::new();
            for (from, leaver) in steps {
                if let Some(index) = leaver {
                    if index < inside.len() {
                        admission.left(inside.swap_remove(index));
                    }
                    continue;
                }
                let answer = admission.admit(from, Instant::now());
                prop_assert_eq!(answer, model(&limits, &inside, from));
                if answer.is_ok() {
                    admission.entered(from);
                    inside.push(from);
                }
                prop_assert_eq!(admission.client_count, inside.len());
                prop_assert!(admission.counts.values().all(|&count| count > 0));
            }
            inside.into_iter().for_each(|address| admission.left(address));
            prop_assert!(admission.counts.is_empty());
        }
    }
}
