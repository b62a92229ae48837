//! The decisions of a link: when the rooms are together and when apart, what is said to NATS, and
//! what is said in the room, in which order.
//!
//! Pure: it is told what has come and what time it is. What it wants to be done is
//! [taken](Machine::take_output) from it, as is [what is to be said](Machine::take_said).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hearing::{Batch, Hearing, Kept};
use super::peers::{HOLD_LEASE, Novelty, Peers};
use super::saying::Saying;
use super::stream::{self, Ack, Setup};
use super::subjects::{Back, Subject, Subjects};
use crate::protocol::event::MAX_INTEGER;
use crate::protocol::label::ServerLabel;
use crate::protocol::nats::Message;
use crate::reactor::flow::Restraint;

/// A batch that was not acknowledged is sent again after this,
const RESEND_AFTER: Duration = Duration::from_secs(1);

/// or after this, if nobody was there to take it.
const RESEND_UNTAKEN_AFTER: Duration = Duration::from_millis(100);

/// After so long without an answer people are told,
const WAIT_TOLD_AFTER: Duration = Duration::from_secs(2);

/// another node is tried, and again each time that this has passed,
const ANOTHER_NODE_AFTER: Duration = Duration::from_secs(5);

/// and the room goes on by itself. A cluster that loses its leader has another one in 7 s.
const APART_AFTER: Duration = Duration::from_secs(10);

/// How long a server listens for another one with its label before it speaks.
const LISTEN_FOR: Duration = Duration::from_millis(250);

/// How long a server with the same label is taken to live after it was heard.
const RIVAL_LEASE: Duration = Duration::from_secs(12);

/// Beats that tell of a change are at least so far apart.
const BEAT_PAUSE: Duration = Duration::from_secs(1);

/// A beat that answers another server with our label is not sent more often.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// A hold is said again before it ends.
const HOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A gap that has not closed after this may be at the stream's end; to say something there shows
/// where that is.
const MARK_AFTER: Duration = Duration::from_secs(2);

/// How long another server has to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// More questions than this do not wait for answers.
const MAX_QUESTIONS: usize = 1024;

/// A stream that begins again and has no more than this is heard from its beginning. One that has
/// more may have lost only its end; what is before that was heard.
const MAX_NEW_STREAM: u64 = 1000;

/// So many lines of what was missed are said when the rooms are together again.
const SHOWN_LINES: usize = 20;

/// Above this, those who say much wait until the stream has taken some of it,
const PAUSE_HEAVY_BYTES: usize = 64 * 1024;

/// and above this, everybody.
const PAUSE_ALL_BYTES: usize = 256 * 1024;

/// The subscription to what the stream has.
const HEARD_SUBSCRIPTION: u64 = 1;

/// What a batch says of itself, besides its id.
pub(super) const LINES_HEADER: &str = "Chat-Lines-Before";
pub(super) const ID_HEADER: &str = "Nats-Msg-Id";

/// What is to be done at the connection to NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Publish {
        subject: String,
        reply: Option<String>,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    },
    Subscribe {
        subject: String,
        subscription: u64,
    },
    Unsubscribe {
        subscription: u64,
    },
    /// Leave this node, and try another one.
    Reconnect,
}

/// What is to be said or done in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The oldest lines of our own that wait: so many.
    Own { lines: usize },
    /// Lines that were said at another server, each with its LF.
    Theirs { label: ServerLabel, lines: Vec<u8> },
    /// What people are told.
    Notice(Notice),
    /// Another server wants an answer.
    Asked {
        from: ServerLabel,
        reply: String,
        question: Vec<u8>,
    },
    /// The answer to our question with this number; `None` if there is none.
    Answer {
        number: u64,
        answer: Option<Vec<u8>>,
    },
    /// Others' numbers of people have changed.
    Counts,
    /// For the log: why the stream cannot be used.
    Unusable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The others do not answer.
    Wait,
    /// They do again.
    Resumed,
    /// The room goes on by itself. So many lines may not have been heard elsewhere.
    Apart { doubtful: usize, why: Why },
    /// The rooms are one again. So many lines were said elsewhere, and so many of these follow.
    Together { missed: u64, shown: usize },
    /// Lines of another server were lost.
    Lost { label: ServerLabel, lines: u64 },
    /// These servers do not say any more that they live.
    OutOfReach(Vec<ServerLabel>),
}

