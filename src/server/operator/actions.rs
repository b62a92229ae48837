//! Carries out the operator's requests. The answers go to the console.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use log::info;

use super::input::Typed;
use super::{HELP, Request, parse, parse_speech};
use crate::platform::stdio::StandardOutput;
use crate::protocol::batch::{ClientId, Context};
use crate::protocol::close::CloseReason;
use crate::protocol::event::text::{Count, Names};
use crate::protocol::event::{MAX_NAMED, Person};
use crate::protocol::text;
#[cfg(feature = "tls")]
use crate::protocol::tls::Fingerprint;
use crate::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::room::Room;
use crate::room::member::Member;
use crate::room::replies::past_heading;
use crate::room::roster::Called;
use crate::server::admission::{Admission, Ban};
use crate::server::console::Console;
use crate::server::network;
use crate::server::stats::Stats;

/// Answers quote the operator, whose input may come from a program.
const MAX_REPLY_CHARS: usize = 200;

/// Fits a terminal of 80 columns.
const CONSOLE_COLUMNS: usize = 78;

/// A ban of several people, which is carried out when it is typed again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    network: IpNet,
    time: Option<Duration>,
    /// The people there.
    who: String,
}

/// What the operator's requests act on.
pub(crate) struct Actions<'a> {
    pub(crate) room: &'a mut Room,
    pub(crate) admission: &'a mut Admission,
    pub(crate) console: &'a mut Console<StandardOutput>,
    pub(crate) stats: Stats,
    /// What guests know the room by, over TLS.
    #[cfg(feature = "tls")]
    pub(crate) key: Option<Fingerprint>,
    /// Whether a person types, who can answer a question.
    pub(crate) may_ask: bool,
    /// The question that was asked last.
    pub(crate) question: &'a mut Option<Question>,
}

