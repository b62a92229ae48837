//! Joins, leaves and renames, coalesced over a short window into one notice.
//!
//! Without that, ten thousand simultaneous joins would be a hundred million lines. The
//! notice omits members that joined and left within the window.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::member::{Count, Label};
use crate::protocol::batch::ClientId;

/// How long changes are gathered, from the first one on.
pub const PRESENCE_WINDOW: Duration = Duration::from_secs(1);

/// A notice names at most this many joins, leaves or renames; it only counts more.
const MAX_NAMED: usize = 5;

/// The changes since the last notice.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// Ids alone, because thousands may join at once.
    joined: BTreeSet<ClientId>,
    /// The renamed members, with their labels as of the last notice or their join.
    renamed: BTreeMap<ClientId, Renamed>,
    /// The last labels of members that were here at the last notice and have left.
    left: Vec<Label>,
    /// When the notice is due. Invariant: `None` when nothing has changed.
    due_at: Option<Instant>,
}

#[derive(Debug)]
struct Renamed {
    from: Label,
    has_spoken_since: bool,
}

impl Presence {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn joined(&mut self, id: ClientId, now: Instant) {
        let is_new = self.joined.insert(id);
        debug_assert!(is_new, "ids are unique");
        self.changed(now);
    }

    /// `id` is no longer called `from`.
    pub(crate) fn renamed(&mut self, id: ClientId, from: Label, now: Instant) {
        self.renamed.entry(id).or_insert(Renamed {
            from,
            has_spoken_since: false,
        });
        self.changed(now);
    }

    /// `id` has said something to others.
    pub(crate) fn spoke(&mut self, id: ClientId) {
        if let Some(renamed) = self.renamed.get_mut(&id) {
            renamed.has_spoken_since = true;
        }
    }

    /// Whether `id` has spoken under a name that no notice has announced yet.
    pub(crate) fn has_spoken_unannounced(&self, id: ClientId) -> bool {
        self.renamed
            .get(&id)
            .is_some_and(|renamed| renamed.has_spoken_since)
    }

    /// `id`, last called `label`, has left.
    pub(crate) fn left(&mut self, id: ClientId, label: Label, now: Instant) {
        self.renamed.remove(&id);
        if !self.joined.remove(&id) {
            self.left.push(label);
        }
        self.changed(now);
    }

    /// When [`Presence::notice`] is due. `None` when nothing has changed.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Takes the changes and words them. `here` is the number of members, `label` what
    /// each is called now. `None` if the changes cancel out.
    pub(crate) fn notice(
        &mut self,
        here: usize,
        label: impl Fn(ClientId) -> Label,
    ) -> Option<String> {
        let mut changes = std::mem::take(self);
        let mut joined_count = changes.joined.len();
        let mut joined = Vec::new();
        let left = &mut changes.left;
        // Labels for thousands of joins are only needed to match leaves.
        if joined_count <= MAX_NAMED || !left.is_empty() {
            joined.extend(changes.joined.iter().copied().map(&label));
            cancel_out(&mut joined, left);
            joined_count = joined.len();
        }
        let was_here = |(id, _): &(ClientId, Renamed)| !changes.joined.contains(id);
        let renamed = changes.renamed.into_iter().filter(was_here);
        let renamed = renamed.map(|(id, renamed)| (renamed.from, label(id)));
        let renamed: Vec<_> = renamed.filter(|(from, to)| from != to).collect();
        let mut clauses = Vec::new();
        match joined_count {
            0 => {}
            1..=MAX_NAMED => clauses.push(format!("{} joined", Labels(&joined))),
            many => clauses.push(format!("{} joined", Count(many))),
        }
        match left.len() {
            0 => {}
            1..=MAX_NAMED => clauses.push(format!("{} left", Labels(left))),
            many => clauses.push(format!("{} left", Count(many))),
        }
        match renamed.len() {
            1..=MAX_NAMED => {
                let clause = |(from, to): &(Label, Label)| format!("{from} is now {to}");
                clauses.extend(renamed.iter().map(clause));
            }
            0 => {}
            many => clauses.push(format!("{} have new names", Count(many))),
        }
        if clauses.is_empty() {
            None
        } else {
            Some(format!("{} ({} here)", clauses.join(", "), Count(here)))
        }
    }

    fn changed(&mut self, now: Instant) {
        self.due_at.get_or_insert(now + PRESENCE_WINDOW);
    }
}

/// Removes labels that are in both: a member that left and came back has only
/// reconnected.
fn cancel_out(joined: &mut Vec<Label>, left: &mut Vec<Label>) {
    let mut gone: HashMap<Label, usize> = HashMap::new();
    for label in left.iter() {
        *gone.entry(label.clone()).or_default() += 1;
    }
    let mut take = |label: &Label| match gone.get_mut(label) {
        Some(count @ 1..) => {
            *count -= 1;
            true
        }
        _ => false,
    };
    joined.retain(|label| !take(label));
    // The labels still counted in `gone` have not come back.
    left.retain(|label| take(label));
}

/// Displayed as a list: `alice, bob and 2 from 10.0.0.1`.
struct Labels<'a>(&'a [Label]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<String> = Vec::new();
        let mut listed: Vec<IpAddr> = Vec::new();
        for label in self.0 {
            match label {
                Label::Address(address) if listed.contains(address) => {}
                Label::Address(address) => {
                    listed.push(*address);
                    match self.0.iter().filter(|other| *other == label).count() {
                        1 => items.push(address.to_string()),
                        count => items.push(format!("{count} from {address}")),
                    }
                }
                Label::Name(name) => items.push(name.to_string()),
            }
        }
        match items.split_last() {
            Some((last, before @ [_, ..])) => write!(f, "{} and {last}", before.join(", ")),
            _ => f.write_str(&items.concat()),
        }
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
            self.presence.left(ClientId::nth(id), label, self.now);
            self
        }

        fn notice(&mut self) -> Option<String> {
            let labels = &self.labels;
            let notice = self.presence.notice(labels.len(), |id| labels[&id].clone());
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
            .expect("bob joined, 10.0.0.1 is now alice (2 here)")
            .join(2, name("carol"))
            .join(3, name("dave"))
            .leave(1)
            .rename(0, name("alicia"))
            .rename(0, name("al"))
            .expect("carol and dave joined, bob left, alice is now al (3 here)")
            .rename(2, name("cara"))
            .leave(2)
            .expect("cara left (2 here)");
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
        scene.expect("bob joined, alice left (1 here)");
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
        scene.expect("312 joined, 20 left (9,516 here)");
        for id in 100..106 {
            scene.rename(id, name(&format!("m{id}")));
        }
        scene.expect("6 have new names (9,516 here)");
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
        scene.expect("10.0.0.1 joined, n0 left (50 here)");
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
