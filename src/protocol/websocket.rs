//! WebSocket (RFC 6455), the server's side, as a framing of a stream of bytes: frames in, bytes
//! out, and headers in front of what is sent. No I/O.
//!
//! A client's frames carry the same bytes that it would send without them; where one ends says
//! nothing. [`Receiver`] unmasks them in place. What is sent is binary frames, which are not
//! masked: [`Sender`] says which bytes go between those of the stream, so that these are sent
//! from where they are. No extension is offered, and so none is used: a compressor would have a
//! state for each reader.

#[cfg(feature = "web")]
use sha1_smol::Sha1;

#[cfg(feature = "web")]
use super::base64;

/// The largest payload of a frame that is sent: what a browser has to gather before its page
/// gets any of it.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;

/// The most bytes of a control frame's payload (section 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// The peer breaks the rules of the framing (section 7.4.1).
pub const PROTOCOL_ERROR: u16 = 1002;

/// The peer's text is not UTF-8.
const NOT_UTF_8: u16 = 1007;

#[cfg(feature = "web")]
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The longest header of a frame that is sent.
const MAX_HEADER_BYTES: usize = 4;

/// Frames in one write: some more than make up for the system call.
const MAX_SPANS: usize = 20;

/// The value of `Sec-WebSocket-Accept` for a key. `None` if that is no key: base64 of 16 bytes.
#[cfg(feature = "web")]
pub fn accept(key: &str) -> Option<String> {
    let digits = key.strip_suffix("==")?.as_bytes();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    if digits.len() != 22 || !digits.iter().all(is_digit) {
        return None;
    }
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    Some(base64::encode(&hash.digest().bytes()))
}

/// Appends the frames that carry `stream`, as an idle [`Sender`] has them.
pub fn push_framed(framed: &mut Vec<u8>, stream: &[u8]) {
    for payload in stream.chunks(MAX_FRAME_BYTES) {
        // At most 16 KiB.
        framed.extend_from_slice(Span::frame(payload.len() as u16, None).header());
        framed.extend_from_slice(payload);
    }
}

/// How a peer's frames end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a close frame, with this code if it has one: it is to be answered alike.
    Closed(Option<u16>),
    /// By a fault: the peer is to be told this code.
    Failed(u16),
}

/// What a frame carries (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A few bytes that are there now and then: a pointer where they are not.
type Rare = Option<Box<Vec<u8>>>;

/// A client's frames, wherever the stream is cut.
#[derive(Debug, Default)]
pub struct Receiver {
    /// What has come of a frame's header, while its payload has not begun.
    header: [u8; 14],
    header_bytes: u8,
    /// The frame whose payload is being received. Invariant: at least one byte is missing.
    frame: Option<Frame>,
    /// A message that goes on in the next data frame. `Some(true)` if it is text.
    is_text: Option<bool>,
    utf8: Utf8,
    /// What has come of a control frame's payload.
    control: Rare,
    /// The payload of the latest ping that was not answered yet.
    ping: Rare,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    left_bytes: u64,
    /// Turned so that it begins with the byte for the next one of the payload.
    mask: [u8; 4],
    opcode: Opcode,
    is_last: bool,
}

