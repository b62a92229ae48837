//! The conversation, played by what a server says.

use super::*;

const GREETING: &str = "Welcome to this chatroom!\n";

/// A conversation, the server's end of its connection, and what the user is shown.
struct Scene {
    conversation: Conversation,
    now: Instant,
    shown: Vec<String>,
}

impl Scene {
    fn new(wanted: Option<&str>, is_strict: bool) -> Self {
        let conversation = Conversation::new(wanted.map(str::to_owned), is_strict);
        let mut scene = Self {
            conversation,
            now: Instant::now(),
            shown: Vec::new(),
        };
        scene.conversation.connected(scene.now);
        scene
    }

    /// One that has said hello in a room of ours, and is asked nothing more.
    fn in_our_room() -> Self {
        let mut scene = Self::new(None, false);
        scene.greet(r#""resumed":false,"heard":0"#);
        scene
    }

    fn say(&mut self, line: &str) {
        self.conversation.say(format!("{line}\n").as_bytes());
    }

    fn hear(&mut self, text: &str) {
        let Self {
            conversation,
            now,
            shown,
        } = self;
        conversation.received(text.as_bytes(), *now, &mut |message| {
            let prefix = match message {
                _ if message.kind == Kind::Entered => "entered: ",
                _ if message.told.is_some_and(|told| told.is_own) => "own: ",
                _ if message.is_past => "past: ",
                _ => "",
            };
            if message.is_for_people() {
                shown.push(format!("{prefix}{}", message.line));
            }
        });
    }

    /// The room greets and answers with a hello that has these fields.
    fn greet(&mut self, fields: &str) -> String {
        self.hear(GREETING);
        let asked = self.written();
        self.hello("e", fields);
        asked
    }

    fn hello(&mut self, epoch: &str, fields: &str) {
        if self.conversation.can_resume() && fields.contains("false") {
            // The answer to `/json`, and an event before that to `/resume`.
            self.hello_once("x", r#""resumed":false,"heard":0"#);
            self.operator(99, false);
        }
        self.hello_once(epoch, fields);
    }

    fn hello_once(&mut self, epoch: &str, fields: &str) {
        self.hello_with(&format!(
            r#""epoch":"{epoch}","seq":9,"you":7,"token":"7.ab","lost":0,{fields}"#
        ));
    }

    /// A hello with these `fields`, and those that no test is about.
    fn hello_with(&mut self, fields: &str) {
        self.hear(&format!(
            "{{\"kind\":\"hello\",\"wire\":1,\"version\":\"0\",\"hold\":60,\"name\":\"10.0.0.1\",\
             \"here\":1,\"people\":[],\"max_line\":4096,{fields}}}\n"
        ));
    }

    /// The room says that we have said our line `n`.
    fn echo(&mut self, seq: u64, n: u64, text: &str) {
        self.hear(&format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-27T13:51:23.123Z\",\"kind\":\"message\",\
             \"from\":7,\"n\":{n},\"name\":\"10.0.0.1\",\"text\":\"{text}\"}}\n"
        ));
    }

    /// The operator says the number `seq`, now or in the room's past.
    fn operator(&mut self, seq: u64, is_past: bool) {
        let past = if is_past { r#""past":true,"# } else { "" };
        self.hear(&format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-27T13:51:23.123Z\",{past}\
             \"kind\":\"operator\",\"text\":\"{seq}\"}}\n"
        ));
    }

    fn written(&mut self) -> String {
        let mut written = String::new();
        while let Some(&byte) = self.conversation.unwritten(self.now).first() {
            written.push(byte.into());
            let shown = &mut self.shown;
            self.conversation.wrote(1, &mut |message| {
                shown.push(format!("entered: {}", message.line));
            });
        }
        written
    }

    fn wait(&mut self) {
        self.now = self.conversation.deadline(self.now).expect("a deadline");
        let shown = &mut self.shown;
        self.conversation
            .expire(self.now, &mut |message| shown.push(message.line.to_owned()));
    }

    fn lose_connection(&mut self) {
        self.conversation.ended(self.now, &mut |_| {});
        self.conversation.connected(self.now);
    }

    fn shown(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shown)
    }
}

