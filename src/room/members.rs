//! Who is in the room, and on which connection each member is.
//!
//! A member is called by the id of the connection on which it joined, whatever becomes of that:
//! most members never have another one, and need nothing but a place in an array.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::member::Member;
use crate::protocol::batch::ClientId;

/// Members that there is room for from the start: address space, and no memory before they
/// come. An allocation this large (mallopt(3): `M_MMAP_THRESHOLD`) grows by moving pages.
const INITIAL_CAPACITY: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Members {
    /// Those on the connection on which they joined, by its key, which is dense.
    at_home: Vec<Option<Member>>,
    /// Those that have lost that connection, by its serial number.
    away: BTreeMap<u64, Away>,
    /// Invariant: the connections of all in `away` that have one, and who is on each.
    moved: HashMap<ClientId, ClientId>,
    /// Connections that another one has replaced, and that have not ended yet.
    replaced: HashMap<ClientId, Replaced>,
}

/// Who was on a connection until another one replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) id: ClientId,
    pub(crate) address: IpAddr,
}

#[derive(Debug)]
struct Away {
    key: usize,
    member: Member,
    connection: Option<ClientId>,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            at_home: Vec::with_capacity(INITIAL_CAPACITY),
            away: BTreeMap::new(),
            moved: HashMap::new(),
            replaced: HashMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, id: ClientId, member: Member) {
        if self.at_home.len() <= id.key {
            self.at_home.resize_with(id.key + 1, || None);
        }
        let before = self.at_home[id.key].replace(member);
        debug_assert!(before.is_none(), "another member has the key of {id:?}");
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Member> {
        if let Some(Some(member)) = self.at_home.get(id.key)
            && member.serial() == id.serial
        {
            return Some(member);
        }
        self.away.get(&id.serial).map(|away| &away.member)
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Member> {
        if let Some(Some(member)) = self.at_home.get_mut(id.key)
            && member.serial() == id.serial
        {
            return Some(member);
        }
        self.away.get_mut(&id.serial).map(|away| &mut away.member)
    }

    /// Who is on `connection`.
    pub(crate) fn on(&self, connection: ClientId) -> Option<ClientId> {
        if self.is_at_home(connection) {
            return Some(connection);
        }
        self.moved.get(&connection).copied()
    }

    /// Where the member `id` is. `None` while it has lost its connection, too.
    pub(crate) fn connection(&self, id: ClientId) -> Option<ClientId> {
        if self.is_at_home(id) {
            return Some(id);
        }
        self.away.get(&id.serial)?.connection
    }

    /// The member whose own connection had this serial number, if it has lost that.
    pub(crate) fn away(&self, serial: u64) -> Option<ClientId> {
        let key = self.away.get(&serial)?.key;
        Some(ClientId { key, serial })
    }

    /// The member `id` loses its connection, and stays.
    pub(crate) fn lose(&mut self, id: ClientId) {
        if let Some(away) = self.away.get_mut(&id.serial) {
            if let Some(connection) = away.connection.take() {
                self.moved.remove(&connection);
            }
        } else if let Some(member) = self.take_home(id) {
            let away = Away {
                key: id.key,
                member,
                connection: None,
            };
            self.away.insert(id.serial, away);
        }
    }

    /// The member `id` goes on on `connection`, on which nobody is. Returns the connection that
    /// this replaces: until it [ends](Self::end_replaced), it is known whose it was.
    pub(crate) fn resume(&mut self, id: ClientId, connection: ClientId) -> Option<ClientId> {
        let replaced = self.connection(id);
        if let Some(replaced) = replaced
            && let Some(member) = self.get(id)
        {
            let address = member.address();
            self.replaced.insert(replaced, Replaced { id, address });
        }
        self.lose(id);
        if let Some(away) = self.away.get_mut(&id.serial) {
            away.connection = Some(connection);
            self.moved.insert(connection, id);
        }
        replaced
    }

    /// `connection` ends. Whose it was, if another connection has replaced it.
    pub(crate) fn end_replaced(&mut self, connection: ClientId) -> Option<Replaced> {
        self.replaced.remove(&connection)
    }

    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Member> {
        if let Some(member) = self.take_home(id) {
            return Some(member);
        }
        let away = self.away.remove(&id.serial)?;
        if let Some(connection) = away.connection {
            self.moved.remove(&connection);
        }
        Some(away.member)
    }

    /// All members: those at home by key, and then the others.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, &Member)> {
        let at_home = self.at_home.iter().enumerate();
        let at_home = at_home.filter_map(|(key, member)| Some((key, member.as_ref()?)));
        let away = self.away.values().map(|away| (away.key, &away.member));
        at_home.chain(away).map(|(key, member)| {
            let serial = member.serial();
            (ClientId { key, serial }, member)
        })
    }

    fn is_at_home(&self, id: ClientId) -> bool {
        let member = self.at_home.get(id.key).and_then(Option::as_ref);
        member.is_some_and(|member| member.serial() == id.serial)
    }

    fn take_home(&mut self, id: ClientId) -> Option<Member> {
        let member = self.at_home.get_mut(id.key)?;
        member.take_if(|member| member.serial() == id.serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ClientId = ClientId::nth(0);
    const SECOND: ClientId = ClientId::nth(1);
    /// Has the key of the first, which is gone.
    const THIRD: ClientId = ClientId { key: 0, serial: 2 };

    fn with(ids: &[ClientId]) -> Members {
        let mut members = Members::new();
        for &id in ids {
            members.insert(id, Member::new(id.serial, [10, 0, 0, 1].into()));
        }
        members
    }

    #[test]
    fn a_member_is_itself_on_whatever_connection() {
        let mut members = with(&[FIRST]);
        members.lose(FIRST);
        assert_eq!((members.on(FIRST), members.connection(FIRST)), (None, None));
        members.insert(THIRD, Member::new(2, [10, 0, 0, 2].into()));
        assert_eq!(members.get(FIRST).unwrap().serial(), 0);
        assert_eq!(members.get(THIRD).unwrap().serial(), 2);
        assert_eq!(members.resume(FIRST, SECOND), None);
        assert_eq!(members.on(SECOND), Some(FIRST));
        assert_eq!(members.connection(FIRST), Some(SECOND));
        let all: Vec<ClientId> = members.iter().map(|(id, _)| id).collect();
        assert_eq!(all, [THIRD, FIRST]);
        assert_eq!(members.remove(FIRST).unwrap().serial(), 0);
        assert_eq!(
            (members.on(SECOND), members.connection(FIRST)),
            (None, None)
        );
        assert!(members.get(FIRST).is_none());
    }

    #[test]
    fn a_replaced_connection_is_nobodys_and_known_until_it_ends() {
        let mut members = with(&[FIRST]);
        assert_eq!(members.resume(FIRST, SECOND), Some(FIRST));
        assert_eq!(members.on(FIRST), None);
        let replaced = Replaced {
            id: FIRST,
            address: [10, 0, 0, 1].into(),
        };
        assert_eq!(members.end_replaced(FIRST), Some(replaced));
        assert_eq!(members.end_replaced(FIRST), None);
        let fourth = ClientId::nth(3);
        assert_eq!(members.resume(FIRST, fourth), Some(SECOND));
        assert_eq!(
            (members.on(SECOND), members.on(fourth)),
            (None, Some(FIRST))
        );
        assert!(members.end_replaced(SECOND).is_some());
    }
}
