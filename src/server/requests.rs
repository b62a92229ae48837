//! How the operator's requests are carried out. The answers go to the console.

use std::fmt;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use log::info;

use super::Server;
use super::operator_input::{OperatorInput, Typed};
use crate::protocol::batch::Batch;
use crate::protocol::close::CloseReason;
use crate::protocol::text;
use crate::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::reactor::Next;
use crate::room::member::{Count, Member};
use crate::server::network;
use crate::server::operator::{HELP, Request, parse};

/// The longest answer in one line.
const MAX_REPLY_CHARS: usize = 200;

impl Server {
    /// Does what the operator has typed.
    pub(super) fn hear_operator(&mut self, now: Instant, turn: &mut Batch) -> Next {
        let mut next = Next::Continue;
        while let Some(typed) = self
            .operator
            .as_mut()
            .and_then(|operator| OperatorInput::next_line(operator, now))
        {
            let line = match typed {
                Typed::Line(line) => line,
                Typed::TooLong => {
                    self.refuse("that line was not said: it is too long");
                    continue;
                }
                Typed::End => {
                    self.answer(
                        "that was the end of your input: the room goes on, without operator",
                    );
                    continue;
                }
            };
            match parse(&line) {
                Ok(None) => {}
                Ok(Some(request)) => next = next.max(self.carry_out(&request, now, turn)),
                Err(words) => self.refuse(words),
            }
        }
        next
    }

    fn carry_out(&mut self, request: &Request<'_>, now: Instant, turn: &mut Batch) -> Next {
        match *request {
            Request::Say(text) => self.room.hear_operator(text, now, turn),
            Request::Who => {
                let roster = self.room.full_roster();
                self.console.lines(&roster);
            }
            Request::Kick(label) => self.kick(label, turn),
            Request::Ban { whom, time } => match self.place_of(whom) {
                Ok(network) => self.ban(network, time, now, turn),
                Err(words) => self.refuse(words),
            },
            Request::Unban(network) => match self.admission.unban(network, now) {
                true => self.answer(format_args!("{} is let in again", Place(network))),
                false => self.refuse(format_args!(
                    "{} is not banned; /bans tells who is",
                    Place(network)
                )),
            },
            Request::Bans => self.tell_bans(now),
            Request::Stats => {
                self.are_figures_to_show = true;
                return Next::Report;
            }
            Request::Help => self.console.lines(HELP.as_bytes()),
            Request::Quit => return self.close(turn),
        }
        Next::Continue
    }

    fn kick(&mut self, label: &str, turn: &mut Batch) {
        let called = self.room.called(label);
        let who: Vec<String> = called
            .iter()
            .map(|(_, member)| member.full_label())
            .collect();
        let ids: Vec<_> = called.into_iter().map(|(id, _)| id).collect();
        match &who[..] {
            [] => self.refuse(format_args!(
                "no one is called {label} here; /who tells who is"
            )),
            [one] => self.answer(format_args!("{one} is sent away")),
            many => self.answer(format_args!("{} are sent away", Count(many.len()))),
        }
        for id in ids {
            turn.close(id, CloseReason::Kicked);
        }
    }

    /// The network that `whom` stands for, or the address of the member called so.
    fn place_of(&self, whom: &str) -> Result<IpNet, String> {
        match (network::parse(whom), &self.room.called(whom)[..]) {
            (Ok(network), _) => Ok(network),
            (Err(_), [(_, member), ..]) => Ok(member.address().into()),
            (Err(words), []) if whom.contains(['.', ':', '/']) => Err(words),
            (Err(_), []) => Err(format!(
                "no one is called {whom} here, and it is no address"
            )),
        }
    }

    fn ban(&mut self, network: IpNet, time: Option<Duration>, now: Instant, turn: &mut Batch) {
        let until = time.map(|time| now + time);
        if let Err(e) = self.admission.ban(network, until, now) {
            return self.refuse(format_args!("{e}; /unban ends one"));
        }
        let is_within = |member: &Member| network::contains(network, member.address());
        let mut sent_away = 0;
        for (id, _) in self.room.members().filter(|(_, member)| is_within(member)) {
            turn.close(id, CloseReason::Banned);
            sent_away += 1;
        }
        let place = Place(network);
        let time = match time {
            None => "until the server ends".to_owned(),
            Some(time) => format!("for {}", Minutes(time)),
        };
        info!("{place} is banned {time}");
        match sent_away {
            0 => self.answer(format_args!("{place} is banned {time}")),
            1 => self.answer(format_args!("{place} is banned {time}; 1 is sent away")),
            many => self.answer(format_args!(
                "{place} is banned {time}; {} are sent away",
                Count(many)
            )),
        }
    }

    fn tell_bans(&mut self, now: Instant) {
        let bans: Vec<_> = self.admission.bans(now).collect();
        if bans.is_empty() {
            self.answer("no one is banned");
        }
        for ban in bans {
            let place = Place(ban.network);
            match ban.left {
                None => self.answer(format_args!("{place} is banned until the server ends")),
                Some(left) => {
                    self.answer(format_args!(
                        "{place} is banned for another {}",
                        Minutes(left)
                    ));
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

    /// Shows a line. Some repeat what was typed, which may come from a program.
    fn reply(&mut self, prefix: &str, words: impl fmt::Display) {
        let words = text::excerpt(words.to_string().as_bytes(), MAX_REPLY_CHARS);
        self.console.line(format_args!("{prefix}{words}"));
    }
}

/// A network, or the one address that it consists of.
struct Place(IpNet);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = network::canonical(self.0);
        match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().fmt(f),
            false => network.fmt(f),
        }
    }
}

/// A time in whole minutes, rounded up.
struct Minutes(Duration);

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis().div_ceil(60_000) {
            1 => f.write_str("1 minute"),
            minutes => write!(f, "{minutes} minutes"),
        }
    }
}
