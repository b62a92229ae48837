//! Names: which member has which, which are held for an address, and which are claimed.
//!
//! No two members have names that look alike. When a member frees a name, the registry
//! holds it for the member's address for a while, so that a dropped connection does not
//! lose its name to somebody else. Looking alike is not transitive: a new name may look like
//! the old one, and yet others look like the old one alone. So owned and held are looks, and
//! whatever the new name does not own is held. If the owner comes back before the server has noticed
//! that the old connection is dead, the new connection claims the name.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::protocol::batch::ClientId;
use crate::protocol::name::Name;

/// How long the registry holds a freed name.
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// Generous, because the address may be a router with many people behind it. Above this,
/// the oldest hold of the address ends.
pub(crate) const MAX_HELD_PER_ADDRESS: usize = 64;

/// For all addresses together. Above this, the oldest hold of the address with the most
/// holds ends, so that one address cannot cost others their names.
pub(crate) const MAX_HELD: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct NameRegistry {
    /// The names of members that others know to be here, by their folded form.
    taken: BTreeMap<Box<str>, (Rc<Name>, ClientId)>,
    /// The owner of each name, by each of its looks.
    owners: HashMap<Box<str>, (Rc<Name>, Owner)>,
    /// The held names of each address, oldest first. Invariants: they are the held names
    /// of `owners`, expired ones included, with at least one look each; no list is empty.
    holds: HashMap<IpAddr, VecDeque<Rc<Name>>>,
    /// Invariant: the sum of the lengths of all lists in `holds`.
    hold_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Member(ClientId),
    /// No member; held for this address.
    Held {
        address: IpAddr,
        until: Instant,
    },
}

/// Why a member cannot have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// This member has it.
    Taken(ClientId),
    /// It looks too much like this name of another member.
    LooksLike(Rc<Name>),
    /// It, or a name that looks too much like it, is held for another address, for this
    /// much longer.
    Held(Duration),
}

impl NameRegistry {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Gives `name` to the member `id` at `address`, in exchange for its `old` name.
    ///
    /// # Errors
    ///
    /// Why the member cannot have it. Nothing has changed then.
    pub(crate) fn take(
        &mut self,
        id: ClientId,
        address: IpAddr,
        old: Option<&Rc<Name>>,
        name: Name,
        now: Instant,
    ) -> Result<Rc<Name>, Conflict> {
        self.check(Some(id), address, &name, now)?;
        let name = Rc::new(name);
        let looks: Vec<&str> = name.looks().collect();
        self.set_owner(&name, &looks, Owner::Member(id));
        if let Some(old) = old {
            // Of the looks, those that the new name now owns are not held.
            self.release(old, address, now);
        }
        self.taken
            .insert(name.folded().into(), (Rc::clone(&name), id));
        Ok(name)
    }

