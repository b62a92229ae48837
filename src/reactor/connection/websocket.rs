//! A connection that is framed as WebSocket: the same bytes as on a plain one, in frames.
//!
//! What it sends is unmasked in the buffer that it was read into. What it is sent goes out from
//! where it is: headers are put between the parts of the shared text in the same write.

use std::io::{self, IoSlice};

use super::transport::Transport;
use crate::protocol::close::CloseReason;
use crate::protocol::websocket::{Ended, PROTOCOL_ERROR, Receiver, Sender};
use crate::reactor::stream::Stream;
use crate::reactor::write_queue::MAX_SLICES;

/// The codes of close frames (RFC 6455, 7.4.1, and IANA's registry).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const TRY_AGAIN_LATER: u16 = 1013;

/// The framing of one connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

impl WebSocket {
    /// `answer` accepts the handshake.
    pub(super) fn new(answer: &[u8]) -> Self {
        Self {
            receiver: Receiver::default(),
            sender: Sender::new(answer),
        }
    }

    /// A ping that has come is answered once the frame that was begun is complete.
    pub(super) fn answer_ping(&mut self) {
        if let Some(payload) = self.receiver.take_ping() {
            self.sender.pong(&payload);
        }
    }

    /// The connection ends, for this reason; without one, the client was refused. The last
    /// frame says so, or answers that of the client.
    pub(super) fn close(&mut self, reason: Option<CloseReason>) {
        let code = match (self.receiver.ended(), reason) {
            (Some(Ended::Closed(code)), _) => code,
            (Some(Ended::Failed(code)), _) => Some(code),
            (None, reason) => Some(reason.map_or(TRY_AGAIN_LATER, code_of)),
        };
        self.sender.close(code);
    }
}

fn code_of(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::PeerClosed
        | CloseReason::Lost(_)
        | CloseReason::Quit
        | CloseReason::Idle
        | CloseReason::Replaced => NORMAL,
        CloseReason::Shutdown => GOING_AWAY,
        CloseReason::WrongProtocol => PROTOCOL_ERROR,
        CloseReason::Kicked | CloseReason::Banned | CloseReason::Stuck | CloseReason::TooSlow => {
            POLICY
        }
        CloseReason::Overload | CloseReason::TooSoon => TRY_AGAIN_LATER,
    }
}

/// How much was written at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Headers included.
    pub(super) bytes: usize,
    /// Of the stream.
    pub(super) stream_bytes: usize,
}

impl Written {
    /// Without frames.
    pub(super) fn plain(bytes: usize) -> Self {
        Self {
            bytes,
            stream_bytes: bytes,
        }
    }
}

/// Writes once: `stream`, the beginning of the `stream_bytes` that wait, with what `sender` puts
/// in between.
///
/// # Errors
///
/// As [`Transport::write`].
#[inline(never)]
pub(super) fn write<'a, S: Stream>(
    transport: &mut Transport<S>,
    sender: &mut Sender,
    stream: impl IntoIterator<Item = &'a [u8]>,
    stream_bytes: usize,
) -> io::Result<Written> {
    if transport.write_ended() {
        // The rest of a frame that was begun is lost, too.
        return Ok(Written::default());
    }
    let plan = sender.plan(stream_bytes);
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut free_slices = slices.iter_mut();
    let mut pieces = stream.into_iter();
    let mut piece: &[u8] = &[];
    'spans: for span in plan.spans() {
        let mut left_bytes = span.payload_bytes();
        let mut next = span.head(sender);
        loop {
            if !next.is_empty() {
                let Some(slice) = free_slices.next() else {
                    break 'spans;
                };
                *slice = IoSlice::new(next);
            }
            if left_bytes == 0 {
                break;
            }
            if piece.is_empty() {
                let Some(following) = pieces.next() else {
                    break 'spans;
                };
                piece = following;
            }
            (next, piece) = piece.split_at(left_bytes.min(piece.len()));
            left_bytes -= next.len();
        }
    }
    let used = MAX_SLICES - free_slices.len();
    let bytes = transport.write_vectored(&slices[..used])?;
    let stream_bytes = sender.sent(&plan, bytes);
    Ok(Written {
        bytes,
        stream_bytes,
    })
}
