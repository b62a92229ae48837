//! Flow control: whose input waits so that readers can catch up, in which order clients
//! are read, and which readers are dropped.
//!
//! Nobody's text is dropped to save memory. Instead, while an active reader is
//! [behind](ReaderState::Behind), the heaviest talkers are not read, and TCP slows them
//! down at the far end. What counts is what a talker said lately: each [`PERIOD`] halves
//! it. Talkers below [`ALLOWANCE_BYTES`] are read as ever, so people go on talking while a
//! flooder is paced, and a paced flooder gets its share again after some periods.
//!
//! Congested or not, talkers that said little lately are read before those that said much:
//! see [`Class`].
//!
//! A reader that takes nothing holds up the flooders for [`GRACE`] and then nobody: it has
//! [stalled](ReaderState::Stalled). What is said meanwhile waits for it, up to its bound;
//! then it is dropped. A reader that takes too little to catch up within the stall timeout
//! is dropped, too.
//!
//! A client that asks for much and does not take it ([`MAX_FRAMES_BYTES`] of answers) is
//! not read until it has taken half of that: it waits for itself, and never comes to its
//! bound by what it asks for. One that says little is read all the same: what waits for it
//! may be others' private messages.
//!
//! When all readers together keep more than [`Bounds::max_total_bytes`] in memory, or more
//! than [`Bounds::max_pinned_bytes`] in the kernel, only
//! light talkers are read, and every reader that is owed anything has its
//! grace to take some of it: so those that cost most go first.
//!
//! How the bounds were chosen: [`PAUSE_BYTES`] is what a reader on a LAN takes in some
//! milliseconds, so other people's lines wait no longer than that behind a flood; what its
//! socket holds besides keeps a slow one busy until the next poll.
//! [`ALLOWANCE_BYTES`] is an hour of fast typing, or a pasted stack trace.
//!
//! Pure: it knows neither sockets nor connections, and no clock. The caller tells it what
//! each reader keeps in memory, and what time it is.

use std::time::{Duration, Instant};

use crate::protocol::close::CloseReason;

/// A reader that holds more than this is behind, and the heaviest talkers wait for it
/// (half of its bound, where that is less).
pub const PAUSE_BYTES: usize = 64 * 1024;

/// How long a reader that is behind may take nothing before nobody waits for it any
/// more; and before it is dropped, if it holds more than its bound. Give or take
/// [`LOOK_INTERVAL`]. The kernel opens a slow reader's window in steps, which can be a
/// second apart.
pub const GRACE: Duration = Duration::from_millis(1500);

/// How often a reader that is behind is looked at, to see whether it takes something.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How much a talker may have said lately and still be read while readers are behind, in
/// bytes: as it sends it or as others get it, whichever is more. Give or take one read.
pub const ALLOWANCE_BYTES: usize = 16 * 1024;

/// After each period, half of what a talker said counts no more.
pub const PERIOD: Duration = Duration::from_secs(5);

/// No more than this is held against a talker, however much it said: after a period it may
/// say something again.
const MAX_RECENT_BYTES: usize = 2 * ALLOWANCE_BYTES - 1;

/// A heavy talker with more frames of its own waiting than this (answers and private
/// messages, bookkeeping included) is not read until it has taken half of them. Well below
/// [`PAUSE_BYTES`]: what a client asks for holds up nobody else.
pub const MAX_FRAMES_BYTES: usize = PAUSE_BYTES / 4;

/// All readers together may be owed this many times what one may.
const READERS_AT_BOUND: usize = 8;

/// What may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What may be kept in memory for a reader that takes nothing.
    pub max_backlog_bytes: usize,
    /// How long a reader that is behind has to catch up.
    pub stall_timeout: Duration,
    /// What may be kept in memory for all readers together, give or take what one batch
    /// adds.
    pub max_total_bytes: usize,
    /// What the kernel may hold for all readers together that do not take it.
    pub max_pinned_bytes: usize,
}

