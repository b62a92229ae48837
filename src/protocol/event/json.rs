//! Events as JSON, one object a line, for programs.
//!
//! The writer's objects have a bounded size. What does not fit (a text full of bytes that had
//! to be replaced; a list of people) is cut; a cut text ends with an ellipsis.
//!
//! The reader takes whatever a server sends: unknown kinds and fields are ignored, and what
//! would take much memory is refused.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::Write;

use serde_json::{Map, Value};

use super::{
    Bye, ByeCode, Changes, ErrorCode, Event, Hello, Here, MAX_INTEGER, MAX_NAMED, MAX_PEOPLE,
    Person, Place, Rename, Reply, Several, Speech,
};
use crate::protocol::text::made_safe;
use crate::protocol::time::Time;

/// What an object needs besides the text in it: fields, names, a token.
const FRAME_BYTES: usize = 1024;

/// Follows a list of people: `],"max_line":4294967295}`, or the counts of changes.
const AFTER_LIST_BYTES: usize = 192;

/// Ends a text that is cut.
const CUT_MARK: &str = "…";

/// The most values in an object that is read. Each takes some dozens of bytes of memory, and
/// as few as two of the line.
const MAX_VALUES: usize = 4 * MAX_PEOPLE;

/// The size of an object in a room whose lines have at most `max_line_bytes`, without the LF.
pub const fn max_object_bytes(max_line_bytes: u32) -> usize {
    2 * max_line_bytes as usize + FRAME_BYTES
}

/// Why a line is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {
    /// It is no JSON object, or one that goes too deep.
    NotAnObject,
    /// It holds more values than any event.
    TooMuch,
    /// This field is missing, or has the wrong type.
    Field(&'static str),
}

impl fmt::Display for NoEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::TooMuch => f.write_str("more values than an event has"),
            Self::Field(name) => write!(f, "field {name} is missing or has the wrong type"),
        }
    }
}

impl Error for NoEvent {}

impl Event<'_> {
    /// Appends it as an object, without LF, of at most `max_bytes`: as
    /// [`max_object_bytes`] has it.
    pub fn write_json(&self, place: Option<Place>, max_bytes: usize, out: &mut Vec<u8>) {
        let mut object = Object {
            start: out.len(),
            out,
            max_bytes,
        };
        object.begin(place, self.kind());
        match self {
            Self::Hello(hello) => object.hello(hello),
            Self::Message(speech) | Self::Action(speech) => object.speech(speech, None),
            Self::Private { speech, to } => object.speech(speech, Some(to)),
            Self::Operator { text } | Self::Notice { text } => object.text(text),
            Self::Presence(changes) => object.changes(changes),
            Self::Reply(reply) => object.reply(reply),
            Self::Error { n, code, text } => {
                object.optional("n", *n);
                object.plain("code", code.as_str());
                object.text(text);
            }
            Self::You { name } => object.string("name", name),
            Self::Wait => {}
            Self::Bye(bye) => object.bye(bye),
        }
        object.out.push(b'}');
        debug_assert!(object.out.len() - object.start <= object.max_bytes);
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Message(_) => "message",
            Self::Action(_) => "action",
            Self::Private { .. } => "private",
            Self::Operator { .. } => "operator",
            Self::Presence(_) => "presence",
            Self::Reply(_) => "reply",
            Self::Error { .. } => "error",
            Self::You { .. } => "you",
            Self::Wait => "wait",
            Self::Notice { .. } => "notice",
            Self::Bye(_) => "bye",
        }
    }

    /// Reads a line. `None` if it is of a kind that this program does not know. All text is
    /// made safe, whoever sent it.
    ///
    /// # Errors
    ///
    /// Why it is no event.
    pub fn read_json(line: &[u8]) -> Result<Option<(Option<Place>, Event<'static>)>, NoEvent> {
        if has_too_many_values(line) {
            return Err(NoEvent::TooMuch);
        }
        // Nesting is bounded by the crate.
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
            return Err(NoEvent::NotAnObject);
        };
        let fields = Fields(object);
        let event = fields.event()?;
        Ok(event.map(|event| (fields.place(), event)))
    }
}