    /// Holds `name` for `address`, as if a member there had just freed it.
    ///
    /// # Errors
    ///
    /// As [`NameRegistry::take`].
    #[cfg(feature = "web")]
    pub(crate) fn hold(
        &mut self,
        name: Name,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Conflict> {
        self.check(None, address, &name, now)?;
        let name = Rc::new(name);
        let looks: Vec<&str> = name.looks().collect();
        self.hold_looks(&name, &looks, address, now);
        Ok(())
    }

    /// Whether `name` may be had at `address`: by the member `id`, if there is one.
    fn check(
        &self,
        id: Option<ClientId>,
        address: IpAddr,
        name: &Name,
        now: Instant,
    ) -> Result<(), Conflict> {
        for look in name.looks() {
            let Some((other, owner)) = self.owners.get(look) else {
                continue;
            };
            match *owner {
                Owner::Member(owner) if Some(owner) == id => {}
                Owner::Member(owner) if other.folded() == name.folded() => {
                    return Err(Conflict::Taken(owner));
                }
                Owner::Member(_) => return Err(Conflict::LooksLike(Rc::clone(other))),
                Owner::Held {
                    address: its,
                    until,
                } if its == address || until <= now => {}
                Owner::Held { until, .. } => return Err(Conflict::Held(until - now)),
            }
        }
        Ok(())
    }

    /// Takes `name` from its member, at `address`, and holds what it owns for that address.
    pub(crate) fn release(&mut self, name: &Rc<Name>, address: IpAddr, now: Instant) {
        self.taken.remove(name.folded());
        let looks = self.owned_looks(name);
        if !looks.is_empty() {
            self.hold_looks(name, &looks, address, now);
        }
    }

    /// Holds these looks of `name`, at least one, for `address`.
    fn hold_looks(&mut self, name: &Rc<Name>, looks: &[&str], address: IpAddr, now: Instant) {
        if self.holds.get(&address).map_or(0, VecDeque::len) >= MAX_HELD_PER_ADDRESS {
            self.end_oldest_hold(address);
        } else if self.hold_count >= MAX_HELD {
            let most = self.holds.iter().max_by_key(|(_, names)| names.len());
            let (&most, _) = most.expect("there are holds");
            self.end_oldest_hold(most);
        }
        let until = now + HOLD;
        self.set_owner(name, looks, Owner::Held { address, until });
        self.holds
            .entry(address)
            .or_default()
            .push_back(Rc::clone(name));
        self.hold_count += 1;
    }

    /// The member with this name, ignoring case.
    pub(crate) fn find(&self, name: &Name) -> Option<ClientId> {
        self.taken.get(name.folded()).map(|&(_, id)| id)
    }

    /// The member that has this name or one that looks like it, told as gone or not.
    pub(crate) fn owner(&self, name: &Name) -> Option<ClientId> {
        name.looks()
            .find_map(|look| match self.owners.get(look)?.1 {
                Owner::Member(id) => Some(id),
                Owner::Held { .. } => None,
            })
    }

    /// Others are told that the owner of `name` has gone. It keeps the name.
    pub(crate) fn hide(&mut self, name: &Name) {
        self.taken.remove(name.folded());
    }

    /// `id`, the owner of `name`, is back.
    pub(crate) fn show(&mut self, name: &Rc<Name>, id: ClientId) {
        self.taken
            .insert(name.folded().into(), (Rc::clone(name), id));
    }

    /// The number of members with a name.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The members' names in order, with their owners.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&Rc<Name>, ClientId)> {
        self.taken.values().map(|(name, id)| (name, *id))
    }

    /// The looks that `name` owns: another name may have taken the others from it.
    fn owned_looks<'a>(&self, name: &'a Rc<Name>) -> Vec<&'a str> {
        let is_owned = |look: &&str| {
            let owner = self.owners.get(*look);
            owner.is_some_and(|(owned, _)| Rc::ptr_eq(owned, name))
        };
        name.looks().filter(is_owned).collect()
    }

    /// Makes `owner` the owner of these looks of `name`. Ends the holds that have lost all
    /// of theirs by this.
    fn set_owner(&mut self, name: &Rc<Name>, looks: &[&str], owner: Owner) {
        for look in looks {
            let before = self.owners.insert((*look).into(), (Rc::clone(name), owner));
            if let Some((held, Owner::Held { address, .. })) = before
                && self.owned_looks(&held).is_empty()
            {
                self.end_hold(&held, address);
            }
        }
    }

    fn end_hold(&mut self, name: &Rc<Name>, address: IpAddr) {
        for look in self.owned_looks(name) {
            self.owners.remove(look);
        }
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

    fn end_oldest_hold(&mut self, address: IpAddr) {
        let names = self.holds.get(&address);
        if let Some(oldest) = names.and_then(VecDeque::front).cloned() {
            self.end_hold(&oldest, address);
        }
    }
}

/// How long a claim lasts: until the kernel has given up on a dead peer
/// ([`USER_TIMEOUT`](crate::platform::socket::USER_TIMEOUT)), and a little longer.
pub(crate) const CLAIM_TIMEOUT: Duration = Duration::from_secs(150);

/// Above this, the oldest claim ends.
pub(crate) const MAX_CLAIMS: usize = 64;

/// Oldest first.
#[derive(Debug, Default)]
pub(crate) struct Claims(Vec<Claim>);

/// One member's wish for the name of another at the same address.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Invariant: no other claim has the same.
    pub(crate) claimant: ClientId,
    /// The member that has the name. Invariant: no other claim has the same.
    pub(crate) holder: ClientId,
    /// As the claimant spells it.
    pub(crate) name: Name,
    pub(crate) until: Instant,
}