/// Why a room goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NoAnswer,
    /// Another server that lives has our label.
    LabelTaken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has not been with the others yet.
    Joining,
    Together {
        has_said_wait: bool,
    },
    Apart,
    /// It hears what it missed, up to this place.
    CatchingUp {
        until: u64,
    },
}

/// How far the connection to NATS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Down,
    /// It is asked how the stream is.
    Asking {
        again_at: Instant,
    },
    /// The stream is being made.
    Creating {
        replicas: u64,
        again_at: Instant,
    },
    /// Another server with our label may speak up.
    Listening {
        until: Instant,
    },
    Up,
}

/// What was said elsewhere while the rooms were apart.
#[derive(Debug, Default)]
struct Missed {
    count: u64,
    last: VecDeque<(ServerLabel, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct Machine {
    subjects: Subjects,
    instance: u64,
    state: State,
    channel: Channel,
    /// Since when nothing can be said to the stream.
    unready_since: Option<Instant>,
    /// When a node was last chosen.
    homed_at: Instant,
    max_batch_bytes: usize,
    saying: Saying,
    hearing: Hearing,
    peers: Peers,
    missed: Missed,
    /// A batch without lines is to show where the stream is; not before this.
    mark_at: Option<Instant>,
    marked_at: Instant,
    /// The first place of something new that comes before all that was heard: the stream may
    /// be another one.
    suspect: Option<u64>,
    /// Another server has our label.
    rival_until: Option<Instant>,
    here: u64,
    beat_at: Instant,
    beaten_at: Option<Instant>,
    is_behind: bool,
    /// When it was last said that somebody here is behind. `None`: nobody waits for that.
    held_at: Option<Instant>,
    /// When that last changed.
    hold_changed_at: Option<Instant>,
    /// Which wait for an answer, and until when: in order.
    questions: VecDeque<(u64, Instant)>,
    questions_asked: u64,
    to_room: VecDeque<Said>,
    to_nats: VecDeque<Output>,
}

impl Machine {
    /// Server `own` of `room`, in a life of its own called `instance`.
    pub(super) fn new(room: ServerLabel, own: ServerLabel, instance: u64, now: Instant) -> Self {
        Self {
            subjects: Subjects::new(room, own, instance),
            instance,
            state: State::Joining,
            channel: Channel::Down,
            unready_since: Some(now),
            homed_at: now,
            max_batch_bytes: usize::MAX,
            saying: Saying::default(),
            hearing: Hearing::default(),
            peers: Peers::default(),
            missed: Missed::default(),
            mark_at: None,
            marked_at: now,
            suspect: None,
            rival_until: None,
            here: 0,
            beat_at: now,
            beaten_at: None,
            is_behind: false,
            held_at: None,
            hold_changed_at: None,
            questions: VecDeque::new(),
            questions_asked: 0,
            to_room: VecDeque::new(),
            to_nats: VecDeque::new(),
        }
    }

    pub(super) fn label(&self) -> &ServerLabel {
        self.subjects.own()
    }

    /// The other servers, and how many people are at each. None while the rooms are apart.
    pub(super) fn others(&self) -> impl Iterator<Item = (&ServerLabel, u64)> {
        let is_among_them = self.is_among_others();
        self.peers.iter().filter(move |_| is_among_them)
    }

    /// Whose lines are not to be taken now.
    pub(super) fn restraint(&self, now: Instant) -> Restraint {
        if self.state == State::Apart {
            return Restraint::Nobody;
        }
        match self.saying.pending_bytes() {
            bytes if bytes > PAUSE_ALL_BYTES => Restraint::Everybody,
            bytes if bytes > PAUSE_HEAVY_BYTES => Restraint::Heavy,
            _ if self.peers.is_any_held(now) => Restraint::Heavy,
            _ => Restraint::Nobody,
        }
    }

    /// Whether lines wait because the others do not answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.state
            == State::Together {
                has_said_wait: true,
            }
    }

    /// So many people are here.
    pub(super) fn set_here(&mut self, here: u64) {
        if std::mem::replace(&mut self.here, here) != here {
            self.beat_soon();
        }
    }

    /// Whether somebody here is behind.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Somebody here says a line, without its LF. It is said in the room when
    /// [that is time](Said::Own).
    pub(super) fn say(&mut self, line: &[u8]) {
        if self.state == State::Apart {
            self.to_room.push_back(Said::Own { lines: 1 });
        } else {
            self.saying.push(line);
        }
    }

    /// Asks another server. Returns the number of the question, or `None` if nobody can be asked
    /// now.
    pub(super) fn ask(
        &mut self,
        whom: ServerLabel,
        question: Vec<u8>,
        now: Instant,
    ) -> Option<u64> {
        let is_askable = self.is_among_others()
            && self.channel == Channel::Up
            && self.questions.len() < MAX_QUESTIONS;
        if !is_askable {
            return None;
        }
        self.questions_asked += 1;
        let number = self.questions_asked;
        self.questions.push_back((number, now + ANSWER_WITHIN));
        let reply = self.subjects.back(Back::Answer(number));
        self.publish(self.subjects.ask(&whom), Some(reply), Vec::new(), question);
        Some(number)
    }

    /// Answers a question of another server.
    pub(super) fn answer(&mut self, reply: String, answer: Vec<u8>) {
        if self.channel != Channel::Down {
            self.publish(reply, None, Vec::new(), answer);
        }
    }

    /// The room closes: what waits is said here, and the others know that nobody is here any more.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.channel == Channel::Up && self.is_among_others() {
            self.saying.begin(self.max_batch_bytes, now);
            self.speak(now);
            self.publish_beat(true);
        }
        let lines = self.saying.give_up();
        if lines > 0 {
            self.to_room.push_back(Said::Own { lines });
        }
        self.state = State::Apart;
        self.channel = Channel::Down;
    }

    /// NATS is there, and takes messages of at most `max_payload_bytes`.
    pub(super) fn connected(&mut self, max_payload_bytes: usize, now: Instant) {
        self.max_batch_bytes = max_payload_bytes / 2;
        self.homed_at = now;
        self.to_nats.clear();
        for (nth, subject) in self.subjects.others().into_iter().enumerate() {
            let subscription = HEARD_SUBSCRIPTION + 1 + nth as u64;
            self.to_nats.push_back(Output::Subscribe {
                subject,
                subscription,
            });
        }
        self.hearing.forget_asked();
        if !self.hearing.is_pulling() {
            self.listen_to_stream();
        }
        self.peers.forgive(now);
        self.held_at = None;
        self.ask_for_info(now);
    }

    /// The connection to NATS has ended.
    pub(super) fn disconnected(&mut self, now: Instant) {
        self.channel = Channel::Down;
        self.unready_since.get_or_insert(now);
        self.to_nats.clear();
        self.peers.forgive(now);
        self.hearing.forget_asked();
    }

    /// No node could be reached. At the start, nobody waits for that.
    pub(super) fn unreachable(&mut self) {
        if self.state == State::Joining {
            self.go_apart(Why::NoAnswer);
        }
    }

    /// A message has come.
    pub(super) fn received(&mut self, message: &Message<'_>, now: Instant) {
        let Some(subject) = self.subjects.read(message.subject) else {
            return;
        };
        let payload = message.payload;
        match subject {
            Subject::Heard(label) => {
                if let Some((seq, batch)) = read_batch(label, message) {
                    self.take_in(seq, batch, now);
                }
            }
            Subject::Beat(label) => self.hear_beat(label, payload, now),
            Subject::Hold(label) => self.peers.hold(&label, payload != b"0", now),
            Subject::Ask(from) => {
                let reply = message.reply;
                let reply = reply.filter(|it| self.subjects.is_back_of(it, &from));
                if let Some(reply) = reply {
                    self.to_room.push_back(Said::Asked {
                        from,
                        reply: reply.to_owned(),
                        question: payload.to_vec(),
                    });
                }
            }
            Subject::Back(Back::Ack(number)) => {
                if message.headers.status().is_some() {
                    if let Some(batch) = self.saying.on_its_way() {
                        batch.send_at = now + RESEND_UNTAKEN_AFTER;
                    }
                } else if let Ack::Stored { seq, is_duplicate } = stream::read_ack(payload) {
                    self.stored(number, seq, is_duplicate);
                }
            }
            Subject::Back(Back::Get(asked)) => {
                let label = message.headers.get("Nats-Subject");
                let label = label.and_then(|it| match self.subjects.read(it)? {
                    Subject::Heard(label) => Some(label),
                    _ => None,
                });
                match label.and_then(|label| read_batch(label, message)) {
                    Some((seq, batch)) => {
                        self.take_in(seq, batch, now);
                        self.hearing.found(asked, seq);
                    }
                    None => self.hearing.found_nothing(asked, now),
                }
            }
            Subject::Back(Back::Info) => {
                if matches!(self.channel, Channel::Asking { .. })
                    && message.headers.status().is_none()
                {
                    let setup = stream::after_info(&self.subjects, payload);
                    self.set_up(setup, now);
                }
            }
            Subject::Back(Back::Created) => {
                if let Channel::Creating { replicas, .. } = self.channel
                    && message.headers.status().is_none()
                {
                    self.set_up(stream::after_create(payload, replicas), now);
                }
            }
            Subject::Back(Back::Answer(number)) => {
                let mut asked = self.questions.iter();
                if let Some(at) = asked.position(|&(asked, _)| asked == number) {
                    self.questions.remove(at);
                    let is_answered = message.headers.status().is_none();
                    let answer = is_answered.then(|| payload.to_vec());
                    self.to_room.push_back(Said::Answer { number, answer });
                }
            }
        }
    }

    /// What is to be said in the room next.
    pub(super) fn take_said(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.to_room.pop_front() {
                return Some(said);
            }
            if !self.is_among_others() {
                return None;
            }
            let lines = self.saying.passed(self.hearing.heard() + 1);
            if lines > 0 {
                return Some(Said::Own { lines });
            }
            if let State::CatchingUp { until } = self.state
                && self.hearing.heard() >= until
            {
                self.come_together();
                continue;
            }
            let (_, batch) = self.hearing.take()?;
            self.hear(batch);
        }
    }

    /// Whether something is to be said in the room.
    pub(super) fn has_said(&self) -> bool {
        !self.to_room.is_empty() || self.is_among_others() && self.hearing.has_next()
    }

    /// What is to be done at the connection next.
    pub(super) fn take_output(&mut self) -> Option<Output> {
        self.to_nats.pop_front()
    }

    /// Does what is due. Call it when everything that has come was taken in.
    pub(super) fn settle(&mut self, now: Instant) {
        self.go_on_with_setup(now);
        self.watch(now);
        if self.channel == Channel::Up {
            let is_to_mark = self.to_mark_at().is_some_and(|at| at <= now);
            let is_to_show_itself = matches!(self.state, State::Joining | State::Apart);
            if self.saying.is_ready() || is_to_mark || is_to_show_itself {
                self.saying.begin(self.max_batch_bytes, now);
                (self.mark_at, self.marked_at) = (None, now);
            }
            self.speak(now);
            self.fetch(now);
            self.keep_in_touch(now);
        }
        self.expire(now);
    }

    /// When to [settle](Self::settle) though nothing may have come.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let is_up = self.channel == Channel::Up;
        let is_among_others = self.is_among_others();
        let when_up = |at: Option<Instant>| at.filter(|_| is_up);
        let setup_at = match self.channel {
            Channel::Asking { again_at } | Channel::Creating { again_at, .. } => Some(again_at),
            Channel::Listening { until } => Some(until),
            Channel::Down | Channel::Up => None,
        };
        let trouble_at = self.trouble_since().map(|since| {
            let rehomed_at = (since + ANOTHER_NODE_AFTER).max(self.homed_at + ANOTHER_NODE_AFTER);
            let rehomed_at = Some(rehomed_at).filter(|_| self.may_rehome());
            let told_at = match self.state {
                State::Together {
                    has_said_wait: false,
                } => Some(since + WAIT_TOLD_AFTER),
                State::Apart => None,
                _ => Some(since + APART_AFTER),
            };
            [rehomed_at, told_at].into_iter().flatten().min()
        });
        let held_at = if self.is_behind == self.held_at.is_some() {
            self.held_at.map(|at| at + HOLD_AGAIN_AFTER)
        } else {
            self.hold_due_at().filter(|_| is_among_others)
        };
        let deadlines = [
            setup_at,
            trouble_at.flatten(),
            when_up(self.saying.send_at()),
            when_up(self.hearing.deadline()).filter(|_| is_among_others),
            when_up(self.to_mark_at()).filter(|_| !self.saying.is_any_on_its_way()),
            when_up(Some(self.beat_at)).filter(|_| is_among_others),
            when_up(held_at).filter(|_| is_among_others),
            when_up(self.peers.deadline()),
            self.peers.hold_deadline(now),
            self.questions.front().map(|&(_, until)| until),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn is_among_others(&self) -> bool {
        matches!(
            self.state,
            State::Together { .. } | State::CatchingUp { .. }
        )
    }

    /// Since when something is missing that has to come.
    fn trouble_since(&self) -> Option<Instant> {
        let gap_since = self.hearing.gap_since().filter(|_| self.is_among_others());
        [self.unready_since, self.saying.begun_at(), gap_since]
            .into_iter()
            .flatten()
            .min()
    }

    /// When a batch is to show where the stream is.
    fn to_mark_at(&self) -> Option<Instant> {
        let gap_since = self.hearing.gap_since().filter(|_| self.is_among_others());
        let gap_at = gap_since.map(|since| since.max(self.marked_at) + MARK_AFTER);
        [self.mark_at, gap_at].into_iter().flatten().min()
    }

    fn publish(
        &mut self,
        subject: String,
        reply: Option<String>,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) {
        self.to_nats.push_back(Output::Publish {
            subject,
            reply,
            headers,
            payload,
        });
    }

    fn listen_to_stream(&mut self) {
        self.to_nats.push_back(Output::Subscribe {
            subject: self.subjects.all_heard(),
            subscription: HEARD_SUBSCRIPTION,
        });
    }
}