impl Receiver {
    /// How the frames have ended, once they have: what comes after that is no input.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// The payload of a ping that is to be answered: the latest one, if there were several.
    pub fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take().map(|payload| *payload)
    }

    /// Takes the next `bytes` of the stream, and moves the payload that is data to their front.
    /// Returns how long that is.
    pub fn receive(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut data_bytes) = (0, 0);
        while at < bytes.len() && self.ended.is_none() {
            let Some(frame) = &mut self.frame else {
                self.header[usize::from(self.header_bytes)] = bytes[at];
                self.header_bytes += 1;
                at += 1;
                match self.begin_frame() {
                    Ok(()) => {}
                    Err(code) => self.ended = Some(Ended::Failed(code)),
                }
                continue;
            };
            let left_bytes = usize::try_from(frame.left_bytes).unwrap_or(usize::MAX);
            let count = left_bytes.min(bytes.len() - at);
            let payload = at..at + count;
            unmask(&mut bytes[payload.clone()], &mut frame.mask);
            frame.left_bytes -= count as u64;
            if frame.opcode.is_control() {
                let control = self.control.get_or_insert_default();
                control.extend_from_slice(&bytes[payload]);
            } else {
                if self.is_text == Some(true) && !self.utf8.goes_on(&bytes[payload.clone()]) {
                    self.ended = Some(Ended::Failed(NOT_UTF_8));
                    break;
                }
                bytes.copy_within(payload, data_bytes);
                data_bytes += count;
            }
            at += count;
            if frame.left_bytes == 0 {
                self.end_frame();
            }
        }
        data_bytes
    }

    /// Begins a frame, if its header is complete. What is wrong with it is known as early as
    /// can be.
    fn begin_frame(&mut self) -> Result<(), u16> {
        let header = &self.header[..usize::from(self.header_bytes)];
        let is_last = header[0] & 0x80 != 0;
        let opcode = match header[0] & 0x7f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            // Reserved, or an extension's bit.
            _ => return Err(PROTOCOL_ERROR),
        };
        let goes_on = opcode == Opcode::Continuation;
        let is_in_order = if opcode.is_control() {
            is_last
        } else {
            goes_on == self.is_text.is_some()
        };
        if !is_in_order {
            return Err(PROTOCOL_ERROR);
        }
        let Some(&second) = header.get(1) else {
            return Ok(());
        };
        let short_len = u64::from(second & 0x7f);
        if second & 0x80 == 0 || opcode.is_control() && short_len > MAX_CONTROL_BYTES {
            return Err(PROTOCOL_ERROR);
        }
        let len_bytes = match short_len {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        let Some((len, mask)) = header[2..].split_at_checked(len_bytes) else {
            return Ok(());
        };
        let Ok(mask) = <[u8; 4]>::try_from(mask) else {
            return Ok(());
        };
        let long_len = len.iter().fold(0, |len, &byte| len << 8 | u64::from(byte));
        let (len, least) = match len_bytes {
            0 => (short_len, 0),
            2 => (long_len, 126),
            _ => (long_len, 1 << 16),
        };
        if len < least || len >= 1 << 63 {
            return Err(PROTOCOL_ERROR);
        }
        self.header_bytes = 0;
        if matches!(opcode, Opcode::Text | Opcode::Binary) {
            self.is_text = Some(opcode == Opcode::Text);
        }
        self.frame = Some(Frame {
            left_bytes: len,
            mask,
            opcode,
            is_last,
        });
        if len == 0 {
            self.end_frame();
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        let Some(frame) = self.frame.take() else {
            return;
        };
        match frame.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.is_last => {
                if self.is_text.take() == Some(true) && !self.utf8.may_end() {
                    self.ended = Some(Ended::Failed(NOT_UTF_8));
                }
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
            Opcode::Ping => self.ping = Some(self.control.take().unwrap_or_default()),
            // Nobody asked for one.
            Opcode::Pong => self.control = None,
            Opcode::Close => {
                let payload = self.control.take().unwrap_or_default();
                self.ended = Some(closed(&payload));
            }
        }
    }
}

/// What a close frame with this payload says.
fn closed(payload: &[u8]) -> Ended {
    let Some((code, reason)) = payload.split_at_checked(2) else {
        return if payload.is_empty() {
            Ended::Closed(None)
        } else {
            Ended::Failed(PROTOCOL_ERROR)
        };
    };
    let code = u16::from_be_bytes([code[0], code[1]]);
    // Those that may be sent: section 7.4, and IANA's registry.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        Ended::Failed(PROTOCOL_ERROR)
    } else if str::from_utf8(reason).is_err() {
        Ended::Failed(NOT_UTF_8)
    } else {
        Ended::Closed(Some(code))
    }
}