impl Bounds {
    /// What fits most rooms: a reader of 1 MB/s that hangs for a second finds everything
    /// waiting, and one that has not caught up in half a minute will hardly do so.
    pub const DEFAULT: Self = Self {
        max_backlog_bytes: 1024 * 1024,
        stall_timeout: Duration::from_secs(30),
        max_total_bytes: READERS_AT_BOUND * 1024 * 1024,
        max_pinned_bytes: usize::MAX,
    };

    /// The same, where there is so much memory for output in all, here and in the kernel.
    #[must_use]
    pub fn within(self, total_bytes: usize, pinned_bytes: usize) -> Self {
        let max_total_bytes = self.max_backlog_bytes.saturating_mul(READERS_AT_BOUND);
        Self {
            max_total_bytes: max_total_bytes.min(total_bytes),
            max_pinned_bytes: pinned_bytes,
            ..self
        }
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

/// What is known of one reader. For those that keep up, which most do, a null pointer.
#[derive(Debug, Default)]
pub struct Reader(Option<Box<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    /// `None` if it keeps up.
    lag: Option<Lag>,
    /// It will be looked at once more.
    is_watched: bool,
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
        match self.0.as_ref().and_then(|watched| watched.lag.as_ref()) {
            None => ReaderState::KeepsUp,
            Some(lag) if lag.has_stalled => ReaderState::Stalled,
            Some(_) => ReaderState::Behind,
        }
    }

    fn lag_mut(&mut self) -> Option<&mut Lag> {
        self.0.as_mut().and_then(|watched| watched.lag.as_mut())
    }
}

/// What is known of one talker.
#[derive(Clone, Debug, Default)]
pub struct Talker {
    /// The period in which `recent_bytes` was right.
    period: u32,
    recent_bytes: u32,
}

impl Talker {
    fn recent_bytes(&self, period: u32) -> usize {
        let halvings = (period - self.period).min(u32::BITS - 1);
        (self.recent_bytes >> halvings) as usize
    }
}

/// Talkers by what they said lately. Lower classes are read first, and less at once: so a
/// person's line waits for a few lines of each of those who begin to flood just then, and
/// for nothing that the others say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u8);

impl Class {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Above what talkers of the first class said lately. The bound of each class is twice
    /// that of the one before; the last but one ends at [`ALLOWANCE_BYTES`].
    const FIRST_BOUND_BYTES: usize = ALLOWANCE_BYTES >> (Self::COUNT - 2);

    /// The classes below this one are [light](Self::is_light).
    pub const LIGHT_COUNT: usize = Self::COUNT - 3;

    fn of(recent_bytes: usize) -> Self {
        let halvings = (recent_bytes / Self::FIRST_BOUND_BYTES).checked_ilog2();
        let index = halvings.map_or(0, |halvings| halvings as usize + 1);
        Self(index.min(Self::COUNT - 1) as u8)
    }

    /// Counted from 0.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// Whether it is a class of people, who type and paste.
    pub fn is_light(self) -> bool {
        self.index() < Self::LIGHT_COUNT
    }

