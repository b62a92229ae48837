//! What a server is called in a room that spans several, and how people there are called
//! elsewhere: `alice@box-b`.

use std::fmt;
use std::ops::Deref;

/// The longest label: as long as most hosts' names, and short enough to stand after a name.
const MAX_LABEL_BYTES: usize = 32;

/// Between a person's name and its server's label. No name has it.
pub(crate) const AT: char = '@';

/// What a server is called elsewhere: 1 to 32 of `a` to `z`, `0` to `9` and `-`.
/// It is with every message of another server, and is copied without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerLabel {
    /// Invariant: ASCII, and 0 after its end.
    bytes: [u8; MAX_LABEL_BYTES],
    length: u8,
}

impl ServerLabel {
    /// `None` if no server can be called so.
    pub fn parse(text: &str) -> Option<Self> {
        let is_fine = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_label = (1..=MAX_LABEL_BYTES).contains(&text.len()) && text.bytes().all(is_fine);
        is_label.then(|| {
            let mut bytes = [0; MAX_LABEL_BYTES];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            // At most 32.
            let length = text.len() as u8;
            Self { bytes, length }
        })
    }

    /// The label that a host with this name has if nobody chooses another one: the first part, in
    /// lower case, without what no label has. `None` if nothing is left.
    pub fn of_host(name: &str) -> Option<Self> {
        let first = name.split('.').next().unwrap_or_default();
        let is_fine = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let label = first.chars().filter(is_fine).take(MAX_LABEL_BYTES);
        Self::parse(&label.collect::<String>().to_ascii_lowercase())
    }
}

impl Deref for ServerLabel {
    type Target = str;

    fn deref(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.length)];
        std::str::from_utf8(bytes).expect("a label is ASCII")
    }
}

impl fmt::Debug for ServerLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for ServerLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The name and the label in `alice@box-b`. `None` if it is no such thing.
pub(crate) fn split_at_label(text: &str) -> Option<(&str, ServerLabel)> {
    let (name, label) = text.rsplit_once(AT)?;
    Some((name, ServerLabel::parse(label)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_plain() {
        for text in ["a", "box-b", "0", "-", &"x".repeat(32)] {
            assert_eq!(ServerLabel::parse(text).as_deref(), Some(text));
        }
        for text in ["", "Box", "box.b", "a b", "a*", "\u{e9}", &"x".repeat(33)] {
            assert_eq!(ServerLabel::parse(text), None, "{text}");
        }
        for (host, label) in [
            ("Box-B.lan", Some("box-b")),
            ("my_host", Some("myhost")),
            ("...", None),
        ] {
            assert_eq!(ServerLabel::of_host(host).as_deref(), label);
        }
    }

    #[test]
    fn a_label_follows_the_last_at() {
        let split = |name, label| Some((name, ServerLabel::parse(label).unwrap()));
        assert_eq!(split_at_label("alice@box-b"), split("alice", "box-b"));
        assert_eq!(split_at_label("a@b@c"), split("a@b", "c"));
        assert_eq!(split_at_label("alice"), None);
        assert_eq!(split_at_label("alice@Box"), None);
    }
}
