//! Telnet's part of what a client sends: taken out, and refused.
//!
//! Who has only telnet talks to the room with it. On a port other than its own, telnet
//! sends lines as `nc` does; but it has more modes than this one, and keys that send
//! commands (RFC 854). [`Telnet`] stands before the
//! [line decoder](super::line::LineDecoder):
//!
//! - Commands are taken out, wherever the stream was cut.
//! - Requests for an option are refused, all of them, so that there is no state to keep
//!   and no loop to fall into (RFC 1143). A telnet in character mode whose ECHO and
//!   SUPPRESS-GO-AHEAD are refused goes back to sending lines, and shows what is typed. The
//!   refusal of TIMING-MARK does what the mark is for: after an interrupt, telnet discards
//!   all output until the server has answered (RFC 860).
//! - CR NUL, which Enter sends in character mode, ends a line.
//!
//! `edited` does what a user without local editing meant by Backspace. It is only for
//! connections that have shown that they are telnet's: elsewhere, these characters are
//! text, and made visible.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};
use unicode_segmentation::UnicodeSegmentation;

const SE: u8 = 240;
const ERASE_CHARACTER: u8 = 247;
const ERASE_LINE: u8 = 248;
const SB: u8 = 250;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
const IAC: u8 = 255;

const NUL: u8 = 0;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
/// Ctrl-U, which erases the line.
const NAK: u8 = 0x15;

/// The end of a line in which the character to be erased is looked for. Without a bound, a
/// long row of flags would be searched to its beginning for each Backspace.
const MAX_CHARACTER_BYTES: usize = 128;

/// What a peer has sent, without what is telnet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text.
    pub bytes: Cow<'a, [u8]>,
    /// A line that ends after more of these bytes than that comes from a telnet, and is to
    /// be edited.
    pub telnet_from: usize,
}

impl<'a> Text<'a> {
    /// `bytes` as they are.
    pub fn without_telnet(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            telnet_from: usize::MAX,
        }
    }
}

/// What is known of the telnet at the other end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telnet {
    state: State,
    /// The last byte of the text.
    last: u8,
    /// There is a telnet: it has sent a command, or CR NUL.
    is_there: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After IAC.
    Command,
    /// After IAC and this verb: WILL, WONT, DO or DONT.
    Option(u8),
    /// Within a subnegotiation.
    Parameters,
    /// After IAC in a subnegotiation.
    ParametersCommand,
}

impl Telnet {
    /// For a connection on which nothing was received.
    pub const fn new() -> Self {
        Self {
            state: State::Text,
            last: b'\n',
            is_there: false,
        }
    }

