//! How what was said and what happened is told to the user: as text, and as the room's object
//! without its secrets. And what became of the user's lines, where that is not what was meant.

use crate::client::pending::{By, Line};
use crate::frontend::entered::without_password;
use crate::frontend::message::{Kind, Message, Told};
use crate::protocol::event::{Event, Place, Speech};
use crate::protocol::text::made_safe;

/// Gets what is told.
pub(super) type Hear<'a> = &'a mut dyn FnMut(&Message<'_>);

/// A line of the user's as it may stand anywhere.
pub(super) fn shown(line: &[u8]) -> String {
    let text = made_safe(line);
    without_password(&text).to_owned()
}

/// Has the user's own line shown.
pub(super) fn pass_entered(line: &Line, hear: Hear<'_>) {
    if line.by == By::User {
        let text = String::from_utf8_lossy(&line.text);
        hear(&Message::entered(&text));
    }
}

/// Passes on the object `json` and what it says, if we know its kind. What was missed `is_late`.
pub(super) fn pass_object(
    json: &str,
    told: Option<&(Option<Place>, Event<'static>)>,
    is_own: bool,
    is_late: bool,
    hear: Hear<'_>,
) {
    if let Some((place, event)) = told {
        return pass_event(json, *place, event, is_own, is_late, hear);
    }
    let told = Told {
        json,
        event: None,
        is_own,
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
    is_late: bool,
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
    // Our own clock tells the time of what is said now.
    let said_at = place.filter(|_| is_past || is_late);
    hear(&Message {
        kind,
        name: speech.map(|speech| &*speech.name),
        text,
        line: &line,
        is_past,
        time: said_at.map(|place| place.time.into()),
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

/// What the user has to be told of lines and events that went astray.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    words: Vec<String>,
    doubted_lines: usize,
    left_out_lines: usize,
}

impl Troubles {
    /// What there is to tell since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    /// How many lines the user was told to be in doubt.
    pub(crate) fn doubted_lines(&self) -> usize {
        self.doubted_lines
    }

    /// How many lines the user was told not to be said.
    pub(crate) fn left_out_lines(&self) -> usize {
        self.left_out_lines
    }

    /// The room may have taken these lines or not.
    pub(super) fn doubt(&mut self, lines: &[Line]) {
        for line in lines.iter().filter(|line| line.by == By::User) {
            self.doubted_lines += 1;
            let text = shown(&line.text);
            self.words
                .push(format!("not known whether the room has taken this: {text}"));
        }
    }

    /// The user's `line` is not said, because of `why`.
    pub(super) fn leave_out(&mut self, why: &str, line: &[u8]) {
        self.left_out_lines += 1;
        let text = shown(line);
        self.words.push(format!("not said: {why}: {text}"));
    }

    /// The room has taken `line`, and its answer will not come.
    pub(super) fn miss_answer(&mut self, line: &Line) {
        if line.by == By::User {
            let text = shown(&line.text);
            self.words
                .push(format!("the room's answer to this was lost: {text}"));
        }
    }

    /// So many events were not heard, and cannot be any more.
    pub(super) fn miss_events(&mut self, count: u64) {
        self.words.push(format!(
            "missed events (messages, joins, leaves): {count}; the room no longer has them"
        ));
    }
}
