//! Flow control: whose input waits so that readers can catch up, and which readers
//! are dropped.
//!
//! Nobody's text is dropped to save memory. Instead, while an active reader is
//! [behind](ReaderState::Behind), the heaviest talkers are not read, and TCP slows them
//! down at the far end. Talkers that have said little since the congestion began are
//! read as ever, so people go on talking while a flooder is paced; in a long
//! congestion everybody gets a fresh allowance every [`ALLOWANCE_PERIOD`].
//!
//! Answers to a client's commands are for it alone and hold up nobody else: a client that
//! does not read its answers is not read either ([`MAX_ANSWERS_BYTES`]). Private messages
//! are for one reader, too, but others cause them: they count like speech.
//!
//! A reader that takes nothing holds up the flooder for [`GRACE`] and then nobody: it has
//! [stalled](ReaderState::Stalled). What is said meanwhile waits for it, up to its bound;
//! then it is dropped. A reader that has shown that it reads, and has not stalled since,
//! gets [`GRACE_OF_THE_SLOW`]: the kernel opens a slow reader's window in steps, which can
//! be a second apart. A reader that takes too little to catch up within the stall timeout
//! is dropped, too.
//!
//! When all readers together keep more than [`Bounds::max_total_bytes`] in memory (many
//! talkers, each within its allowance), nobody is read, and every reader that is owed
//! anything has its grace to take some of it.
//!
//! How the bounds were chosen: [`PAUSE_BYTES`] is what a reader on a LAN takes in some
//! milliseconds, so other people's lines wait no longer than that behind a flood; and it
//! is many times what a slow one takes between two polls, so it never runs dry.
//! [`ALLOWANCE_BYTES`] is an hour of fast typing, or a pasted stack trace.
//!
//! Pure: it knows neither sockets nor connections, and no clock. The caller tells it what
//! each reader keeps in memory, and what time it is.

use std::time::{Duration, Instant};

use crate::protocol::close::CloseReason;

/// A reader that holds more than this is behind, and the heaviest talkers wait for it
/// (half of its bound, where that is less).
pub const PAUSE_BYTES: usize = 256 * 1024;

/// How long a reader that is behind may take nothing before nobody waits for it any
/// more; and before it is dropped, if it holds more than its bound. Give or take
/// [`LOOK_INTERVAL`].
pub const GRACE: Duration = Duration::from_secs(1);

/// The same for a reader that is known to read.
pub const GRACE_OF_THE_SLOW: Duration = Duration::from_secs(3);

/// How often a reader that is behind is looked at, to see whether it takes something.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A reader that takes something so long after it fell behind reads. Before that it may
/// be the kernel alone, which takes what its buffers still have room for.
const SETTLING_TIME: Duration = Duration::from_millis(300);

/// How much each talker may still say while readers are behind, in bytes: as it sends it
/// or as others get it, whichever is more. Give or take one read.
pub const ALLOWANCE_BYTES: usize = 16 * 1024;

/// After this long, talkers get a fresh allowance, though readers are still behind.
pub const ALLOWANCE_PERIOD: Duration = Duration::from_secs(5);

/// A client with more answers waiting than this, bookkeeping included, is not read until
/// it has taken half of them: it waits for itself, and nobody else does.
pub const MAX_ANSWERS_BYTES: usize = 64 * 1024;

/// All readers together may be owed this many times what one may.
const READERS_AT_BOUND: usize = 8;

/// What may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What may be kept in memory for a reader that takes nothing.
    pub max_backlog_bytes: usize,
    /// How long a reader that is behind has to catch up.
    pub stall_timeout: Duration,
}

impl Bounds {
    /// What fits most rooms: a reader of 1 MB/s that hangs for a second finds everything
    /// waiting, and one that has not caught up in half a minute will hardly do so.
    pub const DEFAULT: Self = Self {
        max_backlog_bytes: 1024 * 1024,
        stall_timeout: Duration::from_secs(30),
    };

    /// The most that is kept in memory for all readers together, give or take what
    /// one turn adds.
    pub fn max_total_bytes(&self) -> usize {
        self.max_backlog_bytes.saturating_mul(READERS_AT_BOUND)
    }

    fn pause_bytes(&self) -> usize {
        PAUSE_BYTES.min(self.max_backlog_bytes / 2)
    }
}

/// How a reader keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderState {
    /// It is owed little or nothing.
    KeepsUp,
    /// It is owed much, and takes some of it: it is waited for.
    Behind,
    /// It is owed much, and has taken nothing for its grace: nobody waits for it.
    Stalled,
}

