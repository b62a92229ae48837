//! Flow control: whose input waits so that readers can catch up, and which readers
//! are not worth waiting for.
//!
//! Nobody's text is dropped to save memory. Instead, while a reader that still reads
//! is [behind](ReaderState::Behind), those who talk most are not read: TCP then
//! slows them down, at the far end. Who has said little since the congestion began is
//! read as ever, so people go on talking while a flooder is paced.
//!
//! A reader that takes nothing at all holds up the flooder for [`GRACE`] and then
//! nobody any more: it has [stalled](ReaderState::Stalled). What is said meanwhile
//! waits for it, until that is more than its bound; then it is dropped. One that has
//! shown that it reads has [`GRACE_OF_THE_SLOW`], for the kernel lets a slow reader have
//! more in steps, which can be a second apart. A reader
//! that takes too little to catch up within the stall timeout is dropped, too. And should all that
//! waits come to more than [`Bounds::max_total_bytes`] (many talkers, each within
//! its allowance; many readers, each within its bound), nobody is read, and
//! every reader that is owed anything has the grace to take some of it.
//!
//! How the bounds were chosen: [`PAUSE_BYTES`] is what a reader on a LAN takes in some
//! milliseconds, so that behind a flood other people's lines wait no longer than that;
//! and it is many times what a slow one takes between two polls, so that it never runs
//! dry. [`ALLOWANCE_BYTES`] is an hour of fast typing, or a pasted stack trace.
//!
//! Pure: it knows neither sockets nor connections. Those who carry it out tell it
//! what each reader keeps in memory, and when a time has passed.

use std::time::Duration;

use crate::close::CloseReason;

/// A reader for whom more than this is kept is behind, and those who talk most wait
/// for it (or at half of its bound, where that is less).
pub const PAUSE_BYTES: usize = 256 * 1024;

/// How long a reader that is behind may take nothing before nobody waits for it any
/// more; and before it is dropped, if it is owed more than its bound. Give or take
/// [`LOOK_INTERVAL`].
pub const GRACE: Duration = Duration::from_secs(1);

/// The same for a reader that is known to read.
pub const GRACE_OF_THE_SLOW: Duration = Duration::from_secs(3);

/// How often a reader that is behind is looked at, to see whether it takes something.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A reader that takes something after so many looks reads. Before that it may be the
/// kernel alone, which takes what its buffers still have room for.
const SETTLED_LOOKS: u32 = 3;

/// So many looks are as long as `time`.
const fn looks_within(time: Duration) -> u32 {
    (time.as_millis() / LOOK_INTERVAL.as_millis()) as u32
}

/// What each talker may still say, in bytes as others get it, while readers are
/// behind.
pub const ALLOWANCE_BYTES: usize = 16 * 1024;

/// So many times what one reader may be owed is what all together may.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderState {
    /// It is owed little or nothing.
    #[default]
    KeepsUp,
    /// It is owed much, and takes some of it: it is waited for.
    Behind,
    /// It is owed much, and has taken nothing for [`GRACE`]: nobody waits for it.
    Stalled,
}

/// What is known of one reader.
#[derive(Debug, Default)]
pub struct Reader {
    state: ReaderState,
    /// It will be looked at once more.
    is_watched: bool,
    /// How often it has been looked at since it fell behind.
    looks: u32,
    /// How often in a row it had taken nothing.
    looks_in_vain: u32,
    /// It has taken something when only its reading could be the cause.
    is_known_to_read: bool,
}

impl Reader {
    /// How it keeps up.
    pub fn state(&self) -> ReaderState {
        self.state
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

/// Who waits for whom in one room.
#[derive(Debug)]
pub struct Flow {
    bounds: Bounds,
    /// Invariant: how many readers are in [`ReaderState::Behind`].
    readers_behind: usize,
    /// All that waits is more than may.
    is_over_total: bool,
    /// Counts the congestions: what a talker said in an earlier one is forgotten.
    congestion: u32,
}

impl Flow {
    /// A room in which nobody is behind.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            readers_behind: 0,
            is_over_total: false,
            congestion: 0,
        }
    }

    /// The bounds it keeps.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether somebody is waited for.
    pub fn is_congested(&self) -> bool {
        self.readers_behind > 0 || self.is_over_total
    }

