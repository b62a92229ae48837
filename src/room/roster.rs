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

/// For names, and again for addresses.
const MAX_LINES: usize = 8;

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

/// The notices that list who is here. `label` is how a member with a name is listed.
pub(crate) fn roster<L: fmt::Display>(
    names: &NameRegistry,
    unnamed: &Unnamed,
    label: impl Fn(&Rc<Name>, ClientId) -> L,
) -> Frame {
    let here = names.len() + unnamed.len();
    let mut text = format!(
        "{NOTICE_PREFIX}{} here: {} by name, {} by address\n",
        Count(here),
        Count(names.len()),
        Count(unnamed.len())
    );
    let labels = names.names().map(|(name, id)| label(name, id));
    push_list(&mut text, labels, names.len());
    let addresses = unnamed.by_address.iter();
    let addresses = addresses.map(|(address, group)| Unit { address, group });
    push_list(&mut text, addresses, unnamed.by_address.len());
    notice(format_args!("{}", text.trim_end()))
}

/// Displayed as an address, and how many unnamed members are there if several.
struct Unit<'a> {
    address: &'a IpAddr,
    group: &'a Group,
}

impl fmt::Display for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.group.count {
            1 => Ok(()),
            count => write!(f, " ({})", Count(count)),
        }
    }
}

/// Appends notices with as many of the `count` items as fit, and the number of the rest.
/// It does not format the rest: the room may be big, and clients may ask often.
fn push_list(text: &mut String, items: impl Iterator<Item: fmt::Display>, count: usize) {
    let mut lines = 0;
    let mut columns = 0;
    for (nth, item) in items.enumerate() {
        let item = item.to_string();
        let item_columns = item.width();
        let fits = columns + ", ".len() + item_columns < MAX_COLUMNS;
        match columns {
            0 => text.push_str(NOTICE_PREFIX),
            _ if fits => text.push_str(", "),
            _ if lines + 1 == MAX_LINES => {
                let more = Count(count - nth);
                write!(text, "\n{NOTICE_PREFIX}and {more} more\n").expect("a String takes it");
                return;
            }
            _ => {
                lines += 1;
                columns = 0;
                write!(text, ",\n{NOTICE_PREFIX}").expect("a String takes it");
            }
        }
        columns += item_columns + if columns == 0 { NOTICE_PREFIX.len() } else { 2 };
        text.push_str(&item);
    }
    if columns > 0 {
        text.push('\n');
    }
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
            &["10.0.0.9", "10.0.0.2", "10.0.0.9"],
        );
        let expected = "-- 6 here: 3 by name, 3 by address\n\
                        -- alice, Bob, dave\n\
                        -- 10.0.0.2, 10.0.0.9 (2)\n";
        assert_eq!(text, expected);
        assert_eq!(
            text_of(&[], &["::1"]),
            "-- 1 here: 0 by name, 1 by address\n-- ::1\n"
        );
        assert_eq!(
            text_of(&["alice"], &[]),
            "-- 1 here: 1 by name, 0 by address\n-- alice\n"
        );
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
        assert_eq!(lines.len(), 1 + 2 * (MAX_LINES + 1), "{text}");
        for line in &lines {
            assert!(line.starts_with("-- ") && line.width() <= 80, "{line}");
        }
        let mut listed = 0;
        let mut more = 0;
        for line in &lines[1..] {
            match line
                .strip_prefix("-- and ")
                .and_then(|rest| rest.strip_suffix(" more"))
            {
                Some(count) => more += count.replace(',', "").parse::<usize>().unwrap(),
                None => listed += line.trim_end_matches(',').split(", ").count(),
            }
        }
        assert_eq!(listed + more, 6000);
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
