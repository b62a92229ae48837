//! Decodes what a terminal sends: bytes in, keys and pastes out.
//!
//! Sequences are told from keys here, by their grammar (ECMA-48, section 5.4 and 5.6), so that
//! no report of a terminal counts as keys, whole or in part, and none eats the keys after it.
//! What a key's sequence means, termina's parser knows.

use std::time::{Duration, Instant};

use termina::event::{KeyCode, KeyEvent, Modifiers};
use termina::{Event, Parser};

use super::editor::MAX_INPUT_BYTES;

/// How long to wait for the rest of a sequence that may be a key of its own: ESC is the Escape
/// key, ESC and `[` are Alt-[.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(30);

/// After this time any other sequence is dropped.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(500);

/// The most that is held of a paste.
const MAX_HELD_BYTES: usize = 2 * MAX_INPUT_BYTES;

/// A paste that pauses for this long may never end. What has come is shown, and a key of
/// [`ENDS`] or [`WAYS_OUT`] on its own ends it.
const PASTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bracketed paste (xterm).
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

const ESCAPE: u8 = 0x1b;
const INTERRUPT: u8 = 0x03;

/// Enter, Escape and Ctrl-C. They do no more than to end a paste.
const ENDS: [u8; 4] = [b'\r', b'\n', ESCAPE, INTERRUPT];

/// Ctrl-D, Ctrl-Z and Ctrl-\.
const WAYS_OUT: [u8; 3] = [0x04, 0x1a, 0x1c];

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A key, a paste, or another report of the terminal.
    Event(Event),
    /// What there is of a paste that does not end.
    Unfinished(String),
    /// A paste over the bound.
    TooMuch,
}

/// The decoder, with what is unfinished.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    parser: Parser,
    /// A sequence or a character without its end; of a control string, how it begins and its last
    /// byte.
    held: Vec<u8>,
    /// When its first byte came, and its last.
    held_since: Option<(Instant, Instant)>,
    paste: Option<Paste>,
}

#[derive(Debug)]
struct Paste {
    /// What has come and is not passed on.
    bytes: Vec<u8>,
    /// There is too much of it.
    is_skipped: bool,
    /// It is known that it may not end.
    is_unfinished: bool,
    /// What came last was Ctrl-C on its own.
    is_interrupted: bool,
    /// When something came last.
    last_at: Instant,
}

impl Paste {
    fn begun(now: Instant) -> Self {
        Self {
            bytes: Vec::new(),
            is_skipped: false,
            is_unfinished: false,
            is_interrupted: false,
            last_at: now,
        }
    }

    /// Takes what there is as text, but for what may be part of something: `kept` bytes.
    fn take_text(&mut self, kept: usize) -> String {
        let rest = self.bytes.split_off(self.bytes.len() - kept);
        let text = std::mem::replace(&mut self.bytes, rest);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// What becomes of a sequence with its next byte.
enum Next {
    Unfinished,
    Complete,
    /// It is no sequence, or none for us. The byte belongs to it, or does not.
    Dropped {
        is_last_taken: bool,
    },
}

impl Keyboard {
    /// Takes `bytes`, which were read at once, and returns what they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) -> Vec<Typed> {
        let mut typed = self.expire(now);
        let mut rest = bytes;
        if let Some(paste) = &mut self.paste {
            let is_key = matches!(bytes, [byte] if ENDS.contains(byte) || WAYS_OUT.contains(byte));
            let is_interrupt = bytes == [INTERRUPT];
            if is_key && paste.is_unfinished || is_interrupt && paste.is_interrupted {
                // The first Ctrl-C was none of the paste, either.
                let kept = usize::from(paste.is_interrupted && !paste.bytes.is_empty());
                let is_skipped = paste.is_skipped;
                let text = paste.take_text(kept);
                self.paste = None;
                if !text.is_empty() && !is_skipped {
                    typed.push(Typed::Event(Event::Paste(text)));
                }
                if ENDS.contains(&bytes[0]) {
                    return typed;
                }
            } else {
                paste.is_interrupted = is_interrupt;
                self.go_on_pasting(bytes, now, &mut typed);
                return typed;
            }
        }
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            self.take(byte, now, &mut typed);
            if self.held == PASTE_BEGIN {
                self.held.clear();
                self.held_since = None;
                self.paste = Some(Paste::begun(now));
                self.go_on_pasting(rest, now, &mut typed);
                break;
            }
        }
        typed
    }