    /// `held_bytes` are kept in memory for `reader`, and `took` tells whether it has
    /// just taken some of what it was owed.
    pub fn observe(&mut self, reader: &mut Reader, held_bytes: usize, took: bool) -> Verdict {
        match reader.state {
            ReaderState::KeepsUp if held_bytes <= self.pause_bytes() => Verdict::Fine,
            ReaderState::KeepsUp => {
                self.wait_for(reader);
                reader.looks = 0;
                match std::mem::replace(&mut reader.is_watched, true) {
                    true => Verdict::Fine,
                    false => Verdict::Watch,
                }
            }
            _ if held_bytes <= self.pause_bytes() / 2 => {
                self.release(reader);
                Verdict::Fine
            }
            ReaderState::Behind => Verdict::Fine,
            ReaderState::Stalled if took => {
                self.wait_for(reader);
                Verdict::Fine
            }
            ReaderState::Stalled if held_bytes > self.max_backlog_bytes() => {
                Verdict::Drop(CloseReason::Stuck)
            }
            ReaderState::Stalled => Verdict::Fine,
        }
    }

    /// [`LOOK_INTERVAL`] has passed since it was said to watch `reader`, in which it
    /// `took` something or not.
    pub fn look(&mut self, reader: &mut Reader, held_bytes: usize, took: bool) -> Verdict {
        reader.is_watched = false;
        match self.observe(reader, held_bytes, took) {
            Verdict::Fine => {}
            verdict => return verdict,
        }
        if reader.state == ReaderState::KeepsUp {
            return Verdict::Fine;
        }
        reader.looks += 1;
        reader.looks_in_vain = if took { 0 } else { reader.looks_in_vain + 1 };
        reader.is_known_to_read |= took && reader.looks > SETTLED_LOOKS;
        let grace = match reader.is_known_to_read {
            true => GRACE_OF_THE_SLOW,
            false => GRACE,
        };
        let is_live = reader.looks_in_vain < looks_within(grace);
        if LOOK_INTERVAL * reader.looks >= self.bounds.stall_timeout {
            return Verdict::Drop(match is_live {
                true => CloseReason::TooSlow,
                false => CloseReason::Stuck,
            });
        }
        if !is_live && held_bytes > self.max_backlog_bytes() {
            return Verdict::Drop(CloseReason::Stuck);
        }
        if !is_live {
            self.release(reader);
            reader.state = ReaderState::Stalled;
            reader.is_known_to_read = false;
        }
        reader.is_watched = true;
        Verdict::Watch
    }

    /// `reader` is not waited for any more, whatever it does: it goes.
    pub fn release(&mut self, reader: &mut Reader) {
        if reader.state == ReaderState::Behind {
            self.readers_behind -= 1;
        }
        reader.state = ReaderState::KeepsUp;
    }

    /// All readers together keep `total_bytes` in memory.
    pub fn observe_total(&mut self, total_bytes: usize) -> Total {
        let most_bytes = self.bounds.max_total_bytes();
        match self.is_over_total {
            true if total_bytes <= most_bytes / 2 => {
                self.is_over_total = false;
                Total::Recovered
            }
            false if total_bytes > most_bytes => {
                self.begin_congestion();
                self.is_over_total = true;
                Total::BecameTooMuch
            }
            _ => Total::Unchanged,
        }
    }

