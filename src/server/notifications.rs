//! What the service manager is told, and when (sd_notify(3)).
//!
//! An idle room sleeps: there is a deadline only for a second after somebody joined or left,
//! the one that the room's notice of them has; while the manager does not read; and where the
//! manager wants to hear regularly that the room is not stuck.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::warn;

use crate::error::plain;
use crate::protocol::event::text::Count;
use crate::rate::{AndMore, LogLimit};
use crate::room::presence::PRESENCE_WINDOW;

/// When to try again what the manager did not take.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The manager hears at this part of its timeout that the room is alive, as sd_notify(3)
/// recommends.
const BEATS_A_TIMEOUT: u32 = 2;

const BEAT: &str = "WATCHDOG=1";

#[derive(Debug)]
pub(crate) struct Notifications {
    listening_on: SocketAddr,
    /// The number of people that the manager was told last.
    told: u64,
    /// When to tell the number of people, which has changed.
    status_due_at: Option<Instant>,
    watchdog: Option<Watchdog>,
    /// Invariant: one of each kind at most, but for READY=1, before and after a reload.
    unsent: VecDeque<String>,
    /// The manager is, or will be, told of a reload that has not ended.
    is_reloading: bool,
    retry_at: Option<Instant>,
    failure_log: LogLimit,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    due_at: Instant,
}

impl Notifications {
    /// The room is ready. `watchdog` is how soon the manager takes it for stuck.
    pub(crate) fn new(listening_on: SocketAddr, watchdog: Option<Duration>, now: Instant) -> Self {
        let watchdog = watchdog.map(|timeout| {
            let interval = timeout / BEATS_A_TIMEOUT;
            Watchdog {
                interval,
                due_at: now + interval,
            }
        });
        let mut this = Self {
            listening_on,
            told: 0,
            status_due_at: None,
            watchdog,
            unsent: VecDeque::new(),
            is_reloading: false,
            retry_at: None,
            failure_log: LogLimit::new(),
        };
        let ready = format!("READY=1\n{}", this.status(0));
        this.unsent.push_back(ready);
        this
    }

