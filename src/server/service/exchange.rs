//! What passes between the room and its link to other servers.

use std::time::Instant;

use log::warn;

use super::super::link::{self, Link, Notice, Said, Why};
use super::{LINK, LINK_BUDGET_BYTES, Server};
use crate::error::Error;
use crate::protocol::batch::Context;
use crate::reactor::Reactor;
use crate::room::elsewhere::Outgoing;

impl Server {
    /// Links the room with those of other servers.
    ///
    /// # Errors
    ///
    /// If it cannot be tried.
    pub(in crate::server) fn link(
        &mut self,
        config: &link::Config,
        reactor: &Reactor,
        random: fn() -> u128,
    ) -> Result<(), Error> {
        let source = (reactor.registry(), LINK);
        let link = Link::new(config, source, random, Instant::now())?;
        self.room.span(*link.label());
        self.link = Some(link);
        Ok(())
    }

    /// Takes in what has come from the other servers, and says it.
    pub(super) fn serve_link(&mut self, context: &mut Context<'_>) {
        if let Some(link) = &mut self.link {
            link.serve(context.now);
        }
        self.exchange(context);
    }

    /// Hands the link what was said here, and says what the link has for the room.
    pub(super) fn exchange(&mut self, context: &mut Context<'_>) {
        let Some(link) = &mut self.link else {
            return;
        };
        loop {
            for outgoing in self.room.take_outgoing() {
                match outgoing {
                    Outgoing::Line(line) => link.say(&line),
                    Outgoing::Question {
                        whom,
                        question,
                        about,
                    } => {
                        let number = link.ask(whom, question, context.now);
                        self.room.question_sent(about, number, context);
                    }
                }
            }
            if context.batch.size_bytes() >= LINK_BUDGET_BYTES {
                return;
            }
            let Some(said) = link.take_said() else {
                return;
            };
            match said {
                Said::Own { lines } => self.room.say_own(lines, context),
                Said::Theirs { label, lines } => self.room.hear_from(&label, &lines, context),
                Said::Notice(notice) => {
                    if let Notice::Apart {
                        why: Why::LabelTaken,
                        ..
                    } = notice
                    {
                        warn!(
                            "another server of this room is called {}: choose another name with \
                             --label",
                            link.label()
                        );
                    }
                    if notice == Notice::Wait {
                        self.room.tell_who_waits(context);
                    }
                    self.room.set_others(link.others());
                    let here = self.room.here_everywhere();
                    let words = link::words(&notice, link.label(), here);
                    match notice {
                        Notice::Apart { why, .. } => {
                            let doubtful = 0;
                            let lasting = Notice::Apart { doubtful, why };
                            let words = link::words(&lasting, link.label(), here);
                            self.room.set_apart(Some(&words));
                        }
                        Notice::Together { .. } => self.room.set_apart(None),
                        _ => {}
                    }
                    self.room.tell_of_link(words, context);
                }
                Said::Asked {
                    from,
                    reply,
                    question,
                } => {
                    let answer = self.room.answer_to(&from, &question, context);
                    link.answer(reply, answer);
                }
                Said::Answer { number, answer } => {
                    self.room.answered(number, answer.as_deref(), context);
                }
                Said::Counts => self.room.set_others(link.others()),
                Said::Unusable(why) => link.warn_of_stream(&why, context.now),
            }
        }
    }
}