#[test]
fn a_room_of_ours_is_asked_for_objects_and_answers_each_line() {
    let mut scene = Scene::new(None, false);
    scene.say("hi");
    assert_eq!(scene.written(), "");
    scene.hear("Welcome to this chatroom!\n-- be nice\n");
    assert_eq!(scene.written(), "/json\n");
    scene.hello("e", r#""resumed":false,"heard":0"#);
    assert_eq!(scene.written(), "hi\n");
    assert!(!scene.conversation.is_all_done());
    assert_eq!(scene.shown(), [GREETING.trim_end(), "past: -- be nice"]);
    scene.echo(10, 1, "hi");
    assert_eq!(scene.shown(), ["own: <10.0.0.1> hi"]);
    assert!(scene.conversation.is_all_done());
    scene.say("");
    assert_eq!(scene.written(), "", "nobody would answer it");
    assert!(scene.conversation.finish());
    assert_eq!(scene.written(), "/quit\n");
    assert!(!scene.conversation.finish() && scene.conversation.is_all_done());
    scene.hear(
        "{\"kind\":\"bye\",\"n\":2,\"code\":\"quit\",\"heard\":2,\"again\":null,\"text\":\"x\"}\n",
    );
    assert_eq!(scene.conversation.farewell(), Farewell::Goodbye);
}

#[test]
fn who_leaves_has_ended_the_last_line() {
    let mut scene = Scene::in_our_room();
    scene.conversation.say(b"one\nand a half");
    assert_eq!(scene.written(), "one\n");
    scene.conversation.leave();
    scene.conversation.leave();
    assert_eq!(scene.written(), "and a half\n");
}

#[test]
fn a_refused_line_is_shown_with_its_refusal() {
    let mut scene = Scene::in_our_room();
    scene.shown();
    scene.say("/dance");
    scene.written();
    scene.hear("{\"kind\":\"error\",\"n\":1,\"code\":\"unknown_command\",\"text\":\"no\"}\n");
    assert_eq!(scene.shown(), ["entered: /dance", "!! no"]);
}

#[test]
fn foreign_servers_are_written_lines() {
    for greeting in [
        "Welcome to this chatroom!",
        "Welcome to this chatroom!<10.0.0.2> hi\n",
        "hi there\r\n",
    ] {
        let mut scene = Scene::new(Some("bob"), false);
        scene.say("/who");
        scene.hear(greeting);
        if !greeting.contains('\n') {
            scene.conversation.drained(scene.now);
            scene.wait();
        }
        assert_eq!(scene.written(), "/who\n", "{greeting}");
        let naming = Naming::Impossible;
        assert_eq!(scene.conversation.naming(), naming, "{greeting}");
        assert_eq!(scene.shown().last().unwrap(), "entered: /who");
        assert!(scene.conversation.is_all_done() && !scene.conversation.finish());
    }
}

#[test]
fn what_is_no_room_is_said_nothing() {
    for greeting in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "220 mail.lan ESMTP\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        "* OK IMAP4rev1\r\n",
        "",
    ] {
        for cut in [greeting.len() / 2, greeting.len()] {
            let mut scene = Scene::new(None, false);
            scene.hear(&greeting[..cut]);
            scene.hear(&greeting[cut..]);
            scene.say("hi");
            if greeting.is_empty() {
                assert!(!scene.conversation.is_no_room());
                scene.wait();
            }
            assert!(scene.conversation.is_no_room(), "{greeting}");
            assert_eq!(scene.written(), "", "{greeting}");
        }
    }
    for line in ["<a> 220 hi", "2200 hi", "SSH is fine"] {
        let mut scene = Scene::new(None, false);
        scene.hear(&format!("{line}\n220 hi\n"));
        assert!(!scene.conversation.is_no_room(), "{line}");
    }
}