/// An object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    max_bytes: usize,
}

impl Object<'_> {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn begin(&mut self, place: Option<Place>, kind: &str) {
        self.push("{");
        if let Some(Place { seq, time, is_past }) = place {
            write!(self.out, "\"seq\":{seq},\"time\":\"{time}\",").expect(WRITES);
            if is_past {
                self.push("\"past\":true,");
            }
        }
        self.push("\"kind\":\"");
        self.push(kind);
        self.push("\"");
    }

    fn key(&mut self, key: &str) {
        self.push(",\"");
        self.push(key);
        self.push("\":");
    }

    fn number(&mut self, key: &str, value: u64) {
        debug_assert!(value <= MAX_INTEGER);
        self.key(key);
        write!(self.out, "{value}").expect(WRITES);
    }

    fn optional(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// A string that needs no escapes.
    fn plain(&mut self, key: &str, value: &str) {
        self.key(key);
        self.push("\"");
        self.push(value);
        self.push("\"");
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    fn quoted(&mut self, value: &str) {
        serde_json::to_writer(&mut *self.out, value).expect(WRITES);
    }

    /// How much may follow, the object's end apart.
    fn room_bytes(&self) -> usize {
        (self.start + self.max_bytes).saturating_sub(self.out.len() + "}".len())
    }

    /// The last field, cut if it does not fit.
    fn text(&mut self, text: &str) {
        self.key("text");
        let (start, room_bytes) = (self.out.len(), self.room_bytes());
        self.quoted(text);
        if self.out.len() - start > room_bytes {
            self.out.truncate(start);
            let most = room_bytes.saturating_sub("\"\"".len() + CUT_MARK.len());
            self.quoted(&format!("{}{CUT_MARK}", beginning(text, most)));
        }
    }

    fn speech(&mut self, speech: &Speech<'_>, to: Option<&str>) {
        self.optional("from", speech.from);
        self.optional("n", speech.n);
        self.string("name", &speech.name);
        if let Some(to) = to {
            self.string("to", to);
        }
        self.text(&speech.text);
    }

    fn hello(&mut self, hello: &Hello<'_>) {
        self.number("wire", hello.wire);
        self.string("version", &hello.version);
        self.string("epoch", &hello.epoch);
        self.number("seq", hello.seq);
        self.number("you", hello.you);
        self.string("token", &hello.token);
        self.key("resumed");
        self.push(if hello.resumed { "true" } else { "false" });
        self.number("heard", hello.heard);
        self.number("lost", hello.lost);
        self.number("hold", hello.hold);
        self.string("name", &hello.name);
        self.number("here", hello.here);
        self.people(&hello.people);
        self.number("max_line", hello.max_line);
    }

    /// As many as fit.
    fn people(&mut self, people: &[Person<'_>]) {
        self.key("people");
        self.push("[");
        for (nth, person) in people.iter().take(MAX_PEOPLE).enumerate() {
            let end = self.out.len();
            if nth > 0 {
                self.push(",");
            }
            self.person(person);
            if self.room_bytes() < AFTER_LIST_BYTES {
                self.out.truncate(end);
                break;
            }
        }
        self.push("]");
    }

    fn person(&mut self, Person { id, name }: &Person<'_>) {
        write!(self.out, "[{id},").expect(WRITES);
        self.quoted(name);
        self.push("]");
    }

    fn changes(&mut self, changes: &Changes<'_>) {
        self.several("joined", "joined_count", &changes.joined, Self::person);
        self.several("left", "left_count", &changes.left, Self::person);
        if changes.kicked.count() > 0 {
            self.several("kicked", "kicked_count", &changes.kicked, Self::person);
        }
        let counted = "renamed_count";
        self.several("renamed", counted, &changes.renamed, |object, renamed| {
            let Rename { id, from, to } = renamed;
            write!(object.out, "[{id},").expect(WRITES);
            object.quoted(from);
            object.push(",");
            object.quoted(to);
            object.push("]");
        });
        self.number("here", changes.here);
    }

    /// Names all, or counts them if there are many, or long names in a room of short lines.
    fn several<T>(
        &mut self,
        key: &str,
        counted_key: &str,
        several: &Several<T>,
        mut write: impl FnMut(&mut Self, &T),
    ) {
        let start = self.out.len();
        self.key(key);
        self.push("[");
        if let Several::Named(all) = several {
            for (nth, one) in all.iter().enumerate() {
                if nth > 0 {
                    self.push(",");
                }
                write(self, one);
            }
            self.push("]");
            // What may follow: three empty lists with their counts, and the number of all.
            if self.room_bytes() >= AFTER_LIST_BYTES {
                return;
            }
            self.out.truncate(start);
            self.key(key);
            self.push("[");
        }
        self.push("]");
        self.number(counted_key, several.count());
    }

    fn reply(&mut self, reply: &Reply<'_>) {
        self.optional("n", reply.n);
        self.string("to", &reply.to);
        if let Some(name) = &reply.name {
            self.string("name", name);
        }
        if let Some(Here { here, people }) = &reply.people {
            self.number("here", *here);
            self.people(people);
        }
        if let Some(text) = &reply.text {
            self.text(text);
        }
    }

    fn bye(&mut self, bye: &Bye<'_>) {
        self.optional("n", bye.n);
        self.plain("code", bye.code.as_str());
        self.optional("heard", bye.heard);
        match bye.again {
            Some(seconds) => self.number("again", seconds),
            None => {
                self.key("again");
                self.push("null");
            }
        }
        self.text(&bye.text);
    }
}

const WRITES: &str = "a Vec takes every write";

/// The longest beginning of `text` that takes at most `max_bytes` with its escapes. (What is
/// safe has few characters that need any.)
fn beginning(text: &str, max_bytes: usize) -> &str {
    let mut bytes = 0;
    let fits = |&(_, c): &(usize, char)| {
        bytes += match c {
            '"' | '\\' | '\t' | '\n' => 2,
            _ => c.len_utf8(),
        };
        bytes > max_bytes
    };
    let end = text.char_indices().find(fits);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Whether an object in `line` has more values than any event, in all lists together.
fn has_too_many_values(line: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped, mut values) = (false, false, 0);
    for &byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' | b'[' | b'{' if !is_quoted => values += 1,
            _ => {}
        }
    }
    values > MAX_VALUES
}

/// The fields of an object that is read.
struct Fields(Map<String, Value>);

type Read<T> = Result<T, NoEvent>;

impl Fields {
    fn place(&self) -> Option<Place> {
        Some(Place {
            seq: integer(self.0.get("seq")?)?,
            time: Time::parse(self.0.get("time")?.as_str()?)?,
            is_past: self.0.get("past").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    fn event(&self) -> Read<Option<Event<'static>>> {
        let kind = self.0.get("kind").and_then(Value::as_str);
        Ok(Some(match kind.ok_or(NoEvent::Field("kind"))? {
            "hello" => Event::Hello(self.hello()?),
            "message" => Event::Message(self.speech()?),
            "action" => Event::Action(self.speech()?),
            "private" => Event::Private {
                speech: self.speech()?,
                to: self.string("to")?,
            },
            "operator" => Event::Operator {
                text: self.string("text")?,
            },
            "presence" => Event::Presence(self.changes()?),
            "reply" => Event::Reply(self.reply()?),
            "error" => Event::Error {
                n: self.optional("n"),
                code: ErrorCode::read(&self.string("code")?),
                text: self.string("text")?,
            },
            "you" => Event::You {
                name: self.string("name")?,
            },
            "wait" => Event::Wait,
            "notice" => Event::Notice {
                text: self.string("text")?,
            },
            "bye" => Event::Bye(Bye {
                n: self.optional("n"),
                code: ByeCode::read(&self.string("code")?),
                heard: self.optional("heard"),
                again: self.optional("again"),
                text: self.string("text")?,
            }),
            _ => return Ok(None),
        }))
    }

    fn optional(&self, key: &'static str) -> Option<u64> {
        integer(self.0.get(key)?)
    }

    fn number(&self, key: &'static str) -> Read<u64> {
        self.optional(key).ok_or(NoEvent::Field(key))
    }

    fn optional_string(&self, key: &'static str) -> Option<Cow<'static, str>> {
        safe(self.0.get(key)?)
    }

    fn string(&self, key: &'static str) -> Read<Cow<'static, str>> {
        self.optional_string(key).ok_or(NoEvent::Field(key))
    }

    fn speech(&self) -> Read<Speech<'static>> {
        Ok(Speech {
            from: self.optional("from"),
            n: self.optional("n"),
            name: self.string("name")?,
            text: self.string("text")?,
        })
    }

    fn hello(&self) -> Read<Hello<'static>> {
        let resumed = self.0.get("resumed").and_then(Value::as_bool);
        Ok(Hello {
            wire: self.number("wire")?,
            version: self.string("version")?,
            epoch: self.string("epoch")?,
            seq: self.number("seq")?,
            you: self.number("you")?,
            token: self.string("token")?,
            resumed: resumed.ok_or(NoEvent::Field("resumed"))?,
            heard: self.number("heard")?,
            lost: self.number("lost")?,
            hold: self.number("hold")?,
            name: self.string("name")?,
            here: self.number("here")?,
            people: self.list("people", MAX_PEOPLE, person)?.into(),
            max_line: self.number("max_line")?,
        })
    }

    fn changes(&self) -> Read<Changes<'static>> {
        Ok(Changes {
            joined: self.several("joined", "joined_count", person)?,
            left: self.several("left", "left_count", person)?,
            kicked: if self.0.contains_key("kicked") {
                self.several("kicked", "kicked_count", person)?
            } else {
                Several::Named(Vec::new())
            },
            renamed: self.several("renamed", "renamed_count", |value| {
                let [id, from, to] = value.as_array()?.as_slice() else {
                    return None;
                };
                Some(Rename {
                    id: integer(id)?,
                    from: safe(from)?,
                    to: safe(to)?,
                })
            })?,
            here: self.number("here")?,
        })
    }

    fn several<T>(
        &self,
        key: &'static str,
        counted_key: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Read<Several<T>> {
        Ok(match self.optional(counted_key) {
            Some(count) => Several::Counted(count),
            None => Several::Named(self.list(key, MAX_NAMED, read)?),
        })
    }

    fn list<T>(
        &self,
        key: &'static str,
        most: usize,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Read<Vec<T>> {
        let list = self.0.get(key).and_then(Value::as_array);
        let list = list.ok_or(NoEvent::Field(key))?;
        let read = list.iter().take(most).map(read);
        read.collect::<Option<_>>().ok_or(NoEvent::Field(key))
    }

    fn reply(&self) -> Read<Reply<'static>> {
        let people = if self.0.contains_key("people") {
            Some(Here {
                here: self.number("here")?,
                people: self.list("people", MAX_PEOPLE, person)?.into(),
            })
        } else {
            None
        };
        let lines = |text: &str| -> String {
            let lines: Vec<_> = text
                .split('\n')
                .map(|line| made_safe(line.as_bytes()))
                .collect();
            lines.join("\n")
        };
        let text = self.0.get("text").and_then(Value::as_str);
        Ok(Reply {
            n: self.optional("n"),
            to: self.string("to")?,
            name: self.optional_string("name"),
            people,
            text: text.map(|text| lines(text).into()),
        })
    }
}

fn integer(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&value| value <= MAX_INTEGER)
}

fn safe(value: &Value) -> Option<Cow<'static, str>> {
    Some(made_safe(value.as_str()?.as_bytes()).into())
}

fn person(value: &Value) -> Option<Person<'static>> {
    let [id, name] = value.as_array()?.as_slice() else {
        return None;
    };
    Some(Person {
        id: integer(id)?,
        name: safe(name)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const MAX_BYTES: usize = max_object_bytes(4096);

    fn json(place: Option<Place>, event: &Event<'_>) -> String {
        let mut out = b"before".to_vec();
        event.write_json(place, MAX_BYTES, &mut out);
        String::from_utf8(out.split_off("before".len())).unwrap()
    }

    fn read(line: &str) -> Result<Option<Event<'static>>, NoEvent> {
        Ok(Event::read_json(line.as_bytes())?.map(|(_, event)| event))
    }

    fn speech<'a>(text: &'a str) -> Speech<'a> {
        Speech {
            from: Some(57),
            n: Some(1),
            name: "alice".into(),
            text: text.into(),
        }
    }

    fn person<'a>(id: u64, name: &'a str) -> Person<'a> {
        Person {
            id,
            name: name.into(),
        }
    }

    fn hello(people: Vec<Person<'_>>) -> Event<'_> {
        Event::Hello(Hello {
            wire: WIRE,
            version: "0.2.0".into(),
            epoch: "9f2c".into(),
            seq: 1234,
            you: 57,
            token: "57.ab".into(),
            resumed: false,
            heard: 0,
            lost: 0,
            hold: 60,
            name: "192.168.1.31".into(),
            here: 3,
            people: people.into(),
            max_line: 4096,
        })
    }

    const WIRE: u64 = super::super::WIRE_VERSION;

    #[test]
    fn each_kind_is_an_object_of_its_own() {
        let place = |seq| {
            Some(Place {
                seq,
                time: Time::from_millis(1_795_787_483_123),
                is_past: false,
            })
        };
        let changes = Changes {
            joined: Several::Named(vec![person(61, "bob")]),
            left: Several::Counted(9),
            kicked: Several::Named(vec![person(60, "eve")]),
            renamed: Several::Named(vec![Rename {
                id: 58,
                from: "carol".into(),
                to: "dora".into(),
            }]),
            here: 12,
        };
        let private = Event::Private {
            speech: speech("tea or coffee?"),
            to: "bob".into(),
        };
        let taken = Event::Error {
            n: Some(5),
            code: ErrorCode::NameTaken,
            text: "bob is in use".into(),
        };
        let bye = Event::Bye(Bye {
            n: None,
            code: ByeCode::Kicked,
            heard: Some(5),
            again: None,
            text: "goodbye".into(),
        });
        let reply = Event::Reply(Reply {
            n: Some(4),
            ..Reply::nick("zoe")
        });
        let time = "\"time\":\"2026-11-27T13:51:23.123Z\"";
        for (place, event, object) in [
            (
                None,
                hello(vec![person(12, "alice")]),
                "{\"kind\":\"hello\",\"wire\":1,\"version\":\"0.2.0\",\"epoch\":\"9f2c\",\"seq\":1234,\"you\":57,\"token\":\"57.ab\",\"resumed\":false,\"heard\":0,\"lost\":0,\"hold\":60,\"name\":\"192.168.1.31\",\"here\":3,\"people\":[[12,\"alice\"]],\"max_line\":4096}",
            ),
            (
                place(1235),
                Event::Message(speech("anybody \"in\"?")),
                "{\"seq\":1235,TIME,\"kind\":\"message\",\"from\":57,\"n\":1,\"name\":\"alice\",\"text\":\"anybody \\\"in\\\"?\"}",
            ),
            (
                place(1237),
                Event::Presence(changes),
                "{\"seq\":1237,TIME,\"kind\":\"presence\",\"joined\":[[61,\"bob\"]],\"left\":[],\"left_count\":9,\"kicked\":[[60,\"eve\"]],\"renamed\":[[58,\"carol\",\"dora\"]],\"here\":12}",
            ),
            (
                place(1239),
                private,
                "{\"seq\":1239,TIME,\"kind\":\"private\",\"from\":57,\"n\":1,\"name\":\"alice\",\"to\":\"bob\",\"text\":\"tea or coffee?\"}",
            ),
            (
                None,
                reply,
                "{\"kind\":\"reply\",\"n\":4,\"to\":\"nick\",\"name\":\"zoe\"}",
            ),
            (
                None,
                taken,
                "{\"kind\":\"error\",\"n\":5,\"code\":\"name_taken\",\"text\":\"bob is in use\"}",
            ),
            (None, Event::Wait, "{\"kind\":\"wait\"}"),
            (
                None,
                bye,
                "{\"kind\":\"bye\",\"code\":\"kicked\",\"heard\":5,\"again\":null,\"text\":\"goodbye\"}",
            ),
        ] {
            assert_eq!(json(place, &event), object.replace("TIME", time));
        }
    }

    #[test]
    fn unknown_kinds_and_fields_are_ignored() {
        assert_eq!(read("{\"kind\":\"poll\",\"text\":{\"a\":[1]}}"), Ok(None));
        let line =
            "{\"kind\":\"message\",\"mood\":[[{}]],\"name\":\"al\",\"text\":\"x\",\"n\":\"1\"}";
        let expected = Speech {
            from: None,
            n: None,
            name: "al".into(),
            text: "x".into(),
        };
        assert_eq!(read(line), Ok(Some(Event::Message(expected))));
        let newer = "{\"kind\":\"error\",\"code\":\"unheard_of\",\"text\":\"no\"}";
        let Ok(Some(Event::Error { code, .. })) = read(newer) else {
            panic!("an error of another code is one");
        };
        assert_eq!(code, ErrorCode::Other);
    }

    #[test]
    fn what_is_no_event_is_told_from_one() {
        let deep = format!("{{\"kind\":\"wait\",\"x\":{}", "[".repeat(1000));
        let wide = format!("{{\"kind\":\"wait\",\"x\":[0{}]}}", ",0".repeat(MAX_VALUES));
        let commas = format!(
            "{{\"kind\":\"notice\",\"text\":\"\\\"{}\"}}",
            ",".repeat(9000)
        );
        for (line, expected) in [
            ("", NoEvent::NotAnObject),
            ("hi", NoEvent::NotAnObject),
            ("[]", NoEvent::NotAnObject),
            ("{\"kind\":\"wait\"", NoEvent::NotAnObject),
            ("{\"kind\":\"wait\"}{}", NoEvent::NotAnObject),
            (&deep, NoEvent::NotAnObject),
            (&wide, NoEvent::TooMuch),
            ("{}", NoEvent::Field("kind")),
            ("{\"kind\":1}", NoEvent::Field("kind")),
            ("{\"kind\":\"you\"}", NoEvent::Field("name")),
            (
                "{\"kind\":\"message\",\"name\":\"a\",\"text\":1}",
                NoEvent::Field("text"),
            ),
            (
                "{\"kind\":\"presence\",\"here\":1,\"joined\":[[1]],\"left\":[],\"renamed\":[]}",
                NoEvent::Field("joined"),
            ),
        ] {
            assert_eq!(read(line), Err(expected), "{line}");
        }
        assert!(read(&commas).is_ok(), "what is quoted is text");
        let unpaired = "{\"kind\":\"notice\",\"text\":\"\\ud800\"}";
        assert_eq!(read(unpaired), Err(NoEvent::NotAnObject));
    }

    #[test]
    fn text_from_a_hostile_server_is_made_safe() {
        let line = "{\"kind\":\"you\",\"name\":\"\\u001b[2J\\n\\u202e\"}";
        let name = "␛[2J␊\u{fffd}".into();
        assert_eq!(read(line), Ok(Some(Event::You { name })));
        let line = "{\"kind\":\"reply\",\"to\":\"help\",\"text\":\"one\\n\\u001btwo\"}";
        let reply = Reply::lines("help", "one\n␛two");
        assert_eq!(read(line), Ok(Some(Event::Reply(reply))));
    }

    #[test]
    fn a_text_that_does_not_fit_is_cut_where_a_character_ends() {
        for text in ["\u{fffd}".repeat(4096), "\t\"\\".repeat(4096)] {
            let written = json(None, &Event::Message(speech(&text)));
            assert!(MAX_BYTES - 6 <= written.len() && written.len() <= MAX_BYTES);
            let Ok(Some(Event::Message(cut))) = read(&written) else {
                panic!("it is whole");
            };
            assert!(text.starts_with(cut.text.strip_suffix(CUT_MARK).unwrap()));
        }
    }

    #[test]
    fn the_longest_names_fit_even_in_a_room_of_the_shortest_lines() {
        let name = "\u{1f600}".repeat(24);
        let least = max_object_bytes(1);
        let people: Vec<_> = (0..600)
            .map(|nth| person(MAX_INTEGER - nth, &name))
            .collect();
        let five = || Several::Named(people[..5].to_vec());
        let rename = Rename {
            id: MAX_INTEGER,
            from: name.as_str().into(),
            to: name.as_str().into(),
        };
        let changes = Changes {
            joined: five(),
            left: five(),
            kicked: five(),
            renamed: Several::Named(vec![rename; 5]),
            here: MAX_INTEGER,
        };
        for max_bytes in [least, MAX_BYTES, max_object_bytes(1 << 20)] {
            for event in [hello(people.clone()), Event::Presence(changes.clone())] {
                let mut out = Vec::new();
                event.write_json(None, max_bytes, &mut out);
                assert!(out.len() <= max_bytes);
                let (_, read) = Event::read_json(&out).unwrap().unwrap();
                match read {
                    Event::Hello(hello) => {
                        let listed = hello.people.len();
                        assert!((1..=MAX_PEOPLE).contains(&listed), "{listed}");
                        let fit = (max_bytes - 400) / 120;
                        assert!(listed >= fit.min(MAX_PEOPLE), "{listed}");
                    }
                    Event::Presence(read) => {
                        assert_eq!(read.left.count(), 5);
                        assert!(max_bytes == least || read == changes);
                    }
                    _ => unreachable!(),
                }
            }
        }
    }

    fn any_text() -> impl Strategy<Value = Cow<'static, str>> {
        let text = "([ -~]|\\PC|[\"\\\\\\t\u{200e}א-ת]){0,40}";
        text.prop_map(|text| made_safe(text.as_bytes()).into())
    }

    fn any_name() -> impl Strategy<Value = Cow<'static, str>> {
        "[a-zéא-ת0-9_.-]{1,24}".prop_map(Cow::Owned)
    }

    fn any_number() -> impl Strategy<Value = u64> {
        prop_oneof![0..1000_u64, 0..=MAX_INTEGER, Just(MAX_INTEGER)]
    }

    fn any_people() -> impl Strategy<Value = Vec<Person<'static>>> {
        vec((any_number(), any_name()), 0..=MAX_NAMED).prop_map(|people| {
            let people = people.into_iter();
            people.map(|(id, name)| Person { id, name }).collect()
        })
    }

    fn any_several() -> impl Strategy<Value = Several<Person<'static>>> {
        prop_oneof![
            any_people().prop_map(Several::Named),
            any_number().prop_map(Several::Counted),
        ]
    }

    fn any_speech() -> impl Strategy<Value = Speech<'static>> {
        let number = || option::of(any_number());
        (number(), number(), any_name(), any_text()).prop_map(|(from, n, name, text)| Speech {
            from,
            n,
            name,
            text,
        })
    }

    fn any_hello() -> impl Strategy<Value = Event<'static>> {
        let numbers = proptest::array::uniform8(any_number());
        let strings = (any_text(), any_text(), any_text(), any_name());
        let rest = (any::<bool>(), any_people());
        (numbers, strings, rest).prop_map(|(numbers, strings, (resumed, people))| {
            let [wire, seq, you, heard, lost, hold, here, max_line] = numbers;
            let (version, epoch, token, name) = strings;
            Event::Hello(Hello {
                wire,
                version,
                epoch,
                seq,
                you,
                token,
                resumed,
                heard,
                lost,
                hold,
                name,
                here,
                people: people.into(),
                max_line,
            })
        })
    }

    fn any_presence() -> impl Strategy<Value = Event<'static>> {
        let renames = vec((any_number(), any_name(), any_name()), 0..=MAX_NAMED);
        // None of them is not told.
        let kicked = any_several().prop_filter("some", |it| *it != Several::Counted(0));
        let fields = (any_several(), any_several(), kicked, renames, any_number());
        fields.prop_map(|(joined, left, kicked, renames, here)| {
            let renames = renames.into_iter();
            let renamed = renames.map(|(id, from, to)| Rename { id, from, to });
            Event::Presence(Changes {
                joined,
                left,
                kicked,
                renamed: Several::Named(renamed.collect()),
                here,
            })
        })
    }

    fn any_reply() -> impl Strategy<Value = Event<'static>> {
        let people = option::of((any_number(), any_people()));
        let lines = option::of(vec(any_text(), 1..4));
        let number = option::of(any_number());
        let fields = (number, any_text(), option::of(any_name()), people, lines);
        fields.prop_map(|(n, to, name, people, lines)| {
            Event::Reply(Reply {
                n,
                to,
                name,
                people: people.map(|(here, people)| Here {
                    here,
                    people: people.into(),
                }),
                text: lines.map(|lines| lines.join("\n").into()),
            })
        })
    }

    fn any_event() -> impl Strategy<Value = Event<'static>> {
        let number = || option::of(any_number());
        let error = (number(), select(ErrorCode::ALL), any_text());
        let bye = (
            number(),
            select(ByeCode::ALL),
            number(),
            number(),
            any_text(),
        );
        prop_oneof![
            any_hello(),
            any_speech().prop_map(Event::Message),
            any_speech().prop_map(Event::Action),
            (any_speech(), any_name()).prop_map(|(speech, to)| Event::Private { speech, to }),
            any_text().prop_map(|text| Event::Operator { text }),
            any_presence(),
            any_reply(),
            error.prop_map(|(n, code, text)| Event::Error { n, code, text }),
            any_name().prop_map(|name| Event::You { name }),
            Just(Event::Wait),
            any_text().prop_map(|text| Event::Notice { text }),
            bye.prop_map(|(n, code, heard, again, text)| Event::Bye(Bye {
                n,
                code,
                heard,
                again,
                text,
            })),
        ]
    }

    fn any_place() -> impl Strategy<Value = Option<Place>> {
        option::of((any_number(), 0..1_u64 << 48, any::<bool>()).prop_map(
            |(seq, millis, is_past)| Place {
                seq,
                time: Time::from_millis(millis),
                is_past,
            },
        ))
    }

    fn text_of(event: &Event<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        event.write_text(&mut out);
        out
    }

    proptest! {
        #[test]
        fn every_event_is_read_as_it_was_written(place in any_place(), event in any_event()) {
            // A hello has a place in its own fields.
            let place = place.filter(|_| !matches!(event, Event::Hello(_)));
            let line = json(place, &event);
            // What is written is one line of the JSON that others read.
            prop_assert!(!line.contains('\n'));
            prop_assert!(serde_json::from_str::<Value>(&line).unwrap().is_object());
            let read = Event::read_json(line.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(text_of(&read.1), text_of(&event));
            prop_assert_eq!(read, (place, event));
        }

        #[test]
        fn whatever_is_cut_or_changed_ends_in_no_panic(
            event in any_event(),
            at in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut line = json(None, &event).into_bytes();
            let at = at.index(line.len());
            let _ = Event::read_json(&line[..at]);
            line[at] = byte;
            let _ = Event::read_json(&line);
        }

        #[test]
        fn every_object_is_within_the_bound(
            text in vec(any::<u8>(), 0..3000),
            max_line in 1_u32..1500,
        ) {
            let text = made_safe(&text);
            let name = "é".repeat(48);
            let said = Speech { name: name.as_str().into(), ..speech(&text) };
            let event = Event::Private { speech: said, to: name.as_str().into() };
            let place = Place { seq: MAX_INTEGER, time: Time::default(), is_past: true };
            let mut out = Vec::new();
            event.write_json(Some(place), max_object_bytes(max_line), &mut out);
            prop_assert!(out.len() <= max_object_bytes(max_line));
            prop_assert!(Event::read_json(&out).unwrap().is_some());
        }
    }
}
