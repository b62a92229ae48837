//! When the rooms are together or apart, and what is said then, one case after the other.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::nats::{Decoder, Op};

fn label(text: &str) -> ServerLabel {
    ServerLabel::parse(text).unwrap()
}

/// A machine called `a`, of life 1, and what it has said and wanted since this was last asked.
struct Stage {
    machine: Machine,
    now: Instant,
    said: Vec<Said>,
    published: Vec<String>,
    reconnects: usize,
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(label("r"), label("a"), 1, now),
            now,
            said: Vec::new(),
            published: Vec::new(),
            reconnects: 0,
        }
    }

    /// One that is together with the others; the stream has 10 messages, its own first batch
    /// is the last.
    fn together() -> Self {
        let mut stage = Self::new();
        stage.connect();
        stage.hear("chat.r.back.a.0000000000000001.ack.1", "", "{\"seq\":10}");
        stage.hear_batch(10, "a", "1:1", 0, "");
        stage.published.clear();
        stage
    }

    fn connect(&mut self) {
        self.machine.connected(1024 * 1024, self.now);
        self.settle();
        let config = "{\"config\":{\"allow_direct\":true,\"republish\":{\
                      \"src\":\"chat.r.say.*\",\"dest\":\"chat.r.heard.{{wildcard(1)}}\"}}}";
        self.hear("chat.r.back.a.0000000000000001.info.0", "", config);
        self.pass(LISTEN_FOR);
    }

    fn hear(&mut self, subject: &str, headers: &str, payload: &str) {
        let headers = format!("NATS/1.0{headers}\r\n\r\n");
        let total = headers.len() + payload.len();
        let head = headers.len();
        let bytes = if headers.len() > "NATS/1.0\r\n\r\n".len() {
            format!("HMSG {subject} 1 {head} {total}\r\n{headers}{payload}\r\n")
        } else {
            format!("MSG {subject} 1 {}\r\n{payload}\r\n", payload.len())
        };
        let mut decoder = Decoder::default();
        decoder.feed(bytes.as_bytes());
        let Ok(Some(Op::Message(message))) = decoder.take() else {
            panic!("{bytes} is a message");
        };
        self.machine.received(&message, self.now);
        self.settle();
    }

    fn hear_batch(&mut self, seq: u64, from: &str, id: &str, before: u64, payload: &str) {
        let headers =
            format!("\r\nNats-Sequence: {seq}\r\nNats-Msg-Id: {id}\r\nChat-Lines-Before: {before}");
        self.hear(&format!("chat.r.heard.{from}"), &headers, payload);
    }

    fn hear_beat(&mut self, from: &str, instance: u64, here: u64, is_together: bool) {
        let beat = format!(
            "{{\"instance\":\"{instance:x}\",\"here\":{here},\"seq\":0,\"together\":{is_together}}}"
        );
        self.hear(&format!("chat.r.beat.{from}"), "", &beat);
    }

    fn say(&mut self, line: &str) {
        self.machine.say(line.as_bytes());
        self.settle();
    }

    /// Goes on as the loop does, for this long.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.deadline(self.now).filter(|&at| at <= end) {
            assert!(at > self.now, "it does not spin");
            self.now = at;
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(said) = self.machine.take_said() {
                self.said.push(said);
            }
            self.machine.settle(self.now);
            while let Some(output) = self.machine.take_output() {
                match output {
                    Output::Publish {
                        subject, payload, ..
                    } => {
                        let payload = String::from_utf8(payload).unwrap();
                        self.published.push(format!("{subject} {payload}"));
                    }
                    Output::Reconnect => self.reconnects += 1,
                    _ => {}
                }
            }
            if !self.machine.has_said() {
                return;
            }
        }
    }

    /// What was said since this was last asked, the numbers of people apart.
    fn said(&mut self) -> Vec<Said> {
        let mut said = std::mem::take(&mut self.said);
        said.retain(|said| *said != Said::Counts);
        said
    }

    fn notices(&mut self) -> Vec<Notice> {
        let said = self.said().into_iter();
        said.filter_map(|said| match said {
            Said::Notice(notice) => Some(notice),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn a_line_is_said_once_the_stream_has_it_and_in_its_order() {
    let mut stage = Stage::together();
    stage.say("mine");
    assert_eq!(stage.published, ["chat.r.say.a mine\n"]);
    stage.hear_batch(12, "a", "1:2", 0, "mine\n");
    assert_eq!(stage.said(), []);
    stage.hear_batch(11, "b", "7:1", 0, "theirs\n");
    let theirs = Said::Theirs {
        label: label("b"),
        lines: b"theirs\n".to_vec(),
    };
    assert_eq!(stage.said(), [theirs, Said::Own { lines: 1 }]);
}

#[test]
fn without_an_answer_people_are_told_and_then_the_room_goes_on_by_itself() {
    let mut stage = Stage::together();
    stage.say("mine");
    stage.pass(Duration::from_millis(1900));
    assert_eq!((stage.published.len(), stage.said()), (2, vec![]));
    stage.pass(Duration::from_millis(200));
    assert_eq!(stage.said(), [Said::Notice(Notice::Wait)]);
    assert!(stage.machine.is_waiting());
    stage.pass(Duration::from_millis(2900));
    assert_eq!(stage.reconnects, 1);
    stage.say("mine, too");
    stage.pass(Duration::from_millis(4900));
    assert_eq!(stage.said(), []);
    stage.pass(Duration::from_millis(200));
    let apart = Notice::Apart {
        doubtful: 2,
        why: Why::NoAnswer,
    };
    assert_eq!(stage.said(), [Said::Own { lines: 2 }, Said::Notice(apart)]);
    stage.say("alone");
    assert_eq!(stage.said(), [Said::Own { lines: 1 }]);
}

#[test]
fn an_answer_in_time_is_told_if_the_wait_was() {
    let mut stage = Stage::together();
    stage.say("mine");
    stage.pass(Duration::from_secs(3));
    assert_eq!(stage.notices(), [Notice::Wait]);
    stage.hear_batch(11, "a", "1:2", 0, "mine\n");
    let own = Said::Own { lines: 1 };
    assert_eq!(stage.said(), [own, Said::Notice(Notice::Resumed)]);
    assert_eq!(stage.reconnects, 0);
}

#[test]
fn together_again_the_last_lines_from_elsewhere_are_said() {
    let mut stage = Stage::together();
    stage.machine.disconnected(stage.now);
    stage.pass(APART_AFTER);
    let apart = Notice::Apart {
        doubtful: 0,
        why: Why::NoAnswer,
    };
    assert_eq!(stage.notices(), [Notice::Wait, apart]);
    stage.connect();
    stage.hear_batch(41, "a", "1:2", 0, "");
    for seq in 11..=40 {
        let back = format!("chat.r.back.a.0000000000000001.get.{seq}");
        let before = seq - 11;
        let headers = format!(
            "\r\nNats-Sequence: {seq}\r\nNats-Subject: chat.r.say.b\r\nNats-Msg-Id: 7:{seq}\
             \r\nChat-Lines-Before: {before}"
        );
        stage.hear(&back, &headers, &format!("{seq}\n"));
    }
    let together = Notice::Together {
        missed: 30,
        shown: 20,
    };
    let said = stage.said();
    assert_eq!(said[0], Said::Notice(together));
    let shown = said[1..].iter().map(|said| match said {
        Said::Theirs { lines, .. } => String::from_utf8(lines.clone()).unwrap(),
        other => panic!("{other:?}"),
    });
    let expected: Vec<String> = (21..=40).map(|seq| format!("{seq}\n")).collect();
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn nobody_waits_at_the_start_if_no_node_can_be_reached() {
    let mut stage = Stage::new();
    stage.say("mine");
    stage.machine.unreachable();
    stage.settle();
    let apart = Notice::Apart {
        doubtful: 1,
        why: Why::NoAnswer,
    };
    assert_eq!(stage.said(), [Said::Own { lines: 1 }, Said::Notice(apart)]);
    stage.connect();
    stage.hear_batch(5, "a", "1:1", 0, "");
    let together = Notice::Together {
        missed: 0,
        shown: 0,
    };
    assert_eq!(stage.said(), [Said::Notice(together)]);
}

#[test]
fn of_two_servers_with_one_label_the_second_is_silent() {
    let mut first = Stage::together();
    first.pass(BEAT_PAUSE);
    first.published.clear();
    first.hear_beat("a", 2, 0, false);
    first.pass(ANSWER_PAUSE);
    assert!(first.published[0].starts_with("chat.r.beat.a "));
    assert_eq!(first.said(), []);

    let mut second = Stage::new();
    second.machine.connected(1024 * 1024, second.now);
    second.hear_beat("a", 9, 3, true);
    let apart = Notice::Apart {
        doubtful: 0,
        why: Why::LabelTaken,
    };
    assert_eq!(second.notices(), [apart]);
    second.connect();
    second.pass(RIVAL_LEASE - 2 * LISTEN_FOR);
    assert!(
        !second
            .published
            .iter()
            .any(|it| it.starts_with("chat.r.say."))
    );
    second.pass(2 * LISTEN_FOR);
    assert!(
        second
            .published
            .iter()
            .any(|it| it.starts_with("chat.r.say."))
    );
}

#[test]
fn flooders_wait_for_readers_elsewhere_and_for_the_stream() {
    let mut stage = Stage::together();
    let restraint = |stage: &Stage| stage.machine.restraint(stage.now);
    stage.hear_beat("b", 7, 3, true);
    assert_eq!(restraint(&stage), Restraint::Nobody);
    stage.hear("chat.r.hold.b", "", "1");
    assert_eq!(restraint(&stage), Restraint::Heavy);
    stage.hear("chat.r.hold.b", "", "0");
    assert_eq!(restraint(&stage), Restraint::Nobody);
    stage.hear("chat.r.hold.b", "", "1");
    stage.pass(HOLD_LEASE);
    assert_eq!(restraint(&stage), Restraint::Nobody);
    stage.say(&"x".repeat(PAUSE_HEAVY_BYTES));
    assert_eq!(restraint(&stage), Restraint::Heavy);
    stage.say(&"x".repeat(PAUSE_ALL_BYTES - PAUSE_HEAVY_BYTES));
    assert_eq!(restraint(&stage), Restraint::Everybody);
}

#[test]
fn a_hold_is_said_while_somebody_is_behind() {
    let mut stage = Stage::together();
    stage.machine.set_behind(true);
    stage.settle();
    stage.pass(Duration::from_millis(1100));
    stage.machine.set_behind(false);
    stage.settle();
    stage.pass(Duration::from_secs(3));
    let holds = stage.published.iter();
    let holds: Vec<_> = holds.filter(|it| it.contains(".hold.")).collect();
    assert_eq!(
        holds,
        ["chat.r.hold.a 1", "chat.r.hold.a 1", "chat.r.hold.a 0"]
    );
}

#[test]
fn a_question_is_answered_or_its_server_is_out_of_reach() {
    let mut stage = Stage::new();
    let ask = |stage: &mut Stage| {
        let who = b"who".to_vec();
        let number = stage.machine.ask(label("b"), who, stage.now);
        stage.settle();
        number
    };
    assert_eq!(ask(&mut stage), None);
    let mut stage = Stage::together();
    assert_eq!(ask(&mut stage), Some(1));
    assert_eq!(stage.published.last().unwrap(), "chat.r.to.b.a who");
    stage.hear("chat.r.back.a.0000000000000001.answer.1", "", "alice");
    let answer = |number, answer: Option<&[u8]>| Said::Answer {
        number,
        answer: answer.map(<[u8]>::to_vec),
    };
    assert_eq!(stage.said(), [answer(1, Some(b"alice"))]);
    assert_eq!(ask(&mut stage), Some(2));
    stage.hear("chat.r.back.a.0000000000000001.answer.2", " 503", "");
    assert_eq!(stage.said(), [answer(2, None)]);
    assert_eq!(ask(&mut stage), Some(3));
    stage.pass(ANSWER_WITHIN);
    assert_eq!(stage.said(), [answer(3, None)]);
}

#[test]
fn a_server_that_is_silent_is_out_of_reach_and_one_that_leaves_is_not() {
    let mut stage = Stage::together();
    stage.hear_beat("b", 7, 3, true);
    stage.hear_beat("c", 8, 4, true);
    assert_eq!(stage.machine.others().map(|(_, here)| here).sum::<u64>(), 7);
    stage.hear("chat.r.beat.c", "", "{\"instance\":\"8\",\"gone\":true}");
    stage.pass(Duration::from_secs(16));
    assert_eq!(stage.notices(), [Notice::OutOfReach(vec![label("b")])]);
    assert_eq!(stage.machine.others().count(), 0);
}

#[test]
fn a_stream_that_begins_again_is_heard_from_its_beginning() {
    let mut stage = Stage::together();
    stage.hear_batch(11, "b", "7:5", 3, "before\n");
    stage.said();
    // What comes cannot be new, but is.
    stage.hear_batch(1, "b", "7:6", 4, "after\n");
    assert_eq!(stage.said(), []);
    assert_eq!(stage.published, ["chat.r.say.a "]);
    stage.hear("chat.r.back.a.0000000000000001.ack.2", "", "{\"seq\":2}");
    stage.hear_batch(2, "a", "1:2", 0, "");
    stage.pass(Duration::from_millis(100));
    let asked = stage.published.last().unwrap();
    assert!(asked.starts_with("$JS.API.DIRECT.GET.CHAT_r ") && asked.contains("\"seq\":1"));
}

proptest! {
    #[test]
    fn whatever_nats_sends_nothing_panics_or_spins(
        messages in vec(
            (
                prop::sample::select(&[
                    "heard.a", "heard.b", "beat.a", "beat.b", "hold.b", "to.a.b",
                    "back.a.0000000000000001.ack.2", "back.a.0000000000000001.get.11",
                    "back.a.0000000000000001.info.0", "back.a.0000000000000001.created.0",
                    "back.a.0000000000000001.answer.1",
                ][..]),
                prop_oneof![Just(" 404".to_owned()), Just(" 503".to_owned()), any::<u64>().prop_map(
                    |n| format!("\r\nNats-Sequence: {n}\r\nNats-Msg-Id: 7:{n}\r\n\
                                 Chat-Lines-Before: {n}\r\nNats-Subject: chat.r.say.b"),
                ), (1_u64..40).prop_map(
                    |n| format!("\r\nNats-Sequence: {n}\r\nNats-Msg-Id: {}:{n}\r\n\
                                 Nats-Subject: chat.r.say.a", n % 3),
                )],
                prop_oneof![
                    "[ -~]{0,40}",
                    any::<u64>().prop_map(|n| format!("{{\"seq\":{n}}}")),
                    any::<u64>().prop_map(|n| format!(
                        "{{\"instance\":\"{:x}\",\"here\":{n},\"seq\":{n},\"lines\":{n},\
                         \"together\":{}}}",
                        n % 4, n % 2 == 0
                    )),
                    Just("one\ntwo\n".to_owned()),
                ],
                0_u64..3000,
            ),
            0..60,
        ),
    ) {
        let mut stage = Stage::together();
        for (subject, headers, payload, pause_ms) in messages {
            stage.hear(&format!("chat.r.{subject}"), &headers, &payload);
            stage.say("mine");
            stage.pass(Duration::from_millis(pause_ms));
        }
    }
}