    /// Whether the peer has shown that it is a telnet.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Bytes that hold nothing of telnet's.
    fn text<'a>(&self, bytes: impl Into<Cow<'a, [u8]>>) -> Text<'a> {
        Text {
            bytes: bytes.into(),
            telnet_from: if self.is_there { 0 } else { usize::MAX },
        }
    }

    /// Takes the next bytes that were received, and returns the text in them. Appends to
    /// `answers` what the peer is to be sent: no more bytes than it has sent.
    ///
    /// IAC is text before a byte that is no command (255 occurs in files), unless a telnet
    /// is there: it may have sent the rest of such a command out of band. The same goes for
    /// a verb before LF: no telnet has used option 10 for decades, and LF ends a line.
    ///
    /// ```
    /// use chat::protocol::telnet::Telnet;
    ///
    /// let (mut telnet, mut answers) = (Telnet::new(), Vec::new());
    /// let text = telnet.decode(b"\xff\xfd\x01hi\r\0", &mut answers);
    /// assert_eq!(&*text.bytes, b"hi\r\n");
    /// assert_eq!(answers, b"\xff\xfc\x01", "IAC WONT ECHO");
    /// ```
    pub fn decode<'a>(&mut self, bytes: &'a [u8], answers: &mut Vec<u8>) -> Text<'a> {
        if self.state == State::Text && memchr2(IAC, NUL, bytes).is_none() {
            self.last = bytes.last().copied().unwrap_or(self.last);
            return self.text(bytes);
        }
        // What the last read ended with may turn out to be text: two bytes at most.
        let mut text = Vec::with_capacity(bytes.len() + 2);
        let mut telnet_from = self.text(&[][..]).telnet_from;
        for &byte in bytes {
            let before = text.len();
            self.receive(byte, &mut text, answers);
            if self.is_there {
                telnet_from = telnet_from.min(before);
            }
        }
        let bytes = Cow::Owned(text);
        Text { bytes, telnet_from }
    }

    fn receive(&mut self, byte: u8, text: &mut Vec<u8>, answers: &mut Vec<u8>) {
        match self.state {
            State::Text => match byte {
                IAC => self.state = State::Command,
                NUL if self.last == b'\r' => {
                    self.is_there = true;
                    self.push(b'\n', text);
                }
                _ => self.push(byte, text),
            },
            State::Command => self.command(byte, text, answers),
            State::Option(verb) => {
                self.state = State::Text;
                if byte == b'\n' {
                    self.push_unless_telnet(&[IAC, verb], text);
                    return self.push(byte, text);
                }
                self.is_there = true;
                match verb {
                    DO => answers.extend([IAC, WONT, byte]),
                    WILL => answers.extend([IAC, DONT, byte]),
                    _ => {}
                }
            }
            State::Parameters if byte == IAC => self.state = State::ParametersCommand,
            State::Parameters => {}
            State::ParametersCommand => match byte {
                SE => self.state = State::Text,
                // Whoever sends another command has forgotten the end.
                SB..=DONT => self.command(byte, text, answers),
                _ => self.state = State::Parameters,
            },
        }
    }

    /// `byte` follows IAC.
    fn command(&mut self, byte: u8, text: &mut Vec<u8>, answers: &mut Vec<u8>) {
        self.state = State::Text;
        match byte {
            IAC => return self.push(IAC, text),
            ..SE => {
                self.push_unless_telnet(&[IAC], text);
                return self.receive(byte, text, answers);
            }
            WILL..=DONT => {
                self.state = State::Option(byte);
                return;
            }
            SB => self.state = State::Parameters,
            ERASE_CHARACTER => self.push(DELETE, text),
            ERASE_LINE if self.last != b'\n' => self.push(NAK, text),
            SE.. => {}
        }
        self.is_there = true;
    }

    fn push(&mut self, byte: u8, text: &mut Vec<u8>) {
        self.last = byte;
        text.push(byte);
    }

    fn push_unless_telnet(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        if !self.is_there {
            for &byte in bytes {
                self.push(byte, text);
            }
        }
    }
}

impl Default for Telnet {
    fn default() -> Self {
        Self::new()
    }
}

/// `line` as its user meant it: without what BS and DEL (a character as people see it) and
/// NAK (all before) erase. `None` if it holds none of these.
pub(crate) fn edited(line: &[u8]) -> Option<Vec<u8>> {
    let mut rest = line;
    let mut text = Vec::new();
    while let Some(at) = memchr3(BACKSPACE, DELETE, NAK, rest) {
        text.extend_from_slice(&rest[..at]);
        if rest[at] == NAK {
            text.clear();
        } else {
            text.truncate(text.len() - last_character_bytes(&text));
        }
        rest = &rest[at + 1..];
    }
    if rest.len() == line.len() {
        return None;
    }
    text.extend_from_slice(rest);
    Some(text)
}