    /// When [`Keyboard::expire`] is next due, if nothing is typed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if let Some(paste) = &self.paste {
            return (!paste.is_unfinished).then_some(paste.last_at + PASTE_TIMEOUT);
        }
        let (since, last_at) = self.held_since?;
        let may_be_key = self.held.len() <= 2 && self.held[0] == ESCAPE;
        Some(if may_be_key {
            last_at + ESCAPE_TIMEOUT
        } else {
            since + SEQUENCE_TIMEOUT
        })
    }

    /// Returns what is overdue means without its rest.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Typed> {
        if self.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        if let Some(paste) = &mut self.paste {
            paste.is_unfinished = true;
            if paste.is_skipped {
                return Vec::new();
            }
            let kept = unfinished_bytes(&paste.bytes);
            return vec![Typed::Unfinished(paste.take_text(kept))];
        }
        let held = self.release();
        let key = match held[..] {
            [ESCAPE] => KeyCode::Escape,
            [ESCAPE, ..] => return Vec::new(),
            _ => KeyCode::Char(char::REPLACEMENT_CHARACTER),
        };
        vec![Typed::Event(Event::Key(key.into()))]
    }

    /// Takes what belongs to a paste. What came in one read with its end does so: a terminal that
    /// leaves the end of a paste in what is pasted would have it type.
    fn go_on_pasting(&mut self, bytes: &[u8], now: Instant, typed: &mut Vec<Typed>) {
        let Some(paste) = &mut self.paste else {
            return;
        };
        paste.last_at = now;
        paste.bytes.extend_from_slice(bytes);
        let (text, end) = without_marks(&paste.bytes);
        if let Some(rest) = end {
            let is_skipped = paste.is_skipped || text.len() > MAX_HELD_BYTES;
            if is_skipped && !paste.is_skipped {
                typed.push(Typed::TooMuch);
            } else if !is_skipped {
                let text = String::from_utf8_lossy(&text).into_owned();
                typed.push(Typed::Event(Event::Paste(text)));
            }
            self.held = rest.to_vec();
            self.paste = None;
            self.held_since = (!self.held.is_empty()).then_some((now, now));
        } else if paste.bytes.len() > MAX_HELD_BYTES {
            // The rest of the paste must not count as keys.
            if !std::mem::replace(&mut paste.is_skipped, true) {
                typed.push(Typed::TooMuch);
            }
            let passed = paste.bytes.len() - PASTE_END.len();
            paste.bytes.drain(..passed);
        }
    }

    /// Takes a byte that is part of no paste.
    fn take(&mut self, byte: u8, now: Instant, typed: &mut Vec<Typed>) {
        let next = match self.held[..] {
            [] => beginning(byte),
            [ESCAPE] => match byte {
                ESCAPE => {
                    typed.push(Typed::Event(Event::Key(KeyCode::Escape.into())));
                    return self.hold(None, now);
                }
                b'[' | b'O' | b']' | b'P' | b'X' | b'^' | b'_' => Next::Unfinished,
                _ => beginning(byte),
            },
            [ESCAPE, b'[', ..] => in_control_sequence(&self.held, byte),
            [ESCAPE, b'O', ..] => match byte {
                b'0'..=b'9' | b';' => Next::Unfinished,
                b'!'..=b'~' => Next::Complete,
                _ => Next::Dropped {
                    is_last_taken: false,
                },
            },
            [ESCAPE, b']' | b'P' | b'X' | b'^' | b'_', .., ESCAPE] if byte != b'\\' => {
                // Another sequence has begun.
                self.held = vec![ESCAPE];
                return self.take(byte, now, typed);
            }
            [ESCAPE, b']' | b'P' | b'X' | b'^' | b'_', ..] => {
                let next = in_control_string(&self.held, byte);
                self.held.truncate(2);
                next
            }
            [ESCAPE, ..] => in_character(&self.held[1..], byte),
            _ => in_character(&self.held, byte),
        };
        match next {
            Next::Unfinished => self.hold(Some(byte), now),
            Next::Complete => {
                self.held.push(byte);
                if self.held != PASTE_BEGIN {
                    let sequence = self.release();
                    typed.extend(self.meaning(&sequence).map(Typed::Event));
                }
            }
            Next::Dropped { is_last_taken } => {
                let dropped = self.release();
                if is_text(&dropped) || (dropped.is_empty() && is_last_taken) {
                    let unknown = KeyCode::Char(char::REPLACEMENT_CHARACTER);
                    typed.push(Typed::Event(Event::Key(unknown.into())));
                }
                if !is_last_taken {
                    self.take(byte, now, typed);
                }
            }
        }
    }

    /// Holds another byte; `None` to hold what is held for longer.
    fn hold(&mut self, byte: Option<u8>, now: Instant) {
        self.held.extend(byte);
        let since = self.held_since.map_or(now, |(since, _)| since);
        self.held_since = Some((since, now));
    }

    fn release(&mut self) -> Vec<u8> {
        self.held_since = None;
        std::mem::take(&mut self.held)
    }

    /// What the whole `sequence` means, if that is known.
    fn meaning(&mut self, sequence: &[u8]) -> Option<Event> {
        let control = |code: KeyCode| Some(Event::Key(KeyEvent::new(code, Modifiers::CONTROL)));
        match sequence {
            // What rxvt sends for Ctrl and an arrow.
            [ESCAPE, b'O', b'a'] => return control(KeyCode::Up),
            [ESCAPE, b'O', b'b'] => return control(KeyCode::Down),
            [ESCAPE, b'O', b'c'] => return control(KeyCode::Right),
            [ESCAPE, b'O', b'd'] => return control(KeyCode::Left),
            // A report, not a key; the parser would take some for keys in part.
            [ESCAPE, b'[', b' '..=b'/' | b':'..=b'?', ..] => return None,
            _ => {}
        }
        self.parser.parse(sequence, false);
        let event = self.parser.pop();
        // It may hold what it takes to be a beginning.
        self.parser = Parser::default();
        event
    }
}