#[test]
fn a_room_that_never_answers_json_is_written_lines() {
    let mut scene = Scene::new(None, false);
    scene.say("hi");
    scene.hear(GREETING);
    assert_eq!(scene.written(), "/json\n");
    scene.wait();
    assert_eq!(scene.written(), "hi\n");
    scene.hear("{\"kind\":\"wait\"}\n");
    assert_eq!(
        scene.shown().last().unwrap(),
        "{\"kind\":\"wait\"}",
        "a line like any other"
    );
}

#[test]
fn a_server_that_refuses_us_is_told_nothing() {
    for is_strict in [false, true] {
        let mut scene = Scene::new(None, is_strict);
        scene.say("hello");
        scene.hear("!! the room is full (2 clients); try again later\n");
        assert_eq!(scene.conversation.deadline(scene.now), None);
        assert_eq!(scene.written(), "");
    }
}

#[test]
fn after_a_loss_what_the_room_has_not_acted_on_is_said_again() {
    let mut scene = Scene::in_our_room();
    for line in ["one", "two", "three"] {
        scene.say(line);
    }
    scene.written();
    scene.echo(10, 1, "one");
    scene.lose_connection();
    scene.say("four");
    assert_eq!(
        scene.greet(r#""resumed":true,"heard":2"#),
        "/json\n/resume 7.ab 10\n"
    );
    assert_eq!(scene.written(), "three\nfour\n");
    scene.shown();
    // Twice, as a server might.
    for _ in 0..2 {
        scene.echo(11, 2, "two");
        scene.echo(10, 1, "one");
    }
    scene.echo(12, 3, "three");
    let own = |text| format!("own: <10.0.0.1> {text}");
    assert_eq!(scene.shown(), [own("two"), own("three")]);
    assert!(scene.conversation.take_troubles().is_empty());
}

#[test]
fn what_the_room_no_longer_has_is_told() {
    let mut scene = Scene::in_our_room();
    scene.lose_connection();
    scene.hear(GREETING);
    scene.written();
    scene.hello_once("x", r#""resumed":false,"heard":0"#);
    scene.hello_with(
        r#""epoch":"e","seq":99,"you":7,"token":"7.ab","resumed":true,"heard":0,"lost":80"#,
    );
    assert_eq!(
        scene.conversation.take_troubles(),
        ["missed events (messages, joins, leaves): 80; the room no longer has them"]
    );
}

#[test]
fn an_answer_that_was_lost_is_told() {
    let mut scene = Scene::in_our_room();
    scene.say("/msg bob hi");
    scene.written();
    scene.lose_connection();
    scene.greet(r#""resumed":true,"heard":1"#);
    scene.shown();
    scene.wait();
    assert_eq!(scene.shown(), ["/msg bob hi"]);
    let troubles = scene.conversation.take_troubles();
    assert_eq!(
        troubles,
        ["the room's answer to this was lost: /msg bob hi"]
    );
}

#[test]
fn without_the_session_what_was_sent_is_in_doubt() {
    for (epoch, asked) in [("e", "three\n"), ("f", "/last 500 9\nthree\n")] {
        let mut scene = Scene::in_our_room();
        scene.say("one");
        scene.say("two");
        scene.written();
        scene.lose_connection();
        scene.say("three");
        scene.hear(GREETING);
        scene.written();
        scene.hello(epoch, r#""resumed":false,"heard":0"#);
        assert_eq!(scene.written(), asked);
        let troubles = scene.conversation.take_troubles();
        assert_eq!(
            troubles,
            ["one", "two"].map(|line| format!("not known whether the room has taken this: {line}"))
        );
        assert_eq!(scene.conversation.troubles().doubted_lines(), 2);
    }
}

#[test]
fn what_was_missed_without_a_session_is_shown_once() {
    let mut scene = Scene::in_our_room();
    scene.lose_connection();
    scene.hear("Welcome to this chatroom!\n<a> of the greeting\n");
    scene.written();
    scene.hello_once("e", r#""resumed":false,"heard":0"#);
    scene.hello_with(
        r#""epoch":"e","seq":11,"you":8,"token":"8.ab","resumed":false,"heard":0,"lost":0"#,
    );
    assert_eq!(scene.written(), "/last 2 11\n");
    scene.shown();
    scene.echo(12, 3, "now");
    for seq in [9, 10, 11] {
        scene.operator(seq, true);
    }
    scene.hear("{\"kind\":\"reply\",\"n\":1,\"to\":\"last\"}\n");
    let past = [10, 11].map(|seq| format!("past: -- operator: {seq}"));
    let now = "<10.0.0.1> now".to_owned();
    assert_eq!(scene.shown(), [&past[..], &[now]].concat());
}

#[test]
fn a_room_that_does_not_tell_its_past_hides_none_of_it_later() {
    let mut scene = Scene::in_our_room();
    scene.lose_connection();
    scene.hear(GREETING);
    scene.written();
    scene.hello_once("e", r#""resumed":false,"heard":0"#);
    scene.hello_with(
        r#""epoch":"e","seq":11,"you":8,"token":"8.ab","resumed":false,"heard":0,"lost":0"#,
    );
    assert_eq!(scene.written(), "/last 2 11\n");
    scene.shown();
    scene.operator(12, false);
    assert!(scene.shown().is_empty(), "before what was said earlier");
    scene.hear("{\"kind\":\"error\",\"n\":1,\"code\":\"x\",\"text\":\"no\"}\n");
    assert_eq!(scene.shown(), ["-- operator: 12"]);
    scene.operator(8, true);
    assert_eq!(scene.shown(), ["past: -- operator: 8"]);
}

#[test]
fn a_full_room_is_asked_for_the_session() {
    let mut scene = Scene::in_our_room();
    scene.say("one");
    scene.lose_connection();
    scene.hear("!! the room is full (2 clients); try again later\n");
    assert_eq!(scene.written(), "/json\n/resume 7.ab 9\n");
    scene.hello("e", r#""resumed":true,"heard":0"#);
    assert_eq!(scene.written(), "one\n");
}

#[test]
fn a_name_is_asked_for_first_and_nothing_is_said_before_the_answer() {
    for is_strict in [false, true] {
        let mut scene = Scene::new(Some("bob"), is_strict);
        scene.say("hello");
        scene.greet(r#""resumed":false,"heard":0"#);
        assert_eq!(scene.written(), "/nick bob\n");
        scene.hear("{\"kind\":\"reply\",\"n\":1,\"to\":\"nick\",\"name\":\"bob\"}\n");
        assert_eq!(scene.conversation.naming(), Naming::Given);
        assert_eq!(scene.written(), "hello\n");
        assert_eq!(scene.conversation.name(), Some("bob"));
    }
    let mut scene = Scene::new(Some("bob"), false);
    scene.conversation.leave();
    scene.greet(r#""resumed":false,"heard":0"#);
    assert_eq!(scene.written(), "", "nothing will be said under it");
}

#[test]
fn without_its_name_a_strict_conversation_says_nothing() {
    let error = "{\"kind\":\"error\",\"n\":1,\"code\":\"name_taken\",\"text\":\"bob is in use\"}\n";
    for (is_strict, said) in [(false, "hello\n"), (true, "")] {
        let mut scene = Scene::new(Some("bob"), is_strict);
        scene.say("hello");
        scene.greet(r#""resumed":false,"heard":0"#);
        scene.written();
        scene.hear(error);
        assert_eq!(scene.conversation.naming(), Naming::Refused);
        assert_eq!(scene.shown().last().unwrap(), "!! bob is in use");
        assert_eq!(scene.written(), said);
    }
    let mut scene = Scene::new(Some("bob"), true);
    scene.greet(r#""resumed":false,"heard":0"#);
    scene.written();
    assert_eq!(
        scene.conversation.naming(),
        Naming::Open,
        "however long that takes"
    );
}

#[test]
fn lines_for_a_lost_name_are_held() {
    let held = || {
        let mut scene = Scene::in_our_room();
        scene.say("/nick bob");
        scene.written();
        scene.hear("{\"kind\":\"reply\",\"n\":1,\"to\":\"nick\",\"name\":\"bob\"}\n");
        scene.lose_connection();
        scene.say("it is me");
        scene.greet(r#""resumed":false,"heard":0"#);
        assert_eq!(scene.written(), "/nick bob\n");
        scene.hear("{\"kind\":\"error\",\"n\":1,\"code\":\"name_taken\",\"text\":\"no\"}\n");
        assert!(scene.conversation.is_holding());
        assert_eq!(scene.written(), "");
        scene
    };
    let mut scene = held();
    scene.say("/nick rob");
    assert_eq!(scene.written(), "/nick rob\n");
    scene.hear("{\"kind\":\"reply\",\"n\":2,\"to\":\"nick\",\"name\":\"rob\"}\n");
    assert_eq!(scene.written(), "it is me\n");
    let mut scene = held();
    scene.conversation.say(b"/nick rob\n/nick robin\n");
    assert_eq!(scene.written(), "/nick rob\n/nick robin\n", "a paste");
    let mut scene = held();
    scene.say("never mind");
    assert_eq!(scene.written(), "it is me\nnever mind\n");
}

#[test]
fn our_name_is_what_the_room_says_it_is() {
    let mut scene = Scene::in_our_room();
    for (object, name) in [
        (r#"{"kind":"you","name":"rob"}"#, "rob"),
        (
            r#"{"kind":"presence","joined":[],"left":[],"renamed":[[7,"rob","zoe"]],"here":1}"#,
            "zoe",
        ),
        (
            r#"{"kind":"presence","joined":[],"left":[],"renamed":[[8,"x","eve"]],"here":1}"#,
            "zoe",
        ),
        (r#"{"kind":"you","name":"no name"}"#, "zoe"),
        (r#"{"kind":"reply","n":1,"to":"msg","name":"al"}"#, "zoe"),
    ] {
        scene.hear(&format!("{object}\n"));
        assert_eq!(scene.conversation.name(), Some(name), "{object}");
    }
}

#[test]
fn how_long_there_was_no_answer_is_known_without_a_clock_that_ticks() {
    let mut scene = Scene::in_our_room();
    assert_eq!(scene.conversation.deadline(scene.now), None);
    scene.say("hi");
    scene.written();
    let begun = scene.now;
    let mut waits = Vec::new();
    for _ in 0..3 {
        scene.wait();
        waits.push((
            scene.now - begun,
            scene.conversation.no_answer_for(scene.now),
        ));
    }
    let seconds = Duration::from_secs;
    let five = Some(seconds(5));
    assert_eq!(
        waits,
        [
            (seconds(1), None),
            (seconds(5), five),
            (seconds(10), Some(seconds(10)))
        ]
    );
    scene.hear("{\"kind\":\"wait\"}\n");
    assert_eq!(scene.conversation.no_answer_for(scene.now), None);
    scene.echo(10, 1, "hi");
    assert_eq!(scene.conversation.deadline(scene.now), None);
}

#[test]
fn a_farewell_says_whether_to_come_back() {
    for (again, farewell) in [("null", Farewell::SentAway), ("2", Farewell::Dropped)] {
        let mut scene = Scene::in_our_room();
        scene.say("one");
        scene.say("two");
        scene.written();
        scene.hear(&format!(
            "{{\"kind\":\"bye\",\"code\":\"x\",\"heard\":1,\"again\":{again},\"text\":\"\"}}\n"
        ));
        assert_eq!(scene.conversation.farewell(), farewell);
        scene.lose_connection();
        scene.greet(r#""resumed":false,"heard":0"#);
        assert_eq!(scene.written(), "two\n", "nothing is in doubt");
        assert_eq!(scene.conversation.troubles().doubted_lines(), 0);
    }
}

#[test]
fn the_secret_is_taken_out_of_a_hello() {
    for json in [
        r#"{"kind":"hello","token":"7.ab","x":1}"#,
        r#"{ "x" : 1, "token" : "7.ab" , "kind" : "hello" }"#,
        r#"{"kind":"hello","token":"7.ab","token":"7.ab","x":1}"#,
    ] {
        let shown = without_token(json, "7.ab");
        assert!(
            !shown.contains("7.ab") && shown.contains("\"kind\""),
            "{shown}"
        );
    }
}

#[test]
fn a_room_that_wants_us_later_has_not_spoken_of_our_session() {
    let mut scene = Scene::in_our_room();
    scene.say("one");
    scene.written();
    scene.lose_connection();
    scene.hear(GREETING);
    scene.written();
    scene.hello_once("e", r#""resumed":false,"heard":0"#);
    scene.hear("{\"kind\":\"bye\",\"code\":\"too_soon\",\"heard\":0,\"again\":1,\"text\":\"\"}\n");
    assert_eq!(scene.conversation.again(), Some(Duration::from_secs(1)));
    scene.lose_connection();
    scene.greet(r#""resumed":true,"heard":1"#);
    assert_eq!(scene.written(), "", "it was heard");
}

#[test]
fn what_begins_a_session_is_not_said_by_the_user() {
    let mut scene = Scene::in_our_room();
    for line in ["/json", "/resume 7.ab 3", "//json", "/resume"] {
        scene.say(line);
    }
    assert_eq!(
        scene.written(),
        "//json\n/resume\n",
        "the room refuses the last"
    );
    let troubles = scene.conversation.take_troubles();
    let why = "not said: the client does that by itself";
    assert_eq!(
        troubles,
        [format!("{why}: /json"), format!("{why}: /resume 7.ab 3")]
    );
    assert_eq!(scene.conversation.troubles().left_out_lines(), 2);
}

#[test]
fn a_line_that_ends_connections_is_left_out_and_not_in_doubt() {
    let mut scene = Scene::in_our_room();
    scene.say("poison");
    scene.written();
    for _ in 0..2 {
        scene.lose_connection();
        scene.greet(r#""resumed":true,"heard":0"#);
        scene.written();
    }
    assert_eq!(
        scene.conversation.take_troubles(),
        ["not said: the connection ended twice while this was sent: poison"]
    );
    assert_eq!(scene.conversation.troubles().doubted_lines(), 0);
    assert_eq!(scene.conversation.troubles().left_out_lines(), 1);
}

#[test]
fn a_usual_name_that_is_taken_gets_a_digit_without_a_word() {
    let mut scene = Scene::new(Some("alice"), false);
    let spares = ["alice2", "alice3"].map(str::to_owned);
    scene.conversation.be_content_with(&spares);
    scene.say("hi");
    scene.greet(r#""resumed":false,"heard":0"#);
    scene.shown();
    for (n, code) in [(1, "name_taken"), (2, "name_claimed")] {
        let name = scene.conversation.wanted.clone().unwrap();
        assert_eq!(scene.written(), format!("/nick {name}\n"));
        scene.hear(&format!(
            "{{\"kind\":\"error\",\"n\":{n},\"code\":\"{code}\",\"text\":\"taken\"}}\n"
        ));
        assert!(scene.shown().is_empty());
    }
    assert_eq!(scene.written(), "/nick alice3\n");
    scene.hear("{\"kind\":\"reply\",\"n\":3,\"to\":\"nick\",\"name\":\"alice3\"}\n");
    assert_eq!(scene.shown(), ["-- you are now alice3"]);
    assert_eq!(scene.written(), "hi\n");
    // It is the session's: after a loss no other will do.
    scene.lose_connection();
    scene.greet(r#""resumed":false,"heard":0"#);
    assert_eq!(scene.written(), "/nick alice3\n");
    scene.hear("{\"kind\":\"error\",\"n\":1,\"code\":\"name_held\",\"text\":\"held\"}\n");
    assert_eq!(scene.written(), "");
    assert_eq!(scene.conversation.naming(), Naming::Refused);
}

#[test]
fn a_usual_name_that_somebody_here_has_is_not_asked_for() {
    let mut scene = Scene::new(Some("alice"), false);
    let spares = ["alice2", "alice3"].map(str::to_owned);
    scene.conversation.be_content_with(&spares);
    scene.hear(GREETING);
    scene.written();
    scene.hear(concat!(
        r#"{"kind":"hello","wire":1,"version":"0","epoch":"e","seq":9,"you":7,"token":"7.ab","#,
        r#""resumed":false,"heard":0,"lost":0,"hold":60,"name":"10.0.0.1","here":3,"#,
        r#""people":[[5,"Alice"],[6,"alice2"],[7,"10.0.0.1"]],"max_line":4096}"#,
        "\n"
    ));
    assert_eq!(scene.written(), "/nick alice3\n");
}

#[test]
fn a_usual_name_is_not_missed_where_there_are_none() {
    let mut scene = Scene::new(Some("alice"), false);
    scene.conversation.be_content_with(&["alice2".to_owned()]);
    scene.hear("Welcome to this chatroom!<10.0.0.9> hi\n");
    assert_eq!(scene.conversation.naming(), Naming::Open);
}

#[test]
fn what_a_room_greets_with_is_asked_for_with_its_times() {
    let greeting = format!("{GREETING}-- be nice\n-- the last 2 lines:\n<a> 1\n-- operator: 2\n");
    let mut scene = Scene::new(None, false);
    scene.conversation.ask_for_times();
    scene.hear(&greeting);
    let notices = [
        GREETING.trim_end(),
        "past: -- be nice",
        "past: -- the last 2 lines:",
    ];
    assert_eq!(scene.shown(), notices);
    assert_eq!(scene.written(), "/json\n");
    scene.hello("e", r#""resumed":false,"heard":0"#);
    assert_eq!(scene.written(), "/last 2 9\n");
    scene.operator(10, false);
    scene.operator(8, true);
    scene.hear("{\"kind\":\"reply\",\"n\":1,\"to\":\"last\"}\n");
    assert_eq!(scene.shown(), ["past: -- operator: 8", "-- operator: 10"]);

    // Nobody holds back more than a bound.
    let mut scene = Scene::new(None, false);
    scene.conversation.ask_for_times();
    scene.hear(GREETING);
    let line = format!("<a> {}\n", "x".repeat(999));
    for _ in 0..2 * MAX_GREETED_BYTES / line.len() {
        scene.hear(&line);
    }
    assert!(scene.shown().len() > 2 * MAX_GREETED_BYTES / line.len());
    scene.written();
    scene.hello("e", r#""resumed":false,"heard":0"#);
    assert_eq!(scene.written(), "");

    // A room that does not tell it has told enough.
    let refusal = "{\"kind\":\"error\",\"n\":1,\"code\":\"usage\",\"text\":\"no\"}\n";
    for (is_refused, after) in [(true, refusal), (false, "<b> 3\n")] {
        let mut scene = Scene::new(None, false);
        scene.conversation.ask_for_times();
        scene.hear(&greeting);
        scene.shown();
        scene.written();
        if is_refused {
            scene.hello("e", r#""resumed":false,"heard":0"#);
            scene.written();
            scene.hear(after);
        } else {
            scene.wait();
        }
        let shown = scene.shown();
        assert_eq!(shown.len(), 2, "{shown:#?}");
        assert!(shown[0].ends_with("<a> 1") && shown[1].ends_with("-- operator: 2"));
    }
}
