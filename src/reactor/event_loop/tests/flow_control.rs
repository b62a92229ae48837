//! Who waits for whom, and who is dropped.

use std::time::Duration;

use super::harness::{Loop, POLICY, Socket, WELCOME};
use crate::protocol::batch::ClientId;
use crate::protocol::close::CloseReason;
use crate::reactor::clients::LAST_WORDS_TIMEOUT;
use crate::reactor::flow::{ALLOWANCE_BYTES, Bounds, GRACE, MAX_FRAMES_BYTES, PAUSE_BYTES, PERIOD};
use crate::reactor::inbound::READ_BUDGET_BYTES;
use crate::reactor::pacing::MAX_BATCH_BYTES;
use crate::reactor::service::Policy;

const MAX_BACKLOG_BYTES: usize = POLICY.flow.max_backlog_bytes;
const STALL_TIMEOUT: Duration = POLICY.flow.stall_timeout;

/// More than anything holds that is bounded here.
const A_FLOOD_BYTES: usize = 5 * MAX_BACKLOG_BYTES;

/// What is added before the loop notices: a turn, which may end within a read.
const SLACK_BYTES: usize = MAX_BATCH_BYTES + 2 * READ_BUDGET_BYTES;

/// Two who talk and read, and one whose socket takes nothing.
struct Trio {
    room: Loop,
    flooder: (usize, Socket),
    person: (usize, Socket),
    stuck: (usize, Socket),
}

impl Trio {
    fn new() -> Self {
        let mut room = Loop::new();
        let [flooder, person, stuck] = std::array::from_fn(|_| room.join());
        stuck.1.takes(0);
        Self {
            room,
            flooder,
            person,
            stuck,
        }
    }

    /// The flooder says as much as it is let.
    fn flood(&mut self) {
        let (key, socket) = &self.flooder;
        self.room.floods(*key, socket, A_FLOOD_BYTES);
        self.room.settle();
    }
}

#[test]
fn a_flooder_waits_for_a_reader_that_takes_something_and_nothing_is_lost() {
    const TAKEN_BYTES: usize = 100_000;
    let Trio {
        mut room,
        flooder: (flooder, flooder_socket),
        person: (_, person_socket),
        stuck: (slow, slow_socket),
    } = Trio::new();
    room.floods(flooder, &flooder_socket, A_FLOOD_BYTES);
    room.settle();
    let mut heard = slow_socket.received();
    while flooder_socket.unread_bytes() > 0 {
        assert!(room.event_loop.load().backlog_bytes <= PAUSE_BYTES + SLACK_BYTES);
        room.wait(GRACE / 2);
        slow_socket.takes(TAKEN_BYTES);
        room.writable(slow);
        let taken = slow_socket.received();
        assert!(!taken.is_empty());
        heard += &taken;
    }
    slow_socket.takes(usize::MAX);
    room.writable(slow);
    heard += &slow_socket.received();
    assert_eq!(heard.lines().count(), A_FLOOD_BYTES.div_ceil(1000));
    assert!(heard == person_socket.received(), "both hear the same");
    assert_eq!(room.host.left, []);
    assert_eq!(room.event_loop.load().backlog_bytes, 0);
}

#[test]
fn while_a_flooder_waits_others_are_heard_at_once() {
    let mut trio = Trio::new();
    trio.flood();
    let (flooder, flooder_socket) = &trio.flooder;
    assert!(flooder_socket.unread_bytes() > A_FLOOD_BYTES / 2);
    assert!(!trio.room.event_loop.clients.has_work(), "it waits");
    for _ in 0..10 {
        trio.person.1.sends("and I say this\n");
        trio.room.readable(trio.person.0);
        let heard = flooder_socket.received();
        assert_eq!(heard, "<10.0.0.1> and I say this\n");
    }
    let unread_bytes = flooder_socket.unread_bytes();
    trio.room.readable(*flooder);
    assert_eq!(flooder_socket.unread_bytes(), unread_bytes, "still");
}

#[test]
fn what_a_talker_may_say_while_readers_are_behind_is_bounded() {
    let mut trio = Trio::new();
    trio.flood();
    trio.person.1.received();
    let (person, person_socket) = &trio.person;
    trio.room.floods(*person, person_socket, A_FLOOD_BYTES);
    trio.room.settle();
    let said_bytes = trio.flooder.1.received().len();
    let most_bytes = ALLOWANCE_BYTES + 2 * READ_BUDGET_BYTES;
    // Of what was read, lines have not ended, and names were not counted.
    let least_bytes = ALLOWANCE_BYTES / 2;
    assert!(
        (least_bytes..most_bytes).contains(&said_bytes),
        "{said_bytes}"
    );
}

