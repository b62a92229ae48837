//! Who has which name, for whom a freed name is held, and who waits for one.
//!
//! No two members' names can be taken for each other. A name that is freed is held
//! for the address of who had it, so that a connection that drops does not lose it to
//! somebody else. Such a connection may still have the name when its owner comes back
//! under a new one: that is a claim.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::protocol::batch::ClientId;
use crate::protocol::name::Name;

/// How long a freed name is held.
pub const HOLD: Duration = Duration::from_secs(60);

/// The most names that are held for one address: it may be a router, with many
/// people behind it. Then the oldest are held no longer.
pub const MAX_HELD_PER_ADDRESS: usize = 64;

/// The most names that are held in all. Then the oldest of those are held no longer for
/// whose address most are held.
pub const MAX_HELD: usize = 4096;

/// The names.
#[derive(Debug, Default)]
pub struct NameRegistry {
    /// Those of members, by what they are without regard to case.
    borne: BTreeMap<Box<str>, (Rc<Name>, ClientId)>,
    /// Whose a name is, by each of the things it looks like.
    owners: HashMap<Box<str>, (Rc<Name>, Owner)>,
    /// The freed ones of each address, oldest first. Invariants: they are those that are
    /// held in `owners`, though some may be over; no list is empty.
    holds: HashMap<IpAddr, VecDeque<Rc<Name>>>,
    /// Invariant: how many there are in all lists.
    hold_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Member(ClientId),
    /// Nobody now; it is held for this address.
    Held {
        address: IpAddr,
        until: Instant,
    },
}

/// Why a name is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A member bears it.
    Taken(ClientId),
    /// It looks too much like this one, which a member bears.
    LooksLike(Rc<Name>),
    /// It, or one that looks too much like it, is held for somebody else, for so long.
    Held(Duration),
}

impl NameRegistry {
    /// Nobody has a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `name` to `id`, who is at `address` and lets its `old` one go for it.
    ///
    /// # Errors
    ///
    /// Why it cannot have it; then all stays as it was.
    pub fn take(
        &mut self,
        id: ClientId,
        address: IpAddr,
        old: Option<&Rc<Name>>,
        name: Name,
        now: Instant,
    ) -> Result<Rc<Name>, Conflict> {
        let mut in_the_way = Vec::new();
        for look in name.looks() {
            let Some((other, owner)) = self.owners.get(look) else {
                continue;
            };
            match *owner {
                Owner::Member(owner) if owner == id => {}
                Owner::Member(owner) if other.folded() == name.folded() => {
                    return Err(Conflict::Taken(owner));
                }
                Owner::Member(_) => return Err(Conflict::LooksLike(Rc::clone(other))),
                Owner::Held {
                    address: its,
                    until,
                } if its == address || until <= now => {
                    in_the_way.push((Rc::clone(other), its));
                }
                Owner::Held { until, .. } => return Err(Conflict::Held(until - now)),
            }
        }
        for (held, its_address) in in_the_way {
            self.let_go(&held, its_address);
        }
        match old {
            Some(old) if old.looks_like(&name) => self.forget(old),
            Some(old) => self.release(old, address, now),
            None => {}
        }
        let name = Rc::new(name);
        self.own(&name, Owner::Member(id));
        self.borne
            .insert(name.folded().into(), (Rc::clone(&name), id));
        Ok(name)
    }

    /// The member that bore `name` does no longer: it is held for its `address`.
    pub fn release(&mut self, name: &Rc<Name>, address: IpAddr, now: Instant) {
        self.borne.remove(name.folded());
        if self.holds.get(&address).map_or(0, VecDeque::len) >= MAX_HELD_PER_ADDRESS {
            self.let_go_oldest(address);
        } else if self.hold_count >= MAX_HELD {
            let most = self.holds.iter().max_by_key(|(_, names)| names.len());
            let (&most, _) = most.expect("there are many");
            self.let_go_oldest(most);
        }
        let until = now + HOLD;
        self.own(name, Owner::Held { address, until });
        self.holds
            .entry(address)
            .or_default()
            .push_back(Rc::clone(name));
        self.hold_count += 1;
    }

    /// Who is called `text`, without regard to case.
    pub fn find(&self, text: &Name) -> Option<ClientId> {
        self.borne.get(text.folded()).map(|&(_, id)| id)
    }

    /// How many members bear a name.
    pub fn len(&self) -> usize {
        self.borne.len()
    }

    /// Whether nobody bears one.
    pub fn is_empty(&self) -> bool {
        self.borne.is_empty()
    }

    /// The names of members in order, and whose they are.
    pub fn names(&self) -> impl Iterator<Item = (&Rc<Name>, ClientId)> {
        self.borne.values().map(|(name, id)| (name, *id))
    }

