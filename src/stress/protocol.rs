//! How the harness talks to a server: what a client sends to come in, what stands
//! around the lines it says, and what the server makes of them.
//!
//! `chat stress` talks to chat rooms. The benches describe other servers in the same
//! terms, so that one harness loads and checks them all.

use clap::ValueEnum;

use crate::protocol::text::push_safe;
use crate::protocol::wording::{
    IN_ALREADY, NOTICE_PREFIX, PASSWORD_NEEDED, REFUSAL_PREFIX, WELCOME,
};

/// How one kind of client comes in.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// Sent as soon as the connection is made.
    pub hello: Vec<u8>,
    /// What the server must send before the client counts as in. Empty: nothing.
    pub awaited: Vec<u8>,
    /// How a line of the server begins that does not let the client in. Empty: there is none.
    pub refused: Vec<u8>,
    /// Whether the client reads JSON Lines, of which `awaited` begins the first.
    pub reads_json: bool,
    /// Whether all this goes in WebSocket's frames, once the server has agreed to them.
    pub is_framed: bool,
}

/// What clients of a chat room read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Text, as people do.
    Text,
    /// JSON, as programs do.
    Json,
    /// JSON by WebSocket, as pages do; the port is the web port.
    Websocket,
}

/// How to talk to a server.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// For clients that read.
    pub reader: Handshake,
    /// For talkers, where talkers do not read. `None` where they read as well.
    pub separate_talker: Option<Handshake>,
    /// Sent before each line.
    pub before: Vec<u8>,
    /// Sent after each line.
    pub after: Vec<u8>,
    /// Whether the server puts `<NAME> ` before each line, and nothing else. A line
    /// without it was torn or glued to another.
    pub is_signed: bool,
    /// The most connections being made, or waiting to be let in, at a time. At most the
    /// server's listen backlog: when that is full, the kernel answers only after seconds.
    pub connect_window: usize,
}

/// Below the usual backlogs: 128, or 100 in the well-known Python room.
const USUAL_WINDOW: usize = 100;

/// The most that is kept of a notice or a refusal.
pub(crate) const MAX_WORDS_BYTES: usize = 200;

impl Protocol {
    /// A chat room's: it greets, then clients send lines, and each is signed.
    pub fn chat(wire: Wire) -> Self {
        // It says so in text, before it knows what is read.
        let refused = format!("{NOTICE_PREFIX}{PASSWORD_NEEDED}").into_bytes();
        let reader = match wire {
            Wire::Text => Handshake {
                awaited: WELCOME.into(),
                refused,
                ..Handshake::default()
            },
            Wire::Json | Wire::Websocket => Handshake {
                hello: b"/json\n".into(),
                awaited: br#"{"kind":"hello""#.into(),
                refused,
                reads_json: true,
                is_framed: wire == Wire::Websocket,
            },
        };
        Self {
            reader,
            separate_talker: None,
            before: Vec::new(),
            after: Vec::new(),
            is_signed: true,
            connect_window: USUAL_WINDOW,
        }
    }

    /// The same for a room with this `password`.
    pub(crate) fn with_password(mut self, password: &str) -> Self {
        let Handshake {
            hello,
            awaited,
            refused,
            reads_json,
            ..
        } = &mut self.reader;
        let pass = format!("/pass {password}\n");
        hello.extend_from_slice(pass.as_bytes());
        if *reads_json {
            *refused = br#"{"kind":"error","code":"wrong_password""#.into();
        } else {
            // A room lets people in without a word. To say it again shows that they are.
            hello.extend_from_slice(pass.as_bytes());
            *awaited = format!("{REFUSAL_PREFIX}{IN_ALREADY}\n").into();
            *refused = format!("{REFUSAL_PREFIX}wrong password").into();
        }
        self
    }

    /// The same for servers that put something else before a line, or nothing.
    pub fn unsigned() -> Self {
        Self {
            is_signed: false,
            ..Self::chat(Wire::Text)
        }
    }

    pub(crate) fn handshake(&self, is_talker: bool) -> &Handshake {
        match &self.separate_talker {
            Some(talker) if is_talker => talker,
            _ => &self.reader,
        }
    }

    pub(crate) fn reads(&self, is_talker: bool) -> bool {
        !(is_talker && self.separate_talker.is_some())
    }

    /// Whether the room itself says `line`. No member of a room that signs lines can.
    pub(crate) fn is_notice(&self, line: &[u8]) -> bool {
        let prefixes = [NOTICE_PREFIX, REFUSAL_PREFIX].map(str::as_bytes);
        self.is_signed && prefixes.iter().any(|prefix| line.starts_with(prefix))
    }

    /// Whether `prefix` is what this server puts before a line.
    pub(crate) fn allows(&self, prefix: &[u8]) -> bool {
        let is_signature = || {
            let name = prefix.strip_prefix(b"<")?.strip_suffix(b"> ")?;
            Some(!name.is_empty() && !name.iter().any(|byte| b"<>".contains(byte)))
        };
        !self.is_signed || is_signature() == Some(true)
    }
}

/// The first line of what a server says, shortened and made safe to show.
pub(crate) fn safe_words(text: &[u8]) -> String {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut safe = Vec::new();
    push_safe(&mut safe, &line[..line.len().min(MAX_WORDS_BYTES)]);
    String::from_utf8_lossy(safe.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_names_one_sender() {
        let room = Protocol::chat(Wire::Text);
        assert!(room.allows(b"<127.0.0.1> ") && room.allows("<Zoë> ".as_bytes()));
        for prefix in [
            "",
            "<> ",
            "<a>",
            "a> ",
            "<a> <b> ",
            "<a> hello <b> ",
            "x<a> ",
        ] {
            assert!(!room.allows(prefix.as_bytes()), "{prefix}");
            assert!(Protocol::unsigned().allows(prefix.as_bytes()));
        }
    }

    #[test]
    fn words_are_one_safe_line() {
        assert_eq!(
            safe_words(b"!! go\x07 away\x1b[2J\r\nnow"),
            "!! go\u{2407} away\u{241b}[2J\u{240d}"
        );
        assert_eq!(safe_words(&[b'x'; 999]).len(), MAX_WORDS_BYTES);
        assert_eq!(safe_words(b""), "");
    }
}