/// How it gets to the stream.
impl Machine {
    fn ask_for_info(&mut self, now: Instant) {
        let again_at = now + RESEND_AFTER;
        self.channel = Channel::Asking { again_at };
        let reply = Some(self.subjects.back(Back::Info));
        self.publish(
            self.subjects.api("STREAM.INFO"),
            reply,
            Vec::new(),
            Vec::new(),
        );
    }

    fn set_up(&mut self, setup: Setup, now: Instant) {
        match setup {
            Setup::Ready if self.is_among_others() => self.go_up(now),
            Setup::Ready => {
                self.channel = Channel::Listening {
                    until: now + LISTEN_FOR,
                };
                // Who has our label will say so.
                self.publish_beat(false);
            }
            Setup::Create(replicas) => {
                let again_at = now + ANOTHER_NODE_AFTER;
                self.channel = Channel::Creating { replicas, again_at };
                let reply = Some(self.subjects.back(Back::Created));
                let config = stream::create(&self.subjects, replicas).into_bytes();
                self.publish(
                    self.subjects.api("STREAM.CREATE"),
                    reply,
                    Vec::new(),
                    config,
                );
            }
            Setup::Ask => self.ask_for_info(now),
            Setup::Wait => {
                let again_at = now + RESEND_AFTER;
                self.channel = Channel::Asking { again_at };
            }
            Setup::Unusable(words) => {
                let again_at = now + ANOTHER_NODE_AFTER;
                self.channel = Channel::Asking { again_at };
                self.to_room.push_back(Said::Unusable(words));
            }
        }
    }

