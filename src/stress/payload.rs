//! The text of the lines that the harness says: which round, whose line, and
//! its number, filled up to the size wanted.
//!
//! A payload stands at the end of whatever line a server makes of it (`<ip> ` and
//! so on may come before), and it is checked to its last byte: a line that was torn
//! or mixed with another is not taken for a payload.

/// The bytes of a payload that say which it is.
const HEADER_BYTES: usize = ROUND_DIGITS + TALKER_DIGITS + NUMBER_DIGITS + 3;

/// The shortest line that holds a payload, with its LF.
pub const MIN_SIZE_BYTES: usize = HEADER_BYTES + 1;

/// The most talkers that payloads tell apart.
pub const MAX_TALKERS: usize = 1 << (4 * TALKER_DIGITS);

const ROUND_DIGITS: usize = 8;
const TALKER_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 8;

const TALKER_AT: usize = ROUND_DIGITS + 2;
const NUMBER_AT: usize = TALKER_AT + TALKER_DIGITS + 1;

/// What stands after the header.
const FILLER: &[u8] = b" the quick brown fox jumps over the lazy dog,";

/// The payloads of one round.
#[derive(Clone, Debug)]
pub struct Payload {
    /// A whole payload without its LF, of talker 0 and number 0.
    template: Vec<u8>,
}

impl Payload {
    /// Payloads that differ from those of every other `round`, in lines of
    /// `size_bytes`, the LF counted.
    ///
    /// # Panics
    ///
    /// When `size_bytes` is below [`MIN_SIZE_BYTES`].
    pub fn new(round: u32, size_bytes: usize) -> Self {
        assert!(size_bytes >= MIN_SIZE_BYTES);
        let header = format!("~{round:08x}.00000.00000000");
        debug_assert_eq!(header.len(), HEADER_BYTES);
        let filler = FILLER.iter().copied().cycle();
        let template = header.bytes().chain(filler).take(size_bytes - 1).collect();
        Self { template }
    }

    /// Appends the line with the `number` of `talker`, and its LF, to `out`.
    ///
    /// # Panics
    ///
    /// When `talker` is not below [`MAX_TALKERS`].
    pub fn compose(&self, talker: usize, number: u32, out: &mut Vec<u8>) {
        assert!(talker < MAX_TALKERS);
        let start = out.len();
        out.extend_from_slice(&self.template);
        out.push(b'\n');
        let line = &mut out[start..];
        write_hex(talker as u32, &mut line[TALKER_AT..][..TALKER_DIGITS]);
        write_hex(number, &mut line[NUMBER_AT..][..NUMBER_DIGITS]);
    }

    /// The talker and the number of the payload at the end of `line`, which is
    /// given without its line end. `None` when it is none of this round, or not
    /// whole.
    pub fn parse(&self, line: &[u8]) -> Option<(usize, u32)> {
        let start = line.len().checked_sub(self.template.len())?;
        let line = &line[start..];
        if line[..TALKER_AT] != self.template[..TALKER_AT]
            || line[NUMBER_AT - 1] != b'.'
            || line[HEADER_BYTES..] != self.template[HEADER_BYTES..]
        {
            return None;
        }
        let talker = parse_hex(&line[TALKER_AT..][..TALKER_DIGITS])?;
        let number = parse_hex(&line[NUMBER_AT..][..NUMBER_DIGITS])?;
        Some((talker as usize, number))
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
            prop_assert_eq!(payload.parse(&line), Some((talker, number)));
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
        assert_eq!(mine.parse(b"<127.0.0.1> hello"), None);
        assert_eq!(mine.parse(b""), None);
    }
}
