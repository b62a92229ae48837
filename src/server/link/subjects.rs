//! The subjects of a room, and what is on each.
//!
//! A subject names the server that speaks, so that permissions can pin a label to a user of NATS,
//! and nobody believes what a payload says of its sender.

use crate::protocol::label::ServerLabel;

/// The subjects that one server uses.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    room: ServerLabel,
    own: ServerLabel,
    /// One life of this server. Answers to an earlier one are not ours.
    instance: String,
}

/// What a message is, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// This server said something, and the stream has it.
    Heard(ServerLabel),
    /// This server lives.
    Beat(ServerLabel),
    /// At this server somebody is behind.
    Hold(ServerLabel),
    /// This server asks us something.
    Ask(ServerLabel),
    /// An answer to us.
    Back(Back),
}

/// Which answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    /// The stream has the batch with this number, or not.
    Ack(u64),
    /// The first message from this sequence number on.
    Get(u64),
    /// How the stream is set up.
    Info,
    /// The stream is made, or not.
    Created,
    /// From another server, to the question with this number.
    Answer(u64),
}

impl Subjects {
    pub(super) fn new(room: ServerLabel, own: ServerLabel, instance: u64) -> Self {
        let instance = format!("{instance:016x}");
        Self {
            room,
            own,
            instance,
        }
    }

    pub(super) fn own(&self) -> &ServerLabel {
        &self.own
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The stream's name.
    pub(super) fn stream(&self) -> String {
        format!("CHAT_{}", self.room)
    }

    /// What the stream takes, from all servers.
    pub(super) fn all_said(&self) -> String {
        format!("chat.{}.say.*", self.room)
    }

    /// Where the stream publishes what it has taken.
    pub(super) fn heard_pattern(&self) -> String {
        format!("chat.{}.heard.{{{{wildcard(1)}}}}", self.room)
    }

    pub(super) fn all_heard(&self) -> String {
        format!("chat.{}.heard.*", self.room)
    }

    /// What this server listens to besides.
    pub(super) fn others(&self) -> [String; 4] {
        let Self { room, own, .. } = self;
        [
            format!("chat.{room}.beat.*"),
            format!("chat.{room}.hold.*"),
            format!("chat.{room}.to.{own}.*"),
            format!("chat.{room}.back.{own}.>"),
        ]
    }

    pub(super) fn say(&self) -> String {
        format!("chat.{}.say.{}", self.room, self.own)
    }

    pub(super) fn beat(&self) -> String {
        format!("chat.{}.beat.{}", self.room, self.own)
    }

    pub(super) fn hold(&self) -> String {
        format!("chat.{}.hold.{}", self.room, self.own)
    }

    pub(super) fn ask(&self, whom: &str) -> String {
        format!("chat.{}.to.{whom}.{}", self.room, self.own)
    }

    /// `what` is asked of JetStream about the stream, such as `STREAM.INFO`.
    pub(super) fn api(&self, what: &str) -> String {
        format!("$JS.API.{what}.{}", self.stream())
    }

    pub(super) fn back(&self, which: Back) -> String {
        let (kind, number) = match which {
            Back::Ack(number) => ("ack", number),
            Back::Get(seq) => ("get", seq),
            Back::Info => ("info", 0),
            Back::Created => ("created", 0),
            Back::Answer(number) => ("answer", number),
        };
        let Self {
            room,
            own,
            instance,
        } = self;
        format!("chat.{room}.back.{own}.{instance}.{kind}.{number}")
    }

    /// Whether `subject` is one where the server `label` wants answers: what it asks for is published
    /// nowhere else.
    pub(super) fn is_back_of(&self, subject: &str, label: &ServerLabel) -> bool {
        subject.starts_with(&format!("chat.{}.back.{label}.", self.room))
    }

    /// What is on `subject`. `None` if it is not for us.
    pub(super) fn read(&self, subject: &str) -> Option<Subject> {
        let rest = subject.strip_prefix("chat.")?.strip_prefix(&*self.room)?;
        let mut tokens = rest.strip_prefix('.')?.split('.');
        let (kind, label) = (tokens.next()?, ServerLabel::parse(tokens.next()?)?);
        Some(match kind {
            "heard" | "say" => Subject::Heard(label),
            "beat" => Subject::Beat(label),
            "hold" => Subject::Hold(label),
            "to" if label == self.own => Subject::Ask(ServerLabel::parse(tokens.next()?)?),
            "back" if label == self.own => {
                if tokens.next()? != self.instance {
                    return None;
                }
                let (kind, number) = (tokens.next()?, tokens.next()?.parse().ok()?);
                Subject::Back(match kind {
                    "ack" => Back::Ack(number),
                    "get" => Back::Get(number),
                    "info" => Back::Info,
                    "created" => Back::Created,
                    "answer" => Back::Answer(number),
                    _ => return None,
                })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> ServerLabel {
        ServerLabel::parse(text).unwrap()
    }

    #[test]
    fn a_subject_says_who_speaks_and_what_about() {
        let [a, b] = ["a", "b"].map(|own| Subjects::new(label("r"), label(own), 7));
        assert_eq!(b.read(&a.say()), Some(Subject::Heard(label("a"))));
        assert_eq!(b.read(&a.beat()), Some(Subject::Beat(label("a"))));
        assert_eq!(b.read(&a.hold()), Some(Subject::Hold(label("a"))));
        assert_eq!(b.read(&a.ask("b")), Some(Subject::Ask(label("a"))));
        assert_eq!(a.read(&a.ask("b")), None);
        let backs = [
            Back::Ack(1),
            Back::Get(2),
            Back::Info,
            Back::Created,
            Back::Answer(3),
        ];
        for back in backs {
            let subject = a.back(back);
            assert_eq!(a.read(&subject), Some(Subject::Back(back)));
            let later = Subjects::new(label("r"), label("a"), 8);
            assert_eq!((b.read(&subject), later.read(&subject)), (None, None));
            let is_back = |own| b.is_back_of(&subject, &label(own));
            assert!(is_back("a") && !is_back("b"));
        }
        assert!(!b.is_back_of("$JS.API.STREAM.DELETE.CHAT_r", &label("a")));
        for other in [
            "chat.s.beat.a",
            "chat.r.beat.A",
            "chat.r.beat",
            "chat.rr.beat.a",
            "x",
        ] {
            assert_eq!(a.read(other), None, "{other}");
        }
    }
}