    fn own(&mut self, name: &Rc<Name>, owner: Owner) {
        for look in name.looks() {
            self.owners.insert(look.into(), (Rc::clone(name), owner));
        }
    }

    /// `name` is nobody's any more.
    fn forget(&mut self, name: &Rc<Name>) {
        for look in name.looks() {
            let is_own = |(owned, _): &(Rc<Name>, Owner)| Rc::ptr_eq(owned, name);
            if self.owners.get(look).is_some_and(is_own) {
                self.owners.remove(look);
            }
        }
        let is_borne = |(borne, _): &(Rc<Name>, ClientId)| Rc::ptr_eq(borne, name);
        if self.borne.get(name.folded()).is_some_and(is_borne) {
            self.borne.remove(name.folded());
        }
    }

    /// `name` is no longer held for `address`.
    fn let_go(&mut self, name: &Rc<Name>, address: IpAddr) {
        self.forget(name);
        let Entry::Occupied(mut names) = self.holds.entry(address) else {
            return;
        };
        let index = names.get().iter().position(|held| Rc::ptr_eq(held, name));
        if let Some(index) = index {
            names.get_mut().remove(index);
            self.hold_count -= 1;
        }
        if names.get().is_empty() {
            names.remove();
        }
    }

    fn let_go_oldest(&mut self, address: IpAddr) {
        let names = self.holds.get(&address);
        if let Some(oldest) = names.and_then(VecDeque::front).cloned() {
            self.let_go(&oldest, address);
        }
    }
}

/// How long a claim stands: until the kernel has found out that nobody is there (the
/// listener's user timeout), and a little longer.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(150);

/// The most claims. Then the oldest stands no longer.
pub const MAX_CLAIMS: usize = 64;

/// The claims, oldest first.
#[derive(Debug, Default)]
pub struct Claims(Vec<Claim>);

/// A name that is claimed.
#[derive(Debug)]
pub struct Claim {
    /// Who waits for it. Invariant: of no other claim.
    pub claimant: ClientId,
    /// Who bears it. Invariant: of no other claim.
    pub bearer: ClientId,
    /// The name, as the claimant writes it.
    pub name: Name,
    /// When it stands no longer.
    pub until: Instant,
}

impl Claims {
    /// Takes down a claim in place of any other to the same bearer's name: who has come
    /// last is who has come back. Whether that is news to the bearer.
    pub fn add(&mut self, claim: Claim) -> bool {
        let before = self.remove_of_bearer(claim.bearer);
        if self.0.len() >= MAX_CLAIMS {
            self.0.remove(0);
        }
        let is_news = before.is_none_or(|before| before.claimant != claim.claimant);
        self.0.push(claim);
        is_news
    }

    /// `claimant` waits no longer, unless for `name`.
    pub fn forget_others(&mut self, claimant: ClientId, name: &Name) {
        self.0
            .retain(|claim| claim.claimant != claimant || claim.name == *name);
    }

    /// `claimant` waits for nothing any more.
    pub fn forget(&mut self, claimant: ClientId) {
        self.0.retain(|claim| claim.claimant != claimant);
    }

