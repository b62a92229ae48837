//! Joins, leaves and renames, coalesced over a short window into one notice.
//!
//! Without that, ten thousand simultaneous joins would be a hundred million lines. The
//! notice omits members that joined and left within the window.
//!
//! Nobody is heard under a label that the room has not been told of: who speaks before the
//! notice is due has it sent first. That costs at most one notice for each join or rename,
//! and a notice names a few of each kind, however many there are.
//!
//! A notice tells changes in an order in which no label stands for two members: leaves,
//! renames, joins, and each kind in the order of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::member::Label;
use crate::protocol::batch::ClientId;
use crate::protocol::event::{Changes, MAX_NAMED, Person, Rename, Several};

/// How long changes are gathered, from the first one on.
pub const PRESENCE_WINDOW: Duration = Duration::from_secs(1);

/// The changes since the last notice.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// Members with this serial number or a higher one have joined since. They are not listed,
    /// because thousands may join at once.
    first_untold: u64,
    /// Above the serial number of every member.
    next_serial: u64,
    /// How many of them are here.
    joined_count: usize,
    /// The first of them, and whether these are all that have joined.
    first_joined: Vec<ClientId>,
    has_more_joined: bool,
    /// Members that others were told have gone, and that are back.
    returned: BTreeSet<ClientId>,
    /// Members that were here at the last notice and have been renamed since.
    renamed: BTreeMap<ClientId, Renamed>,
    /// The number of renames.
    rename_count: u64,
    /// The serial numbers of members that were here at the last notice and have left, and
    /// their labels as of then.
    left: Vec<(u64, Label)>,
    /// The same of those that the operator has sent away.
    kicked: Vec<(u64, Label)>,
    /// When the notice is due. Invariant: `None` when nothing has changed.
    due_at: Option<Instant>,
}

#[derive(Debug)]
struct Renamed {
    /// The label as of the last notice.
    from: Label,
    /// The number of renames before the last one.
    nth: u64,
}

impl Presence {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn joined(&mut self, id: ClientId, now: Instant) {
        if id.serial < self.next_serial {
            self.returned.insert(id);
        } else {
            self.next_serial = id.serial + 1;
            self.joined_count += 1;
            if self.first_joined.len() < MAX_NAMED {
                self.first_joined.push(id);
            } else {
                self.has_more_joined = true;
            }
        }
        self.changed(now);
    }

    /// `id` is no longer called `from`.
    pub(crate) fn renamed(&mut self, id: ClientId, from: Label, now: Instant) {
        if self.has_joined(id) {
            // The notice of its join will have its new name.
            return;
        }
        let nth = self.rename_count;
        self.rename_count += 1;
        let renamed = self.renamed.entry(id);
        renamed.or_insert(Renamed { from, nth }).nth = nth;
        self.changed(now);
    }

    /// `id`, last called `label`, has left; `is_kicked` if the operator has sent it away.
    pub(crate) fn left(&mut self, id: ClientId, label: Label, is_kicked: bool, now: Instant) {
        let has_returned = self.returned.remove(&id);
        if !has_returned && id.serial >= self.first_untold {
            self.joined_count -= 1;
            self.first_joined.retain(|&joined| joined != id);
        } else if !has_returned {
            // Nobody has been told of its new name.
            let renamed = self.renamed.remove(&id);
            let told = renamed.map_or(label, |renamed| renamed.from);
            let left = if is_kicked {
                &mut self.kicked
            } else {
                &mut self.left
            };
            left.push((id.serial, told));
        }
        self.changed(now);
    }

    /// Whether others do not know yet that `id` is here, or under which label.
    pub(crate) fn is_untold(&self, id: ClientId) -> bool {
        // In the common case, nothing has changed.
        self.due_at.is_some() && (self.has_joined(id) || self.renamed.contains_key(&id))
    }

    fn has_joined(&self, id: ClientId) -> bool {
        id.serial >= self.first_untold || self.returned.contains(&id)
    }

