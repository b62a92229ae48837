//! Newcomers, one after another, and how long they wait to be greeted.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::common::load::{Wait, connect_from};
use crate::common::probe::Delays;

/// What happened to newcomers from other addresses, one after another.
pub(super) struct Newcomers {
    /// From the completed handshake to the greeting.
    greeted_after: Delays,
    /// Newcomers whose handshake was not completed in time.
    outside: usize,
    /// From connect(2) to the completed handshake.
    longest_handshake: Duration,
    /// How many of those already waiting when the first of them came have got in.
    pub(super) greeted_before: usize,
}

impl Newcomers {
    /// What does not hold, if anything.
    pub(super) fn fault(&self, within: Duration) -> Option<String> {
        let wait = &self.greeted_after;
        if wait.len() == 0 {
            return Some("no handshake was complete".to_owned());
        }
        (wait.unheard > 0 || wait.longest() > within)
            .then(|| format!("greeted after {:?}", wait.longest()))
    }
}

impl fmt::Display for Newcomers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = &self.greeted_after;
        write!(f, "{} newcomers", wait.len())?;
        if wait.len() > 0 {
            let (median, longest) = (wait.median(), wait.longest());
            write!(
                f,
                " greeted after {median:.1?} (median), {longest:.1?} (longest)"
            )?;
        }
        write!(
            f,
            ", {} of them not at all; {} outside; handshake within {:.1?}; \
             {} of those who waited before them are in",
            wait.unheard, self.outside, self.longest_handshake, self.greeted_before
        )
    }
}

/// A newcomer every quarter of a second for `span`; each waits for `patience`.
pub(super) fn newcomers(to: SocketAddr, span: Duration, patience: Duration) -> Newcomers {
    struct Newcomer {
        socket: OwnedFd,
        began: Instant,
        connected: Option<Instant>,
        greeted: Option<Instant>,
        gone: bool,
    }
    const EVERY: Duration = Duration::from_millis(250);
    const TICK: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let (began, mut next) = (Instant::now(), Instant::now());
    let mut all: Vec<Newcomer> = Vec::new();
    loop {
        let now = Instant::now();
        if next <= now && now < began + span {
            next += EVERY;
            all.push(Newcomer {
                socket: connect_from(&format!("127.7.0.{}", all.len() + 1), to, Wait::No),
                began: now,
                connected: None,
                greeted: None,
                gone: false,
            });
        }
        let is_waiting = |one: &Newcomer| one.greeted.is_none() && !one.gone;
        if now >= began + span && !all.iter().any(is_waiting) || now >= began + span + patience {
            break;
        }
        let mut waiting: Vec<&mut Newcomer> =
            all.iter_mut().filter(|one| is_waiting(one)).collect();
        let flags = |one: &Newcomer| match one.connected {
            None => PollFlags::OUT,
            Some(_) => PollFlags::IN,
        };
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = waiting
                .iter()
                .map(|one| PollFd::new(&one.socket, flags(one)))
                .collect();
            match poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (one, _) in waiting.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            if one.connected.is_none() {
                one.connected = Some(Instant::now());
                continue;
            }
            match recv(&one.socket, &mut [0; 16], RecvFlags::empty()) {
                Ok((_, 1..)) => one.greeted = Some(Instant::now()),
                Err(Errno::AGAIN) => {}
                Ok(_) | Err(_) => one.gone = true,
            }
        }
    }
    let now = Instant::now();
    let inside: Vec<&Newcomer> = all.iter().filter(|one| one.connected.is_some()).collect();
    let since = |one: &Newcomer| one.connected.expect("a newcomer that is inside");
    let wait = |one: &&Newcomer| one.greeted.unwrap_or(now) - since(one);
    let ungreeted = inside.iter().filter(|one| one.greeted.is_none()).count();
    Newcomers {
        greeted_after: Delays::new(inside.iter().map(wait).collect(), ungreeted),
        outside: all.len() - inside.len(),
        longest_handshake: inside
            .iter()
            .map(|one| since(one) - one.began)
            .max()
            .unwrap_or_default(),
        greeted_before: 0,
    }
}