/// How long the last character of `text` is, as people see it. A part that is not UTF-8
/// counts as a character.
fn last_character_bytes(text: &[u8]) -> usize {
    match text {
        [] => return 0,
        [.., last] if last.is_ascii() => return 1,
        _ => {}
    }
    let mut start = text.len().saturating_sub(MAX_CHARACTER_BYTES);
    while text[start] & 0xc0 == 0x80 && start + 1 < text.len() {
        start += 1;
    }
    let Some(chunk) = text[start..].utf8_chunks().last() else {
        return 0;
    };
    match chunk.invalid() {
        [] => chunk
            .valid()
            .graphemes(true)
            .next_back()
            .map_or(0, str::len),
        invalid => invalid.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text, the answers, and whether a telnet was there.
    type Decoded = (Vec<u8>, Vec<u8>, bool);

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        let (mut telnet, mut text, mut answers) = (Telnet::new(), Vec::new(), Vec::new());
        for piece in pieces {
            text.extend_from_slice(&telnet.decode(piece, &mut answers).bytes);
        }
        (text, answers, telnet.is_there())
    }

    /// Each sent by a telnet, the text in it, and the answers.
    const OF_TELNET: [(&[u8], &[u8], &[u8]); 14] = [
        // Ctrl-C: IP, DO TIMING-MARK.
        (b"\xff\xf4\xff\xfd\x06after ^C", b"after ^C", b"\xff\xfc\x06"),
        (
            b"a\xff\xf3\xff\xfd\x06b\xff\xfd\x06c",
            b"abc",
            b"\xff\xfc\x06\xff\xfc\x06",
        ),
        // inetutils, told to go into character mode: DO SGA, DO ECHO; then `hi`, Enter.
        (
            b"\xff\xfd\x03\xff\xfd\x01hi\r\0",
            b"hi\r\n",
            b"\xff\xfc\x03\xff\xfc\x01",
        ),
        // PuTTY's first words: WILL NAWS, TSPEED, TTYPE, NEW-ENVIRON; DO ECHO; WILL, DO SGA.
        (
            b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03hi\r\n",
            b"hi\r\n",
            b"\xff\xfe\x1f\xff\xfe\x20\xff\xfe\x18\xff\xfe\x27\xff\xfc\x01\xff\xfe\x03\xff\xfc\x03",
        ),
        // A refusal is not answered, or two servers would go on forever.
        (b"\xff\xfe\x01\xff\xfc\x1fhi", b"hi", b""),
        // NAWS with ten lines; a doubled IAC in parameters; a subnegotiation without an end.
        (b"a\xff\xfa\x1f\x00\x50\x00\n\xff\xf0b\n", b"ab\n", b""),
        (b"\xff\xfa\x18\x00\xff\xff\xff\xf0a", b"a", b""),
        (b"\xff\xfa\x18\x00\xff\xfd\x06a", b"a", b"\xff\xfc\x06"),
        // NOP, GA, AYT, DM.
        (b"a\xff\xf1b\xff\xf9c\xff\xf6d\xff\xf2", b"abcd", b""),
        // Keys that erase.
        (b"ab\xff\xf7c\xff\xf8d\n\xff\xf8e", b"ab\x7fc\x15d\ne", b""),
        (b"\xff\xf1a\xff\xffb", b"a\xffb", b""),
        // The DM of a synch has come out of band: what is left is a bare IAC.
        (b"\xff\xf4\xffhi\n", b"hi\n", b""),
        (b"\xff\xf4\xff\xfd\n", b"\n", b""),
        (b"a\r\0b\r\nc\r\0\0", b"a\r\nb\r\nc\r\n\0", b""),
    ];

    #[test]
    fn takes_out_commands_and_refuses_options_wherever_the_stream_is_cut() {
        for (sent, text, answers) in OF_TELNET {
            let expected = (text.to_vec(), answers.to_vec(), true);
            assert_eq!(decode([sent]), expected, "{}", sent.escape_ascii());
            assert_eq!(decode(sent.chunks(1)), expected, "{}", sent.escape_ascii());
            for at in 0..=sent.len() {
                assert_eq!(decode([&sent[..at], &sent[at..]]), expected, "cut at {at}");
            }
        }
    }

    #[test]
    fn takes_out_every_command_with_every_option() {
        for command in SE..SB {
            let (text, answers, is_there) = decode([&[b'\n', IAC, command][..]]);
            assert!(is_there && answers.is_empty());
            assert_eq!(text == b"\n", command != ERASE_CHARACTER, "{command}");
        }
        for option in (0..=255).filter(|&option| option != b'\n') {
            for (verb, refusal) in [
                (DO, Some(WONT)),
                (WILL, Some(DONT)),
                (DONT, None),
                (WONT, None),
            ] {
                let answer = refusal.map_or(vec![], |refusal| vec![IAC, refusal, option]);
                assert_eq!(decode([&[IAC, verb, option][..]]), (vec![], answer, true));
            }
        }
    }

    #[test]
    fn what_is_no_command_is_text() {
        for text in [
            &b"plain\r\n"[..],
            b"caf\xff \xff\n",
            b"\xff\xfe\n",
            b"nul \0 and cr \r.\0",
        ] {
            for pieces in [vec![text], text.chunks(1).collect()] {
                assert_eq!(decode(pieces), (text.to_vec(), vec![], false));
            }
        }
        assert_eq!(
            decode([&b"a\xff\xffb"[..]]),
            (b"a\xffb".to_vec(), vec![], false)
        );
    }

    /// Which lines are a telnet's does not depend on what was read together.
    #[test]
    fn lines_before_the_first_sign_of_telnet_are_not_its() {
        let telnet_from = |bytes| Telnet::new().decode(bytes, &mut Vec::new()).telnet_from;
        assert_eq!(telnet_from(b"plain\0\n"), usize::MAX);
        assert_eq!(telnet_from(b"one\ntwo\r\0"), 8);
        assert_eq!(telnet_from(b"one\n\xff\xf1two\n"), 4);
        let mut telnet = Telnet::new();
        assert_eq!(
            telnet.decode(b"\xff\xfd", &mut vec![]).telnet_from,
            usize::MAX
        );
        assert_eq!(telnet.decode(b"\x01one\n", &mut vec![]).telnet_from, 0);
        assert_eq!(telnet.decode(b"two\n", &mut vec![]).telnet_from, 0);
    }

    #[test]
    fn plain_text_is_not_copied() {
        let mut telnet = Telnet::new();
        assert!(matches!(
            telnet.decode(b"plain\r\n", &mut Vec::new()).bytes,
            Cow::Borrowed(b"plain\r\n")
        ));
    }

    #[test]
    fn backspace_erases_a_character_as_people_see_it() {
        for (typed, meant) in [
            ("helo\u{8}lo", "hello"),
            ("helo\u{7f}lo", "hello"),
            ("\u{8}\u{8}hi\u{8}\u{8}\u{8}ho", "ho"),
            ("gr\u{fc}\u{7f}ü", "grü"),
            ("e\u{301}\u{7f}a", "a"),
            ("to 👩‍👩‍👧‍👦\u{7f}you", "to you"),
            ("🇩🇪🇫🇷\u{7f}", "🇩🇪"),
            ("नमस्ते\u{7f}", "नम"),
            ("wrong\u{15}right", "right"),
            ("/msg bob secret\u{15}", ""),
        ] {
            let edited = edited(typed.as_bytes()).expect("it was edited");
            assert_eq!(std::str::from_utf8(&edited), Ok(meant));
        }
        assert_eq!(edited(b"a\xff\x7fb\xe2\x82\x7f"), Some(b"ab".to_vec()));
        assert_eq!(edited(b"plain"), None);
        assert_eq!(edited(b""), None);
    }

    #[test]
    fn a_long_row_of_flags_is_erased_in_time() {
        let flags = 40_000;
        let line = "🇩".repeat(flags) + &"\u{8}".repeat(flags);
        assert_eq!(edited(line.as_bytes()), Some(vec![]));
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same(
            bytes in prop::collection::vec(prop::sample::select(
                &b"a\r\n\0\x06\x08\x01\xf0\xf1\xf4\xf7\xf8\xfa\xfb\xfc\xfd\xfe\xff"[..],
            ), 0..40),
            piece_bytes in 1_usize..7,
        ) {
            let whole = decode([&bytes[..]]);
            prop_assert!(whole.0.len() <= bytes.len() && whole.1.len() <= bytes.len());
            prop_assert_eq!(decode(bytes.chunks(piece_bytes)), whole);
        }

        /// Erasing shortens text, and keeps UTF-8 valid.
        #[test]
        fn editing_keeps_text_text(line in "[aé👍\u{301}🇩\u{8}\u{7f}\u{15}]{0,30}") {
            if let Some(edited) = edited(line.as_bytes()) {
                prop_assert!(edited.len() < line.len());
                prop_assert!(std::str::from_utf8(&edited).is_ok());
            }
        }
    }
}
