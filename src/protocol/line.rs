//! The framing of the wire: bytes in, lines out. No I/O.
//!
//! A line ends with LF or CRLF (telnet and Windows send CRLF). TCP has no message
//! boundaries: one read may return part of a line, or many lines. [`LineDecoder`] gives
//! the same lines wherever the stream was cut.
//!
//! A decoder without an unfinished line owns no heap memory. One with an unfinished line
//! reserves at most the limit and one byte.

use memchr::memchr;

/// The minimum capacity for an unfinished line, so that a peer that sends single bytes
/// does not cost an allocation for each.
const MIN_PARTIAL_BYTES: usize = 64;

/// A decoded line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole line, without its line end. It may be empty.
    Line(&'a [u8]),
    /// The first bytes of a line over the limit, as many as the limit. The decoder skips
    /// the rest up to the next LF. Returned once per line, as soon as it exceeds the limit.
    TooLong(&'a [u8]),
}

impl<'a> Decoded<'a> {
    /// As much of the line as there is.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Line(bytes) | Self::TooLong(bytes) => bytes,
        }
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug)]
pub struct LineDecoder {
    /// Boxed: a server has many decoders and few unfinished lines.
    partial: Option<Box<Partial>>,
    limit_bytes: u32,
    /// Within a line over the limit: drop everything up to its LF.
    skipping: bool,
}

/// An unfinished line, or the line just returned.
#[derive(Debug, Default)]
struct Partial {
    /// Invariant: not empty, and at most `limit_bytes + 1` long; the last byte may be a CR
    /// that belongs to the line end.
    text: Vec<u8>,
    /// The line has just been returned; the next call frees it.
    handed_out: bool,
}

impl LineDecoder {
    /// A decoder for lines of at most `limit_bytes`, without their line end.
    pub fn new(limit_bytes: u32) -> Self {
        Self {
            partial: None,
            limit_bytes,
            skipping: false,
        }
    }

    /// Consumes `input` up to the end of a line and returns the line. `None` when `input`
    /// ends first; the decoder keeps the unfinished line for the next call.
    ///
    /// ```
    /// use chat::protocol::line::{Decoded, LineDecoder};
    ///
    /// let mut decoder = LineDecoder::new(4096);
    /// let mut input: &[u8] = b"one\r\ntwo\nthr";
    /// assert_eq!(decoder.next_line(&mut input), Some(Decoded::Line(b"one")));
    /// assert_eq!(decoder.next_line(&mut input), Some(Decoded::Line(b"two")));
    /// assert_eq!(decoder.next_line(&mut input), None);
    ///
    /// let mut input: &[u8] = b"ee\n";
    /// assert_eq!(decoder.next_line(&mut input), Some(Decoded::Line(b"three")));
    /// ```
    pub fn next_line<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Decoded<'a>> {
        self.forget_handed_out();
        while !input.is_empty() {
            let line_end = memchr(b'\n', input);
            let (head, rest) = match line_end {
                Some(at) => (&input[..at], &input[at + 1..]),
                None => (*input, &[][..]),
            };
            *input = rest;

            if self.skipping {
                self.skipping = line_end.is_none();
            } else if line_end.is_some() && self.partial.is_none() {
                // The common case: the whole line is in the input. No copy.
                return Some(classify(head, self.limit_bytes as usize));
            } else {
                let fits = self.gather(head);
                if line_end.is_some() || !fits {
                    self.skipping = line_end.is_none();
                    let limit = self.limit_bytes as usize;
                    let partial = self.partial.get_or_insert_default();
                    partial.handed_out = true;
                    return Some(if fits {
                        classify(&partial.text, limit)
                    } else {
                        Decoded::TooLong(&partial.text[..limit])
                    });
                }
            }
        }
        None
    }

    /// The unfinished line; empty if there is none.
    pub fn unfinished(&self) -> &[u8] {
        match &self.partial {
            Some(partial) if !partial.handed_out => &partial.text,
            _ => &[],
        }
    }

    /// Ends the unfinished line, if there is one, and returns it without a CR at its end.
    /// Further input begins a new line.
    pub fn finish(&mut self) -> Option<Decoded<'_>> {
        self.forget_handed_out();
        let partial = self.partial.as_mut()?;
        partial.handed_out = true;
        Some(classify(&partial.text, self.limit_bytes as usize))
    }

    /// Frees the memory, too: an idle connection owns none.
    fn forget_handed_out(&mut self) {
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.handed_out)
        {
            self.partial = None;
        }
    }

    /// Appends as much of `piece` to the unfinished line as the invariant allows. False if
    /// the line exceeds the limit.
    fn gather(&mut self, piece: &[u8]) -> bool {
        let limit = self.limit_bytes as usize;
        let most = limit + 1;
        if piece.is_empty() {
            return true;
        }
        let text = &mut self.partial.get_or_insert_default().text;
        let taken = piece.len().min(most - text.len());
        let needed = text.len() + taken;
        if needed > text.capacity() {
            let wanted = needed
                .next_power_of_two()
                .clamp(MIN_PARTIAL_BYTES.min(most), most);
            text.reserve_exact(wanted - text.len());
        }
        text.extend_from_slice(&piece[..taken]);
        debug_assert!(text.len() <= most);
        taken == piece.len() && (text.len() <= limit || text.ends_with(b"\r"))
    }
}