    fn go_on_with_setup(&mut self, now: Instant) {
        match self.channel {
            Channel::Asking { again_at } | Channel::Creating { again_at, .. }
                if again_at <= now =>
            {
                self.ask_for_info(now);
            }
            Channel::Listening { until } if until <= now => {
                match self.rival_until.filter(|&until| until > now) {
                    Some(until) => self.channel = Channel::Listening { until },
                    None => self.go_up(now),
                }
            }
            _ => {}
        }
    }

    /// The stream can be spoken to.
    fn go_up(&mut self, now: Instant) {
        self.channel = Channel::Up;
        self.unready_since = None;
        self.rival_until = None;
        self.beat_at = now;
        // Something may have been said meanwhile.
        self.mark_at = Some(now);
        if let Some(batch) = self.saying.on_its_way() {
            batch.send_at = now;
        }
    }

    /// Acts on what has not been answered for long.
    fn watch(&mut self, now: Instant) {
        let Some(since) = self.trouble_since() else {
            if self.is_waiting() {
                self.to_room.push_back(Said::Notice(Notice::Resumed));
                self.state = State::Together {
                    has_said_wait: false,
                };
            }
            return;
        };
        let waited = now.saturating_duration_since(since);
        if waited >= APART_AFTER && self.state != State::Apart {
            self.go_apart(Why::NoAnswer);
        } else if waited >= WAIT_TOLD_AFTER
            && let State::Together { has_said_wait } = &mut self.state
            && !std::mem::replace(has_said_wait, true)
        {
            self.to_room.push_back(Said::Notice(Notice::Wait));
        }
        if self.may_rehome()
            && waited >= ANOTHER_NODE_AFTER
            && now >= self.homed_at + ANOTHER_NODE_AFTER
        {
            self.homed_at = now;
            self.to_nats.push_back(Output::Reconnect);
        }
    }