/// Takes `mask` off `payload`, and turns it by as many bytes.
fn unmask(payload: &mut [u8], mask: &mut [u8; 4]) {
    let twice = u64::from(u32::from_ne_bytes(*mask)) * 0x1_0000_0001;
    let (groups, rest) = payload.as_chunks_mut::<8>();
    for group in groups {
        *group = (u64::from_ne_bytes(*group) ^ twice).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
}

/// Whether text that comes in pieces is UTF-8.
#[derive(Debug, Default)]
struct Utf8 {
    /// A character that is not complete.
    begun: [u8; 4],
    begun_bytes: u8,
}

impl Utf8 {
    /// Whether `piece` can be what comes next.
    fn goes_on(&mut self, mut piece: &[u8]) -> bool {
        while self.begun_bytes > 0
            && let [next, rest @ ..] = piece
        {
            let bytes = usize::from(self.begun_bytes);
            self.begun[bytes] = *next;
            piece = rest;
            match str::from_utf8(&self.begun[..=bytes]) {
                Ok(_) => self.begun_bytes = 0,
                Err(e) if e.error_len().is_some() => return false,
                Err(_) => self.begun_bytes += 1,
            }
        }
        match str::from_utf8(piece) {
            Ok(_) => true,
            Err(e) if e.error_len().is_some() => false,
            Err(e) => {
                let begun = &piece[e.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.begun_bytes = begun.len() as u8;
                true
            }
        }
    }

    /// Whether the text may end here.
    fn may_end(&self) -> bool {
        self.begun_bytes == 0
    }
}

/// What goes between the bytes of a stream that is sent as frames.
#[derive(Debug, Default)]
pub struct Sender {
    /// Goes out before the next frame begins: the answer to the handshake, or a control frame.
    between: Rare,
    /// How much of that was sent. Invariant: nothing, while a frame has begun.
    between_sent: u16,
    /// The latest pong, as a frame, that is still to go out.
    pong: Rare,
    /// A close frame is to be the last one.
    close: Option<Option<u16>>,
    has_closed: bool,
    /// Of the frame that has begun, what is missing of its payload. Invariant: 0 if none has.
    frame_left: u16,
    /// And of its header. Invariant: 0 if some of its payload was sent.
    header_left: u8,
}

/// What is sent next: pieces of framing, each followed by as much of the stream.
#[derive(Debug)]
pub struct Plan {
    spans: [Span; MAX_SPANS],
    count: usize,
}

/// A piece of framing, and what follows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// What is not sent yet of a header.
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: u8,
    /// It is what goes between frames, and not a frame.
    is_between: bool,
    payload_bytes: u16,
}

impl Plan {
    /// The pieces, in order.
    pub fn spans(&self) -> &[Span] {
        &self.spans[..self.count]
    }

    fn push(&mut self, span: Span) {
        self.spans[self.count] = span;
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        // The close frame is one more.
        self.count >= MAX_SPANS - 1
    }
}

impl Span {
    /// The last `header_left` bytes of the header of a frame of `payload_bytes`.
    fn frame(payload_bytes: u16, header_left: Option<u8>) -> Self {
        let [high, low] = payload_bytes.to_be_bytes();
        let (header, bytes) = if payload_bytes < 126 {
            ([0, 0, 0x82, low], 2)
        } else {
            ([0x82, 126, high, low], 4)
        };
        let header_bytes = header_left.unwrap_or(bytes);
        Self {
            header,
            header_bytes,
            is_between: false,
            payload_bytes,
        }
    }

    /// The bytes that go before the payload.
    pub fn head<'a>(&'a self, sender: &'a Sender) -> &'a [u8] {
        if self.is_between {
            sender.between_left()
        } else {
            self.header()
        }
    }

    fn header(&self) -> &[u8] {
        &self.header[MAX_HEADER_BYTES - usize::from(self.header_bytes)..]
    }

    /// How many bytes of the stream follow.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes.into()
    }
}

impl Sender {
    /// Nothing sent yet: the handshake's `answer` goes first.
    pub fn new(answer: &[u8]) -> Self {
        Self {
            between: Some(Box::new(answer.to_vec())),
            ..Self::default()
        }
    }

    /// Answers a ping with this `payload`, once the frame that was begun is complete. An answer
    /// that has not begun is not given any more.
    pub fn pong(&mut self, payload: &[u8]) {
        self.pong = control_frame(0x8a, payload);
    }

    /// A close frame with this code goes out after everything else.
    pub fn close(&mut self, code: Option<u16>) {
        if !self.has_closed {
            self.close = Some(code);
        }
    }

    /// Whether nothing waits but the bytes of the stream.
    pub fn is_idle(&self) -> bool {
        self.between.is_none() && self.pong.is_none() && self.close.is_none()
    }

    /// How many bytes of the stream the frame that was begun is still to carry.
    pub fn owed_bytes(&self) -> usize {
        self.frame_left.into()
    }