    /// When [`Presence::notice`] is due. `None` when nothing has changed.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Takes the changes. `here` is the number of members, `label` what each is called now, and
    /// `ids` are those of all that are here. `None` if the changes cancel out.
    pub(crate) fn notice<I: Iterator<Item = ClientId>>(
        &mut self,
        here: usize,
        label: impl Fn(ClientId) -> Label,
        ids: impl FnOnce() -> I,
    ) -> Option<Changes<'static>> {
        let mut changes = std::mem::take(self);
        self.next_serial = changes.next_serial;
        self.first_untold = changes.next_serial;
        let mut joined_count = changes.joined_count + changes.returned.len();
        let mut joined = Vec::new();
        let left = &mut changes.left;
        // Labels for thousands of joins are only needed to match leaves.
        if joined_count <= MAX_NAMED || !left.is_empty() {
            let mut untold: BTreeSet<ClientId> = changes.returned;
            if changes.has_more_joined {
                untold.extend(ids().filter(|id| id.serial >= changes.first_untold));
            } else {
                untold.extend(changes.first_joined);
            }
            joined.extend(untold.into_iter().map(|id| (id.serial, label(id))));
            joined.sort_unstable_by_key(|&(serial, _)| serial);
            cancel_out(&mut joined, left);
            joined_count = joined.len();
        }
        let renamed = renames(changes.renamed, label);
        let kicked = changes.kicked;
        left.extend_from_slice(&kicked);
        let changes = Changes {
            joined: several(joined_count, joined, person),
            left: several(left.len(), changes.left, person),
            kicked: several(kicked.len(), kicked, person),
            renamed: several(renamed.len(), renamed, |(id, from, to)| Rename {
                id: id.serial,
                from: from.into(),
                to: to.into(),
            }),
            here: here as u64,
        };
        let kinds = [
            changes.joined.count(),
            changes.left.count(),
            changes.renamed.count(),
        ];
        (kinds != [0, 0, 0]).then_some(changes)
    }

    fn changed(&mut self, now: Instant) {
        self.due_at.get_or_insert(now + PRESENCE_WINDOW);
    }
}

