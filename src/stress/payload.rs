//! The text of the lines that the harness says: the round, the talker, the number of the
//! line, then filler up to the size.
//!
//! A payload ends the line that a server makes of it, behind a prefix such as `<ip> `.
//! It is checked to the last byte, so a torn line, or one mixed with another, is no
//! payload.

use memchr::memmem;

/// The bytes that identify a payload.
const HEADER_BYTES: usize = ROUND_DIGITS + TALKER_DIGITS + NUMBER_DIGITS + 3;

/// The shortest line that holds a payload, with its LF.
pub(crate) const MIN_SIZE_BYTES: usize = HEADER_BYTES + 1;

pub(crate) const MAX_TALKERS: usize = 1 << (4 * TALKER_DIGITS);

const ROUND_DIGITS: usize = 8;
const TALKER_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 8;

const TALKER_AT: usize = ROUND_DIGITS + 2;
const NUMBER_AT: usize = TALKER_AT + TALKER_DIGITS + 1;

const FILLER: &[u8] = b" the quick brown fox jumps over the lazy dog,";

/// A payload that was found in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    /// What stands before it.
    pub(crate) prefix: &'a [u8],
    pub(crate) talker: usize,
    pub(crate) number: u32,
}

/// The payloads of one round.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// The payload of talker 0 and number 0, without its LF.
    template: Vec<u8>,
}

impl Payload {
    /// Payloads for one `round`, in lines of `size_bytes`, LF counted.
    ///
    /// # Panics
    ///
    /// When `size_bytes` is below [`MIN_SIZE_BYTES`].
    pub(crate) fn new(round: u32, size_bytes: usize) -> Self {
        assert!(size_bytes >= MIN_SIZE_BYTES);
        let header = format!("~{round:08x}.00000.00000000");
        debug_assert_eq!(header.len(), HEADER_BYTES);
        let filler = FILLER.iter().copied().cycle();
        let template = header.bytes().chain(filler).take(size_bytes - 1).collect();
        Self { template }
    }

    /// Appends line `number` of `talker`, and its LF, to `out`.
    ///
    /// # Panics
    ///
    /// When `talker` is not below [`MAX_TALKERS`].
    pub(crate) fn compose(&self, talker: usize, number: u32, out: &mut Vec<u8>) {
        assert!(talker < MAX_TALKERS);
        let start = out.len();
        out.extend_from_slice(&self.template);
        out.push(b'\n');
        let line = &mut out[start..];
        write_hex(talker as u32, &mut line[TALKER_AT..][..TALKER_DIGITS]);
        write_hex(number, &mut line[NUMBER_AT..][..NUMBER_DIGITS]);
    }

    /// The payload at the end of `line`, which is given without its LF. `None` when there
    /// is none of this round, or it is not whole.
    pub(crate) fn parse<'a>(&self, line: &'a [u8]) -> Option<Parsed<'a>> {
        let start = line.len().checked_sub(self.template.len())?;
        let (prefix, line) = line.split_at(start);
        if line[..TALKER_AT] != self.template[..TALKER_AT]
            || line[NUMBER_AT - 1] != b'.'
            || line[HEADER_BYTES..] != self.template[HEADER_BYTES..]
        {
            return None;
        }
        let talker = parse_hex(&line[TALKER_AT..][..TALKER_DIGITS])?;
        let number = parse_hex(&line[NUMBER_AT..][..NUMBER_DIGITS])?;
        Some(Parsed {
            prefix,
            talker: talker as usize,
            number,
        })
    }

    /// Whether `line` holds the beginning of a payload of this round, whole or not.
    pub(crate) fn is_begun_in(&self, line: &[u8]) -> bool {
        memmem::find(line, &self.template[..TALKER_AT]).is_some()
    }
}

fn write_hex(mut number: u32, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number * 16 + u32::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(payload: &Payload, talker: usize, number: u32) -> Vec<u8> {
        let mut line = Vec::new();
        payload.compose(talker, number, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    proptest! {
        #[test]
        fn what_is_composed_is_parsed_behind_any_prefix(
            round: u32, talker in 0..MAX_TALKERS, number: u32,
            size in MIN_SIZE_BYTES..300, prefix in "\\PC{0,20}",
        ) {
            let payload = Payload::new(round, size);
            let line = line(&payload, talker, number);
            prop_assert_eq!(line.len(), size - 1);
            let line = [prefix.as_bytes(), &line].concat();
            let expected = Parsed { prefix: prefix.as_bytes(), talker, number };
            prop_assert_eq!(payload.parse(&line), Some(expected));
            prop_assert!(payload.is_begun_in(&line));
        }

        #[test]
        fn a_line_that_lacks_a_piece_is_none(
            size in MIN_SIZE_BYTES..200, at: prop::sample::Index, count in 1_usize..30,
        ) {
            let payload = Payload::new(7, size);
            let mut line = line(&payload, 1, 2);
            let at = at.index(line.len());
            let end = (at + count).min(line.len());
            line.drain(at..end);
            prop_assert_eq!(payload.parse(&line), None);
            // Nor is it when another line's beginning fills the gap.
            let filled = [&b"<127.0.0.1> something else "[..], &line].concat();
            prop_assert_eq!(payload.parse(&filled), None);
        }
    }

    #[test]
    fn lines_of_another_round_are_none() {
        let mine = Payload::new(1, 64);
        let other = Payload::new(2, 64);
        assert_eq!(mine.parse(&line(&other, 3, 4)), None);
        assert!(!mine.is_begun_in(&line(&other, 3, 4)));
        assert_eq!(mine.parse(b"<127.0.0.1> hello"), None);
        assert_eq!(mine.parse(b""), None);
    }
}
