//! How the harness talks to a server: what it says to come in, and what stands
//! around each line it says.
//!
//! `chat stress` speaks to chat rooms. The benches describe other servers in the
//! same words, so that one harness loads and checks them all.

use crate::room::WELCOME;
use crate::text::push_safe;

/// What one kind of client does to come in.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// What it sends as soon as it is connected.
    pub hello: Vec<u8>,
    /// What it has to have received before it counts as in. Empty: nothing.
    pub awaited: Vec<u8>,
}

/// How to talk to a server.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// For a client that reads what others say.
    pub reader: Handshake,
    /// For one that talks, where those do not read. `None` where whoever talks also
    /// hears the others.
    pub separate_talker: Option<Handshake>,
    /// What stands before each line.
    pub before: Vec<u8>,
    /// What stands after it.
    pub after: Vec<u8>,
    /// How many connections are made, or wait to be let in, at the same time. No more
    /// than the backlog with which the server listens: where that is full, the kernel
    /// answers only after seconds.
    pub connect_window: usize,
}

/// Below the backlogs that are customary: 128, or 100 in the well-known Python room.
const CUSTOMARY_WINDOW: usize = 100;

/// The most that is kept of it.
pub const MAX_WORDS_BYTES: usize = 200;

impl Protocol {
    /// That of a chat room: it greets, and every line is said.
    pub fn chat() -> Self {
        Self {
            reader: Handshake {
                hello: Vec::new(),
                awaited: WELCOME.into(),
            },
            separate_talker: None,
            before: Vec::new(),
            after: Vec::new(),
            connect_window: CUSTOMARY_WINDOW,
        }
    }

    /// What a client does to come in.
    pub fn handshake(&self, is_talker: bool) -> &Handshake {
        match &self.separate_talker {
            Some(talker) if is_talker => talker,
            _ => &self.reader,
        }
    }

    /// Whether a client hears others.
    pub fn reads(&self, is_talker: bool) -> bool {
        !(is_talker && self.separate_talker.is_some())
    }
}

/// The first line of what a server says, fit to be shown.
pub fn safe_words(text: &[u8]) -> String {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut safe = Vec::new();
    push_safe(&mut safe, &line[..line.len().min(MAX_WORDS_BYTES)]);
    String::from_utf8_lossy(safe.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_it_is_shown_and_does_no_harm() {
        assert_eq!(
            safe_words(b"!! go\x07 away\x1b[2J\r\nnow"),
            "!! go\u{2407} away\u{241b}[2J\u{240d}"
        );
        assert_eq!(safe_words(&[b'x'; 999]).len(), MAX_WORDS_BYTES);
        assert_eq!(safe_words(b""), "");
    }
}