#[test]
fn a_reader_that_takes_nothing_holds_up_a_flooder_for_a_grace_and_no_longer() {
    let mut trio = Trio::new();
    trio.flood();
    let began = trio.room.now;
    while trio.flooder.1.unread_bytes() > 0 {
        assert!(trio.room.now - began <= GRACE);
        let owed_bytes = trio.room.event_loop.load().backlog_bytes;
        assert!(owed_bytes <= MAX_BACKLOG_BYTES + SLACK_BYTES);
        trio.room.wait(GRACE);
        trio.room.settle();
    }
    let dropped = (ClientId::nth(trio.stuck.0), CloseReason::Stuck);
    assert_eq!(trio.room.host.left, [dropped]);
    let heard = trio.person.1.received();
    assert_eq!(heard.lines().count(), A_FLOOD_BYTES.div_ceil(1000));
}

#[test]
fn a_dropped_reader_leaves_nothing_in_the_kernel() {
    let mut trio = Trio::new();
    trio.flood();
    trio.room.wait(GRACE);
    trio.room.settle();
    let stuck = &trio.stuck.1;
    assert_eq!(trio.room.host.left.len(), 1);
    assert!(stuck.is_open_here(), "it might still take its last words");
    assert!(trio.room.event_loop.load().backlog_bytes < 10_000);
    trio.room.wait(LAST_WORDS_TIMEOUT);
    assert!(!stuck.is_open_here() && stuck.was_reset());
    assert_eq!(trio.room.event_loop.load().backlog_bytes, 0);
    let traffic = trio.room.event_loop.load().traffic;
    let heard = |socket: &Socket| socket.received().len() as u64;
    let heard_bytes: u64 = [&trio.flooder.1, &trio.person.1].map(heard).iter().sum();
    // All were welcomed, too.
    let out_bytes = heard_bytes + traffic.bytes_lost + 3 * WELCOME.len() as u64;
    assert_eq!(traffic.bytes_out, out_bytes);
}

#[test]
fn a_dropped_reader_is_told_if_it_takes_that() {
    let mut trio = Trio::new();
    trio.stuck.1.takes(100);
    trio.flood();
    trio.room.wait(GRACE);
    trio.room.settle();
    let (stuck, socket) = &trio.stuck;
    socket.takes(usize::MAX);
    trio.room.writable(*stuck);
    let heard = socket.received();
    let (line, notice) = heard.split_once('\n').unwrap();
    assert_eq!(line.len(), "<10.0.0.0> ".len() + 999, "no line is torn");
    assert!(
        notice.starts_with("-- goodbye: ") && notice.ends_with('\n'),
        "{notice}"
    );
    assert_eq!(notice.lines().count(), 1);
    assert!(socket.saw_end() && socket.is_open_here());
    trio.room.wait(LAST_WORDS_TIMEOUT);
    assert!(!socket.is_open_here() && socket.was_reset());
}

#[test]
fn a_reader_that_trickles_is_dropped_after_the_stall_timeout() {
    let mut trio = Trio::new();
    let began = trio.room.now;
    trio.flood();
    let (stuck, socket) = &trio.stuck;
    while trio.room.host.left.is_empty() {
        socket.takes(1);
        trio.room.writable(*stuck);
        assert!(trio.flooder.1.unread_bytes() > 0, "it is waited for");
        trio.room.wait(GRACE / 2);
        assert!(trio.room.now <= began + STALL_TIMEOUT);
    }
    assert_eq!(trio.room.now, began + STALL_TIMEOUT);
    let dropped = (ClientId::nth(*stuck), CloseReason::TooSlow);
    assert_eq!(trio.room.host.left, [dropped]);
    trio.room.settle();
    assert_eq!(trio.flooder.1.unread_bytes(), 0);
}

#[test]
fn a_reader_that_makes_room_of_which_the_kernel_does_not_tell_is_not_stuck() {
    let mut trio = Trio::new();
    trio.flood();
    for _ in 0..5 {
        trio.stuck.1.takes(1000);
        trio.room.wait(GRACE);
    }
    assert_eq!(trio.room.host.left, []);
    assert_eq!(trio.stuck.1.received().len(), 5000);
}

#[test]
fn a_client_that_has_left_is_waited_for_too() {
    let mut trio = Trio::new();
    trio.flood();
    let (stuck, socket) = &trio.stuck;
    socket.ends();
    trio.room.readable(*stuck);
    let left = (ClientId::nth(*stuck), CloseReason::PeerClosed);
    assert_eq!(trio.room.host.left, [left]);
    assert!(trio.flooder.1.unread_bytes() > A_FLOOD_BYTES / 2);
    socket.takes(usize::MAX);
    trio.room.writable(*stuck);
    assert_eq!(trio.flooder.1.unread_bytes(), 0);
    assert!(!socket.is_open_here());
}