impl Actions<'_> {
    /// Carries out what the operator typed; without `may_command`, all of it is said.
    /// `Break` to close the room.
    pub(crate) fn take(
        &mut self,
        typed: &Typed,
        may_command: bool,
        context: &mut Context<'_>,
    ) -> ControlFlow<()> {
        let parse = if may_command { parse } else { parse_speech };
        match typed {
            Typed::Line(line) => match parse(line) {
                Ok(None) => {}
                Ok(Some(request)) => return self.carry_out(&request, context),
                Err(words) => self.refuse(words),
            },
            Typed::TooLong => self.refuse("not sent: the line is over --max-line"),
            Typed::End => self.answer("stdin closed; continuing without an operator"),
        }
        ControlFlow::Continue(())
    }

    fn carry_out(&mut self, request: &Request<'_>, context: &mut Context<'_>) -> ControlFlow<()> {
        let asked = self.question.take();
        match *request {
            Request::Say(text) => self.room.hear_operator(text, context),
            Request::Act(action) => self.room.see_operator(action.as_bytes(), context),
            Request::Whisper { to, text } => self.whisper(to, text, context),
            Request::Who => {
                let roster = self.room.full_roster();
                self.console.lines(&roster);
            }
            Request::Last(count) => self.tell_past(count),
            Request::Kick(label) => self.kick(label, context),
            Request::Mute(label) => self.mute(label, context),
            Request::Unmute(label) => self.unmute(label, context),
            Request::Ban { whom, time } => match self.place_of(whom) {
                Ok(network) => self.ban(network, time, asked, context),
                Err(words) => self.refuse(words),
            },
            Request::Unban(network) if self.admission.unban(network, context.now) => {
                self.answer(format_args!("{} is let in again", Place(network)));
            }
            Request::Unban(network) => self.refuse_unban(network, context.now),
            Request::Bans => self.tell_bans(context.now),
            Request::Stats => {
                let lines = text::wrap(&self.stats.to_string(), CONSOLE_COLUMNS);
                self.console.line(format_args!("{lines}"));
                #[cfg(feature = "tls")]
                if let Some(key) = &self.key {
                    self.console.line(format_args!("the room's key is {key}"));
                }
            }
            Request::Help => self.console.lines(HELP.as_bytes()),
            Request::Quit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn whisper(&mut self, to: &str, text: &str, context: &mut Context<'_>) {
        match self.room.whisper_as_operator(to, text.as_bytes(), context) {
            // The room shows nobody else.
            Ok(to) => {
                let text = text::made_safe(text.as_bytes());
                self.console.line(format_args!("[You to {to}] {text}"));
            }
            Err(called) => self.refuse(called.words(to)),
        }
    }

    fn tell_past(&mut self, count: usize) {
        let past: Vec<_> = self.room.said_lately(count).collect();
        let heading = past_heading(past.len());
        let mut line = Vec::new();
        self.console.line(format_args!("{NOTICE_PREFIX}{heading}"));
        for (place, event) in past {
            line.clear();
            event.write_text(&mut line);
            self.console
                .past_line(&String::from_utf8_lossy(&line), place.time);
        }
    }

    fn mute(&mut self, label: &str, context: &mut Context<'_>) {
        let called = self.room.called(label);
        let called: Vec<_> = called
            .iter()
            .map(|&(id, member)| (id, member.full_label()))
            .collect();
        if called.is_empty() {
            return self.refuse_nobody(label);
        }
        for (id, who) in called {
            if self.room.mute(id, context) {
                self.answer(format_args!("{who} is muted: nobody sees what they say"));
            } else {
                self.refuse(format_args!(
                    "{who} is muted already; /unmute {label} ends that"
                ));
            }
        }
    }

    fn unmute(&mut self, label: &str, context: &mut Context<'_>) {
        let called = self.room.called(label);
        let ids: Vec<ClientId> = called.iter().map(|&(id, _)| id).collect();
        let address = label.parse().ok();
        let mut is_done = address.is_some_and(|address| self.room.unmute_place(address));
        for id in ids.iter().copied() {
            is_done |= self.room.unmute(id, context);
        }
        if is_done {
            self.answer(format_args!("{label} is no longer muted"));
        } else if ids.is_empty() && address.is_none() {
            self.refuse_nobody(label);
        } else {
            self.refuse(format_args!("{label} is not muted; /bans lists who is"));
        }
    }

    fn refuse_nobody(&mut self, label: &str) {
        self.refuse(Called::Nobody.words(label));
    }

    fn kick(&mut self, label: &str, context: &mut Context<'_>) {
        let called = self.room.called(label);
        let who: Vec<String> = called
            .iter()
            .map(|(_, member)| member.full_label())
            .collect();
        let ids: Vec<ClientId> = called.iter().map(|&(id, _)| id).collect();
        match &who[..] {
            [] => self.refuse_nobody(label),
            [one] => self.answer(format_args!("disconnected {one}")),
            many => self.answer(format_args!("disconnected {} clients", Count(many.len()))),
        }
        for id in ids {
            self.room.send_away(id, CloseReason::Kicked, context);
        }
    }

    /// The network `whom`, or the address of the member called `whom`.
    fn place_of(&self, whom: &str) -> Result<IpNet, String> {
        match (network::parse(whom), &self.room.called(whom)[..]) {
            (Ok(network), _) => Ok(network),
            (Err(_), [(_, member), ..]) => Ok(member.address().into()),
            (Err(words), []) if whom.contains(['.', ':', '/']) => Err(words),
            (Err(_), []) => Err(format!("{whom} is neither a member nor an address")),
        }
    }

    fn ban(
        &mut self,
        network: IpNet,
        time: Option<Duration>,
        asked: Option<Question>,
        context: &mut Context<'_>,
    ) {
        let is_within = |member: &Member| network::contains(network, member.address());
        let within = self.room.members().filter(|(_, member)| is_within(member));
        let within: Vec<_> = within.collect();
        if self.may_ask && within.len() > 1 {
            let question = Question {
                network,
                time,
                who: names(&within),
            };
            // Others may be there since.
            if asked.as_ref() != Some(&question) {
                self.refuse(format_args!(
                    "{} are at {}: repeat the command to ban them all",
                    question.who,
                    Place(network)
                ));
                *self.question = Some(question);
                return;
            }
        }
        let within: Vec<ClientId> = within.into_iter().map(|(id, _)| id).collect();
        let until = time.map(|time| context.now + time);
        if let Err(e) = self.admission.ban(network, until, context.now) {
            return self.refuse(format_args!("{e}; /unban ends one"));
        }
        let disconnected = within.len();
        for id in within {
            self.room.send_away(id, CloseReason::Banned, context);
        }
        let place = Place(network);
        let time = match time {
            None => "until the server ends".to_owned(),
            Some(time) => format!("for {}", Minutes(time)),
        };
        info!("{place} is banned {time}");
        match disconnected {
            0 => self.answer(format_args!("{place} is banned {time}")),
            1 => self.answer(format_args!(
                "{place} is banned {time}; disconnected 1 client"
            )),
            many => self.answer(format_args!(
                "{place} is banned {time}; disconnected {} clients",
                Count(many)
            )),
        }
    }

    fn refuse_unban(&mut self, network: IpNet, now: Instant) {
        let canonical = network::canonical(network);
        let within = |ban: &Ban| ban.network.contains(&canonical);
        let ban = self.admission.bans(now).find(within);
        match ban {
            Some(ban) => self.refuse(format_args!(
                "{} is banned with {}; /unban {1} lets in all of it",
                Place(network),
                Place(ban.network)
            )),
            None => self.refuse(format_args!(
                "{} is not banned; /bans lists all bans",
                Place(network)
            )),
        }
    }

    fn tell_bans(&mut self, now: Instant) {
        let bans: Vec<_> = self.admission.bans(now).collect();
        if bans.is_empty() {
            self.answer("nobody is banned");
        }
        let muted: Vec<_> = self.room.muted().map(Member::full_label).collect();
        for who in muted {
            self.answer(format_args!("{who} is muted"));
        }
        let places: Vec<_> = self.room.muted_places().collect();
        for place in places {
            self.answer(format_args!("everybody who joins from {place} is muted"));
        }
        for ban in bans {
            let place = Place(ban.network);
            match ban.left {
                None => self.answer(format_args!("{place} is banned until the server ends")),
                Some(left) => {
                    self.answer(format_args!("{place} is banned for {} more", Minutes(left)));
                }
            }
        }
    }

    fn answer(&mut self, words: impl fmt::Display) {
        self.reply(NOTICE_PREFIX, words);
    }

    fn refuse(&mut self, words: impl fmt::Display) {
        self.reply(REFUSAL_PREFIX, words);
    }

    /// Shows one line, made safe, because it may quote input from a program.
    fn reply(&mut self, prefix: &str, words: impl fmt::Display) {
        let words = text::excerpt(words.to_string().as_bytes(), MAX_REPLY_CHARS);
        self.console.line(format_args!("{prefix}{words}"));
    }
}

/// The members as a list, a few of them by name.
fn names(members: &[(ClientId, &Member)]) -> String {
    let named = members.iter().take(MAX_NAMED);
    let named: Vec<_> = named
        .map(|(id, member)| Person {
            id: id.serial,
            name: member.to_string().into(),
        })
        .collect();
    match members.len() - named.len() {
        0 => Names(&named).to_string(),
        more => format!("{}, and {} more", Names(&named), Count(more)),
    }
}

/// Displayed as a network, or as an address if it contains only one.
struct Place(IpNet);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = network::canonical(self.0);
        if network.prefix_len() == network.max_prefix_len() {
            network.addr().fmt(f)
        } else {
            network.fmt(f)
        }
    }
}

/// Displayed in whole minutes, rounded up.
struct Minutes(Duration);

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis().div_ceil(60_000) {
            1 => f.write_str("1 minute"),
            minutes => write!(f, "{minutes} minutes"),
        }
    }
}