    /// Whether another node could be of more use.
    fn may_rehome(&self) -> bool {
        self.channel != Channel::Down && self.rival_until.is_none()
    }

    fn go_apart(&mut self, why: Why) {
        let lines = self.saying.give_up();
        if lines > 0 {
            self.to_room.push_back(Said::Own { lines });
        }
        if !matches!(self.state, State::Apart | State::CatchingUp { .. }) {
            let doubtful = lines;
            self.to_room
                .push_back(Said::Notice(Notice::Apart { doubtful, why }));
        }
        self.state = State::Apart;
        self.hearing.forget_asked();
        self.to_room.push_back(Said::Counts);
    }

    fn come_together(&mut self) {
        let Missed { count, last } = std::mem::take(&mut self.missed);
        self.to_room.push_back(Said::Notice(Notice::Together {
            missed: count,
            shown: last.len(),
        }));
        let shown = last.into_iter();
        self.to_room
            .extend(shown.map(|(label, lines)| Said::Theirs { label, lines }));
        self.to_room.push_back(Said::Counts);
        self.state = State::Together {
            has_said_wait: false,
        };
    }
}

/// What is said to the stream, and heard from it.
impl Machine {
    /// Sends the batch on its way, if it is time.
    fn speak(&mut self, now: Instant) {
        let Some(batch) = self.saying.on_its_way() else {
            return;
        };
        if batch.send_at > now {
            return;
        }
        batch.send_at = now + RESEND_AFTER;
        let (number, payload) = (batch.number, batch.payload.clone());
        let id = format!("{}:{number}", self.subjects.instance());
        let headers = vec![
            (ID_HEADER, id),
            (LINES_HEADER, batch.lines_before.to_string()),
        ];
        let reply = Some(self.subjects.back(Back::Ack(number)));
        self.publish(self.subjects.say(), reply, headers, payload);
    }