    /// What to send, where `stream_bytes` of the stream wait.
    pub fn plan(&mut self, stream_bytes: usize) -> Plan {
        let mut plan = Plan {
            spans: [Span::default(); MAX_SPANS],
            count: 0,
        };
        let mut left_bytes = stream_bytes;
        if self.frame_left > 0 {
            plan.push(Span::frame(self.frame_left, Some(self.header_left)));
            debug_assert!(
                self.owed_bytes() <= left_bytes,
                "what was promised is there"
            );
            left_bytes = left_bytes.saturating_sub(self.owed_bytes());
        }
        let between = Span {
            is_between: true,
            ..Span::default()
        };
        if self.between.is_none() {
            self.between = self.pong.take();
        }
        let is_between_used = self.between.is_some();
        if is_between_used {
            plan.push(between);
        }
        while left_bytes > 0 && !plan.is_full() {
            // At most 16 KiB.
            let payload_bytes = left_bytes.min(MAX_FRAME_BYTES) as u16;
            plan.push(Span::frame(payload_bytes, None));
            left_bytes -= usize::from(payload_bytes);
        }
        // Only now is it certain that nothing goes out after it.
        if stream_bytes == 0
            && !is_between_used
            && let Some(code) = self.close.take()
        {
            let code = code.map(u16::to_be_bytes);
            self.between = control_frame(0x88, code.as_ref().map_or(&[], |code| code));
            self.has_closed = true;
            plan.push(between);
        }
        plan
    }

    fn between_left(&self) -> &[u8] {
        let between = self.between.as_deref().map_or(&[][..], Vec::as_slice);
        &between[usize::from(self.between_sent)..]
    }

    /// `bytes` of what was planned have been sent. Returns how many of them were the stream's.
    pub fn sent(&mut self, plan: &Plan, mut bytes: usize) -> usize {
        let mut take = |most: usize| {
            let taken = bytes.min(most);
            bytes -= taken;
            taken
        };
        let mut stream_bytes = 0;
        for span in plan.spans() {
            if span.is_between {
                // It is short.
                self.between_sent += take(self.between_left().len()) as u16;
                if !self.between_left().is_empty() {
                    break;
                }
                (self.between, self.between_sent) = (None, 0);
                continue;
            }
            let header_taken = take(span.header_bytes.into());
            let payload_taken = take(span.payload_bytes());
            stream_bytes += payload_taken;
            let has_begun = self.frame_left > 0 || header_taken > 0;
            // No more than there were.
            let payload_left = span.payload_bytes - payload_taken as u16;
            if has_begun {
                self.frame_left = payload_left;
                self.header_left = span.header_bytes - header_taken as u8;
            }
            if payload_left > 0 {
                break;
            }
        }
        stream_bytes
    }

    /// While idle, `bytes` have been sent of the [framed](push_framed) next `stream_bytes` of the stream.
    /// Returns how many of them were the stream's.
    pub fn sent_framed(&mut self, stream_bytes: usize, mut bytes: usize) -> usize {
        let mut sent_bytes = 0;
        while bytes > 0 {
            debug_assert!(self.is_idle() && self.frame_left == 0);
            let payload_bytes = (stream_bytes - sent_bytes).min(MAX_FRAME_BYTES);
            let plan = self.plan(payload_bytes);
            let frame_bytes = payload_bytes + plan.spans[0].header().len();
            let taken = bytes.min(frame_bytes);
            sent_bytes += self.sent(&plan, taken);
            bytes -= taken;
        }
        sent_bytes
    }
}

