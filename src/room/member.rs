//! A member of the room, and its label.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use crate::protocol::name::Name;
use crate::protocol::text::mark_after;

/// A member of the room. Small, because there may be many, and most take no name.
#[derive(Debug)]
pub struct Member {
    /// The serial number of its client.
    serial: u64,
    identity: Identity,
}

#[derive(Debug)]
enum Identity {
    Unnamed(IpAddr),
    Named(Box<(IpAddr, Rc<Name>)>),
}

impl Member {
    pub(crate) fn new(serial: u64, address: IpAddr) -> Self {
        Self {
            serial,
            identity: Identity::Unnamed(address),
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The address it joined from.
    pub fn address(&self) -> IpAddr {
        match &self.identity {
            Identity::Unnamed(address) => *address,
            Identity::Named(named) => named.0,
        }
    }

    /// Its name, if it has taken one.
    pub fn name(&self) -> Option<&Rc<Name>> {
        match &self.identity {
            Identity::Unnamed(_) => None,
            Identity::Named(named) => Some(&named.1),
        }
    }

    pub(crate) fn take_name(&mut self, name: Rc<Name>) {
        self.identity = Identity::Named(Box::new((self.address(), name)));
    }

    /// The address and the name, for the operator.
    pub(crate) fn full_label(&self) -> String {
        match self.name() {
            Some(name) => format!("{} ({name})", self.address()),
            None => self.address().to_string(),
        }
    }

    pub(crate) fn label(&self) -> Label {
        match self.name() {
            Some(name) => Label::Name(Rc::clone(name)),
            None => Label::Address(self.address()),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => name.fmt(f),
            None => self.address().fmt(f),
        }
    }
}

/// What a member is called: its address, until it has a name. A right-to-left name is
/// displayed with a mark, so that it does not reorder the text after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Label {
    /// Unique in the room.
    Name(Rc<Name>),
    /// Any number of members may share it.
    Address(IpAddr),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}{}", mark_after(name.as_str())),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl From<Label> for Cow<'static, str> {
    fn from(label: Label) -> Self {
        match label {
            Label::Name(name) => name.as_str().to_owned().into(),
            Label::Address(address) => address.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_called_by_its_address_until_it_has_a_name() {
        let mut member = Member::new(7, "10.0.0.1".parse().unwrap());
        assert_eq!(
            (member.to_string(), member.label().to_string()),
            ("10.0.0.1".to_owned(), "10.0.0.1".to_owned())
        );
        member.take_name(Rc::new(Name::parse(b"alice").unwrap()));
        assert_eq!(
            (member.to_string(), member.label().to_string()),
            ("alice".to_owned(), "alice".to_owned())
        );
        assert_eq!(member.full_label(), "10.0.0.1 (alice)");
    }

    #[test]
    fn a_member_is_small() {
        assert!(size_of::<Option<Member>>() <= 32);
    }
}
