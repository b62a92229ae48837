//! Echoes messages by WebSocket, for test suites that want an echo:
//! `cargo run --example websocket_echo -- 127.0.0.1:9001`. `.ci/long autobahn` runs one.
//!
//! What is tested is [`Receiver`] and [`Sender`]. These carry a stream, in which no message ends;
//! an echo has to know where. So it follows the frames' headers itself, and trusts the receiver
//! for whether these are right.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;

use chat::protocol::http::{self, Upgrade};
use chat::protocol::websocket::{Ended, Receiver, Sender, accept};

const ADDRESS: &str = "127.0.0.1:9001";

const READ_BYTES: usize = 64 * 1024;

const MASK_BYTES: usize = 4;

const LAST: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or(ADDRESS))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        // A peer that breaks its connection off is part of the tests.
        if let Err(e) = stream.and_then(serve) {
            eprintln!("{e}");
        }
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut request = Vec::new();
    let (answer, mut early) = loop {
        let count = read(&mut stream, &mut buffer)?;
        request.extend_from_slice(&buffer[..count]);
        let parsed = http::parse(&request).map_err(|fault| io::Error::other(fault.words))?;
        let Some((head, head_bytes)) = parsed else {
            continue;
        };
        let accepted = match head.upgrade {
            Upgrade::WebSocket(key) => accept(key),
            _ => None,
        };
        let accepted = accepted.ok_or_else(|| io::Error::other("not asked for WebSocket"))?;
        break (http::switching(&accepted), request[head_bytes..].to_vec());
    };
    let mut echo = Echo {
        stream,
        receiver: Receiver::default(),
        sender: Sender::new(&answer),
        frame: Frame::default(),
        message: Vec::new(),
        opcode: BINARY,
    };
    echo.send(&[])?;
    let mut goes_on = echo.hear(&mut early)?;
    while goes_on.is_continue() {
        let count = read(&mut echo.stream, &mut buffer)?;
        goes_on = echo.hear(&mut buffer[..count])?;
    }
    echo.stream.shutdown(Shutdown::Write)
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

struct Echo {
    stream: TcpStream,
    receiver: Receiver,
    sender: Sender,
    frame: Frame,
    /// What has come of a message.
    message: Vec<u8>,
    /// Whether that is text or binary.
    opcode: u8,
}

/// Where the frame is that is being received.
#[derive(Default)]
struct Frame {
    /// What has come of its header.
    header: Vec<u8>,
    /// What is missing of its payload.
    left_bytes: u64,
}

impl Frame {
    /// Takes one more byte of the header, and says whether that is complete now.
    fn takes(&mut self, byte: u8) -> bool {
        self.header.push(byte);
        let Some(&second) = self.header.get(1) else {
            return false;
        };
        let (short_len, long_len_bytes) = match second & 0x7f {
            126 => (0, 2),
            127 => (0, 8),
            len => (len.into(), 0),
        };
        let is_complete = self.header.len() == 2 + long_len_bytes + MASK_BYTES;
        if is_complete {
            let long_len = &self.header[2..2 + long_len_bytes];
            self.left_bytes =
                (long_len.iter()).fold(short_len, |len, &byte| len << 8 | u64::from(byte));
        }
        is_complete
    }
}

impl Echo {
    /// Hears `bytes`, a piece of a frame at a time, and answers.
    fn hear(&mut self, mut bytes: &mut [u8]) -> io::Result<ControlFlow<()>> {
        while !bytes.is_empty() {
            let is_in_payload = self.frame.left_bytes > 0;
            let piece_bytes = if is_in_payload {
                (bytes.len() as u64).min(self.frame.left_bytes) as usize
            } else {
                1
            };
            let (piece, rest) = bytes.split_at_mut(piece_bytes);
            bytes = rest;
            let is_complete = if is_in_payload {
                self.frame.left_bytes -= piece_bytes as u64;
                true
            } else {
                self.frame.takes(piece[0])
            };
            let data_bytes = self.receiver.receive(piece);
            self.message.extend_from_slice(&piece[..data_bytes]);
            if let Some(payload) = self.receiver.take_ping() {
                self.sender.pong(&payload);
                self.send(&[])?;
            }
            if let Some(ended) = self.receiver.ended() {
                self.sender.close(match ended {
                    Ended::Closed(code) => code,
                    Ended::Failed(code) => Some(code),
                });
                self.send(&[])?;
                return Ok(ControlFlow::Break(()));
            }
            if is_complete && self.frame.left_bytes == 0 {
                self.end_frame()?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let first = std::mem::take(&mut self.frame).header[0];
        let is_control = first & 0x8 != 0;
        if matches!(first & 0xf, TEXT | BINARY) {
            self.opcode = first & 0xf;
        }
        if first & LAST != 0 && !is_control {
            let message = std::mem::take(&mut self.message);
            self.send(&message)?;
            if message.is_empty() {
                // A stream has no frame for nothing.
                self.stream.write_all(&[LAST | self.opcode, 0])?;
            }
        }
        Ok(())
    }

    /// Sends `message`, after what goes before it. The sender's frames are binary, and each is
    /// the last of its message: here they are made what the message needs.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut left = message;
        while !left.is_empty() || !self.sender.is_idle() {
            let plan = self.sender.plan(left.len());
            let mut wire = Vec::new();
            for span in plan.spans() {
                let head = wire.len();
                wire.extend_from_slice(span.head(&self.sender));
                if span.payload_bytes() > 0 {
                    let is_first = left.len() == message.len();
                    let (payload, rest) = left.split_at(span.payload_bytes());
                    let opcode = if is_first { self.opcode } else { 0 };
                    wire[head] = if rest.is_empty() {
                        LAST | opcode
                    } else {
                        opcode
                    };
                    wire.extend_from_slice(payload);
                    left = rest;
                }
            }
            self.stream.write_all(&wire)?;
            self.sender.sent(&plan, wire.len());
        }
        Ok(())
    }
}
