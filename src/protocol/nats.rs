//! The part of NATS's client protocol that links servers (docs.nats.io, *NATS Client Protocol*).
//!
//! Pure: bytes in, operations out, and back. Whatever a server sends, nothing here panics, and
//! an operation that is incomplete keeps at most a line and [`MAX_MESSAGE_BYTES`] in memory.

use std::fmt;
use std::io::Write as _;

/// The longest control line but INFO: subjects, and two numbers.
const MAX_LINE_BYTES: usize = 4 * 1024;

/// INFO lists the nodes of a cluster.
const MAX_INFO_BYTES: usize = 64 * 1024;

/// The largest message, its headers included. A batch is far smaller, and whoever may write to the
/// room's subjects cannot have us keep more.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

const CRLF: &[u8] = b"\r\n";

/// How the headers of a message begin.
const HEADERS_VERSION: &str = "NATS/1.0";

/// What a NATS server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// An object of JSON: who it is.
    Info(&'a [u8]),
    /// For one of our subscriptions.
    Message(Message<'a>),
    /// It wants a sign of life.
    Ping,
    /// It gives one.
    Pong,
    /// What we said was taken.
    Ok,
    /// Something was wrong. It may close the connection.
    Err(&'a str),
}

/// A message for one of our subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where it was published.
    pub subject: &'a str,
    /// Where an answer goes.
    pub reply: Option<&'a str>,
    /// What is said of it.
    pub headers: Headers<'a>,
    /// What was published.
    pub payload: &'a [u8],
}

/// The headers of a message, as they came; empty if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a>(&'a str);

impl<'a> Headers<'a> {
    /// The code of a message from the server itself, such as 503: nobody listens there.
    pub fn status(self) -> Option<u16> {
        let first = self.0.lines().next()?.strip_prefix(HEADERS_VERSION)?;
        first.split_ascii_whitespace().next()?.parse().ok()
    }

    /// The value of the last header with this name: those of the stream itself come after what whoever
    /// published gave.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let fields = self.0.lines().skip(1).filter_map(|it| it.split_once(':'));
        let named = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.last().map(|(_, value)| value.trim())
    }

    /// The same, as a number.
    pub fn number(self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// What came is not NATS's protocol, or is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what it sends is not NATS's protocol, or too large")
    }
}

/// Cuts what comes into operations.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
}

impl Decoder {
    /// More has come. Take all [operations](Self::take) before the next call.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(MAX_LINE_BYTES);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next operation. `None` if it is incomplete.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    pub fn take(&mut self) -> Result<Option<Op<'_>>, Malformed> {
        let Some((op, length)) = parse(&self.bytes[self.taken..])? else {
            return Ok(None);
        };
        self.taken += length;
        Ok(Some(op))
    }
}

/// The operation that `bytes` begin with, and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Op<'_>, usize)>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        let is_info = bytes
            .get(..4)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"INFO"));
        let most = if is_info {
            MAX_INFO_BYTES
        } else {
            MAX_LINE_BYTES
        };
        return if bytes.len() > most {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let line = &bytes[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word_end = line.iter().position(|&b| b == b' ' || b == b'\t');
    let (word, arguments) = line.split_at(word_end.unwrap_or(line.len()));
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let most = if is("INFO") {
        MAX_INFO_BYTES
    } else {
        MAX_LINE_BYTES
    };
    if line.len() > most {
        return Err(Malformed);
    }
    let after = end + 1;
    let op = if is("MSG") {
        return message(arguments, false, bytes, after);
    } else if is("HMSG") {
        return message(arguments, true, bytes, after);
    } else if is("INFO") {
        Op::Info(arguments.trim_ascii())
    } else if is("PING") {
        Op::Ping
    } else if is("PONG") {
        Op::Pong
    } else if is("+OK") {
        Op::Ok
    } else if is("-ERR") {
        let words = std::str::from_utf8(arguments.trim_ascii()).map_err(|_| Malformed)?;
        Op::Err(words.trim_matches('\''))
    } else {
        return Err(Malformed);
    };
    Ok(Some((op, after)))
}

/// A message whose line has these `arguments`, and whose content begins at `start`.
fn message<'a>(
    arguments: &'a [u8],
    has_headers: bool,
    bytes: &'a [u8],
    start: usize,
) -> Result<Option<(Op<'a>, usize)>, Malformed> {
    let arguments = std::str::from_utf8(arguments).map_err(|_| Malformed)?;
    let mut words = arguments.split_ascii_whitespace();
    let mut next = || words.next().ok_or(Malformed);
    let (subject, _subscription) = (next()?, next()?);
    // The reply subject may be missing.
    let mut rest = [""; 3];
    let mut count = 0;
    for word in words {
        *rest.get_mut(count).ok_or(Malformed)? = word;
        count += 1;
    }
    let numbers = 1 + usize::from(has_headers);
    let (reply, sizes) = match count.checked_sub(numbers) {
        Some(0) => (None, &rest[..count]),
        Some(1) => (Some(rest[0]), &rest[1..count]),
        _ => return Err(Malformed),
    };
    let size = |text: &str| text.parse().map_err(|_| Malformed);
    let total: usize = size(sizes[numbers - 1])?;
    let headers_size: usize = if has_headers { size(sizes[0])? } else { 0 };
    if total > MAX_MESSAGE_BYTES || headers_size > total {
        return Err(Malformed);
    }
    let end = start + total;
    let Some(after) = bytes.get(end..end + CRLF.len()) else {
        return Ok(None);
    };
    if after != CRLF {
        return Err(Malformed);
    }
    let (headers, payload) = bytes[start..end].split_at(headers_size);
    let headers = Headers(std::str::from_utf8(headers).map_err(|_| Malformed)?);
    let message = Message {
        subject,
        reply,
        headers,
        payload,
    };
    Ok(Some((Op::Message(message), end + CRLF.len())))
}