    /// How much is read, and said, in one go: at most `most_bytes`.
    pub fn quantum_bytes(self, most_bytes: usize) -> usize {
        let heaviness = (self.index() + 1).saturating_sub(Self::LIGHT_COUNT);
        let quantum_bytes = Self::FIRST_BOUND_BYTES << (2 * heaviness);
        quantum_bytes.min(most_bytes)
    }
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
    began_at: Instant,
    /// How many periods have passed since then.
    period: u32,
}

impl Flow {
    /// A room in which nobody is behind, at `now`.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            bounds,
            readers_behind: 0,
            is_over_total: false,
            began_at: now,
            period: 0,
        }
    }

    /// The bounds it keeps.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// From now on it is `now`. True when a new period has begun: paused talkers may say
    /// something again.
    pub fn set_time(&mut self, now: Instant) -> bool {
        let periods = now.duration_since(self.began_at).as_secs() / PERIOD.as_secs();
        let period = u32::try_from(periods).unwrap_or(u32::MAX);
        std::mem::replace(&mut self.period, period) != period
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
        match reader.lag_mut() {
            None if held_bytes <= pause_bytes => Verdict::Fine,
            None => {
                let watched = reader.0.get_or_insert_default();
                watched.lag = Some(Lag {
                    since: now,
                    took_at: now,
                    has_stalled: false,
                });
                self.readers_behind += 1;
                if std::mem::replace(&mut watched.is_watched, true) {
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
                if std::mem::replace(&mut lag.has_stalled, false) {
                    self.readers_behind += 1;
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
        let max_backlog_bytes = self.max_backlog_bytes();
        let Some(watched) = &mut reader.0 else {
            return Verdict::Fine;
        };
        watched.is_watched = false;
        let Some(lag) = &mut watched.lag else {
            reader.0 = None;
            return Verdict::Fine;
        };
        let is_live = now < lag.took_at + GRACE;
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
            self.readers_behind -= 1;
        }
        watched.is_watched = true;
        Verdict::Watch
    }

    /// `reader` is not waited for any more: it has caught up, or goes.
    pub fn release(&mut self, reader: &mut Reader) {
        if reader.state() == ReaderState::Behind {
            self.readers_behind -= 1;
        }
        if let Some(watched) = &mut reader.0 {
            watched.lag = None;
            if !watched.is_watched {
                reader.0 = None;
            }
        }
    }

    /// All readers together keep `total_bytes` in memory, and those that lag
    /// `pinned_bytes` in the kernel.
    pub fn observe_total(&mut self, total_bytes: usize, pinned_bytes: usize) -> Total {
        let (most_bytes, most_pinned_bytes) =
            (self.bounds.max_total_bytes, self.bounds.max_pinned_bytes);
        let is_low = total_bytes <= most_bytes / 2 && pinned_bytes <= most_pinned_bytes / 2;
        let is_high = total_bytes > most_bytes || pinned_bytes > most_pinned_bytes;
        match self.is_over_total {
            true if is_low => {
                self.is_over_total = false;
                Total::Recovered
            }
            false if is_high => {
                self.is_over_total = true;
                Total::BecameTooMuch
            }
            _ => Total::Unchanged,
        }
    }

    /// The class of `talker` now.
    pub fn class(&self, talker: &Talker) -> Class {
        Class::of(talker.recent_bytes(self.period))
    }

    /// Whether `talker` may say something now.
    pub fn may_say_more(&self, talker: &Talker) -> bool {
        if self.is_over_total {
            self.class(talker).is_light()
        } else {
            self.readers_behind == 0 || talker.recent_bytes(self.period) < ALLOWANCE_BYTES
        }
    }

    /// `talker` has said `bytes`.
    pub fn said(&self, talker: &mut Talker, bytes: usize) {
        let recent_bytes = talker.recent_bytes(self.period).saturating_add(bytes);
        *talker = Talker {
            period: self.period,
            // Far below 4 GiB.
            recent_bytes: recent_bytes.min(MAX_RECENT_BYTES) as u32,
        };
    }

    /// `talker` has said what `other` has, too.
    pub fn add(&self, talker: &mut Talker, other: &Talker) {
        self.said(talker, other.recent_bytes(self.period));
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
            let now = Instant::now();
            Self {
                flow: Flow::new(
                    Bounds {
                        max_backlog_bytes,
                        stall_timeout: STALL_TIMEOUT,
                        ..Bounds::DEFAULT
                    }
                    .within(usize::MAX, usize::MAX),
                    now,
                ),
                reader: Reader::default(),
                now,
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

        /// The reader takes something, and is still owed `held_bytes`.
        fn takes(&mut self, held_bytes: usize) -> Verdict {
            let now = self.now;
            self.flow.observe(&mut self.reader, held_bytes, true, now)
        }

        /// Time passes until the reader's next check.
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
    fn a_talker_is_paused_while_readers_are_behind_if_it_said_much_lately() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        let (mut flooder, mut person) = (Talker::default(), Talker::default());
        room.flow.said(&mut flooder, 1 << 30);
        room.flow.said(&mut person, ALLOWANCE_BYTES - 1);
        assert!(room.flow.may_say_more(&flooder), "nobody is behind");

        room.owes(MUCH);
        assert!(!room.flow.may_say_more(&flooder));
        assert!(room.flow.may_say_more(&person));
        room.flow.said(&mut person, 1);
        assert!(!room.flow.may_say_more(&person));

        room.takes(LITTLE);
        assert!(room.flow.may_say_more(&flooder));
    }

    #[test]
    fn what_was_said_counts_half_after_each_period() {
        let mut room = Room::behind();
        let (mut flooder, mut person) = (Talker::default(), Talker::default());
        room.flow.said(&mut flooder, 1 << 30);
        room.flow.said(&mut person, ALLOWANCE_BYTES - 1);
        room.now += PERIOD;
        assert!(room.flow.set_time(room.now), "paused talkers may go on");
        assert!(!room.flow.set_time(room.now));
        assert!(room.flow.may_say_more(&person));
        assert!(
            room.flow.may_say_more(&flooder),
            "no past is held against it for ever"
        );
        assert!(room.flow.class(&person) < room.flow.class(&flooder));
        room.now += 2 * PERIOD;
        room.flow.set_time(room.now);
        assert!(
            room.flow.may_say_more(&flooder),
            "no past is held against it for ever"
        );
    }

    #[test]
    fn a_talker_passes_through_the_classes_and_back() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        let mut talker = Talker::default();
        let mut seen = vec![room.flow.class(&talker)];
        for _ in 0..1000 {
            room.flow.said(&mut talker, 64);
            seen.push(room.flow.class(&talker));
        }
        assert!(seen.is_sorted());
        seen.dedup();
        let indexes: Vec<usize> = seen.iter().map(|class| class.index()).collect();
        assert!(indexes.iter().copied().eq(0..Class::COUNT), "{indexes:?}");
        let quanta = seen.iter().map(|class| class.quantum_bytes(16 * 1024));
        assert!(quanta.is_sorted());
        room.now += 60 * PERIOD;
        room.flow.set_time(room.now);
        assert_eq!(room.flow.class(&talker), seen[0]);
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
    fn when_all_together_is_too_much_few_are_read_and_everybody_must_take() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        let (person, mut talker) = (Talker::default(), Talker::default());
        room.flow.said(&mut talker, ALLOWANCE_BYTES);
        let most_bytes = READERS_AT_BOUND * MAX_BACKLOG_BYTES;
        assert_eq!(room.flow.bounds().max_total_bytes, most_bytes);
        assert_eq!(room.flow.observe_total(most_bytes, 0), Total::Unchanged);
        assert_eq!(
            room.flow.observe_total(most_bytes + 1, 0),
            Total::BecameTooMuch
        );
        assert_eq!(room.flow.observe_total(most_bytes + 1, 0), Total::Unchanged);
        assert!(!room.flow.may_say_more(&talker) && room.flow.is_congested());
        assert!(room.flow.may_say_more(&person), "it is light");

        assert_eq!(room.owes(0), Verdict::Fine);
        assert_eq!(room.owes(1), Verdict::Watch);
        let dropped = Verdict::Drop(CloseReason::Stuck);
        assert_eq!(room.watch(1), (GRACE, dropped));
        room.flow.release(&mut room.reader);

        let half = most_bytes / 2;
        assert_eq!(room.flow.observe_total(half + 1, 0), Total::Unchanged);
        assert_eq!(room.flow.observe_total(half, 0), Total::Recovered);
        assert!(room.flow.may_say_more(&talker) && !room.flow.is_congested());
        assert_eq!(room.owes(1), Verdict::Fine);
    }

    #[test]
    fn what_the_kernel_holds_has_a_bound_as_well() {
        let mut room = Room::new(MAX_BACKLOG_BYTES);
        room.flow.bounds.max_pinned_bytes = 1000;
        assert_eq!(room.flow.observe_total(0, 1000), Total::Unchanged);
        assert_eq!(room.flow.observe_total(0, 1001), Total::BecameTooMuch);
        assert_eq!(room.flow.observe_total(0, 501), Total::Unchanged);
        assert_eq!(room.flow.observe_total(0, 500), Total::Recovered);
    }

    #[test]
    fn a_small_bound_is_a_bound_for_the_pause_as_well() {
        let mut room = Room::new(1000);
        assert_eq!(room.owes(500), Verdict::Fine);
        assert_eq!(room.owes(501), Verdict::Watch);
    }
}