impl Claims {
    /// Adds a claim and removes any other to the same holder's name: the owner that came
    /// back is the latest claimant. Returns whether the holder has not heard of this
    /// claimant yet.
    pub(crate) fn add(&mut self, claim: Claim) -> bool {
        let before = self.take(claim.holder);
        if self.0.len() >= MAX_CLAIMS {
            self.0.remove(0);
        }
        let is_news = before.is_none_or(|before| before.claimant != claim.claimant);
        self.0.push(claim);
        is_news
    }

    /// Removes the claims of `claimant` to other names than `name`.
    pub(crate) fn forget_others(&mut self, claimant: ClientId, name: &Name) {
        self.0
            .retain(|claim| claim.claimant != claimant || claim.name == *name);
    }

    /// Removes the claims of `claimant`.
    pub(crate) fn forget(&mut self, claimant: ClientId) {
        self.0.retain(|claim| claim.claimant != claimant);
    }

    /// Removes and returns the claim to the name of `holder`.
    pub(crate) fn take(&mut self, holder: ClientId) -> Option<Claim> {
        let index = self.0.iter().position(|claim| claim.holder == holder)?;
        Some(self.0.remove(index))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

        /// `id` takes a name, from the address with the same number.
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

        /// A name is held for the address with this number.
        #[cfg(feature = "web")]
        fn hold(&mut self, number: usize, text: &str) -> Result<(), Conflict> {
            let held = self.registry.hold(name(text), address(number), self.now);
            self.check();
            held
        }

        /// The invariants.
        fn check(&self) {
            let NameRegistry {
                owners,
                holds,
                hold_count,
                ..
            } = &self.registry;
            let owns_something = |held: &Rc<Name>| {
                held.looks().any(|look| {
                    owners
                        .get(look)
                        .is_some_and(|(name, _)| Rc::ptr_eq(name, held))
                })
            };
            assert!(holds.values().flatten().all(owns_something));
            assert!(holds.values().all(|names| !names.is_empty()));
            assert_eq!(
                holds.values().map(VecDeque::len).sum::<usize>(),
                *hold_count
            );
            for (name, owner) in owners.values() {
                let is_known = match owner {
                    Owner::Member(_) => self.registry.names().any(|(taken, _)| taken == name),
                    Owner::Held { address, .. } => holds[address].iter().any(|held| held == name),
                };
                assert!(is_known, "{name} {owner:?}");
            }
        }

        /// `id` takes a name and releases it.
        fn pass(&mut self, id: ClientId, text: &str) {
            let taken = self.take(id, None, text).unwrap();
            self.release(id, &taken);
        }
    }

    #[cfg(feature = "web")]
    #[test]
    fn a_name_can_be_held_that_nobody_had() {
        let mut scene = Scene::new();
        assert_eq!(scene.hold(7, "backup"), Ok(()));
        assert!(matches!(scene.hold(8, "backup"), Err(Conflict::Held(_))));
        assert!(matches!(scene.hold(8, "BACKUP"), Err(Conflict::Held(_))));
        scene.now += HOLD / 2;
        assert_eq!(scene.hold(7, "backup"), Ok(()), "for as long again");
        assert_eq!(scene.registry.hold_count, 1);
        scene.now += HOLD;
        assert_eq!(scene.hold(8, "backup"), Ok(()));
        let alice = scene.take(ALICE, None, "alice").unwrap();
        assert_eq!(
            scene.hold(0, "alice"),
            Err(Conflict::Taken(ALICE)),
            "whoever asks"
        );
        assert_eq!(scene.hold(0, "a1ice"), Err(Conflict::LooksLike(alice)));
    }

