//! WebSocket (RFC 6455), the client's side, for the harness alone.
//!
//! The server has [`crate::protocol::websocket`] for its side, and it must not judge itself. This
//! reader is strict: it takes what a chat room promises to send, and nothing else that the RFC
//! would allow.

use std::io;

use super::protocol::safe_words;

/// What asks a server for WebSocket. Some servers answer only to names that they know: to
/// `localhost` they do.
pub(crate) const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\n\
    Host: localhost\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to that key (section 1.3).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What to do where another port was given.
pub(crate) const WEB_PORT_NEEDED: &str = "--wire websocket needs the server's web port";

const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

const MAX_HEAD_BYTES: usize = 4 * 1024;

/// The largest payload of a frame that a chat room sends.
const MAX_FRAME_BYTES: usize = 16 * 1024;

/// The most bytes of a close frame's payload (section 5.5).
const MAX_CLOSE_BYTES: usize = 125;

const LAST_BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// The first byte of a frame's second one, from the client: masked.
const MASKED: u8 = 0x80;

/// Multiplies to numbers that have bits everywhere (Knuth, volume 3, section 6.4).
const GOLDEN: u32 = 0x9e37_79b1;

/// One client's framing.
#[derive(Debug)]
pub(crate) struct WebSocket {
    stage: Stage,
    /// How many frames were sent: their masks are made of it.
    sent: u32,
}

#[derive(Debug)]
enum Stage {
    /// What has come so far of the answer's head.
    Head(Vec<u8>),
    /// What has come so far of a frame's header.
    Header([u8; 4], usize),
    /// So much of a frame's payload is missing.
    Payload { left_bytes: usize, is_close: bool },
    /// A close frame came: there is nothing after it.
    Closed,
}