    /// How much `talker` may say now, in bytes.
    pub fn allowance_bytes(&self, talker: &Talker) -> usize {
        if self.is_over_total {
            return 0;
        }
        if self.readers_behind == 0 {
            return usize::MAX;
        }
        match talker.congestion == self.congestion {
            true => ALLOWANCE_BYTES.saturating_sub(talker.said_bytes as usize),
            false => ALLOWANCE_BYTES,
        }
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

    fn wait_for(&mut self, reader: &mut Reader) {
        self.begin_congestion();
        reader.state = ReaderState::Behind;
        reader.looks_in_vain = 0;
        self.readers_behind += 1;
    }

    fn begin_congestion(&mut self) {
        if !self.is_congested() {
            self.congestion = self.congestion.wrapping_add(1);
        }
    }

    /// Where everything together is too much, each one's bound is nothing.
    fn pause_bytes(&self) -> usize {
        match self.is_over_total {
            true => 0,
            false => self.bounds.pause_bytes(),
        }
    }

    fn max_backlog_bytes(&self) -> usize {
        match self.is_over_total {
            true => 0,
            false => self.bounds.max_backlog_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BACKLOG_BYTES: usize = 4 * PAUSE_BYTES;
    const MUCH: usize = PAUSE_BYTES + 1;
    const LITTLE: usize = PAUSE_BYTES / 2;
    const TOO_MUCH: usize = MAX_BACKLOG_BYTES + 1;
    const GRACE_LOOKS: u32 = looks_within(GRACE);
    const STALL_LOOKS: u32 = 30 * GRACE_LOOKS;

    fn flow() -> Flow {
        Flow::new(Bounds {
            max_backlog_bytes: MAX_BACKLOG_BYTES,
            stall_timeout: STALL_LOOKS * LOOK_INTERVAL,
        })
    }

    /// A flow with a reader that has just fallen behind.
    fn one_behind() -> (Flow, Reader) {
        let (mut flow, mut reader) = (flow(), Reader::default());
        let verdict = flow.observe(&mut reader, MUCH, false);
        assert_eq!(verdict, Verdict::Watch);
        (flow, reader)
    }

    #[test]
    fn a_talker_is_paused_once_it_has_said_its_allowance_and_not_for_what_it_said_before() {
        let (mut flow, mut flooder, mut person) = (flow(), Talker::default(), Talker::default());
        flow.said(&mut flooder, 1 << 30);
        assert_eq!(flow.allowance_bytes(&flooder), usize::MAX);

        let mut reader = Reader::default();
        flow.observe(&mut reader, MUCH, false);
        flow.said(&mut flooder, ALLOWANCE_BYTES);
        flow.said(&mut person, 100);
        assert_eq!(flow.allowance_bytes(&flooder), 0);
        assert_eq!(flow.allowance_bytes(&person), ALLOWANCE_BYTES - 100);

        flow.observe(&mut reader, LITTLE, true);
        assert_eq!(flow.allowance_bytes(&flooder), usize::MAX);
        flow.observe(&mut reader, MUCH, false);
        assert_eq!(flow.allowance_bytes(&flooder), ALLOWANCE_BYTES, "a new one");
    }

    #[test]
    fn a_second_reader_that_falls_behind_does_not_renew_the_allowance() {
        let (mut flow, mut first) = one_behind();
        let (mut flooder, mut second) = (Talker::default(), Reader::default());
        flow.said(&mut flooder, ALLOWANCE_BYTES);
        flow.observe(&mut second, MUCH, false);
        assert_eq!(flow.allowance_bytes(&flooder), 0);
        flow.observe(&mut first, LITTLE, true);
        assert!(flow.is_congested(), "the second is still behind");
        flow.release(&mut second);
        assert!(!flow.is_congested());
    }

    #[test]
    fn a_reader_has_caught_up_well_below_where_it_fell_behind() {
        let (mut flow, mut reader) = one_behind();
        flow.observe(&mut reader, LITTLE + 1, true);
        assert_eq!(reader.state(), ReaderState::Behind);
        flow.observe(&mut reader, LITTLE, true);
        assert_eq!(reader.state(), ReaderState::KeepsUp);
    }

    /// Looks so often that a grace is over, and nothing was taken.
    fn look_in_vain(flow: &mut Flow, reader: &mut Reader, held_bytes: usize) -> Verdict {
        for _ in 1..GRACE_LOOKS {
            assert_eq!(flow.look(reader, held_bytes, false), Verdict::Watch);
            assert!(flow.is_congested(), "the grace is not over");
        }
        flow.look(reader, held_bytes, false)
    }

    #[test]
    fn who_takes_something_is_waited_for_until_the_stall_timeout() {
        let (mut flow, mut reader) = one_behind();
        for look in 1..STALL_LOOKS {
            let took = look % GRACE_LOOKS == 0;
            let verdict = flow.look(&mut reader, TOO_MUCH, took);
            assert_eq!((verdict, flow.is_congested()), (Verdict::Watch, true));
        }
        let verdict = flow.look(&mut reader, MUCH, true);
        assert_eq!(verdict, Verdict::Drop(CloseReason::TooSlow));
    }

    #[test]
    fn who_takes_nothing_is_not_waited_for_and_dropped_at_its_bound() {
        let (mut flow, mut reader) = one_behind();
        let verdict = look_in_vain(&mut flow, &mut reader, MUCH);
        assert_eq!(verdict, Verdict::Watch);
        assert_eq!(reader.state(), ReaderState::Stalled);
        assert!(!flow.is_congested());
        let at_bound = flow.observe(&mut reader, MAX_BACKLOG_BYTES, false);
        assert_eq!(at_bound, Verdict::Fine);
        let past_it = flow.observe(&mut reader, TOO_MUCH, false);
        assert_eq!(past_it, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_takes_nothing_is_dropped_at_the_stall_timeout_though_it_is_owed_little() {
        let (mut flow, mut reader) = one_behind();
        for _ in 1..STALL_LOOKS {
            assert_eq!(flow.look(&mut reader, MUCH, false), Verdict::Watch);
        }
        let verdict = flow.look(&mut reader, MUCH, false);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_is_past_its_bound_at_once_still_has_the_grace() {
        let (mut flow, mut reader) = (flow(), Reader::default());
        let verdict = flow.observe(&mut reader, TOO_MUCH, false);
        assert_eq!(verdict, Verdict::Watch);
        let verdict = look_in_vain(&mut flow, &mut reader, TOO_MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_stalled_and_reads_again_is_waited_for_again() {
        let (mut flow, mut reader) = one_behind();
        look_in_vain(&mut flow, &mut reader, MUCH);
        assert_eq!(flow.observe(&mut reader, TOO_MUCH, true), Verdict::Fine);
        assert!(flow.is_congested());
        let verdict = look_in_vain(&mut flow, &mut reader, TOO_MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_is_known_to_read_has_a_longer_grace_until_it_stalls() {
        let (mut flow, mut reader) = one_behind();
        for _ in 0..SETTLED_LOOKS {
            flow.look(&mut reader, TOO_MUCH, false);
        }
        flow.look(&mut reader, TOO_MUCH, true);
        for _ in 1..looks_within(GRACE_OF_THE_SLOW) {
            assert_eq!(flow.look(&mut reader, MUCH, false), Verdict::Watch);
            assert_eq!(reader.state(), ReaderState::Behind);
        }
        flow.look(&mut reader, MUCH, false);
        assert_eq!(reader.state(), ReaderState::Stalled);

        flow.observe(&mut reader, LITTLE, true);
        flow.observe(&mut reader, MUCH, false);
        let verdict = look_in_vain(&mut flow, &mut reader, TOO_MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn what_the_kernel_takes_at_first_is_not_taken_for_reading() {
        let (mut flow, mut reader) = one_behind();
        for _ in 0..SETTLED_LOOKS {
            flow.look(&mut reader, TOO_MUCH, true);
        }
        let verdict = look_in_vain(&mut flow, &mut reader, TOO_MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn who_has_caught_up_is_let_be() {
        let (mut flow, mut reader) = one_behind();
        let verdict = flow.look(&mut reader, LITTLE, false);
        assert_eq!((verdict, flow.is_congested()), (Verdict::Fine, false));
        let verdict = flow.observe(&mut reader, MUCH, false);
        assert_eq!(verdict, Verdict::Watch, "it has to be watched anew");
    }

    #[test]
    fn who_falls_behind_again_has_the_grace_again() {
        let (mut flow, mut reader) = one_behind();
        for _ in 1..GRACE_LOOKS {
            flow.look(&mut reader, MUCH, false);
        }
        flow.observe(&mut reader, LITTLE, true);
        let verdict = flow.observe(&mut reader, TOO_MUCH, false);
        assert_eq!(verdict, Verdict::Fine, "it is watched already");
        let verdict = look_in_vain(&mut flow, &mut reader, TOO_MUCH);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
    }

    #[test]
    fn when_all_together_is_too_much_nobody_is_read_and_everybody_must_take() {
        let (mut flow, talker, mut reader) = (flow(), Talker::default(), Reader::default());
        let most_bytes = flow.bounds().max_total_bytes();
        assert_eq!(flow.observe_total(most_bytes), Total::Unchanged);
        assert_eq!(flow.observe_total(most_bytes + 1), Total::BecameTooMuch);
        assert_eq!(flow.observe_total(most_bytes + 1), Total::Unchanged);
        assert_eq!(flow.allowance_bytes(&talker), 0);

        let verdict = flow.observe(&mut reader, 1, false);
        assert_eq!(verdict, Verdict::Watch);
        let verdict = look_in_vain(&mut flow, &mut reader, 1);
        assert_eq!(verdict, Verdict::Drop(CloseReason::Stuck));
        flow.release(&mut reader);

        assert_eq!(flow.observe_total(most_bytes / 2 + 1), Total::Unchanged);
        assert_eq!(flow.observe_total(most_bytes / 2), Total::Recovered);
        assert!(!flow.is_congested());
        assert_eq!(flow.observe(&mut reader, 1, false), Verdict::Fine);
    }

    #[test]
    fn a_small_bound_is_a_bound_for_the_pause_as_well() {
        let mut flow = Flow::new(Bounds {
            max_backlog_bytes: 1000,
            stall_timeout: Duration::from_secs(30),
        });
        let mut reader = Reader::default();
        assert_eq!(flow.observe(&mut reader, 500, false), Verdict::Fine);
        assert_eq!(flow.observe(&mut reader, 501, false), Verdict::Watch);
    }
}