    #[test]
    fn a_taken_name_blocks_all_names_that_look_like_it() {
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
            "a different name"
        );
        let names: Vec<&str> = scene
            .registry
            .names()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["Alice", "bob"]);
    }

    #[test]
    fn a_conflict_changes_nothing() {
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
        assert_eq!(scene.registry.len(), 0);
        for like in ["alice", "Alice"] {
            assert_eq!(scene.take(BOB, None, like), Err(Conflict::Held(HOLD)));
        }
        scene.take(ALICE, None, "Alice").unwrap();
        // The hold has ended before its time.
        scene.now += HOLD;
        scene.take(BOB, None, "bob").unwrap();
        assert_eq!(scene.take(BOB, None, "alice"), Err(Conflict::Taken(ALICE)));
    }

    #[test]
    fn what_a_new_name_does_not_own_of_the_old_one_is_held() {
        let mut scene = Scene::new();
        // Kal looks like KAI, and Kai does, but Kal does not look like Kai.
        let old = scene.take(ALICE, None, "KAI").unwrap();
        let new = scene.take(ALICE, Some(&old), "Kal").unwrap();
        assert_eq!(scene.take(BOB, None, "kai"), Err(Conflict::Held(HOLD)));
        assert_eq!(
            scene.take(BOB, None, "kal"),
            Err(Conflict::Taken(ALICE)),
            "not held, but taken"
        );
        scene.release(ALICE, &new);
        scene.now += HOLD;
        // The same where a member takes a look-alike of a name that is held for it.
        scene.pass(ALICE, "KAI");
        scene.pass(ALICE, "Kal");
        assert_eq!(scene.take(BOB, None, "kai"), Err(Conflict::Held(HOLD)));
        assert_eq!(scene.take(BOB, None, "kal"), Err(Conflict::Held(HOLD)));
        scene.now += HOLD;
        scene.take(BOB, None, "kai").unwrap();
        scene.take(ClientId::nth(2), None, "kal").unwrap();
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
    fn holds_per_address_are_bounded() {
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
    fn holds_in_total_are_bounded() {
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
    fn addresses_with_many_holds_do_not_cost_others_theirs() {
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
    fn renaming_back_and_forth_leaves_nothing_behind() {
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
        assert_eq!((scene.registry.len(), scene.registry.taken.len()), (1, 1));
        // Two of BOB's, and what these do not own of two that have expired.
        assert!(scene.registry.hold_count <= 4);
        scene.check();
    }

    #[test]
    fn swapping_look_alikes_does_not_pile_up_holds() {
        let mut scene = Scene::new();
        let mut name = scene.take(ALICE, None, "Kai").unwrap();
        for text in ["KAI", "Kal", "KAI", "Kai", "kaI"].repeat(50) {
            name = scene.take(ALICE, Some(&name), text).unwrap();
            scene.check();
            assert!(scene.registry.hold_count <= 2);
        }
    }

    proptest! {
        /// A model: who has or holds which name, in a list, compared by the names' looks.
        #[test]
        fn whatever_a_member_gave_up_is_held_for_its_address(
            acts in prop::collection::vec((0_usize..4, 0_usize..9, 0_u64..30), 1..60)
        ) {
            let texts = ["KAI", "Kal", "kai", "kal", "IVAN", "lvan", "ivan", "Ivan"];
            let mut scene = Scene::new();
            let mut members: [Option<Rc<Name>>; 4] = Default::default();
            let mut given_up: Vec<(Name, usize, Instant)> = Vec::new();
            for (member, act, seconds) in acts {
                scene.now += Duration::from_secs(seconds);
                let id = ClientId::nth(member);
                let old = members[member].take();
                given_up.extend(old.iter().map(|old| ((**old).clone(), member, scene.now)));
                let Some(text) = texts.get(act) else {
                    if let Some(old) = old {
                        scene.release(id, &old);
                    }
                    scene.check();
                    continue;
                };
                match scene.take(id, old.as_ref(), text) {
                    Ok(name) => {
                        let others = members.iter().flatten();
                        prop_assert!(others.clone().all(|other| !other.looks_like(&name)));
                        let is_before_time = |(held, by, at): &(Name, usize, Instant)| {
                            *by != member && *at + HOLD > scene.now && held.looks_like(&name)
                        };
                        prop_assert!(!given_up.iter().any(is_before_time));
                        members[member] = Some(name);
                    }
                    Err(_) => {
                        given_up.truncate(given_up.len() - usize::from(old.is_some()));
                        members[member] = old;
                    }
                }
                scene.check();
            }
        }
    }
}