    /// The stream has our batch `number` at `seq`.
    fn stored(&mut self, number: u64, seq: u64, is_duplicate: bool) {
        if !self.saying.stored(number, seq) {
            return;
        }
        let is_new_stream = seq <= self.hearing.heard() && !is_duplicate;
        if !self.hearing.has_begun() {
            self.hearing.begin_at(seq);
        } else if is_new_stream {
            let lines = self.saying.lost_before(number);
            if lines > 0 {
                self.to_room.push_back(Said::Own { lines });
            }
            let first = if seq <= MAX_NEW_STREAM { 1 } else { seq };
            let first = self.suspect.map_or(first, |suspect| suspect.min(first));
            self.hearing.begin_at(first);
        }
        self.suspect = None;
        self.hearing.stands_at(seq);
        match self.state {
            State::Joining => {
                self.state = State::Together {
                    has_said_wait: false,
                };
                self.beat_soon();
            }
            State::Apart => {
                self.state = State::CatchingUp { until: seq };
                self.beat_soon();
            }
            State::CatchingUp { .. } if is_new_stream => {
                self.state = State::CatchingUp { until: seq };
            }
            State::Together { .. } | State::CatchingUp { .. } => {}
        }
    }

    /// What the stream has at `seq`.
    fn take_in(&mut self, seq: u64, batch: Batch, now: Instant) {
        if batch.id.0 == self.instance {
            self.stored(batch.id.1, seq, false);
        }
        if !self.is_among_others() || !self.hearing.has_begun() {
            return;
        }
        let is_new = batch.id.0 != self.instance && self.peers.is_new(&batch);
        match self.hearing.keep(seq, batch) {
            Kept::Yes => {}
            Kept::TooMuch => {
                if self.hearing.pull() {
                    self.to_nats.push_back(Output::Unsubscribe {
                        subscription: HEARD_SUBSCRIPTION,
                    });
                }
            }
            Kept::Late if is_new => {
                self.suspect = Some(self.suspect.map_or(seq, |it| it.min(seq)));
                self.mark_at.get_or_insert(now);
            }
            Kept::Late => {}
        }
    }