/// What a key or a character begins with.
fn beginning(byte: u8) -> Next {
    match byte {
        ESCAPE | 0xc2..=0xf4 => Next::Unfinished,
        0x80.. => Next::Dropped {
            is_last_taken: true,
        },
        _ => Next::Complete,
    }
}

/// CSI, parameters, intermediates, a final byte.
fn in_control_sequence(held: &[u8], byte: u8) -> Next {
    match byte {
        // The Linux console's function keys.
        b'[' if held.len() == 2 => Next::Unfinished,
        b' '..=b'?' => Next::Unfinished,
        b'@'..=b'~' => Next::Complete,
        _ => Next::Dropped {
            is_last_taken: false,
        },
    }
}

/// APC, DCS, OSC, PM, SOS; text; ST, or BEL as xterm has it.
fn in_control_string(held: &[u8], byte: u8) -> Next {
    let is_after_escape = held.len() > 2 && held.last() == Some(&ESCAPE);
    match byte {
        b'\\' if is_after_escape => Next::Dropped {
            is_last_taken: true,
        },
        0x07 => Next::Dropped {
            is_last_taken: true,
        },
        ESCAPE | b' '.. => Next::Unfinished,
        _ => Next::Dropped {
            is_last_taken: false,
        },
    }
}

/// UTF-8.
fn in_character(held: &[u8], byte: u8) -> Next {
    let bytes = match held[0] {
        ..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    match byte {
        0x80..=0xbf if held.len() + 1 == bytes => Next::Complete,
        0x80..=0xbf => Next::Unfinished,
        _ => Next::Dropped {
            is_last_taken: false,
        },
    }
}

/// Whether `dropped` was to be a character.
fn is_text(dropped: &[u8]) -> bool {
    dropped.first().is_some_and(|&byte| byte != ESCAPE)
}

/// A paste without its marks and, if it has ended, what may begin another after that.
fn without_marks(bytes: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut text = Vec::new();
    let mut rest = bytes;
    let mut has_ended = false;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(PASTE_END) {
            has_ended = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix(PASTE_BEGIN).filter(|_| has_ended) {
            has_ended = false;
            rest = after;
        } else if has_ended && PASTE_BEGIN.starts_with(rest) {
            return (text, Some(rest));
        } else {
            text.push(byte);
            rest = after;
        }
    }
    (text, has_ended.then_some(&[]))
}

/// How many bytes at the end of a paste may be part of something: of the paste's end, of a
/// character, or a line end that was not meant to be pasted.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let mut marks = (1..PASTE_END.len()).rev();
    if let Some(mark) = marks.find(|&count| bytes.ends_with(&PASTE_END[..count])) {
        return mark;
    }
    if bytes.ends_with(b"\r\n") {
        return 2;
    }
    if let Some(b'\r' | b'\n') = bytes.last() {
        return 1;
    }
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => bytes.len() - e.valid_up_to(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Typed {
        with(Modifiers::NONE, code)
    }

    fn with(modifiers: Modifiers, code: KeyCode) -> Typed {
        Typed::Event(Event::Key(KeyEvent::new(code, modifiers)))
    }

    fn pasted(text: &str) -> Typed {
        Typed::Event(Event::Paste(text.to_owned()))
    }

    /// What `bytes` are, read at once and byte by byte; nothing is left of them.
    #[track_caller]
    fn assert_are(bytes: &[u8], expected: &[Typed]) {
        for at_once in [bytes.len(), 1] {
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            let mut typed = Vec::new();
            for chunk in bytes.chunks(at_once) {
                typed.extend(keyboard.push(chunk, now));
            }
            assert_eq!(typed, expected, "{}, {at_once}", bytes.escape_ascii());
            assert_eq!(keyboard.deadline(), None);
        }
    }

    #[test]
    fn keys_are_the_same_however_their_bytes_are_cut() {
        let bytes = "aö世\x1b[A\x1b[1;5C\x1bb\x1bö\x1b[200~one\r\ntwo\x1b[201~".as_bytes();
        let expected = [
            key(KeyCode::Char('a')),
            key(KeyCode::Char('ö')),
            key(KeyCode::Char('世')),
            key(KeyCode::Up),
            with(Modifiers::CONTROL, KeyCode::Right),
            with(Modifiers::ALT, KeyCode::Char('b')),
            with(Modifiers::ALT, KeyCode::Char('ö')),
            pasted("one\r\ntwo"),
        ];
        for at in 0..=bytes.len() {
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            let mut events = keyboard.push(&bytes[..at], now);
            events.extend(keyboard.push(&bytes[at..], now));
            assert_eq!(events, expected, "cut at {at}");
            assert_eq!(keyboard.deadline(), None);
            assert_eq!(keyboard.push(b"\r", now), [key(KeyCode::Enter)]);
        }
    }

    #[test]
    fn what_a_terminal_reports_is_no_key_and_eats_none() {
        for report in [
            // Device attributes, and the status.
            "\x1b[?64;1;2c",
            "\x1b[>41;354;0c",
            "\x1b[=1c",
            "\x1b[0n",
            "\x1b[?1;2$y",
            // kitty: an image, the keyboard's state.
            "\x1b_Gi=1;OK\x1b\\",
            "\x1b[?0u",
            // xterm: the version, the background, a title.
            "\x1bP>|XTerm(390)\x1b\\",
            "\x1b]11;rgb:0000/0000/0000\x1b\\",
            "\x1b]lxterm\x07",
            // A mouse, the focus, the size, modifyOtherKeys.
            "\x1b[<0;1;1M",
            "\x1b[8;24;80t",
            "\x1b[27;2;13~",
            "\x1b[;5A",
            "\x1b[99;99;99x",
        ] {
            let mut bytes = report.as_bytes().to_vec();
            bytes.push(b'a');
            assert_are(&bytes, &[key(KeyCode::Char('a'))]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_eat_no_key() {
        let unknown = || key(KeyCode::Char(char::REPLACEMENT_CHARACTER));
        let a = || key(KeyCode::Char('a'));
        // Latin-1 has é at 0xe9.
        assert_are(b"\xe9a", &[unknown(), a()]);
        assert_are(b"\xe9\r", &[unknown(), key(KeyCode::Enter)]);
        assert_are(b"\xe9\xa0a", &[unknown(), a()]);
        assert_are(b"\x80a", &[unknown(), a()]);
        assert_are(b"\xffa", &[unknown(), a()]);
        assert_are(b"\xe9\x1b[A", &[unknown(), key(KeyCode::Up)]);
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\xe9", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(keyboard.expire(at), [unknown()]);
    }

    #[test]
    fn a_sequence_that_another_breaks_off_does_not_count() {
        let up = || key(KeyCode::Up);
        for broken in ["\x1b[1;", "\x1bO", "\x1b]11;", "\x1b_G", "\x1bP"] {
            assert_are(format!("{broken}\x1b[A").as_bytes(), &[up()]);
        }
        assert_are(b"\x1b[1;\r", &[key(KeyCode::Enter)]);
        assert_are(b"\x1b]11;\r", &[key(KeyCode::Enter)]);
    }

    #[test]
    fn rxvt_has_sequences_of_its_own() {
        for (last, code) in [
            ('a', KeyCode::Up),
            ('b', KeyCode::Down),
            ('c', KeyCode::Right),
            ('d', KeyCode::Left),
        ] {
            let bytes = format!("\x1bO{last}");
            assert_are(bytes.as_bytes(), &[with(Modifiers::CONTROL, code)]);
        }
    }

    #[test]
    fn an_escape_alone_is_a_key_after_a_while() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(at, now + ESCAPE_TIMEOUT);
        assert_eq!(keyboard.expire(now), []);
        assert_eq!(keyboard.expire(at), [key(KeyCode::Escape)]);
        assert_eq!(keyboard.push(b"a", at), [key(KeyCode::Char('a'))]);
    }

    #[test]
    fn a_paste_that_comes_late_stays_one() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b[200~one", now), []);
        assert_eq!(keyboard.expire(now + PASTE_TIMEOUT / 2), []);
        let typed = keyboard.push(b" two\x1b[201~", now + PASTE_TIMEOUT / 2);
        assert_eq!(typed, [pasted("one two")]);
    }

    #[test]
    fn what_comes_in_one_read_with_the_end_of_a_paste_belongs_to_it() {
        for (bytes, text) in [
            ("safe\x1b[201~\rpwned\r\x1b[201~", "safe\rpwned\r"),
            ("safe\x1b[201~\x03\x04", "safe\x03\x04"),
            ("one\x1b[201~\x1b[200~two\x1b[201~", "onetwo"),
        ] {
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            let typed = keyboard.push(format!("\x1b[200~{bytes}").as_bytes(), now);
            assert_eq!(typed, [pasted(text)]);
            assert_eq!(keyboard.push(b"\r", now), [key(KeyCode::Enter)]);
        }
        // The second paste is not at its end.
        for cut in 1..10 {
            let bytes = b"\x1b[200~one\x1b[201~\x1b[200~two\x1b[201~";
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            let (read, rest) = bytes.split_at(15 + cut);
            let mut typed = keyboard.push(read, now);
            typed.extend(keyboard.push(rest, now));
            let texts = typed.iter().map(|typed| match typed {
                Typed::Event(Event::Paste(text)) => &text[..],
                other => panic!("{other:?}"),
            });
            assert_eq!(texts.collect::<String>(), "onetwo", "{cut}");
        }
    }

    #[test]
    fn a_paste_that_never_ends_is_shown_and_ended_by_a_key() {
        let ctrl_d = with(Modifiers::CONTROL, KeyCode::Char('d'));
        for (end, expected) in [
            ("\r", None),
            ("\x1b", None),
            ("\x03", None),
            ("\x04", Some(ctrl_d)),
        ] {
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            keyboard.push("\x1b[200~half\r\nä\r".as_bytes(), now);
            let later = keyboard.deadline().unwrap();
            assert_eq!(later, now + PASTE_TIMEOUT);
            let half = Typed::Unfinished("half\r\nä".to_owned());
            assert_eq!(keyboard.expire(later), [half]);
            assert_eq!(keyboard.deadline(), None);
            // It may go on.
            assert_eq!(keyboard.push(b"more", later), []);
            let mut shown = vec![pasted("\rmore")];
            shown.extend(expected);
            assert_eq!(keyboard.push(end.as_bytes(), later), shown, "{end:?}");
            assert_eq!(keyboard.push(b"\r", later), [key(KeyCode::Enter)]);
        }
    }

    /// Hitting Ctrl-C again and again leaves it no second of quiet.
    #[test]
    fn a_second_ctrl_c_ends_a_paste() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        keyboard.push(b"\x1b[200~half", now);
        assert_eq!(keyboard.push(b"\x03", now), [], "it may be part of it");
        assert_eq!(keyboard.push(b"\x03", now), [pasted("half")]);
        let ctrl_c = with(Modifiers::CONTROL, KeyCode::Char('c'));
        assert_eq!(keyboard.push(b"\x03", now), [ctrl_c]);
    }

    #[test]
    fn no_part_of_an_oversized_paste_counts_as_keys() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        keyboard.push(b"\x1b[200~", now);
        let typed = keyboard.push("line\r".repeat(MAX_HELD_BYTES).as_bytes(), now);
        assert_eq!(typed, [Typed::TooMuch]);
        assert_eq!(keyboard.push(b"\x1b\x1b[201\x1b[20", now), []);
        assert_eq!(keyboard.push(b"1~", now), []);
        assert_eq!(keyboard.push(b"a", now), [key(KeyCode::Char('a'))]);
        // There is a way out of this, too.
        keyboard.push(b"\x1b[200~", now);
        keyboard.push("line\r".repeat(MAX_HELD_BYTES).as_bytes(), now);
        let later = keyboard.deadline().unwrap();
        assert_eq!(keyboard.expire(later), []);
        assert_eq!(keyboard.push(b"\r", later), []);
        assert_eq!(keyboard.push(b"a", later), [key(KeyCode::Char('a'))]);
    }

    #[test]
    fn keys_that_begin_what_never_ends_do_not_swallow_the_rest() {
        for keys in ["\x1b]", "\x1bP", "\x1b[<", "\x1b[?", "\x1b[>1", "\x1bO"] {
            let mut keyboard = Keyboard::default();
            let mut now = Instant::now();
            keyboard.push(keys.as_bytes(), now);
            for _ in 0..2 {
                now = keyboard.deadline().unwrap_or(now);
                keyboard.expire(now);
            }
            assert_eq!(keyboard.deadline(), None);
            let typed = keyboard.push(b"a", now);
            assert_eq!(typed, [key(KeyCode::Char('a'))], "after {keys:?}");
        }
    }
}
