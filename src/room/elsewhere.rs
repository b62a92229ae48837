//! What is between this part of the room and those at other servers: what is to go there, what has
//! not come back yet, and what was asked.

use std::collections::VecDeque;

use super::member::Speaker;
use crate::protocol::batch::Frame;
use crate::protocol::event::json::max_object_bytes;
use crate::protocol::event::text::Count;
use crate::protocol::event::{Event, Speech};
use crate::protocol::label::ServerLabel;

/// `/who` names at most so many other servers: they fit some rows.
const MAX_LISTED_SERVERS: usize = 16;

#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) label: ServerLabel,
    /// The other servers, and how many people are at each.
    pub(super) others: Vec<(ServerLabel, u64)>,
    /// What newcomers are told while the rooms are apart.
    pub(super) apart: Option<Frame>,
    pub(super) outgoing: Vec<Outgoing>,
    /// What was said here and has not come back yet, oldest first.
    pub(super) waiting: VecDeque<Waiting>,
    /// What other servers were asked.
    pub(super) questions: Vec<(u64, Question)>,
}

/// What is to go to the other servers.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A line for all of them: an event.
    Line(Vec<u8>),
    /// A question for one. Once it is known by which number it goes,
    /// the room is to be told.
    Question {
        whom: ServerLabel,
        question: Vec<u8>,
        about: Question,
    },
}

/// Something that was said here.
#[derive(Debug)]
pub(super) struct Waiting {
    /// `None` for the operator, and for who is not in the room.
    pub(super) by: Option<Speaker>,
    pub(super) event: Event<'static>,
}

/// What a member asks of another server.
#[derive(Debug)]
pub(crate) struct Question {
    pub(super) by: Speaker,
    pub(super) about: About,
}

#[derive(Debug)]
pub(super) enum About {
    /// Who is at this server.
    Who(ServerLabel),
    /// To say this to that member alone.
    Message { to: String, text: Vec<u8> },
}

impl Elsewhere {
    /// Nobody else is there yet. This server is called `label`.
    pub(super) fn new(label: ServerLabel) -> Self {
        Self {
            label,
            others: Vec::new(),
            apart: None,
            outgoing: Vec::new(),
            waiting: VecDeque::new(),
            questions: Vec::new(),
        }
    }

    /// How many people are at the other servers.
    pub(super) fn here(&self) -> usize {
        self.others.iter().map(|&(_, here)| here as usize).sum()
    }

    /// `by` says `event`, which everybody is told once it is known when.
    pub(super) fn say(&mut self, by: Option<Speaker>, event: &Event<'_>, max_line_bytes: u32) {
        let own = |speech: &Speech<'_>, from, n| Speech {
            from,
            n,
            name: speech.name.to_string().into(),
            text: speech.text.to_string().into(),
        };
        // Its number and its speaker's are of this server alone.
        let (event, bare) = match event {
            Event::Message(speech) => (
                Event::Message(own(speech, speech.from, speech.n)),
                Event::Message(own(speech, None, None)),
            ),
            Event::Action(speech) => (
                Event::Action(own(speech, speech.from, speech.n)),
                Event::Action(own(speech, None, None)),
            ),
            Event::Operator { text, .. } => {
                let operator = |text: &str| Event::Operator {
                    at: None,
                    text: text.to_owned().into(),
                };
                (operator(text), operator(text))
            }
            _ => unreachable!("only what is said to everybody goes elsewhere"),
        };
        let mut line = Vec::new();
        bare.write_json(None, max_object_bytes(max_line_bytes), &mut line);
        self.outgoing.push(Outgoing::Line(line));
        self.waiting.push_back(Waiting { by, event });
    }

    pub(super) fn ask(&mut self, by: Speaker, whom: ServerLabel, question: Vec<u8>, about: About) {
        self.outgoing.push(Outgoing::Question {
            whom,
            question,
            about: Question { by, about },
        });
    }

    /// `box-b: 9,204, box-c: 31`. `None` if there is no other server.
    pub(super) fn list(&self) -> Option<String> {
        let listed = self.others.iter().take(MAX_LISTED_SERVERS);
        let listed = listed.map(|(label, here)| format!("{label}: {}", Count(*here as usize)));
        let mut list: Vec<String> = listed.collect();
        let more = self.others.len() - list.len();
        if more > 0 {
            list.push(format!("and {} more servers", Count(more)));
        }
        (!list.is_empty()).then(|| list.join(", "))
    }
}