/// The labels of renamed members as of the last notice and now, in the order of events; but
/// who has given up a name comes before who has it now.
fn renames(
    renamed: BTreeMap<ClientId, Renamed>,
    label: impl Fn(ClientId) -> Label,
) -> Vec<(ClientId, Label, Label)> {
    let mut by_time: Vec<_> = renamed.into_iter().collect();
    by_time.sort_unstable_by_key(|(_, renamed)| renamed.nth);
    let labels = by_time.into_iter();
    let labels = labels.map(|(id, renamed)| (id, renamed.from, label(id)));
    let mut left: Vec<_> = labels.filter(|(_, from, to)| from != to).collect();
    if left.len() > MAX_NAMED {
        // Only counted.
        return left;
    }
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_free = |(_, _, to): &(_, _, Label)| left.iter().all(|(_, from, _)| from != to);
        // If nobody's new name is free, they have exchanged names.
        let next = left.iter().position(is_free).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

/// Removes labels that are in both: a member that left and came back has only
/// reconnected. (A member that was kicked has not.)
fn cancel_out(joined: &mut Vec<(u64, Label)>, left: &mut Vec<(u64, Label)>) {
    let mut gone: HashMap<Label, usize> = HashMap::new();
    for (_, label) in left.iter() {
        *gone.entry(label.clone()).or_default() += 1;
    }
    let mut take = |label: &Label| match gone.get_mut(label) {
        Some(count @ 1..) => {
            *count -= 1;
            true
        }
        _ => false,
    };
    joined.retain(|(_, label)| !take(label));
    // The labels still counted in `gone` have not come back.
    left.retain(|(_, label)| take(label));
}

/// All of `count`, if they are few.
fn several<T, U>(count: usize, all: Vec<T>, tell: impl Fn(T) -> U) -> Several<U> {
    if count <= MAX_NAMED {
        Several::Named(all.into_iter().map(tell).collect())
    } else {
        Several::Counted(count as u64)
    }
}

fn person((id, label): (u64, Label)) -> Person<'static> {
    Person {
        id,
        name: label.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::protocol::name::Name;

    fn name(text: &str) -> Label {
        Label::Name(Rc::new(Name::parse(text.as_bytes()).unwrap()))
    }

    fn address(text: &str) -> Label {
        Label::Address(text.parse().unwrap())
    }

    /// Presence, and its members' labels.
    struct Scene {
        presence: Presence,
        labels: BTreeMap<ClientId, Label>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                presence: Presence::new(),
                labels: BTreeMap::new(),
                now: Instant::now(),
            }
        }

        fn join(&mut self, id: usize, label: Label) -> &mut Self {
            self.labels.insert(ClientId::nth(id), label);
            self.presence.joined(ClientId::nth(id), self.now);
            self
        }

        fn rename(&mut self, id: usize, to: Label) -> &mut Self {
            let from = self.labels.insert(ClientId::nth(id), to).unwrap();
            self.presence.renamed(ClientId::nth(id), from, self.now);
            self
        }

        fn leave(&mut self, id: usize) -> &mut Self {
            let label = self.labels.remove(&ClientId::nth(id)).unwrap();
            self.presence
                .left(ClientId::nth(id), label, false, self.now);
            self
        }

        fn kick(&mut self, id: usize) -> &mut Self {
            let label = self.labels.remove(&ClientId::nth(id)).unwrap();
            self.presence.left(ClientId::nth(id), label, true, self.now);
            self
        }

        fn notice(&mut self) -> Option<String> {
            let labels = &self.labels;
            let ids = || labels.keys().copied();
            let notice = self
                .presence
                .notice(labels.len(), |id| labels[&id].clone(), ids);
            let notice = notice.map(|changes| changes.to_string());
            assert_eq!(self.presence.due_at(), None, "nothing is left");
            notice
        }

        #[track_caller]
        fn expect(&mut self, notice: &str) -> &mut Self {
            assert_eq!(self.notice().as_deref(), Some(notice));
            self
        }
    }

    #[test]
    fn a_notice_uses_the_names_at_the_end_of_its_window() {
        Scene::new()
            .join(0, address("10.0.0.1"))
            .expect("10.0.0.1 joined (1 here)")
            .join(1, address("10.0.0.2"))
            .rename(1, name("bob"))
            .rename(0, name("alice"))
            .expect("10.0.0.1 is now alice, bob joined (2 here)")
            .join(2, name("carol"))
            .join(3, name("dave"))
            .leave(1)
            .rename(0, name("alicia"))
            .rename(0, name("al"))
            .expect("bob left, alice is now al, carol and dave joined (3 here)");
    }

    #[test]
    fn who_leaves_is_told_by_the_label_that_the_room_knows() {
        let mut scene = Scene::new();
        scene.join(0, name("alice")).join(1, address("10.0.0.1"));
        scene.expect("alice and 10.0.0.1 joined (2 here)");
        // Two members have the name in turn, and leave.
        scene.leave(0).rename(1, name("alice")).leave(1);
        scene.expect("alice and 10.0.0.1 left (0 here)");
    }

    #[test]
    fn the_order_of_names_is_that_of_events() {
        let mut scene = Scene::new();
        // Keys are used again and say nothing of the order.
        for (serial, key, who) in [(1, 3, "ann"), (2, 0, "bob"), (3, 2, "cid"), (4, 1, "dan")] {
            let id = ClientId { key, serial };
            scene.labels.insert(id, name(who));
            scene.presence.joined(id, scene.now);
        }
        scene.expect("ann, bob, cid and dan joined (4 here)");
        for (serial, key, to) in [(4, 1, "dora"), (2, 0, "rob"), (1, 3, "anna")] {
            let id = ClientId { key, serial };
            let from = scene.labels.insert(id, name(to)).unwrap();
            scene.presence.renamed(id, from, scene.now);
        }
        scene.expect("dan is now dora, bob is now rob, ann is now anna (4 here)");
    }

    #[test]
    fn a_name_is_given_up_before_another_has_it() {
        Scene::new()
            .join(0, name("ann"))
            .join(1, name("bob"))
            .join(2, name("cid"))
            .expect("ann, bob and cid joined (3 here)")
            .rename(0, name("anna"))
            .rename(1, name("ann"))
            .rename(0, name("zoe"))
            .leave(2)
            .rename(1, name("cid"))
            .expect("cid left, ann is now zoe, bob is now cid (2 here)")
            .rename(1, name("bob"))
            .rename(0, name("cid"))
            .join(3, name("zoe"))
            .expect("cid is now bob, zoe is now cid, zoe joined (3 here)")
            .rename(0, name("x"))
            .rename(1, name("cid"))
            .rename(0, name("bob"))
            .expect("bob is now cid, cid is now bob (3 here)");
    }

    #[test]
    fn joins_and_leaves_within_a_window_cancel_out() {
        let mut scene = Scene::new();
        scene.join(0, name("alice")).leave(0);
        assert_eq!(scene.notice(), None);
        scene.join(0, name("alice")).notice();
        scene.leave(0).join(0, name("alice"));
        assert_eq!(scene.notice(), None);
        scene.leave(0).join(1, address("10.0.0.1"));
        scene.rename(1, name("alice"));
        assert_eq!(scene.notice(), None);
        scene.rename(1, name("al")).rename(1, name("alice"));
        assert_eq!(scene.notice(), None);
        // The same key, another client.
        scene.leave(1).join(1, name("bob"));
        scene.expect("alice left, bob joined (1 here)");
    }

    #[test]
    fn who_was_kicked_is_told_apart() {
        let mut scene = Scene::new();
        for (id, who) in ["ann", "bob", "cid", "dan"].into_iter().enumerate() {
            scene.join(id, name(who));
        }
        scene.notice();
        scene.kick(1).expect("bob was kicked (3 here)");
        scene.leave(0).kick(2).kick(3);
        scene.expect("ann left, cid and dan were kicked (0 here)");
        // Coming back at once does not undo a kick.
        scene.join(4, name("bob")).notice();
        scene.kick(4).join(5, name("bob"));
        scene.expect("bob was kicked, bob joined (1 here)");
        // Nobody knows that it was here.
        scene.join(6, name("eve")).kick(6);
        assert_eq!(scene.notice(), None);
        for id in 10..20 {
            scene.join(id, name(&format!("n{id}")));
        }
        scene.notice();
        for id in 10..17 {
            scene.leave(id);
        }
        scene.kick(17);
        scene.expect("7 left, n17 was kicked (3 here)");
        for id in 30..36 {
            scene.join(id, name(&format!("n{id}")));
        }
        scene.notice();
        for id in 30..36 {
            scene.kick(id);
        }
        scene.expect("6 were kicked (3 here)");
    }

    #[test]
    fn unnamed_members_are_listed_by_address_and_count() {
        let mut scene = Scene::new();
        scene.join(0, address("10.0.0.1")).join(1, name("alice"));
        scene
            .join(2, address("10.0.0.1"))
            .join(3, address("10.0.0.2"));
        scene.expect("2 from 10.0.0.1, alice and 10.0.0.2 joined (4 here)");
    }

    #[test]
    fn many_changes_are_counted() {
        let mut scene = Scene::new();
        for id in 0..9224 {
            scene.join(id, address("10.0.0.1"));
        }
        scene.expect("9,224 joined (9,224 here)");
        for id in 0..20 {
            scene.leave(id);
        }
        for id in 9224..9536 {
            scene.join(id, name(&format!("n{id}")));
        }
        scene.expect("20 left, 312 joined (9,516 here)");
        for id in 100..106 {
            scene.rename(id, name(&format!("m{id}")));
        }
        scene.expect("6 changed names (9,516 here)");
    }

    #[test]
    fn many_reconnections_are_no_news() {
        let mut scene = Scene::new();
        for id in 0..50 {
            scene.join(id, name(&format!("n{id}")));
        }
        scene.notice();
        for id in 0..50 {
            scene.leave(id);
        }
        for id in 0..49 {
            scene.join(id, name(&format!("n{}", 49 - id)));
        }
        scene.join(49, address("10.0.0.1"));
        scene.expect("n0 left, 10.0.0.1 joined (50 here)");
    }

    #[test]
    fn of_a_crowd_whoever_is_left_is_named() {
        let mut scene = Scene::new();
        scene.join(0, name("zoe"));
        scene.expect("zoe joined (1 here)");
        for id in 1..100 {
            scene.join(id, name(&format!("n{id}")));
        }
        for id in (1..100).filter(|id| ![50, 70].contains(id)) {
            scene.leave(id);
        }
        scene.expect("n50 and n70 joined (3 here)");
        // Who comes after that is known by another number, also in a crowd.
        for id in 100..110 {
            scene.join(id, name(&format!("n{id}")));
        }
        scene.leave(50);
        scene.expect("n50 left, 10 joined (12 here)");
    }

    #[test]
    fn who_was_told_as_gone_and_is_back_has_joined() {
        let mut scene = Scene::new();
        scene.join(0, name("ann")).join(1, name("bob"));
        scene.expect("ann and bob joined (2 here)");
        scene.leave(0).expect("ann left (1 here)");
        scene.join(0, name("ann")).rename(0, name("anna"));
        assert!(scene.presence.is_untold(ClientId::nth(0)));
        scene.join(2, name("cid"));
        scene.expect("anna and cid joined (3 here)");
        scene.leave(0).expect("anna left (2 here)");
        scene.join(0, name("anna")).leave(0);
        assert_eq!(scene.notice(), None);
    }

    #[test]
    fn a_notice_is_due_a_window_after_the_first_change() {
        let mut scene = Scene::new();
        let first = scene.now;
        assert_eq!(scene.presence.due_at(), None);
        scene.join(0, name("alice"));
        scene.now += PRESENCE_WINDOW / 2;
        scene.join(1, name("bob"));
        assert_eq!(scene.presence.due_at(), Some(first + PRESENCE_WINDOW));
    }
}