    /// Hears what comes next.
    fn hear(&mut self, batch: Batch) {
        if batch.id.0 == self.instance {
            let lines = self.saying.heard(batch.id.1);
            if lines > 0 {
                self.to_room.push_back(Said::Own { lines });
            }
            return;
        }
        let count = memchr::memchr_iter(b'\n', &batch.payload).count() as u64;
        let Novelty::New { lost } = self.peers.hear(&batch, count) else {
            return;
        };
        let Batch { label, payload, .. } = batch;
        if lost > 0 {
            self.to_room
                .push_back(Said::Notice(Notice::Lost { label, lines: lost }));
        }
        if payload.is_empty() {
            return;
        }
        if matches!(self.state, State::CatchingUp { .. }) {
            self.missed.count += count;
            let lines = payload.split_inclusive(|&b| b == b'\n');
            for line in lines.skip((count as usize).saturating_sub(SHOWN_LINES)) {
                self.missed.last.push_back((label, line.to_vec()));
                if self.missed.last.len() > SHOWN_LINES {
                    self.missed.last.pop_front();
                }
            }
        } else {
            self.to_room.push_back(Said::Theirs {
                label,
                lines: payload,
            });
        }
    }

    /// Asks for what is missing.
    fn fetch(&mut self, now: Instant) {
        if !self.is_among_others() {
            return;
        }
        if self.hearing.stops_pulling() {
            self.listen_to_stream();
            // Something may have come in between.
            self.mark_at.get_or_insert(now);
        }
        for seq in self.hearing.asks(now) {
            let reply = Some(self.subjects.back(Back::Get(seq)));
            let asked = stream::get(&self.subjects, seq).into_bytes();
            self.publish(self.subjects.api("DIRECT.GET"), reply, Vec::new(), asked);
        }
    }
}

/// What servers tell each other besides.
impl Machine {
    fn beat_soon(&mut self) {
        let soon = self.beaten_at.map(|at| at + BEAT_PAUSE);
        self.beat_at = soon.map_or(self.homed_at, |soon| self.beat_at.min(soon));
    }

    fn publish_beat(&mut self, is_last: bool) {
        let beat = json!({
            "instance": self.subjects.instance(),
            "here": self.here,
            "lines": self.saying.lines_sent(),
            "seq": self.hearing.heard(),
            "together": self.is_among_others() && !is_last,
            "gone": is_last,
        });
        self.publish(
            self.subjects.beat(),
            None,
            Vec::new(),
            beat.to_string().into_bytes(),
        );
    }

    fn keep_in_touch(&mut self, now: Instant) {
        if !self.is_among_others() {
            return;
        }
        if self.beat_at <= now {
            self.publish_beat(false);
            self.beaten_at = Some(now);
            self.beat_at = now + self.peers.beat_interval();
        }
        let has_changed = self.is_behind != self.held_at.is_some();
        let is_due = if has_changed {
            self.hold_due_at().is_none_or(|at| at <= now)
        } else {
            self.held_at.is_some_and(|at| at + HOLD_AGAIN_AFTER <= now)
        };
        if is_due {
            if has_changed {
                self.hold_changed_at = Some(now);
            }
            self.held_at = self.is_behind.then_some(now);
            let hold: &[u8] = if self.is_behind { b"1" } else { b"0" };
            self.publish(self.subjects.hold(), None, Vec::new(), hold.to_vec());
        }
    }

    /// When it may be said again whether somebody here is behind.
    fn hold_due_at(&self) -> Option<Instant> {
        let changed_at = self.hold_changed_at?;
        Some(changed_at + self.peers.hold_pause())
    }