fn classify(raw: &[u8], limit: usize) -> Decoded<'_> {
    let line = raw.strip_suffix(b"\r").unwrap_or(raw);
    if line.len() > limit {
        Decoded::TooLong(&line[..limit])
    } else {
        Decoded::Line(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Owned {
        Line(Vec<u8>),
        TooLong(Vec<u8>),
    }

    impl From<Decoded<'_>> for Owned {
        fn from(decoded: Decoded<'_>) -> Self {
            match decoded {
                Decoded::Line(line) => Self::Line(line.to_vec()),
                Decoded::TooLong(beginning) => Self::TooLong(beginning.to_vec()),
            }
        }
    }

    fn reserved_bytes(decoder: &LineDecoder) -> usize {
        let partial = decoder.partial.as_ref();
        partial.map_or(0, |partial| partial.text.capacity())
    }

    fn line(text: &str) -> Owned {
        Owned::Line(text.into())
    }

    fn too_long(beginning: &str) -> Owned {
        Owned::TooLong(beginning.into())
    }

    /// Decodes a stream that arrives in `pieces`.
    fn decode<'a>(limit: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut decoder = LineDecoder::new(limit);
        let mut lines = Vec::new();
        for mut piece in pieces {
            while let Some(decoded) = decoder.next_line(&mut piece) {
                lines.push(decoded.into());
            }
            assert!(reserved_bytes(&decoder) <= (limit as usize + 1).max(MIN_PARTIAL_BYTES));
        }
        lines.extend(decoder.finish().map(Owned::from));
        lines
    }

    /// An independent, slow implementation.
    fn model(limit: usize, bytes: &[u8]) -> Vec<Owned> {
        let mut raw: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
        if raw.last().is_some_and(|last| last.is_empty()) {
            raw.pop();
        }
        raw.into_iter()
            .map(|raw| raw.strip_suffix(b"\r").unwrap_or(raw))
            .map(|line| {
                if line.len() > limit {
                    Owned::TooLong(line[..limit].to_vec())
                } else {
                    Owned::Line(line.to_vec())
                }
            })
            .collect()
    }

    #[test]
    fn every_split_point_gives_the_same_lines() {
        let input = b"a\r\n\n\rb\nover the limit\nexact88\r\nover88888\r\r\nend\r";
        let expected = [
            line("a"),
            line(""),
            line("\rb"),
            too_long("over the"),
            line("exact88"),
            too_long("over8888"),
            line("end"),
        ];
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(decode(8, pieces), expected, "cut at {first} and {second}");
            }
        }
        assert_eq!(decode(8, input.chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn a_line_at_the_limit_passes_with_either_line_end() {
        assert_eq!(
            decode(3, [&b"abc\nabc\r\n"[..]]),
            [line("abc"), line("abc")]
        );
        assert_eq!(decode(3, b"abc\r\n".chunks(1)), [line("abc")]);
        assert_eq!(decode(3, b"abcd\n".chunks(1)), [too_long("abc")]);
    }

    #[test]
    fn a_long_line_is_reported_once_and_before_its_end() {
        let mut decoder = LineDecoder::new(4);
        let mut input: &[u8] = b"123456789";
        assert_eq!(
            decoder.next_line(&mut input),
            Some(Decoded::TooLong(b"1234"))
        );
        for _ in 0..1000 {
            let mut more: &[u8] = b"and more of the same";
            assert_eq!(decoder.next_line(&mut more), None);
        }
        let mut input: &[u8] = b"\nnext\n";
        assert_eq!(decoder.next_line(&mut input), Some(Decoded::Line(b"next")));
    }

    #[test]
    fn an_unfinished_long_line_is_not_reported_again_at_the_end() {
        assert_eq!(decode(2, [&b"abcdef"[..]]), [too_long("ab")]);
    }

    #[test]
    fn no_memory_is_kept_after_whole_lines() {
        let mut decoder = LineDecoder::new(4096);
        for piece in [&b"half of"[..], b" a line\nwhole\n"] {
            let mut input = piece;
            while decoder.next_line(&mut input).is_some() {}
        }
        assert_eq!(reserved_bytes(&decoder), 0);
    }

    #[test]
    fn an_unfinished_line_grows_in_few_steps_up_to_the_limit_and_one_byte() {
        for limit in [1, 63, 100, 4096] {
            let mut decoder = LineDecoder::new(limit);
            let mut capacities = vec![0];
            for _ in 0..=limit {
                decoder.next_line(&mut &b"x"[..]);
                capacities.push(reserved_bytes(&decoder));
            }
            assert_eq!(capacities.last(), Some(&(limit as usize + 1)));
            capacities.dedup();
            assert!(capacities.len() < 10, "{capacities:?}");
        }
    }

    #[test]
    fn an_unfinished_line_can_be_seen_and_taken_before_its_end() {
        let mut decoder = LineDecoder::new(4096);
        assert_eq!(decoder.next_line(&mut &b"half"[..]), None);
        assert_eq!(decoder.unfinished(), b"half");
        assert_eq!(decoder.finish(), Some(Decoded::Line(b"half")));
        assert_eq!(decoder.unfinished(), b"");
        let mut rest: &[u8] = b" a line\n";
        assert_eq!(
            decoder.next_line(&mut rest),
            Some(Decoded::Line(b" a line"))
        );
        assert_eq!(decoder.unfinished(), b"");
    }

    proptest! {
        #[test]
        fn any_cut_agrees_with_the_model(
            bytes in prop::collection::vec(prop::sample::select(&b"ab\r\n"[..]), 0..60),
            piece_bytes in 1_usize..10,
            limit in 1_u32..12,
        ) {
            prop_assert_eq!(
                decode(limit, bytes.chunks(piece_bytes)),
                model(limit as usize, &bytes)
            );
        }
    }
}
