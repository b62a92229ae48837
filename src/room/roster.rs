//! The list of who is here, in a text of bounded length.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;

use unicode_width::UnicodeWidthStr;

use super::names::NameRegistry;
use crate::protocol::batch::{ClientId, Frame};
use crate::protocol::event::text::Count;
use crate::protocol::name::Name;
use crate::protocol::wording::{NOTICE_PREFIX, notice};

/// Of one list: with what was said before it, it fits a terminal of 24 rows.
const MAX_LINES: usize = 16;

/// Fits a terminal of 80 columns.
const MAX_COLUMNS: usize = 78;

/// The members without a name, by address.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    by_address: BTreeMap<IpAddr, Group>,
    count: usize,
}

/// The unnamed members of one address.
#[derive(Debug, Default)]
struct Group {
    /// Invariant: not 0.
    count: usize,
    /// The exclusive or of all keys and of all serial numbers: in a group of one, the
    /// member's own.
    keys: usize,
    serials: u64,
}

/// The members that a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Nobody,
    One(ClientId),
    Many(usize),
}

impl Called {
    /// Why `label` does not say whom a message is for.
    pub(crate) fn words(self, label: impl fmt::Display) -> String {
        match self {
            Self::Many(count) => format!(
                "{} people at {label} have no name; ask the one you mean to take one (/nick NAME)",
                Count(count)
            ),
            Self::Nobody | Self::One(_) => {
                format!("nobody here is called {label}; /who lists everybody")
            }
        }
    }
}

impl Unnamed {
    pub(crate) fn add(&mut self, id: ClientId, address: IpAddr) {
        let group = self.by_address.entry(address).or_default();
        group.count += 1;
        group.mix(id);
        self.count += 1;
    }

    /// `id` has left, or taken a name.
    pub(crate) fn remove(&mut self, id: ClientId, address: IpAddr) {
        let group = self.by_address.get_mut(&address).expect("it was added");
        group.count -= 1;
        group.mix(id);
        self.count -= 1;
        if group.count == 0 {
            self.by_address.remove(&address);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The unnamed members at `address`.
    pub(crate) fn called(&self, address: IpAddr) -> Called {
        match self.by_address.get(&address) {
            None => Called::Nobody,
            Some(&Group {
                count: 1,
                keys: key,
                serials: serial,
            }) => Called::One(ClientId { key, serial }),
            Some(group) => Called::Many(group.count),
        }
    }
}

impl Group {
    fn mix(&mut self, id: ClientId) {
        self.keys ^= id.key;
        self.serials ^= id.serial;
    }
}

/// The notices that list who is here: names first. `label` is how a member with a name is listed.
///
/// It does not format what does not fit: the room may be big, and clients may ask often.
pub(crate) fn roster<L: fmt::Display>(
    names: &NameRegistry,
    unnamed: &Unnamed,
    label: impl Fn(&Rc<Name>, ClientId) -> L,
) -> Frame {
    let here = names.len() + unnamed.len();
    let named = names
        .names()
        .map(|(name, id)| (label(name, id).to_string(), 1));
    let groups = unnamed.by_address.iter().map(|(address, group)| {
        let label = match group.count {
            1 => address.to_string(),
            count => format!("{address} ({})", Count(count)),
        };
        (label, group.count)
    });

    let mut text = format!("{NOTICE_PREFIX}{} here:", Count(here));
    let mut columns = text.len();
    let mut lines = 1;
    let mut listed = 0;
    for (item, people) in named.chain(groups) {
        let separator = if listed == 0 { " " } else { ", " };
        columns += separator.len() + item.width();
        if columns < MAX_COLUMNS {
            text.push_str(separator);
        } else if lines == MAX_LINES {
            let more = Count(here - listed);
            write!(text, ",\n{NOTICE_PREFIX}and {more} more").expect("a String takes it");
            break;
        } else {
            lines += 1;
            columns = NOTICE_PREFIX.len() + item.width();
            write!(text, ",\n{NOTICE_PREFIX}").expect("a String takes it");
        }
        text.push_str(&item);
        listed += people;
    }
    notice(format_args!("{text}"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::room::member::Label;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The roster of members with these names, and of others at these addresses.
    fn text_of(names: &[&str], addresses: &[&str]) -> String {
        let mut registry = NameRegistry::new();
        let from = address("10.0.0.1");
        for (id, name) in names.iter().enumerate() {
            let name = Name::parse(name.as_bytes()).unwrap();
            registry
                .take(ClientId::nth(id), from, None, name, Instant::now())
                .unwrap();
        }
        let mut unnamed = Unnamed::default();
        for (id, from) in addresses.iter().enumerate() {
            unnamed.add(ClientId::nth(id), address(from));
        }
        String::from_utf8(
            roster(&registry, &unnamed, |name, _| Label::Name(Rc::clone(name))).to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn lists_names_in_order_and_addresses_with_counts() {
        let text = text_of(
            &["dave", "alice", "Bob"],
            &["10.0.0.9", "::1", "10.0.0.2", "10.0.0.9"],
        );
        let expected = "-- 7 here: alice, Bob, dave, 10.0.0.2, 10.0.0.9 (2), ::1\n";
        assert_eq!(text, expected);
        assert_eq!(text_of(&[], &["::1"]), "-- 1 here: ::1\n");
        assert_eq!(text_of(&["alice"], &[]), "-- 1 here: alice\n");
    }

    #[test]
    fn a_big_room_is_listed_in_few_lines_that_fit_a_terminal() {
        let names: Vec<String> = (0..3000).map(|n| format!("陳{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let addresses: Vec<String> = (0..3000)
            .map(|n| format!("10.1.{}.{}", n / 250, n % 250))
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let text = text_of(&names, &addresses);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), MAX_LINES + 1, "{text}");
        for line in &lines {
            assert!(line.starts_with("-- ") && line.width() <= 80, "{line}");
        }
        let (more, list) = lines.split_last().unwrap();
        let list = list.concat();
        let list = list.split_once(':').unwrap().1.replace(",-- ", ", ");
        let listed = list.trim_end_matches(',').split(", ").count();
        let expected = format!("-- and {} more", Count(6000 - listed));
        assert_eq!(*more, expected);
    }

    #[test]
    fn an_address_stands_for_a_member_while_only_one_is_there() {
        let mut unnamed = Unnamed::default();
        let from = address("10.0.0.1");
        assert_eq!(unnamed.called(from), Called::Nobody);
        unnamed.add(ClientId::nth(7), from);
        assert_eq!(unnamed.called(from), Called::One(ClientId::nth(7)));
        unnamed.add(ClientId::nth(0), from);
        unnamed.add(ClientId::nth(9), from);
        assert_eq!(unnamed.called(from), Called::Many(3));
        unnamed.remove(ClientId::nth(7), from);
        unnamed.remove(ClientId::nth(0), from);
        assert_eq!(unnamed.called(from), Called::One(ClientId::nth(9)));
        unnamed.remove(ClientId::nth(9), from);
        assert_eq!(unnamed.called(from), Called::Nobody);
        assert!(unnamed.by_address.is_empty());
    }
}
