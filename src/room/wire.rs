//! How the room's events become bytes: once for each encoding that is in use.

use super::log::MAX_PAST_BYTES;
use crate::protocol::batch::{Batch, ClientId, Encoding, Frame};
use crate::protocol::event::json::max_object_bytes;
use crate::protocol::event::{Event, Place};

/// How events are written, in the encodings that are in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) max_line_bytes: u32,
    pub(crate) has_programs: bool,
}

impl Wire {
    /// Says `event` to everybody, but not to `but`.
    pub(crate) fn say(
        self,
        but: Option<ClientId>,
        place: Option<Place>,
        event: &Event<'_>,
        batch: &mut Batch,
    ) {
        let in_use = if self.has_programs {
            Encoding::ALL
        } else {
            Encoding::ONLY_TEXT
        };
        batch.say(but, in_use, |encoding, out| match encoding {
            Encoding::Text => event.write_text(out),
            Encoding::Json => event.write_json(place, max_object_bytes(self.max_line_bytes), out),
        });
    }

    /// `event` as a line of JSON.
    pub(crate) fn object(self, place: Option<Place>, event: &Event<'_>) -> Frame {
        let mut object = Vec::new();
        self.push_object(place, event, &mut object);
        Frame::from(object)
    }

    pub(crate) fn push_object(self, place: Option<Place>, event: &Event<'_>, out: &mut Vec<u8>) {
        event.write_json(place, max_object_bytes(self.max_line_bytes), out);
        out.push(b'\n');
    }

    /// The end of `past`, as much of it as is told at once, and how many events that is.
    pub(crate) fn past<'a>(
        self,
        encoding: Encoding,
        past: impl DoubleEndedIterator<Item = (Place, Event<'a>)>,
    ) -> (usize, Frame) {
        let mut lines = Vec::new();
        let mut starts = Vec::new();
        // The latest first: what does not fit is the oldest.
        for (place, event) in past.rev() {
            let start = lines.len();
            match encoding {
                Encoding::Text => {
                    event.write_text(&mut lines);
                    lines.push(b'\n');
                }
                Encoding::Json => self.push_object(Some(place), &event, &mut lines),
            }
            if lines.len() > MAX_PAST_BYTES && start > 0 {
                lines.truncate(start);
                break;
            }
            starts.push(start);
        }
        let mut in_order = Vec::with_capacity(lines.len());
        let (count, mut end) = (starts.len(), lines.len());
        for start in starts.into_iter().rev() {
            in_order.extend_from_slice(&lines[start..end]);
            end = start;
        }
        (count, Frame::from(in_order))
    }
}