/// What we say to a NATS server, appended to what it is sent next.
#[derive(Debug)]
pub struct Writer<'a>(
    /// Whole operations.
    pub &'a mut Vec<u8>,
);

impl Writer<'_> {
    /// Who we are: an object of JSON.
    pub fn connect(&mut self, json: &str) {
        self.line(format_args!("CONNECT {json}"));
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        self.line(format_args!("PING"));
    }

    /// Gives one.
    pub fn pong(&mut self) {
        self.line(format_args!("PONG"));
    }

    /// From now on messages on `subject` come.
    pub fn subscribe(&mut self, subject: &str, subscription: u64) {
        self.line(format_args!("SUB {subject} {subscription}"));
    }

    /// From now on none of that subscription come.
    pub fn unsubscribe(&mut self, subscription: u64) {
        self.line(format_args!("UNSUB {subscription}"));
    }

    /// A message, with where answers go and with headers, if there are any. Neither a subject nor a
    /// header has white space or a control character.
    pub fn publish(
        &mut self,
        subject: &str,
        reply: Option<&str>,
        headers: &[(&str, String)],
        payload: &[u8],
    ) {
        let (reply, space) = reply.map_or(("", ""), |reply| (reply, " "));
        if headers.is_empty() {
            let total = payload.len();
            self.line(format_args!("PUB {subject} {reply}{space}{total}"));
        } else {
            let fields = headers.iter();
            let fields = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
            let head = format!("{HEADERS_VERSION}\r\n{}\r\n", fields.collect::<String>());
            let total = head.len() + payload.len();
            let size = head.len();
            self.line(format_args!("HPUB {subject} {reply}{space}{size} {total}"));
            self.0.extend_from_slice(head.as_bytes());
        }
        self.0.extend_from_slice(payload);
        self.0.extend_from_slice(CRLF);
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a Vec takes every write");
        self.0.extend_from_slice(CRLF);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MAX_INPUT_BYTES: usize = MAX_LINE_BYTES + MAX_MESSAGE_BYTES + CRLF.len();

    /// All operations in `chunks`, as they print; and whether the end was malformed.
    fn decoded<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut decoder = Decoder::default();
        let mut ops = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk);
            loop {
                match decoder.take() {
                    Ok(Some(op)) => ops.push(format!("{op:?}")),
                    Ok(None) => break,
                    Err(Malformed) => return (ops, true),
                }
            }
            let kept = decoder.bytes.len() - decoder.taken;
            assert!(kept <= MAX_INPUT_BYTES.max(MAX_INFO_BYTES), "{kept}");
        }
        (ops, false)
    }

    fn one(bytes: &[u8]) -> Op<'_> {
        let (op, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        op
    }

    #[test]
    fn a_server_says_each_of_these() {
        assert_eq!(one(b"INFO {\"a\":1} \r\n"), Op::Info(b"{\"a\":1}"));
        assert_eq!(one(b"PING\r\n"), Op::Ping);
        assert_eq!(one(b"pong\n"), Op::Pong);
        assert_eq!(one(b"+OK\r\n"), Op::Ok);
        let words = "Authorization Violation";
        assert_eq!(one(b"-ERR 'Authorization Violation'\r\n"), Op::Err(words));
        let Op::Message(plain) = one(b"MSG a.b 7 5\r\nhi\r\n!\r\n") else {
            panic!("it is a message");
        };
        assert_eq!((plain.subject, plain.reply), ("a.b", None));
        assert_eq!(
            (plain.payload, plain.headers.status()),
            (&b"hi\r\n!"[..], None)
        );
        let text =
            b"HMSG a 7 back.1 62 64\r\nNATS/1.0\r\nNats-Sequence: 7\r\nNats-Sequence: 12\r\nOther: a: b\r\n\r\nhi\r\n";
        let Op::Message(full) = one(text) else {
            panic!("it is a message");
        };
        assert_eq!((full.reply, full.payload), (Some("back.1"), &b"hi"[..]));
        assert_eq!(full.headers.number("nats-sequence"), Some(12));
        assert_eq!(full.headers.get("Other"), Some("a: b"));
        assert_eq!(
            (full.headers.get("None"), full.headers.status()),
            (None, None)
        );
        let Op::Message(nobody) = one(b"HMSG a 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n") else {
            panic!("it is a message");
        };
        assert_eq!(nobody.headers.status(), Some(503));
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = [&b"PING "[..], &[b' '; MAX_LINE_BYTES], b"\r\n"].concat();
        for bytes in [
            &b"HELLO\r\n"[..],
            b"\r\n",
            b"MSG a 1\r\n",
            b"MSG a 1 b c 3\r\nabc\r\n",
            b"MSG a 1 -3\r\nabc\r\n",
            b"MSG a 1 18446744073709551615\r\n",
            b"MSG a 1 99999999999999999999\r\n",
            b"MSG a 1 3\r\nabcd\r\n",
            b"MSG \xff 1 0\r\n\r\n",
            b"HMSG a 1 5 3\r\nabc\r\n",
            b"HMSG a 1 2 2\r\n\xff\xff\r\n",
            b"-ERR \xff\r\n",
            &long,
            &vec![b'x'; MAX_LINE_BYTES + 1],
        ] {
            assert_eq!(parse(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
        let most = format!("MSG a 1 {}\r\n", MAX_MESSAGE_BYTES + 1);
        assert_eq!(parse(most.as_bytes()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn torn_input_is_the_same_input(
            messages in vec(("[a-z.]{1,9}", prop::option::of("[a-z]{1,9}"), vec(any::<u8>(), 0..90), any::<bool>()), 0..9),
            cuts in vec(1_usize..40, 1..20),
        ) {
            let mut sent = b"INFO {}\r\nPING\r\n".to_vec();
            for (subject, reply, payload, has_headers) in &messages {
                // What we publish comes back with the number of a subscription.
                let mut published = Vec::new();
                let headers = [("Nats-Msg-Id", "1:2".to_owned())];
                let headers = if *has_headers { &headers[..] } else { &[] };
                Writer(&mut published).publish(subject, reply.as_deref(), headers, payload);
                let name = if *has_headers { "HPUB" } else { "PUB" };
                let rest = published.strip_prefix(name.as_bytes()).unwrap();
                let rest = rest[1..].strip_prefix(subject.as_bytes()).unwrap();
                sent.extend(if *has_headers { &b"HMSG "[..] } else { b"MSG " });
                sent.extend(subject.as_bytes());
                sent.extend(b" 3");
                sent.extend(rest);
            }
            let whole = decoded([&sent[..]]);
            prop_assert_eq!(whole.0.len(), messages.len() + 2);
            let mut chunks = Vec::new();
            let (mut left, mut cuts) = (&sent[..], cuts.iter().cycle());
            while !left.is_empty() {
                let (chunk, after) = left.split_at(left.len().min(*cuts.next().unwrap()));
                chunks.push(chunk);
                left = after;
            }
            prop_assert_eq!(decoded(chunks), whole);
        }

        #[test]
        fn no_input_is_too_much(
            chunks in vec(prop_oneof![
                vec(any::<u8>(), 0..60),
                "(MSG|HMSG|INFO|PING|\\+OK|-ERR|msg)[ \t]?([a-z0-9]{1,3} ){0,5}[0-9]{0,20}(\r\n)?[a-z]{0,5}(\r\n)?"
                    .prop_map(String::into_bytes),
                Just(vec![b'x'; 3000]),
            ], 0..30),
        ) {
            decoded(chunks.iter().map(Vec::as_slice));
        }
    }
}