    fn hear_beat(&mut self, label: ServerLabel, beat: &[u8], now: Instant) {
        let beat: Value = serde_json::from_slice(beat).unwrap_or_default();
        let instance = beat["instance"].as_str();
        let Some(instance) = instance.and_then(|it| u64::from_str_radix(it, 16).ok()) else {
            return;
        };
        let is_together = beat["together"] == true;
        if label == *self.subjects.own() {
            if instance != self.instance {
                self.meet_rival(instance, is_together, beat["gone"] == true, now);
            }
            return;
        }
        if beat["gone"] == true {
            if self.peers.leave(&label) {
                self.to_room.push_back(Said::Counts);
            }
            return;
        }
        if !is_together {
            return;
        }
        let seq = beat["seq"].as_u64().unwrap_or_default().min(MAX_INTEGER);
        if let Some(lines) = beat["lines"].as_u64()
            && self.hearing.covers_what_follows(seq)
        {
            self.peers.expect(label, instance, lines);
        }
        let here = beat["here"].as_u64().unwrap_or_default().min(MAX_HERE);
        let (is_new, has_changed) = self.peers.beat(label, here, now);
        if is_new {
            self.beat_soon();
        }
        if has_changed {
            self.to_room.push_back(Said::Counts);
        }
        if self.is_among_others() && seq <= self.hearing.heard().saturating_add(MAX_LEAD) {
            self.hearing.learn_of(seq);
        }
    }

    /// Another server has our label. One of the two has to be silent.
    fn meet_rival(&mut self, instance: u64, is_together: bool, is_gone: bool, now: Instant) {
        if is_gone {
            self.rival_until = None;
            if let Channel::Listening { .. } = self.channel {
                self.channel = Channel::Listening {
                    until: now + LISTEN_FOR,
                };
            }
            return;
        }
        let own = (!self.is_among_others(), self.instance);
        if own < (!is_together, instance) {
            let soon = self.beaten_at.map(|at| at + ANSWER_PAUSE);
            self.beat_at = self.beat_at.min(soon.unwrap_or(now));
            return;
        }
        if !is_together {
            // Both have just come.
            return;
        }
        let until = now + RIVAL_LEASE;
        self.rival_until = Some(until);
        if self.channel == Channel::Up {
            self.unready_since.get_or_insert(now);
        }
        if matches!(self.channel, Channel::Up | Channel::Listening { .. }) {
            self.channel = Channel::Listening { until };
        }
        if self.state != State::Apart {
            self.go_apart(Why::LabelTaken);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(number, until)) = self.questions.front()
            && until <= now
        {
            self.questions.pop_front();
            let answer = None;
            self.to_room.push_back(Said::Answer { number, answer });
        }
        if self.channel != Channel::Up {
            return;
        }
        let gone = self.peers.expire(now);
        if !gone.is_empty() {
            if self.is_among_others() {
                self.to_room
                    .push_back(Said::Notice(Notice::OutOfReach(gone)));
            }
            self.to_room.push_back(Said::Counts);
        }
    }
}

/// No server has more people: a beat that says so is mistaken.
const MAX_HERE: u64 = 1_000_000;

/// A stream does not go on for so many messages while we do not notice: a beat that says so is
/// mistaken, and would have us ask for them.
const MAX_LEAD: u64 = 1 << 32;

/// The batch in a message from the stream, and its place there. One that others have published
/// has no id of a server's life.
fn read_batch(label: ServerLabel, message: &Message<'_>) -> Option<(u64, Batch)> {
    let headers = message.headers;
    let seq = headers.number("Nats-Sequence")?;
    if !(1..MAX_INTEGER).contains(&seq) {
        return None;
    }
    let id = headers.get(ID_HEADER).and_then(|id| {
        let (instance, number) = id.split_once(':')?;
        let instance = u64::from_str_radix(instance, 16).ok()?;
        Some((instance, number.parse().ok()?))
    });
    let batch = Batch {
        label,
        id: id.unwrap_or((0, seq)),
        lines_before: headers.number(LINES_HEADER).unwrap_or_default(),
        payload: message.payload.to_vec(),
    };
    Some((seq, batch))
}

const _: () = assert!(HOLD_AGAIN_AFTER.as_millis() < HOLD_LEASE.as_millis());

#[cfg(test)]
mod tests;