/// What is known of one reader. Small for those that keep up, which most do.
#[derive(Debug, Default)]
pub struct Reader {
    /// Invariant: it has one unless it keeps up.
    lag: Option<Box<Lag>>,
    /// It will be looked at once more.
    is_watched: bool,
    /// It has taken something when only its reading could be the cause, and has not
    /// stalled since.
    is_known_to_read: bool,
}

/// What is known of a reader that does not keep up.
#[derive(Debug)]
struct Lag {
    /// When it fell behind.
    since: Instant,
    /// When it last took something, or fell behind.
    took_at: Instant,
    has_stalled: bool,
}

impl Reader {
    /// How it keeps up.
    pub fn state(&self) -> ReaderState {
        match &self.lag {
            None => ReaderState::KeepsUp,
            Some(lag) if lag.has_stalled => ReaderState::Stalled,
            Some(_) => ReaderState::Behind,
        }
    }
}

/// What is known of one talker.
#[derive(Debug, Default)]
pub struct Talker {
    /// The congestion during which it said `said_bytes`.
    congestion: u32,
    said_bytes: u32,
}

/// What is to be done about a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Look again after [`LOOK_INTERVAL`].
    Watch,
    /// It is not worth waiting for, for this reason.
    Drop(CloseReason),
}

/// What has become of all that waits together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// It is as it was, enough or too much.
    Unchanged,
    /// It has just become too much: every reader that is owed anything is to be
    /// observed.
    BecameTooMuch,
    /// It has just become bearable again.
    Recovered,
}

/// Flow control of one room.
#[derive(Debug)]
pub struct Flow {
    bounds: Bounds,
    /// Invariant: how many readers are in [`ReaderState::Behind`].
    readers_behind: usize,
    /// All that waits is more than may.
    is_over_total: bool,
    /// Counts the congestions, and the periods of a long one: what a talker said in an
    /// earlier one is forgotten.
    congestion: u32,
    /// When the last of those began.
    began_at: Option<Instant>,
}