    /// Takes the claim to the name of `bearer`, if there is one.
    pub fn remove_of_bearer(&mut self, bearer: ClientId) -> Option<Claim> {
        let index = self.0.iter().position(|claim| claim.bearer == bearer)?;
        Some(self.0.remove(index))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ClientId = ClientId::nth(0);
    const BOB: ClientId = ClientId::nth(1);

    struct Scene {
        registry: NameRegistry,
        now: Instant,
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number as u32))
    }

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    impl Scene {
        fn new() -> Self {
            Self {
                registry: NameRegistry::new(),
                now: Instant::now(),
            }
        }

        /// `id`, from the address with its number, takes a name.
        fn take(
            &mut self,
            id: ClientId,
            old: Option<&Rc<Name>>,
            text: &str,
        ) -> Result<Rc<Name>, Conflict> {
            let from = address(id.key);
            self.registry.take(id, from, old, name(text), self.now)
        }

        fn release(&mut self, id: ClientId, name: &Rc<Name>) {
            self.registry.release(name, address(id.key), self.now);
        }

        /// Takes a name and lets it go.
        fn pass(&mut self, id: ClientId, text: &str) {
            let taken = self.take(id, None, text).unwrap();
            self.release(id, &taken);
        }
    }

    #[test]
    fn a_name_is_taken_with_all_that_look_like_it() {
        let mut scene = Scene::new();
        let alice = scene.take(ALICE, None, "Alice").unwrap();
        assert_eq!(scene.take(BOB, None, "ALICE"), Err(Conflict::Taken(ALICE)));
        for like in ["AIice", "al1ce"] {
            let conflict = Err(Conflict::LooksLike(Rc::clone(&alice)));
            assert_eq!(scene.take(BOB, None, like), conflict);
        }
        scene.take(BOB, None, "bob").unwrap();
        assert_eq!(scene.registry.find(&name("alice")), Some(ALICE));
        assert_eq!(
            scene.registry.find(&name("al1ce")),
            None,
            "it is another name"
        );
        let names: Vec<&str> = scene
            .registry
            .names()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["Alice", "bob"]);
    }

    #[test]
    fn what_cannot_be_had_changes_nothing() {
        let mut scene = Scene::new();
        scene.take(ALICE, None, "alice").unwrap();
        let bob = scene.take(BOB, None, "bob").unwrap();
        assert!(scene.take(BOB, Some(&bob), "alice").is_err());
        assert_eq!(scene.registry.find(&name("bob")), Some(BOB));
        assert_eq!(scene.registry.find(&name("alice")), Some(ALICE));
        assert!(scene.registry.holds.is_empty());
    }

    #[test]
    fn a_freed_name_is_held_for_its_address_alone() {
        let mut scene = Scene::new();
        scene.pass(ALICE, "alice");
        assert!(scene.registry.is_empty());
        for like in ["alice", "Alice"] {
            assert_eq!(scene.take(BOB, None, like), Err(Conflict::Held(HOLD)));
        }
        scene.take(ALICE, None, "Alice").unwrap();
        // What was held is no more, though its time is not over.
        scene.now += HOLD;
        scene.take(BOB, None, "bob").unwrap();
        assert_eq!(scene.take(BOB, None, "alice"), Err(Conflict::Taken(ALICE)));
    }

    #[test]
    fn a_hold_ends() {
        let mut scene = Scene::new();
        scene.pass(ALICE, "alice");
        scene.now += HOLD - Duration::from_nanos(1);
        let left = Duration::from_nanos(1);
        assert_eq!(scene.take(BOB, None, "alice"), Err(Conflict::Held(left)));
        scene.now += Duration::from_nanos(1);
        scene.take(BOB, None, "alice").unwrap();
        assert!(scene.registry.holds.is_empty());
        assert_eq!(scene.registry.owners.len(), name("alice").looks().count());
    }

    #[test]
    fn no_address_has_more_names_held_than_its_share() {
        let mut scene = Scene::new();
        scene.pass(BOB, "bob");
        for number in 0..=MAX_HELD_PER_ADDRESS {
            scene.pass(ALICE, &format!("n{number}x"));
        }
        let other = ClientId::nth(2);
        scene.take(other, None, "n0x").expect("the oldest is free");
        let held = scene.take(other, None, "n1x");
        assert_eq!(held, Err(Conflict::Held(HOLD)));
        assert_eq!(scene.take(other, None, "bob"), Err(Conflict::Held(HOLD)));
    }

    #[test]
    fn all_that_is_held_is_bounded() {
        let mut scene = Scene::new();
        for id in 0..MAX_HELD + 100 {
            scene.pass(ClientId::nth(id), &format!("n{id}x"));
        }
        assert_eq!(scene.registry.hold_count, MAX_HELD);
        let listed: usize = scene.registry.holds.values().map(VecDeque::len).sum();
        assert_eq!(listed, MAX_HELD);
        assert!(scene.registry.owners.len() <= 3 * MAX_HELD);
    }

    #[test]
    fn who_has_many_names_held_does_not_cost_others_theirs() {
        let mut scene = Scene::new();
        scene.pass(ALICE, "alice");
        for address in 0..MAX_HELD / MAX_HELD_PER_ADDRESS + 1 {
            for number in 0..MAX_HELD_PER_ADDRESS {
                scene.pass(
                    ClientId::nth(100 + address),
                    &format!("n{address}x{number}"),
                );
            }
        }
        assert_eq!(scene.registry.hold_count, MAX_HELD);
        assert_eq!(scene.take(BOB, None, "alice"), Err(Conflict::Held(HOLD)));
    }

    #[test]
    fn a_name_goes_back_and_forth_without_leaving_anything() {
        let mut scene = Scene::new();
        let mut old = scene.take(ALICE, None, "alice").unwrap();
        for text in ["Alice", "bob", "alice", "ALICE", "bob", "carol"].repeat(50) {
            old = scene.take(ALICE, Some(&old), text).unwrap();
            assert_eq!(scene.registry.len(), 1);
        }
        scene.release(ALICE, &old);
        scene.now += HOLD;
        for text in ["alice", "bob"] {
            scene.pass(BOB, text);
        }
        scene.take(BOB, None, "carol").unwrap();
        assert_eq!((scene.registry.len(), scene.registry.hold_count), (1, 2));
        assert_eq!(scene.registry.borne.len(), 1);
    }
}
