//! How what was said and what happened is told to the user: as text, and as the room's object
//! without its secrets.

use std::time::UNIX_EPOCH;

use crate::client::message::{Kind, Message, Told};
use crate::client::pending::{By, Line};
use crate::protocol::event::{Event, Place, Speech};
use crate::protocol::time::Time;

/// Gets what is told.
pub(super) type Hear<'a> = &'a mut dyn FnMut(&Message<'_>);

/// Has the user's own line shown.
pub(super) fn pass_entered(line: &Line, hear: Hear<'_>) {
    if line.by == By::User {
        let text = String::from_utf8_lossy(&line.text);
        hear(&Message::entered(&text));
    }
}

/// Passes on an object of a kind that we do not know.
pub(super) fn pass_unknown(json: &str, hear: Hear<'_>) {
    let told = Told {
        json,
        event: None,
        is_own: false,
    };
    hear(&Message {
        told: Some(told),
        ..Message::other("")
    });
}

/// Passes `event` on as it is shown.
pub(super) fn pass_event(
    json: &str,
    place: Option<Place>,
    event: &Event<'static>,
    is_own: bool,
    hear: Hear<'_>,
) {
    let mut line = Vec::new();
    event.write_text(&mut line);
    let line = String::from_utf8(line).expect("events are text");
    let (kind, speech) = match event {
        Event::Hello(_) => (Kind::Welcome, None),
        Event::Message(speech) => (Kind::Message, Some(speech)),
        Event::Action(speech) => (Kind::Action, Some(speech)),
        Event::Private { speech, .. } => (Kind::Private, Some(speech)),
        Event::Error { .. } => (Kind::Refusal, None),
        _ => (Kind::Notice, None),
    };
    let text = match (speech, event) {
        (Some(Speech { text, .. }), _) => text,
        (None, Event::Error { text, .. }) => text,
        // Without what tells the kind.
        _ => line.get(3..).unwrap_or_default(),
    };
    let is_past = place.is_some_and(|place| place.is_past);
    hear(&Message {
        kind,
        name: speech.map(|speech| &*speech.name),
        text,
        line: &line,
        is_past,
        time: place.map(|place| UNIX_EPOCH + place.time.since(Time::default())),
        told: Some(Told {
            json,
            event: Some(event),
            is_own,
        }),
    });
}

/// A hello without its secret.
pub(super) fn without_token(json: &str, token: &str) -> String {
    let rest = json.replacen(&format!("\"token\":\"{token}\","), "", 1);
    if rest.len() < json.len() && !rest.contains("\"token\"") {
        return rest;
    }
    // A server may write it as it likes.
    let object = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(json);
    let mut object = object.unwrap_or_default();
    object.remove("token");
    serde_json::Value::from(object).to_string()
}