impl Flow {
    /// A room in which nobody is behind.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            readers_behind: 0,
            is_over_total: false,
            congestion: 0,
            began_at: None,
        }
    }

    /// The bounds it keeps.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The number of the last congestion, or period of it. Once it changes, paused talkers
    /// may say something again.
    pub fn congestion(&mut self, now: Instant) -> u32 {
        let is_over = |began: Instant| now >= began + ALLOWANCE_PERIOD;
        if self.is_congested() && self.began_at.is_some_and(is_over) {
            self.begin_period(now);
        }
        self.congestion
    }

    /// Whether talkers have to wait for readers.
    pub fn is_congested(&self) -> bool {
        self.readers_behind > 0 || self.is_over_total
    }

    /// `held_bytes` are kept in memory for `reader`, and `took` tells whether it has
    /// just taken some of what it was owed.
    pub fn observe(
        &mut self,
        reader: &mut Reader,
        held_bytes: usize,
        took: bool,
        now: Instant,
    ) -> Verdict {
        let (pause_bytes, max_backlog_bytes) = (self.pause_bytes(), self.max_backlog_bytes());
        match &mut reader.lag {
            None if held_bytes <= pause_bytes => Verdict::Fine,
            None => {
                reader.lag = Some(Box::new(Lag {
                    since: now,
                    took_at: now,
                    has_stalled: false,
                }));
                self.wait_for_one_more(now);
                if std::mem::replace(&mut reader.is_watched, true) {
                    Verdict::Fine
                } else {
                    Verdict::Watch
                }
            }
            Some(_) if held_bytes <= pause_bytes / 2 => {
                self.release(reader);
                Verdict::Fine
            }
            Some(lag) if took => {
                lag.took_at = now;
                reader.is_known_to_read |= now > lag.since + SETTLING_TIME;
                if std::mem::replace(&mut lag.has_stalled, false) {
                    self.wait_for_one_more(now);
                }
                Verdict::Fine
            }
            Some(lag) if lag.has_stalled && held_bytes > max_backlog_bytes => {
                Verdict::Drop(CloseReason::Stuck)
            }
            Some(_) => Verdict::Fine,
        }
    }

    /// [`LOOK_INTERVAL`] has passed since it was said to watch `reader`, and it has just
    /// been observed.
    pub fn look(&mut self, reader: &mut Reader, held_bytes: usize, now: Instant) -> Verdict {
        reader.is_watched = false;
        let max_backlog_bytes = self.max_backlog_bytes();
        let Some(lag) = &mut reader.lag else {
            return Verdict::Fine;
        };
        let grace = if reader.is_known_to_read {
            GRACE_OF_THE_SLOW
        } else {
            GRACE
        };
        let is_live = now < lag.took_at + grace;
        if now >= lag.since + self.bounds.stall_timeout {
            return Verdict::Drop(if is_live {
                CloseReason::TooSlow
            } else {
                CloseReason::Stuck
            });
        }
        if !is_live && held_bytes > max_backlog_bytes {
            return Verdict::Drop(CloseReason::Stuck);
        }
        if !is_live && !std::mem::replace(&mut lag.has_stalled, true) {
            reader.is_known_to_read = false;
            self.readers_behind -= 1;
        }
        reader.is_watched = true;
        Verdict::Watch
    }

    /// `reader` is not waited for any more: it has caught up, or goes.
    pub fn release(&mut self, reader: &mut Reader) {
        if reader.state() == ReaderState::Behind {
            self.readers_behind -= 1;
        }
        reader.lag = None;
    }

    /// All readers together keep `total_bytes` in memory.
    pub fn observe_total(&mut self, total_bytes: usize, now: Instant) -> Total {
        let most_bytes = self.bounds.max_total_bytes();
        match self.is_over_total {
            true if total_bytes <= most_bytes / 2 => {
                self.is_over_total = false;
                Total::Recovered
            }
            false if total_bytes > most_bytes => {
                self.begin_congestion(now);
                self.is_over_total = true;
                Total::BecameTooMuch
            }
            _ => Total::Unchanged,
        }
    }

    /// Whether `talker` may say something now.
    pub fn may_say_more(&self, talker: &Talker) -> bool {
        if self.is_over_total {
            return false;
        }
        let is_new = talker.congestion != self.congestion;
        self.readers_behind == 0 || is_new || (talker.said_bytes as usize) < ALLOWANCE_BYTES
    }

    /// `talker` has said `bytes`.
    pub fn said(&mut self, talker: &mut Talker, bytes: usize) {
        if !self.is_congested() {
            return;
        }
        if talker.congestion != self.congestion {
            *talker = Talker {
                congestion: self.congestion,
                said_bytes: 0,
            };
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        talker.said_bytes = talker.said_bytes.saturating_add(bytes);
    }

    fn wait_for_one_more(&mut self, now: Instant) {
        self.begin_congestion(now);
        self.readers_behind += 1;
    }

    fn begin_congestion(&mut self, now: Instant) {
        if !self.is_congested() {
            self.begin_period(now);
        }
    }

    fn begin_period(&mut self, now: Instant) {
        self.congestion = self.congestion.wrapping_add(1);
        self.began_at = Some(now);
    }

    /// Where everything together is too much, each one's bound is nothing.
    fn pause_bytes(&self) -> usize {
        if self.is_over_total {
            0
        } else {
            self.bounds.pause_bytes()
        }
    }

    fn max_backlog_bytes(&self) -> usize {
        if self.is_over_total {
            0
        } else {
            self.bounds.max_backlog_bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BACKLOG_BYTES: usize = 4 * PAUSE_BYTES;
    const STALL_TIMEOUT: Duration = Duration::from_secs(30);
    const MUCH: usize = PAUSE_BYTES + 1;
    const LITTLE: usize = PAUSE_BYTES / 2;
    const TOO_MUCH: usize = MAX_BACKLOG_BYTES + 1;

    /// A room with one reader, and a clock.
    struct Room {
        flow: Flow,
        reader: Reader,
        now: Instant,
    }

    impl Room {
        fn new(max_backlog_bytes: usize) -> Self {
            Self {
                flow: Flow::new(Bounds {
                    max_backlog_bytes,
                    stall_timeout: STALL_TIMEOUT,
                }),
                reader: Reader::default(),
                now: Instant::now(),
            }
        }

        /// Its reader has just fallen behind.
        fn behind() -> Self {
            let mut room = Self::new(MAX_BACKLOG_BYTES);
            assert_eq!(room.owes(MUCH), Verdict::Watch);
            room
        }

        fn owes(&mut self, held_bytes: usize) -> Verdict {
            let now = self.now;
            self.flow.observe(&mut self.reader, held_bytes, false, now)
        }

        /// The reader takes something, and is still owed so much.
        fn takes(&mut self, held_bytes: usize) -> Verdict {
            let now = self.now;
            self.flow.observe(&mut self.reader, held_bytes, true, now)
        }

        /// Time goes by until the reader is looked at again.
        fn look(&mut self, held_bytes: usize) -> Verdict {
            self.now += LOOK_INTERVAL;
            self.flow.look(&mut self.reader, held_bytes, self.now)
        }

        /// Looks until there is another verdict, or another state; how long that took.
        fn watch(&mut self, held_bytes: usize) -> (Duration, Verdict) {
            let (began, state) = (self.now, self.reader.state());
            loop {
                let verdict = self.look(held_bytes);
                if verdict != Verdict::Watch || self.reader.state() != state {
                    return (self.now - began, verdict);
                }
            }
        }

        fn state(&self) -> ReaderState {
            self.reader.state()
        }
    }

    #[test]
    fn a_talker_is_paused_once_it_has_said_its_allowance_and_not_for_what_it_said_before() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        let (mut flooder, mut person) = (Talker::default(), Talker::default());
        room.flow.said(&mut flooder, 1 << 30);
        assert!(room.flow.may_say_more(&flooder));

        room.owes(MUCH);
        assert!(room.flow.may_say_more(&flooder));
        room.flow.said(&mut flooder, ALLOWANCE_BYTES - 1);
        room.flow.said(&mut person, 100);
        assert!(room.flow.may_say_more(&flooder));
        room.flow.said(&mut flooder, 1);
        assert!(!room.flow.may_say_more(&flooder));
        assert!(room.flow.may_say_more(&person));

        room.takes(LITTLE);
        assert!(room.flow.may_say_more(&flooder));
        room.owes(MUCH);
        assert!(room.flow.may_say_more(&flooder), "a new congestion");
    }

    #[test]
    fn a_long_congestion_renews_the_allowance_now_and_then() {
        let mut room = Room::behind();
        let mut talker = Talker::default();
        let first = room.flow.congestion(room.now);
        room.flow.said(&mut talker, ALLOWANCE_BYTES);
        room.now += ALLOWANCE_PERIOD - LOOK_INTERVAL;
        assert_eq!(room.flow.congestion(room.now), first);
        assert!(!room.flow.may_say_more(&talker));
        room.now += LOOK_INTERVAL;
        assert_ne!(room.flow.congestion(room.now), first);
        assert!(room.flow.may_say_more(&talker));

        room.takes(LITTLE);
        let last = room.flow.congestion(room.now);
        room.now += ALLOWANCE_PERIOD;
        assert_eq!(room.flow.congestion(room.now), last, "nobody has to wait");
    }

    #[test]
    fn a_second_reader_that_falls_behind_does_not_renew_the_allowance() {
        let mut room = Room::behind();
        let (mut flooder, mut second) = (Talker::default(), Reader::default());
        room.flow.said(&mut flooder, ALLOWANCE_BYTES);
        room.flow.observe(&mut second, MUCH, false, room.now);
        assert!(!room.flow.may_say_more(&flooder));
        room.takes(LITTLE);
        assert!(room.flow.is_congested(), "the second is still behind");
        room.flow.release(&mut second);
        assert!(!room.flow.is_congested());
    }

    #[test]
    fn a_reader_has_caught_up_well_below_where_it_fell_behind() {
        let mut room = Room::behind();
        room.takes(LITTLE + 1);
        assert_eq!(room.state(), ReaderState::Behind);
        room.takes(LITTLE);
        assert_eq!(room.state(), ReaderState::KeepsUp);
    }

    #[test]
    fn who_takes_something_is_waited_for_until_the_stall_timeout() {
        let mut room = Room::behind();
        let began = room.now;
        let verdict = loop {
            room.takes(TOO_MUCH);
            match room.look(TOO_MUCH) {
                Verdict::Watch => assert_eq!(room.state(), ReaderState::Behind),
                verdict => break verdict,
            }
        };
        assert_eq!(verdict, Verdict::Drop(CloseReason::TooSlow));
        assert_eq!(room.now - began, STALL_TIMEOUT);
    }

    #[test]
    fn who_takes_nothing_is_not_waited_for_and_dropped_at_its_bound() {
        let mut room = Room::behind();
        let stalls = (GRACE, Verdict::Watch);
        assert_eq!(room.watch(MAX_BACKLOG_BYTES), stalls);
        assert_eq!(room.state(), ReaderState::Stalled);
        assert!(!room.flow.is_congested());
        assert_eq!(room.owes(MAX_BACKLOG_BYTES), Verdict::Fine);
        assert_eq!(room.owes(TOO_MUCH), Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_takes_nothing_is_dropped_at_the_stall_timeout_though_it_is_owed_little() {
        let mut room = Room::behind();
        room.watch(MUCH);
        let (time, verdict) = room.watch(MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
        assert_eq!(time, STALL_TIMEOUT - GRACE);
    }

    #[test]
    fn who_is_past_its_bound_at_once_still_has_the_grace() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        assert_eq!(room.owes(TOO_MUCH), Verdict::Watch);
        let dropped = Verdict::Drop(CloseReason::Stuck);
        assert_eq!(room.watch(TOO_MUCH), (GRACE, dropped));
    }

    #[test]
    fn who_stalled_and_reads_again_is_waited_for_again() {
        let mut room = Room::behind();
        room.watch(MUCH);
        assert_eq!(room.takes(TOO_MUCH), Verdict::Fine);
        assert_eq!(room.state(), ReaderState::Behind);
        assert!(room.flow.is_congested());
        room.takes(LITTLE);
        assert!(!room.flow.is_congested());
    }

    #[test]
    fn who_is_known_to_read_has_a_longer_grace_until_it_stalls() {
        let mut room = Room::behind();
        room.now += SETTLING_TIME + LOOK_INTERVAL;
        room.takes(MUCH);
        assert_eq!(room.watch(MUCH), (GRACE_OF_THE_SLOW, Verdict::Watch));
        assert_eq!(room.state(), ReaderState::Stalled);

        room.takes(LITTLE);
        room.owes(MUCH);
        assert_eq!(room.watch(MUCH), (GRACE, Verdict::Watch));
    }

    #[test]
    fn what_the_kernel_takes_at_first_is_not_taken_for_reading() {
        let mut room = Room::behind();
        room.now += SETTLING_TIME;
        room.takes(TOO_MUCH);
        let dropped = Verdict::Drop(CloseReason::Stuck);
        assert_eq!(room.watch(TOO_MUCH), (GRACE, dropped));
    }

    #[test]
    fn who_has_caught_up_is_let_be() {
        let mut room = Room::behind();
        room.takes(LITTLE);
        assert_eq!(room.look(LITTLE), Verdict::Fine);
        assert_eq!(room.owes(MUCH), Verdict::Watch, "it has to be watched anew");
    }

    #[test]
    fn who_falls_behind_again_has_the_grace_again_and_is_watched_once() {
        let mut room = Room::behind();
        room.now += GRACE - LOOK_INTERVAL;
        room.takes(LITTLE);
        assert_eq!(room.owes(TOO_MUCH), Verdict::Fine, "it is watched already");
        let dropped = Verdict::Drop(CloseReason::Stuck);
        assert_eq!(room.watch(TOO_MUCH), (GRACE, dropped));
    }

    #[test]
    fn when_all_together_is_too_much_nobody_is_read_and_everybody_must_take() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        let talker = Talker::default();
        let most_bytes = READERS_AT_BOUND * MAX_BACKLOG_BYTES;
        assert_eq!(room.flow.bounds().max_total_bytes(), most_bytes);
        assert_eq!(
            room.flow.observe_total(most_bytes, room.now),
            Total::Unchanged
        );
        assert_eq!(
            room.flow.observe_total(most_bytes + 1, room.now),
            Total::BecameTooMuch
        );
        assert_eq!(
            room.flow.observe_total(most_bytes + 1, room.now),
            Total::Unchanged
        );
        assert!(!room.flow.may_say_more(&talker) && room.flow.is_congested());

        assert_eq!(room.owes(0), Verdict::Fine);
        assert_eq!(room.owes(1), Verdict::Watch);
        let dropped = Verdict::Drop(CloseReason::Stuck);
        assert_eq!(room.watch(1), (GRACE, dropped));
        room.flow.release(&mut room.reader);

        let half = most_bytes / 2;
        assert_eq!(
            room.flow.observe_total(half + 1, room.now),
            Total::Unchanged
        );
        assert_eq!(room.flow.observe_total(half, room.now), Total::Recovered);
        assert!(room.flow.may_say_more(&talker) && !room.flow.is_congested());
        assert_eq!(room.owes(1), Verdict::Fine);
    }

    #[test]
    fn a_small_bound_is_a_bound_for_the_pause_as_well() {
        let mut room = Room::new(1000);
        assert_eq!(room.owes(500), Verdict::Fine);
        assert_eq!(room.owes(501), Verdict::Watch);
    }
}
