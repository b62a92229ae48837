//! Reads a room's JSON Lines, for the harness alone.
//!
//! The client has [`crate::protocol::event`] for that, which the server writes with: a fault in
//! it would cancel out here. This reader knows what a harness needs, and nothing else.

use serde_json::Value;

/// One client's reading of JSON.
#[derive(Debug, Default)]
pub(crate) struct JsonReader {
    /// The client's own id, once the room has told it.
    you: Option<u64>,
    /// Where a line is put together.
    line: Vec<u8>,
}

/// What an object tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// A message, as readers of text get it: `<NAME> TEXT`.
    Line(&'a [u8]),
    /// A message of this client's own.
    Own,
    /// The connection ends, and these words say why.
    Bye(&'a [u8]),
    /// Anything else that the room tells: presence, replies, who one is.
    Other,
    /// No object.
    Garbled,
}

impl JsonReader {
    /// What `object`, a line without its LF, tells.
    pub(crate) fn read(&mut self, object: &[u8]) -> Told<'_> {
        let Ok(Value::Object(object)) = serde_json::from_slice(object) else {
            return Told::Garbled;
        };
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let number = |name: &str| object.get(name).and_then(Value::as_u64);
        self.line.clear();
        match text("kind") {
            Some("message") if self.you.is_some() && number("from") == self.you => Told::Own,
            Some("message") => {
                let (Some(name), Some(text)) = (text("name"), text("text")) else {
                    return Told::Garbled;
                };
                for part in ["<", name, "> ", text] {
                    self.line.extend_from_slice(part.as_bytes());
                }
                Told::Line(&self.line)
            }
            Some("hello") => {
                self.you = number("you");
                Told::Other
            }
            Some("bye") => {
                let words = text("text").unwrap_or_default();
                self.line.extend_from_slice(words.as_bytes());
                Told::Bye(&self.line)
            }
            Some(_) => Told::Other,
            None => Told::Garbled,
        }
    }
}

/// Why the room refuses something, or ends the connection, if `object` says so.
pub(crate) fn refusal_in(object: &[u8]) -> Option<String> {
    let object: Value = serde_json::from_slice(object).ok()?;
    let text = |name: &str| object.get(name)?.as_str();
    let is_refusal = ["error", "bye"].contains(&text("kind")?);
    is_refusal.then(|| text("text").map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_others_are_lines_and_ones_own_are_not() {
        let mut reader = JsonReader::default();
        let message =
            br#"{"seq":9,"kind":"message","from":7,"n":1,"name":"zo\u00eb","text":"a\"b"}"#;
        let line = "<zoë> a\"b".as_bytes();
        assert_eq!(reader.read(message), Told::Line(line));
        assert_eq!(reader.read(br#"{"kind":"hello","you":7}"#), Told::Other);
        assert_eq!(reader.read(message), Told::Own);
    }

    #[test]
    fn whatever_else_comes_is_told_apart() {
        let mut reader = JsonReader::default();
        assert_eq!(
            reader.read(br#"{"kind":"bye","text":"gone"}"#),
            Told::Bye(b"gone")
        );
        assert_eq!(reader.read(br#"{"kind":"presence"}"#), Told::Other);
        for garbled in [
            "",
            "<a> b",
            "{}",
            "[]",
            r#"{"kind":"message"}"#,
            r#"{"kind":"me"#,
        ] {
            assert_eq!(reader.read(garbled.as_bytes()), Told::Garbled, "{garbled}");
        }
    }
}
