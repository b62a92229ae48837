//! A member of the room, and its label.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use crate::protocol::batch::{ClientId, Encoding};
use crate::protocol::name::Name;
use crate::protocol::text::mark_after;

/// Who says a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker {
    pub(super) id: ClientId,
    pub(super) connection: ClientId,
    /// The number of the line. `None` for those who read text.
    pub(super) n: Option<u64>,
}

/// A member of the room. Small, because there may be many, and most take no name.
#[derive(Debug)]
pub struct Member {
    /// The serial number of its client.
    serial: u64,
    identity: Identity,
}

#[derive(Debug)]
enum Identity {
    /// Has said nothing yet.
    Newcomer(IpAddr),
    /// Reads text, and has no name.
    Unnamed(IpAddr),
    /// The others.
    Known(Box<Known>),
}

#[derive(Debug)]
struct Known {
    address: IpAddr,
    name: Option<Rc<Name>>,
    reads: Encoding,
    /// The last event before it began to read JSON: what goes before is never told again.
    began_after: u64,
    /// Has just begun to read JSON, and may resume an earlier session.
    may_resume: bool,
    /// Others were told that it has gone.
    is_absent: bool,
}

impl Member {
    pub(crate) fn new(serial: u64, address: IpAddr) -> Self {
        Self {
            serial,
            identity: Identity::Newcomer(address),
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The address that it joined from.
    pub fn address(&self) -> IpAddr {
        match &self.identity {
            Identity::Newcomer(address) | Identity::Unnamed(address) => *address,
            Identity::Known(known) => known.address,
        }
    }

    /// Its name, if it has taken one.
    pub fn name(&self) -> Option<&Rc<Name>> {
        match &self.identity {
            Identity::Newcomer(_) | Identity::Unnamed(_) => None,
            Identity::Known(known) => known.name.as_ref(),
        }
    }

    /// How it gets what is said.
    pub(crate) fn reads(&self) -> Encoding {
        match &self.identity {
            Identity::Newcomer(_) | Identity::Unnamed(_) => Encoding::Text,
            Identity::Known(known) => known.reads,
        }
    }

    /// It says something. Returns whether that is the first time.
    pub(crate) fn speaks(&mut self) -> bool {
        let Identity::Newcomer(address) = self.identity else {
            return false;
        };
        self.identity = Identity::Unnamed(address);
        true
    }

    pub(crate) fn take_name(&mut self, name: Rc<Name>) {
        self.known().name = Some(name);
    }

    /// From now on, after event `seq`, it reads JSON.
    pub(crate) fn read_json(&mut self, seq: u64) {
        let known = self.known();
        known.reads = Encoding::Json;
        known.began_after = seq;
        known.may_resume = true;
    }

    /// The last event before it began to read JSON; 0 if it reads text.
    pub(crate) fn began_after(&self) -> u64 {
        match &self.identity {
            Identity::Newcomer(_) | Identity::Unnamed(_) => 0,
            Identity::Known(known) => known.began_after,
        }
    }

    /// It says something. Returns whether that may be the token of an earlier session.
    pub(crate) fn may_resume(&mut self) -> bool {
        match &mut self.identity {
            Identity::Newcomer(_) | Identity::Unnamed(_) => false,
            Identity::Known(known) => std::mem::take(&mut known.may_resume),
        }
    }

    /// Whether others were told that it has gone: it has lost its connection.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(&self.identity, Identity::Known(known) if known.is_absent)
    }

    /// Returns whether this was otherwise before.
    pub(crate) fn set_absent(&mut self, is_absent: bool) -> bool {
        is_absent != std::mem::replace(&mut self.known().is_absent, is_absent)
    }

    fn known(&mut self) -> &mut Known {
        if let Identity::Newcomer(address) | Identity::Unnamed(address) = self.identity {
            self.identity = Identity::Known(Box::new(Known {
                address,
                name: None,
                reads: Encoding::Text,
                began_after: 0,
                may_resume: false,
                is_absent: false,
            }));
        }
        match &mut self.identity {
            Identity::Known(known) => known,
            Identity::Newcomer(_) | Identity::Unnamed(_) => unreachable!("it is known now"),
        }
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