    /// Somebody has joined or left.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.status_due_at.get_or_insert(now + PRESENCE_WINDOW);
    }

    /// The room is about to read its files again; `monotonic_micros` is the time.
    pub(crate) fn reloading(&mut self, monotonic_micros: u64) {
        // A manager that has not heard of the last one yet does not wait for this one.
        self.is_reloading = self.unsent.is_empty();
        if self.is_reloading {
            let message = format!("RELOADING=1\nMONOTONIC_USEC={monotonic_micros}");
            self.unsent.push_back(message);
        }
    }

    /// It has read them.
    pub(crate) fn reloaded(&mut self) {
        if std::mem::take(&mut self.is_reloading) {
            self.unsent.push_back("READY=1".to_owned());
        }
    }

    /// The room is closing.
    pub(crate) fn closing(&mut self) {
        let message = "STOPPING=1\nSTATUS=closing the room";
        self.unsent.push_back(message.to_owned());
        self.status_due_at = None;
        // What is left has its own deadline, which is shorter than that of any manager.
        self.watchdog = None;
    }

    /// When [`Notifications::expire`] and [`Notifications::deliver`] have something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let beat = self.watchdog.as_ref().map(|watchdog| watchdog.due_at);
        let deadlines = [self.status_due_at, beat, self.retry_at];
        deadlines.into_iter().flatten().min()
    }

    /// Says what is due at `now`. `here` is the number of people.
    pub(crate) fn expire(&mut self, here: u64, now: Instant) {
        if self.status_due_at.is_some_and(|due_at| due_at <= now) {
            self.status_due_at = None;
            if self.told != here {
                self.told = here;
                self.unsent.retain(|older| !older.starts_with("STATUS="));
                self.unsent.push_back(self.status(here));
            }
        }
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.due_at <= now
        {
            watchdog.due_at = now + watchdog.interval;
            if !self.unsent.iter().any(|unsent| unsent == BEAT) {
                self.unsent.push_back(BEAT.to_owned());
            }
        }
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            self.retry_at = None;
        }
    }

    /// Whether [`Notifications::deliver`] has something to do.
    pub(crate) fn is_pending(&self) -> bool {
        self.retry_at.is_none() && !self.unsent.is_empty()
    }

    /// Sends what there is to say, if the manager takes it.
    pub(crate) fn deliver(&mut self, now: Instant, send: impl Fn(&str) -> io::Result<()>) {
        while self.retry_at.is_none()
            && let Some(message) = self.unsent.front()
        {
            match send(message) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.retry_at = Some(now + RETRY_INTERVAL);
                    return;
                }
                Err(e) => {
                    if let Some(suppressed) = self.failure_log.allow(now) {
                        let (e, more) = (plain(&e), AndMore(suppressed));
                        warn!("cannot notify the service manager: {e}{more}");
                    }
                }
                Ok(()) => {}
            }
            self.unsent.pop_front();
        }
    }

    fn status(&self, here: u64) -> String {
        let here = Count(usize::try_from(here).unwrap_or(usize::MAX));
        format!("STATUS=listening on {}, {here} here", self.listening_on)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(10);

    struct Manager {
        notifications: Notifications,
        now: Instant,
    }

    impl Manager {
        fn new(watchdog: Option<Duration>) -> Self {
            let now = Instant::now();
            let address = "10.0.0.1:8081".parse().unwrap();
            let notifications = Notifications::new(address, watchdog, now);
            Self { notifications, now }
        }

        /// What it is told now.
        fn told(&mut self, here: u64) -> Vec<String> {
            let told = RefCell::new(Vec::new());
            self.notifications.expire(here, self.now);
            self.notifications.deliver(self.now, |message| {
                told.borrow_mut().push(message.to_owned());
                Ok(())
            });
            told.into_inner()
        }
    }

    #[test]
    fn it_is_told_of_the_beginning_a_reload_and_the_end() {
        let mut manager = Manager::new(None);
        let ready = "READY=1\nSTATUS=listening on 10.0.0.1:8081, 0 here";
        assert_eq!(manager.told(0), [ready]);
        manager.notifications.reloading(7);
        manager.notifications.reloaded();
        let reload = ["RELOADING=1\nMONOTONIC_USEC=7", "READY=1"];
        assert_eq!(manager.told(0), reload);
        manager.notifications.changed(manager.now);
        manager.notifications.closing();
        let stopping = "STOPPING=1\nSTATUS=closing the room";
        assert_eq!(manager.told(0), [stopping]);
        assert_eq!(manager.notifications.deadline(), None);
    }

    #[test]
    fn a_number_is_told_a_window_after_the_first_change_if_it_differs() {
        let mut manager = Manager::new(None);
        manager.told(0);
        assert_eq!(manager.notifications.deadline(), None);
        let due_at = manager.now + PRESENCE_WINDOW;
        manager.notifications.changed(manager.now);
        manager.now += PRESENCE_WINDOW / 2;
        manager.notifications.changed(manager.now);
        assert_eq!(manager.notifications.deadline(), Some(due_at));
        assert_eq!(manager.told(1234), [""; 0]);
        manager.now = due_at;
        let status = "STATUS=listening on 10.0.0.1:8081, 1,234 here";
        assert_eq!(manager.told(1234), [status]);
        // Somebody came and went.
        manager.notifications.changed(manager.now);
        manager.now += PRESENCE_WINDOW;
        assert_eq!(manager.told(1234), [""; 0]);
        assert_eq!(manager.notifications.deadline(), None);
    }

    #[test]
    fn a_watchdog_hears_twice_in_its_time() {
        let mut manager = Manager::new(Some(WATCHDOG));
        manager.told(0);
        for _ in 0..3 {
            let due_at = manager.now + WATCHDOG / 2;
            assert_eq!(manager.notifications.deadline(), Some(due_at));
            manager.now = due_at - Duration::from_nanos(1);
            assert_eq!(manager.told(0), [""; 0]);
            manager.now = due_at;
            assert_eq!(manager.told(0), ["WATCHDOG=1"]);
        }
    }

    #[test]
    fn what_a_busy_manager_does_not_take_is_told_later_and_bounded() {
        let mut manager = Manager::new(Some(WATCHDOG));
        manager.told(0);
        for here in 1..1000 {
            manager.notifications.reloading(here);
            manager.notifications.reloaded();
            manager.notifications.changed(manager.now);
            manager.now += WATCHDOG;
            manager.notifications.expire(here, manager.now);
            manager
                .notifications
                .deliver(manager.now, |_| Err(io::ErrorKind::WouldBlock.into()));
            let retry_at = manager.now + RETRY_INTERVAL;
            assert_eq!(manager.notifications.deadline(), Some(retry_at));
        }
        assert_eq!(manager.told(999), [""; 0]);
        manager.now += RETRY_INTERVAL;
        let told = [
            "RELOADING=1\nMONOTONIC_USEC=1",
            "READY=1",
            BEAT,
            "STATUS=listening on 10.0.0.1:8081, 999 here",
        ];
        assert_eq!(manager.told(999), told);
    }

    #[test]
    fn a_manager_that_is_gone_is_not_told_again() {
        let mut manager = Manager::new(None);
        manager.notifications.deliver(
            manager.now,
            |_| Err(io::ErrorKind::ConnectionRefused.into()),
        );
        assert_eq!(manager.told(0), [""; 0]);
        assert_eq!(manager.notifications.deadline(), None);
    }
}