impl WebSocket {
    /// [`REQUEST`] is to be sent.
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Head(Vec::new()),
            sent: 0,
        }
    }

    /// Whether the server has accepted.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Head(_))
    }

    /// Takes the next `bytes` of the connection, and moves the data in them to their front.
    /// Returns how much that is.
    ///
    /// # Errors
    ///
    /// When the server does not speak WebSocket as a chat room does.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut at, mut data_bytes) = (0, 0);
        while at < bytes.len() {
            match &mut self.stage {
                Stage::Head(head) => {
                    head.push(bytes[at]);
                    at += 1;
                    if is_accepted(head)? {
                        self.stage = Stage::Header([0; 4], 0);
                    }
                }
                Stage::Header(header, count) => {
                    header[*count] = bytes[at];
                    *count += 1;
                    at += 1;
                    if let Some(payload_bytes) = payload_bytes(&header[..*count])? {
                        self.stage = Stage::Payload {
                            left_bytes: payload_bytes,
                            is_close: header[0] == CLOSE,
                        };
                    }
                }
                Stage::Payload {
                    left_bytes,
                    is_close,
                } => {
                    let count = (*left_bytes).min(bytes.len() - at);
                    if !*is_close {
                        bytes.copy_within(at..at + count, data_bytes);
                        data_bytes += count;
                    }
                    at += count;
                    *left_bytes -= count;
                    if *left_bytes == 0 {
                        self.stage = if *is_close {
                            Stage::Closed
                        } else {
                            Stage::Header([0; 4], 0)
                        };
                    }
                }
                Stage::Closed => return Err(io::Error::other("data after a close frame")),
            }
        }
        Ok(data_bytes)
    }

    /// A frame that carries `data`, masked as a client's must be.
    pub(crate) fn frame(&mut self, data: &[u8]) -> Vec<u8> {
        self.sent = self.sent.wrapping_add(1);
        let mask = self.sent.wrapping_mul(GOLDEN).to_be_bytes();
        let mut frame = vec![LAST_BINARY];
        match data.len() {
            len @ 0..126 => frame.push(MASKED | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(MASKED | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(MASKED | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        let masked = data.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        frame
    }
}

/// Whether `head` is whole, and accepts.
fn is_accepted(head: &[u8]) -> io::Result<bool> {
    let known_bytes = head.len().min(SWITCHING.len());
    let is_whole = head.ends_with(b"\r\n\r\n");
    let is_refusal = head[..known_bytes] != SWITCHING[..known_bytes];
    if is_refusal && (head.ends_with(b"\n") || head.len() > MAX_HEAD_BYTES) {
        let mut words = format!("no WebSocket here: the answer is \"{}\"", safe_words(head));
        if !head.starts_with(b"HTTP/") {
            words += "; ";
            words += WEB_PORT_NEEDED;
        }
        return Err(io::Error::other(words));
    }
    let accepts = || {
        head.split(|&byte| b"\r\n ".contains(&byte))
            .any(|word| word == ACCEPT.as_bytes())
    };
    if head.len() > MAX_HEAD_BYTES || is_whole && !is_refusal && !accepts() {
        return Err(io::Error::other(
            "the answer to WebSocket's handshake is wrong",
        ));
    }
    Ok(is_whole)
}

/// How long the payload is of the frame with this `header`. `None` if that is not complete.
fn payload_bytes(header: &[u8]) -> io::Result<Option<usize>> {
    let wrong = |what: &str| {
        Err(io::Error::other(format!(
            "a wrong WebSocket frame: {what}, {header:02x?}"
        )))
    };
    let most_bytes = match header[0] {
        LAST_BINARY => MAX_FRAME_BYTES,
        CLOSE => MAX_CLOSE_BYTES,
        _ => return wrong("not binary and whole"),
    };
    let payload_bytes = match header[1..] {
        [] | [126] | [126, _] => return Ok(None),
        [len @ 0..126] => usize::from(len),
        [126, high, low] => usize::from(u16::from_be_bytes([high, low])),
        [..] => return wrong("masked, or too long"),
    };
    if payload_bytes > most_bytes {
        return wrong("too long");
    }
    if header.len() == 4 && payload_bytes < 126 {
        return wrong("a long header for a short payload");
    }
    if payload_bytes == 0 && header[0] == LAST_BINARY {
        return wrong("empty");
    }
    Ok(Some(payload_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// The data in `bytes`, which come in chunks, or the words of an error.
    fn receive(bytes: &[u8], chunk_bytes: usize) -> Result<Vec<u8>, String> {
        let mut socket = WebSocket::new();
        let mut data = Vec::new();
        for chunk in bytes.chunks(chunk_bytes) {
            let mut chunk = chunk.to_vec();
            let count = socket.receive(&mut chunk).map_err(|e| e.to_string())?;
            data.extend_from_slice(&chunk[..count]);
        }
        Ok(data)
    }

    fn opened(frames: &[&[u8]]) -> Vec<u8> {
        [&[HEAD.as_bytes()], frames].concat().concat()
    }

    #[test]
    fn data_is_the_same_however_the_bytes_arrive() {
        let long = [b'x'; MAX_FRAME_BYTES];
        let bytes = opened(&[
            b"\x82\x04one\n",
            b"\x82\x7e\x00\x7e",
            &long[..126],
            b"\x82\x7e\x40\x00",
            &long,
            b"\x88\x02\x03\xe8",
        ]);
        let expected = [b"one\n", &long[..126], &long].concat();
        for chunk_bytes in [1, 2, 3, 100, 101, 102, 103, 104, 105, 106, bytes.len()] {
            assert_eq!(receive(&bytes, chunk_bytes).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn what_a_room_does_not_send_is_an_error() {
        for (frame, words) in [
            (&b"\x02\x01x"[..], "not binary and whole"),
            (b"\x81\x01x", "not binary and whole"),
            (b"\x89\x00", "not binary and whole"),
            (b"\x82\x81\0\0\0\0x", "masked"),
            (b"\x82\x7f\0\0\0\0\0\x01\0\0", "too long"),
            (b"\x82\x7e\x40\x01", "too long"),
            (b"\x88\x7e\x00\x7e", "too long"),
            (b"\x82\x7e\x00\x7d", "short payload"),
            (b"\x82\x00", "empty"),
            (b"\x88\x02\x03\xe8\x82\x01x", "after a close frame"),
        ] {
            for chunk_bytes in [1, 1000] {
                let error = receive(&opened(&[frame]), chunk_bytes).expect_err("wrong");
                assert!(error.contains(words), "{error}");
            }
        }
    }

    #[test]
    fn a_server_that_does_not_accept_is_told_of() {
        for (head, words) in [
            (
                "Welcome to this chatroom!\n",
                "\"Welcome to this chatroom!\"",
            ),
            ("HTTP/1.1 403 Forbidden\r\n", "\"HTTP/1.1 403 Forbidden"),
            (&HEAD.replace("s3p", "S3p"), "handshake is wrong"),
            (&"x".repeat(MAX_HEAD_BYTES + 1), "no WebSocket here"),
        ] {
            let error = receive(head.as_bytes(), 1).expect_err("wrong");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_sent_is_masked_each_time_otherwise() {
        let mut socket = WebSocket::new();
        let mut masks = Vec::new();
        for (len, header) in [
            (5, &[0x82, 0x85][..]),
            (126, &[0x82, 0xfe, 0, 126]),
            (0x1_0000, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let data = vec![b'a'; len];
            let frame = socket.frame(&data);
            let (mask, payload) = frame.strip_prefix(header).unwrap().split_at(4);
            assert!((0..len).all(|at| payload[at] ^ mask[at % 4] == b'a'));
            masks.push(mask.to_vec());
        }
        masks.dedup();
        assert_eq!(masks.len(), 3);
    }
}