fn control_frame(first: u8, payload: &[u8]) -> Rare {
    // At most 125 bytes.
    Some(Box::new([&[first, payload.len() as u8], payload].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A client's frame, written independently of what reads it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    /// What comes out of `bytes`, received in pieces that end at `cuts`.
    fn receive(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Receiver) {
        let mut receiver = Receiver::default();
        let mut data = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            let mut piece = bytes[from..to].to_vec();
            let count = receiver.receive(&mut piece);
            data.extend_from_slice(&piece[..count]);
            from = to;
        }
        (data, receiver)
    }

    #[track_caller]
    fn expect_end(bytes: &[u8], ended: Ended) {
        for cut in 0..=bytes.len() {
            assert_eq!(receive(bytes, &[cut]).1.ended(), Some(ended));
        }
        let all: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(receive(bytes, &all).1.ended(), Some(ended));
    }

    #[cfg(feature = "web")]
    #[test]
    fn a_key_is_answered_as_the_rfc_has_it() {
        let answer = accept("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(answer.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for wrong in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZ!==",
            "dGhl==",
        ] {
            assert_eq!(accept(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_idle_framing_is_small() {
        assert!(size_of::<(Receiver, Sender)>() <= 104);
    }

    #[test]
    fn frames_carry_a_stream_wherever_it_is_cut() {
        let large = "ö".repeat(40_000);
        let stream = [
            frame(0x82, b"one\ntw"),
            frame(0x01, "o\nthr\u{20ac}".as_bytes()),
            frame(0x89, b"are you there?"),
            frame(0x00, b""),
            frame(0x80, b"ee\n"),
            frame(0x8a, b"yes"),
            frame(0x89, b"still?"),
            frame(0x81, large.as_bytes()),
        ]
        .concat();
        let expected = format!("one\ntwo\nthr\u{20ac}ee\n{large}");
        for cut in 0..200 {
            let (data, mut receiver) = receive(&stream, &[cut]);
            assert_eq!(data, expected.as_bytes());
            assert_eq!(receiver.ended(), None);
            assert_eq!(receiver.take_ping().as_deref(), Some(&b"still?"[..]));
            assert_eq!(receiver.take_ping(), None);
        }
        let all: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(receive(&stream, &all).0, expected.as_bytes());
    }

    #[test]
    fn what_breaks_the_rules_ends_with_a_code() {
        let unmasked = vec![0x82, 1, b'x'];
        let long_for_short = [&[0x82, 0xfe, 0, 5][..], &MASK].concat();
        let longer_for_long = [&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &MASK].concat();
        let endless = [&[0x82, 0xff, 0x80][..], &[0; 7], &MASK].concat();
        let long_ping = [&[0x89, 0xfe, 0, 126][..], &MASK].concat();
        for bytes in [
            unmasked,
            long_for_short,
            longer_for_long,
            endless,
            long_ping,
            frame(0xc2, b"an extension"),
            frame(0x83, b"reserved"),
            frame(0x8b, b"reserved"),
            frame(0x09, b"in pieces"),
            frame(0x80, b"goes on with nothing"),
            [frame(0x02, b"one"), frame(0x82, b"two")].concat(),
            frame(0x88, b"x"),
            frame(0x88, &999_u16.to_be_bytes()),
            frame(0x88, &1005_u16.to_be_bytes()),
            frame(0x88, &1006_u16.to_be_bytes()),
            frame(0x88, &2000_u16.to_be_bytes()),
            frame(0x88, &5000_u16.to_be_bytes()),
        ] {
            expect_end(&bytes, Ended::Failed(PROTOCOL_ERROR));
        }
        for bytes in [
            frame(0x81, b"\xff"),
            frame(0x81, b"\xe2\x82"),
            [frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat(),
            frame(0x01, b"\xf4\x90"),
            frame(0x88, b"\x03\xe8\xff"),
        ] {
            expect_end(&bytes, Ended::Failed(NOT_UTF_8));
        }
    }

    #[test]
    fn nothing_is_heard_after_a_close_frame() {
        expect_end(&frame(0x88, b""), Ended::Closed(None));
        expect_end(&frame(0x88, b"\x03\xe9bye"), Ended::Closed(Some(1001)));
        let bytes = [
            frame(0x82, b"before"),
            frame(0x88, b"\x03\xe8"),
            frame(0x82, b"after"),
        ]
        .concat();
        let (data, receiver) = receive(&bytes, &[]);
        assert_eq!(data, b"before");
        assert_eq!(receiver.ended(), Some(Ended::Closed(Some(1000))));
    }

    /// A client's reader of a server's frames, by the RFC: returns the payloads of frames, with
    /// their first bytes. Panics if the last one is torn.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            let (len, rest) = match second {
                126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
                127 => panic!("frames are at most 16 KiB"),
                &len => (usize::from(len), rest),
            };
            frames.push((*first, rest[..len].to_vec()));
            bytes = &rest[len..];
        }
        assert_eq!(bytes, b"");
        frames
    }

    #[test]
    fn what_was_framed_before_goes_on_wherever_it_was_cut() {
        for len in [
            1,
            125,
            126,
            MAX_FRAME_BYTES,
            MAX_FRAME_BYTES + 1,
            3 * MAX_FRAME_BYTES + 200,
        ] {
            let stream: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut framed = Vec::new();
            push_framed(&mut framed, &stream);
            let frame_bytes = MAX_FRAME_BYTES + MAX_HEADER_BYTES;
            let near_ends = (0..framed.len()).filter(|at| (at + 10) % frame_bytes < 20);
            for cut in near_ends.chain([framed.len()]) {
                let mut sender = Sender::default();
                let taken = sender.sent_framed(len, cut);
                sender.pong(b"between");
                let mut wire = framed[..cut].to_vec();
                let rest = &stream[taken..];
                let plan = sender.plan(rest.len());
                let mut at = 0;
                for span in plan.spans() {
                    wire.extend_from_slice(span.head(&sender));
                    wire.extend_from_slice(&rest[at..at + span.payload_bytes()]);
                    at += span.payload_bytes();
                }
                let frames = frames(&wire);
                let data = frames.iter().filter(|(first, _)| *first == 0x82);
                let data: Vec<u8> = data.flat_map(|(_, payload)| payload.clone()).collect();
                assert!(data == stream, "{len} cut at {cut}");
                assert_eq!(frames.len(), len.div_ceil(MAX_FRAME_BYTES) + 1);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_received_alike_however_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            cut in 0_usize..60,
        ) {
            let (whole, one) = receive(&bytes, &[]);
            let (cut, other) = receive(&bytes, &[cut.min(bytes.len())]);
            prop_assert_eq!(one.ended(), other.ended());
            // Text that is not UTF-8 is noticed within a piece.
            if one.ended() != Some(Ended::Failed(NOT_UTF_8)) {
                prop_assert_eq!(whole, cut);
            }
        }

        #[test]
        fn what_is_sent_reads_back_as_the_stream_whatever_is_taken_at_once(
            // How much is said before each write, and how much that takes.
            steps in prop::collection::vec((0_usize..40_000, 0_usize..50_000, 0_u8..8), 1..20),
        ) {
            let mut sender = Sender::new(b"HTTP/1.1 101\r\n\r\n");
            let mut stream: Vec<u8> = Vec::new();
            let mut taken_bytes = 0;
            let mut wire = Vec::new();
            let mut pings = 0;
            let mut steps = steps.into_iter();
            loop {
                let (said, taken, choice) = steps.next().unwrap_or_else(|| {
                    sender.close(Some(1000));
                    (0, 3000, 7)
                });
                stream.extend((0..said).map(|at| (at % 251) as u8));
                if choice == 0 {
                    sender.pong(&[pings]);
                    pings += 1;
                }
                let waiting = &stream[taken_bytes..];
                let plan = sender.plan(waiting.len());
                if plan.spans().is_empty() && steps.len() == 0 {
                    break;
                }
                let mut offered = Vec::new();
                let mut payload = waiting;
                for span in plan.spans() {
                    offered.extend_from_slice(span.head(&sender));
                    let (these, rest) = payload.split_at(span.payload_bytes());
                    offered.extend_from_slice(these);
                    payload = rest;
                }
                let taken = taken.min(offered.len());
                wire.extend_from_slice(&offered[..taken]);
                taken_bytes += sender.sent(&plan, taken);
                prop_assert!(sender.owed_bytes() <= stream.len() - taken_bytes);
            }
            prop_assert!(sender.is_idle());
            let answer = wire.strip_prefix(b"HTTP/1.1 101\r\n\r\n").unwrap();
            let frames = frames(answer);
            let data: Vec<u8> = frames.iter()
                .filter(|(first, _)| *first == 0x82)
                .flat_map(|(_, payload)| payload.clone())
                .collect();
            prop_assert_eq!(data, stream);
            prop_assert!(frames.iter().all(|(_, payload)| payload.len() <= MAX_FRAME_BYTES));
            // The latest ping was answered, and each at most once.
            let pongs: Vec<u8> = frames.iter()
                .filter(|(first, _)| *first == 0x8a)
                .map(|(_, payload)| payload[0])
                .collect();
            prop_assert!(pongs.is_sorted_by(|one, next| one < next));
            prop_assert_eq!(pongs.last().copied(), pings.checked_sub(1));
            prop_assert_eq!(frames.last(), Some(&(0x88, vec![0x03, 0xe8])));
        }
    }
}