#[test]
fn a_client_that_has_left_holds_no_more_than_its_bound() {
    let mut trio = Trio::new();
    let (_, other_stuck) = trio.room.join();
    other_stuck.takes(0);
    trio.flood();
    let (stuck, socket) = &trio.stuck;
    socket.ends();
    trio.room.readable(*stuck);
    assert!(socket.is_open_here());
    trio.room.wait(GRACE);
    trio.room.settle();
    assert!(!socket.is_open_here() && socket.was_reset());
}

#[test]
fn everything_together_is_bounded_however_many_talk() {
    const TALKERS: usize = 200;
    let bounds = Bounds {
        max_backlog_bytes: 64 * 1024,
        ..POLICY.flow
    }
    .within(usize::MAX, usize::MAX);
    let mut room = Loop::with_policy(Policy {
        flow: bounds,
        ..POLICY
    });
    let (_, stuck) = room.join();
    stuck.takes(0);
    let talkers: Vec<_> = (0..TALKERS).map(|_| room.join()).collect();
    for (key, socket) in &talkers {
        room.floods(*key, socket, ALLOWANCE_BYTES / 2);
    }
    room.settle();
    let most_bytes = bounds.max_total_bytes + SLACK_BYTES;
    assert!(TALKERS * ALLOWANCE_BYTES / 2 > most_bytes, "it is a test");
    assert!(room.event_loop.load().backlog_bytes <= most_bytes);
    let (person, person_socket) = &talkers[0];
    let unread = talkers
        .iter()
        .filter(|(_, socket)| socket.unread_bytes() > 0);
    assert!(unread.count() > 0, "they all wait");

    room.wait(GRACE);
    room.settle();
    assert_eq!(room.host.left, [(ClientId::nth(0), CloseReason::Stuck)]);
    assert!(talkers.iter().all(|(_, socket)| socket.unread_bytes() == 0));
    person_socket.sends("free at last\n");
    room.readable(*person);
    assert!(talkers[1].1.received().ends_with("free at last\n"));
}

#[test]
fn a_person_need_not_queue_behind_flooders() {
    const FLOODERS: usize = 100;
    const FLOOD_BYTES: usize = 40_000;
    let mut room = Loop::new();
    let (person, person_socket) = room.join();
    let (_, reader) = room.join();
    let flooders: Vec<_> = (0..FLOODERS).map(|_| room.join()).collect();
    for (key, socket) in &flooders {
        room.floods(*key, socket, FLOOD_BYTES);
    }
    // Until each has been read once.
    while flooders
        .iter()
        .any(|(_, socket)| socket.unread_bytes() == FLOOD_BYTES)
    {
        room.iterate();
    }
    reader.received();
    person_socket.sends("me too\n");
    room.event_loop.mark_client(person, true, false);
    // The turn on its way may take two slices, and so may the next one.
    for _ in 0..4 {
        room.iterate();
    }
    assert!(reader.received().contains("> me too\n"));
    room.settle();
    let unread = flooders.iter().map(|(_, socket)| socket.unread_bytes());
    assert_eq!(unread.sum::<usize>(), 0, "the flooders get their turns");
}

#[test]
fn nothing_ticks_once_readers_have_caught_up() {
    let mut trio = Trio::new();
    trio.flood();
    let (stuck, socket) = &trio.stuck;
    while trio.flooder.1.unread_bytes() > 0 || trio.room.event_loop.load().backlog_bytes > 0 {
        socket.takes(usize::MAX);
        trio.room.writable(*stuck);
    }
    trio.room.wait(GRACE);
    assert_eq!(
        trio.room
            .event_loop
            .poll_timeout(&trio.room.host, trio.room.now),
        None
    );
}

#[test]
fn a_paused_talker_that_leaves_is_read_to_its_end_and_not_reset() {
    let mut trio = Trio::new();
    trio.flood();
    let (flooder, socket) = &trio.flooder;
    assert_eq!(trio.room.event_loop.load().paused, 1);
    trio.room.send_away(*flooder);
    assert_eq!(socket.unread_bytes(), 0, "what it still says is dropped");
    assert_eq!(trio.room.event_loop.load().paused, 0);
    assert!(socket.saw_end());
}

#[test]
fn a_line_without_an_end_counts_too() {
    let mut trio = Trio::new();
    trio.flood();
    let (person, socket) = &trio.person;
    socket.sends("z".repeat(3 * ALLOWANCE_BYTES));
    trio.room.readable(*person);
    let read_bytes = 3 * ALLOWANCE_BYTES - socket.unread_bytes();
    assert!((ALLOWANCE_BYTES..2 * ALLOWANCE_BYTES).contains(&read_bytes));
}

