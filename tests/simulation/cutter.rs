//! Cuts the lines of what a peer has sent, with all of it in hand: another way than the
//! server's, which sees a piece at a time.

use crate::world::MAX_LINE_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

/// How far the input of one peer has been cut.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// Where the next line begins, or the rest of one that was too long.
    at: usize,
    is_within_too_long: bool,
}

impl Cutter {
    /// The next line of everything that was `sent`. An unfinished line counts once the peer
    /// `has_ended`, or as soon as it is too long.
    pub(crate) fn next<'a>(&mut self, sent: &'a [u8], has_ended: bool) -> Option<Line<'a>> {
        let line_end = |at: usize| {
            let found = sent[at..].iter().position(|&byte| byte == b'\n');
            found.map(|bytes| at + bytes)
        };
        if self.is_within_too_long {
            self.at = line_end(self.at)? + 1;
            self.is_within_too_long = false;
        }
        let end = line_end(self.at);
        let text = &sent[self.at..end.unwrap_or(sent.len())];
        let is_empty = text.is_empty();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let is_too_long = text.len() > MAX_LINE_BYTES as usize;
        match end {
            Some(end) => self.at = end + 1,
            None if is_too_long => self.is_within_too_long = true,
            None if has_ended && !is_empty => self.at = sent.len(),
            None => return None,
        }
        Some(if is_too_long {
            Line::TooLong
        } else {
            Line::Whole(text)
        })
    }
}

#[test]
fn lines_are_cut_at_their_ends() {
    let long = "x".repeat(MAX_LINE_BYTES as usize);
    let sent = format!("one\r\n\n{long}\r\n{long}y\n\rtwo\r\r\n{long}yy");
    let mut cutter = Cutter::default();
    let mut next = |has_ended| cutter.next(sent.as_bytes(), has_ended);
    assert_eq!(next(false), Some(Line::Whole(b"one")));
    assert_eq!(next(false), Some(Line::Whole(b"")));
    assert_eq!(next(false), Some(Line::Whole(long.as_bytes())));
    assert_eq!(next(false), Some(Line::TooLong));
    assert_eq!(next(false), Some(Line::Whole(b"\rtwo\r")));
    assert_eq!(next(false), Some(Line::TooLong));
    assert_eq!(next(true), None);
    let mut cutter = Cutter::default();
    assert_eq!(cutter.next(b"half\r", false), None);
    assert_eq!(cutter.next(b"half\r", true), Some(Line::Whole(b"half")));
    assert_eq!(cutter.next(b"half\r", true), None);
}