#[test]
fn answers_that_are_not_read_hold_up_nobody_but_who_asked() {
    let mut trio = Trio::new();
    let (asking, socket) = &trio.stuck.clone();
    socket.sends("/\n".repeat(20 * READ_BUDGET_BYTES));
    trio.room.readable(*asking);
    assert!(
        socket.unread_bytes() > READ_BUDGET_BYTES,
        "it is not read on"
    );
    assert!(!trio.room.event_loop.clients.has_work());
    trio.flood();
    assert!(trio.room.event_loop.load().paused <= 1);
    for _ in 0..100 {
        trio.person.1.sends("and I say this\n");
        trio.room.readable(trio.person.0);
    }
    assert_eq!(trio.person.1.unread_bytes(), 0);

    socket.takes(usize::MAX);
    trio.room.writable(*asking);
    assert_eq!(socket.unread_bytes(), 0, "it is read on once it reads");
    assert_eq!(trio.flooder.1.unread_bytes(), 0);
}

#[test]
fn what_was_said_after_many_questions_is_heard_though_nobody_takes_the_answers() {
    let mut room = Loop::new();
    let (_, reader) = room.join();
    let (asking, socket) = room.join();
    socket.refuses_writes();
    socket.sends("/help\n".repeat(2000) + "bye all\n");
    socket.ends();
    room.readable(asking);
    assert!(reader.received().ends_with("> bye all\n"));
    assert!(!socket.is_open_here());
}

#[test]
fn private_messages_that_are_not_read_hold_up_who_sends_them() {
    const MESSAGES: usize = A_FLOOD_BYTES / 1000;
    const TAKEN_BYTES: usize = 100_000;
    let Trio {
        mut room,
        flooder: (flooder, flooder_socket),
        person,
        stuck: (slow, slow_socket),
    } = Trio::new();
    let message = format!("/msg 10.0.0.{slow} {}\n", "x".repeat(985));
    flooder_socket.sends(message.repeat(MESSAGES));
    room.event_loop.mark_client(flooder, true, false);
    room.settle();
    let mut heard = String::new();
    while flooder_socket.unread_bytes() > 0 {
        assert!(!room.event_loop.clients.has_work(), "it waits");
        let owed_bytes = room.event_loop.load().backlog_bytes;
        assert!(
            owed_bytes <= 2 * (PAUSE_BYTES + SLACK_BYTES),
            "{owed_bytes}"
        );
        for (key, socket) in [&person, &(slow, slow_socket.clone())] {
            socket.sends("and I say this\n");
            room.readable(*key);
            assert_eq!(socket.unread_bytes(), 0, "{key} is heard");
        }
        room.wait(GRACE / 2);
        slow_socket.takes(TAKEN_BYTES);
        room.writable(slow);
        heard += &slow_socket.received();
    }
    slow_socket.takes(usize::MAX);
    room.writable(slow);
    heard += &slow_socket.received();
    let messages = heard.lines().filter(|line| line.starts_with('['));
    assert_eq!(messages.count(), MESSAGES, "nothing is lost");
    assert_eq!(room.host.left, []);
}

#[test]
fn answers_that_are_not_read_are_bounded_and_nobody_else_waits_for_that() {
    let mut room = Loop::new();
    let (person, person_socket) = room.join();
    let (_, reader) = room.join();
    let asking: Vec<_> = (0..30).map(|_| room.join()).collect();
    for (key, socket) in &asking {
        socket.takes(0);
        socket.sends("/\n".repeat(READ_BUDGET_BYTES / 2));
        room.event_loop.mark_client(*key, true, false);
    }
    room.settle();
    let most_bytes = asking.len() * (MAX_FRAMES_BYTES + 2 * READ_BUDGET_BYTES);
    assert!(room.event_loop.load().backlog_bytes <= most_bytes);
    assert_eq!(room.host.left, [], "they wait for themselves");
    person_socket.sends("I go on\n");
    room.readable(person);
    assert!(reader.received().ends_with("> I go on\n"));
}

#[test]
fn a_long_congestion_does_not_silence_anybody_for_ever() {
    let mut trio = Trio::new();
    trio.flood();
    let (person, socket) = &trio.person;
    socket.sends(("y".repeat(999) + "\n").repeat(10 * ALLOWANCE_BYTES / 1000));
    trio.room.readable(*person);
    let unread_bytes = socket.unread_bytes();
    assert!(unread_bytes > 0);
    let (stuck, slow_socket) = &trio.stuck;
    for _ in 0..2 * PERIOD.as_secs() {
        slow_socket.takes(1);
        trio.room.writable(*stuck);
        trio.room.wait(GRACE / 2);
    }
    assert!(socket.unread_bytes() < unread_bytes);
}
