//! What a client at a terminal does when it loses its connection.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::alice::{
    Alice, CTRL_C, CTRL_D, NEW_SESSION, alice_at_a_terminal, client_of_the_test_at, has_no_past,
    let_in, lose_server, restart,
};
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, chat_client};
use crate::common::screen::Screen;

/// The least that three growing pauses take. Three that do not grow take less: half a second
/// each at most.
const THREE_PAUSES: Duration = Duration::from_millis(1750);

const DOUBT: &str = "; what you said last may not have arrived";

/// A client that reconnects, and its server, played by the test.
struct Guest {
    listener: TcpListener,
    address: SocketAddr,
    server: Peer,
    /// Wide enough that no row wraps.
    screen: Screen,
    client: Process,
}

#[track_caller]
fn guest(options: &[&str]) -> Guest {
    let screen = Screen::new(160, 24);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut command = chat_client(address);
    command.args(options);
    let client = screen.run(command);
    Guest {
        server: Peer::accept(&listener),
        listener,
        address,
        screen,
        client,
    }
}

/// A guest who has said these `lines`, which its room has read and not answered.
#[track_caller]
fn guest_who_said(lines: &[&str]) -> Guest {
    let mut guest = guest(&[]);
    guest.server.greet();
    guest.screen.expect_row(WELCOME);
    for line in lines {
        guest.screen.type_keys(&format!("{line}\r"));
        guest.server.expect_line(line);
    }
    guest
}

/// A guest who has heard one event, bob's "before", and whose connection is lost. Its server is
/// that of the next connection.
#[track_caller]
fn guest_who_returns() -> Guest {
    let mut guest = guest(&[]);
    guest.server.greet();
    guest.server.tell(1, "bob", "before");
    guest.screen.expect_row("<bob> before");
    drop(guest.server);
    Guest {
        server: Peer::accept(&guest.listener),
        ..guest
    }
}

/// Waits for `count` failed attempts, typing `keys` before each; diagnostics report them.
#[track_caller]
fn expect_failures(alice: &mut Alice, count: usize, keys: &str) {
    for _ in 0..count {
        alice.screen.type_keys(keys);
        let mut is_refused = false;
        while !is_refused {
            let line = alice.client.stderr().next_line().expect("diagnostics");
            is_refused = line.contains("refused");
        }
    }
}

/// Alice, whose server has gone, and an instant before it went.
#[track_caller]
fn alice_alone() -> (Alice, Instant) {
    let mut alice = alice_at_a_terminal(&["-v"]);
    let lost_after = Instant::now();
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    (alice, lost_after)
}

#[test]
fn a_lost_connection_is_reestablished_and_typed_lines_are_said() {
    let mut alice = alice_at_a_terminal(&[]);
    let address = alice.server.address;
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("are you there?\r/me waits\r");
    alice.screen.expect_row("* alice waits …");
    alice.screen.type_keys("half");

    let mut server = restart(address);
    // Said on the console: a client might join later than alice.
    for line in ["<alice> are you there?", "* alice waits"] {
        while server.stdout().next_line().expect("a console") != line {}
    }
    alice.screen.expect_last_row("alice> half");
    alice.screen.expect_row("-- connected again");
    alice.screen.type_keys(&format!("\x15{CTRL_D}"));
    assert_eq!(alice.client.exit_code(), 0);
}

#[test]
fn a_former_member_retries_a_full_room() {
    let mut alice = alice_at_a_terminal(&[]);
    let listener = lose_server(&mut alice);
    alice.screen.type_keys("hello again\rhalf");
    for _ in 0..2 {
        let server = Peer::accept(&listener);
        server.say("!! the room is full (1 clients); try again later");
        drop(server);
        alice
            .screen
            .expect_row("!! the room is full (1 clients); try again later");
        // Offline, or connected again but not let in yet.
        alice.screen.expect("the half line", |rows| {
            rows.last().is_some_and(|row| row.ends_with("> half"))
        });
        // Enter on an empty line tries at once; then the half line comes back.
        alice.screen.type_keys("\x15\r\x19");
    }
    let mut server = Peer::accept(&listener);
    let_in(&mut server, "alice");
    server.expect_line("hello again");
    alice.screen.expect_row("-- connected again");
    alice.screen.expect_last_row("alice> half");
    alice.screen.assert_told_once("!! the room is full");
    alice.screen.assert_told_once("-- connected again");
}

#[test]
fn a_missing_server_is_retried_ever_more_slowly_until_it_is_back() {
    let (mut alice, lost_after) = alice_alone();
    expect_failures(&mut alice, 3, "");
    assert!(lost_after.elapsed() >= THREE_PAUSES);
    let _server = restart(alice.server.address);
    alice.screen.type_keys("\r");
    alice.screen.expect_row("-- connected again");
}

#[test]
fn a_flapping_server_is_retried_ever_more_slowly() {
    let guest = guest(&[]);
    let came = Instant::now();
    let mut server = guest.server;
    for _ in 0..3 {
        server.say(WELCOME);
        drop(server);
        server = Peer::accept(&guest.listener);
    }
    assert!(came.elapsed() >= THREE_PAUSES);
}

#[test]
fn a_room_that_says_when_to_return_is_left_alone_until_then() {
    let mut guest = guest(&[]);
    guest.server.greet();
    guest.screen.expect_row(WELCOME);
    let sent_away = Instant::now();
    guest
        .server
        .say(r#"{"kind":"bye","code":"closing","heard":0,"again":2,"text":""}"#);
    drop(guest.server);
    let _server = Peer::accept(&guest.listener);
    assert!(sent_away.elapsed() >= Duration::from_secs(2));
}

#[test]
fn enter_retries_at_once_however_long_the_pause() {
    let (mut alice, lost_after) = alice_alone();
    expect_failures(&mut alice, 6, "\r");
    // The pauses before these attempts take more than 15 seconds, and so does the next one.
    assert!(lost_after.elapsed() < Duration::from_secs(10));
    alice.screen.expect("a countdown", |rows| {
        let prompt = rows.last().map_or("", String::as_str);
        prompt.starts_with("[offline, next try in 1") && prompt.ends_with(" s] >")
    });
    // Once a second, no more.
    alice.client.expect_no_cpu_time();
    let _server = restart(alice.server.address);
    alice.screen.type_keys("\r");
    alice.screen.expect_row("-- connected again");
}

/// What takes the port of a room that is gone for a while is not spoken to.
#[test]
fn a_room_whose_port_another_program_has_is_waited_for() {
    let mut guest = guest(&[]);
    guest.server.greet();
    guest.screen.expect_row(WELCOME);
    drop(guest.server);
    guest.screen.expect("the loss", |rows| {
        rows.concat().contains("closed the connection")
    });
    guest.screen.type_keys("hi\r");
    let mut other = Peer::accept(&guest.listener);
    other.send("SSH-2.0-OpenSSH_9.2p1\r\n");
    other.expect_closed();
    guest.screen.expect("the reason", |rows| {
        let text = rows.join(" ");
        text.contains("was lost: another program answers there now")
    });
    let mut server = Peer::accept(&guest.listener);
    server.greet_with(NEW_SESSION);
    server.expect_line("/last 500 0");
    server.expect_line("hi");
}

/// Leaning on the key does not get around the backoff.
#[test]
fn enter_held_down_retries_now_and_then() {
    const HELD: Duration = Duration::from_secs(5);
    let mut guest = guest(&[]);
    guest.server.greet();
    guest.screen.expect_row(WELCOME);
    drop(guest.server);
    guest.screen.expect_row("[offline] >");
    guest.listener.set_nonblocking(true).expect("a socket");
    let mut attempts = 0;
    let until = Instant::now() + HELD;
    while Instant::now() < until {
        guest.screen.type_keys("\r");
        // Each is closed at once, as a proxy without its server does.
        attempts += usize::from(guest.listener.accept().is_ok());
        // As fast as keyboards repeat.
        thread::sleep(Duration::from_millis(25));
    }
    assert!((1..=6).contains(&attempts), "{attempts}");
}

#[test]
fn a_loss_is_reported_and_what_was_said_waits() {
    let closed = "the server at ADDRESS closed the connection";
    let reset = "the connection to ADDRESS was lost: connection reset by peer";
    for (told, lose) in [(closed, drop as fn(Peer)), (reset, Peer::reset)] {
        let mut guest = guest_who_said(&["hi"]);
        guest.screen.expect_row("<You> hi");
        lose(guest.server);
        let loss = told.replace("ADDRESS", &guest.address.to_string());
        guest
            .screen
            .expect_row(&format!("!! {loss}; reconnecting, Enter retries now"));
        guest.screen.expect_row("<You> hi …");
        guest.screen.expect_last_row("[offline, 1 line waiting] >");
    }
}

#[test]
fn what_the_room_has_not_acted_on_is_said_again() {
    let mut guest = guest_who_said(&["one", "two", "three"]);
    guest.server.echo(1, 1, "one");
    guest.screen.expect("one, and the others", |rows| {
        let own = ["one", "two", "three"].map(|line| format!("<You> {line}"));
        rows.iter().filter(|row| own.contains(row)).count() == 3
    });
    drop(guest.server);
    guest.screen.expect_row("<You> three …");
    guest.screen.type_keys("four\r\r");
    let mut server = Peer::accept(&guest.listener);
    let asked = server.greet_with(r#""epoch":"e","resumed":true,"heard":2"#);
    assert_eq!(asked.as_deref(), Some("/resume 7.ab 1"));
    server.echo(2, 2, "two");
    server.tell(3, "bob", "meanwhile");
    server.expect_line("three");
    server.expect_line("four");
    server.echo(4, 3, "three");
    server.echo(5, 4, "four");
    guest.screen.expect("all in the order of the room", |rows| {
        let lines = [
            "<You> two",
            "<bob> meanwhile",
            "<You> three",
            "<You> four",
            ">",
        ];
        rows.ends_with(&lines.map(str::to_owned))
    });
    assert!(!guest.screen.written().contains("not known"));
}

#[test]
fn without_its_session_the_client_says_what_is_in_doubt() {
    let mut guest = guest_who_said(&["hi"]);
    drop(guest.server);
    guest.screen.expect_row("<You> hi …");
    let mut server = Peer::accept(&guest.listener);
    server.greet_with(NEW_SESSION);
    has_no_past(&mut server, 1);
    let doubt = "!! not known whether the room has taken this: hi";
    guest.screen.expect_row(doubt);
    guest.screen.assert_told_once(doubt);
    // It is not said again, but where the user wants that.
    guest.screen.expect_last_row(">");
    guest.screen.type_keys("\x1b[A\r");
    server.take(2, "hi");
    guest.screen.expect("hi, and nothing that waits", |rows| {
        rows.ends_with(&["<You> hi".to_owned(), ">".to_owned()])
    });
}

#[test]
fn ctrl_c_tells_what_is_in_doubt() {
    let mut guest = guest_who_said(&["hi"]);
    guest.screen.type_keys(CTRL_C);
    let told = guest.client.stderr().next_line().expect("a doubt");
    assert!(
        told.ends_with("not known whether the room has taken this: hi"),
        "{told}"
    );
    // The room need not wait for it to come back.
    guest.server.expect_line("/quit");
}

#[test]
fn a_missing_answer_is_shown_and_ends_nothing() {
    let mut guest = guest_who_said(&["hi"]);
    guest.screen.expect_row("<You> hi …");
    guest.screen.expect_last_row("[no answer for 5 s] >");
    guest.server.say(r#"{"kind":"wait"}"#);
    guest.screen.expect_last_row(">");
    guest.server.echo(1, 1, "hi");
    guest.screen.expect("the line as said", |rows| {
        rows.ends_with(&["<You> hi".to_owned(), ">".to_owned()])
    });
}

#[test]
fn lines_not_taken_before_the_server_closes_are_in_doubt() {
    let mut guest = guest(&[]);
    // As the Python original greets, which answers nothing.
    guest.server.send(WELCOME);
    guest.screen.expect_row(WELCOME);
    guest.server.limit_receive_buffer_to(1);
    // The first fills the buffer; nothing of the second is taken.
    for word in ["one", "two"] {
        let line = word.repeat(2000);
        guest.screen.type_keys(&format!("{line}\r"));
        guest
            .screen
            .expect("the line above an empty prompt", |rows| {
                let is_said = rows
                    .iter()
                    .rev()
                    .nth(1)
                    .is_some_and(|row| row.contains(word));
                is_said && rows.last().is_some_and(|row| row == ">")
            });
    }
    guest.server.close_write();
    let loss = format!("!! the server at {} closed the connection", guest.address);
    guest
        .screen
        .expect_row(&format!("{loss}{DOUBT}; reconnecting, Enter retries now"));
}

#[test]
fn a_returning_client_shows_what_it_missed_and_nothing_twice() {
    let Guest {
        mut server,
        mut screen,
        client: _client,
        ..
    } = guest_who_returns();
    let asked = server.greet_with(r#""epoch":"e","resumed":true,"heard":0,"lost":0"#);
    assert_eq!(asked.as_deref(), Some("/resume 7.ab 1"));
    for (seq, text) in [(1, "before"), (2, "meanwhile"), (3, "now")] {
        server.tell(seq, "bob", text);
    }
    screen.expect_row("<bob> now");
    for said in ["before", "meanwhile", "now"] {
        screen.assert_told_once(&format!("<bob> {said}"));
    }
}

#[test]
fn a_session_that_is_gone_leaves_no_hole_and_no_double() {
    let Guest {
        mut server,
        mut screen,
        client: _client,
        ..
    } = guest_who_returns();
    server.say(WELCOME);
    server.say("-- last 2 lines, latest just now:\n<bob> before\n<bob> meanwhile");
    server.expect_line("/json");
    server.expect_line("/resume 7.ab 1");
    server.hello(8, r#""epoch":"e","resumed":false,"heard":0"#);
    server.say(concat!(
        r#"{"kind":"hello","wire":1,"version":"0","epoch":"e","seq":2,"you":8,"token":"8.ab","#,
        r#""resumed":false,"heard":0,"lost":0,"hold":60,"name":"x","here":1,"people":[],"#,
        r#""max_line":4096}"#
    ));
    server.expect_line("/last 1 2");
    for (seq, text) in [(1, "before"), (2, "meanwhile")] {
        server.say(&format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-27T13:51:23.123Z\",\"past\":true,\
             \"kind\":\"message\",\"name\":\"bob\",\"text\":\"{text}\"}}"
        ));
    }
    server.say(r#"{"kind":"reply","n":1,"to":"last"}"#);
    server.tell(3, "bob", "now");
    screen.expect_row("<bob> now");
    for said in ["before", "meanwhile", "now"] {
        screen.assert_told_once(&format!("<bob> {said}"));
    }
}

#[test]
fn doubt_ends_with_the_lost_connection() {
    let Guest {
        listener,
        mut server,
        mut screen,
        mut client,
        ..
    } = guest(&[]);
    // Greets as the Python original does, and like it never closes the connection.
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys("hi\r");
    server.expect_line("hi");
    server.reset();
    screen.expect("the doubt", |rows| {
        rows.iter().any(|row| row.contains(DOUBT))
    });
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys(&format!("bye\r{CTRL_D}"));
    server.expect_line("bye");
    assert_eq!(client.exit_code(), 0);
}

/// A client without a name waits for the greeting as well.
#[test]
fn kept_lines_are_said_only_to_a_server_that_admits_us() {
    let Guest {
        listener,
        address,
        server,
        mut screen,
        client: _client,
    } = guest(&[]);
    let mut server = server;
    server.greet();
    screen.expect_row("-- /nick NAME sets your name, /help lists the commands");
    drop(listener);
    drop(server);
    screen.expect_last_row("[offline] >");
    screen.type_keys("hello again\r");
    screen.expect_last_row("[offline, 1 line waiting] >");
    let listener = TcpListener::bind(address).expect("a port that is free again");
    let server = Peer::accept(&listener);
    server.say("!! the room is full (1 clients); try again later");
    drop(server);
    let mut server = Peer::accept(&listener);
    server.greet_with(r#""epoch":"e","resumed":false,"heard":0,"again":1"#);
    server.expect_line("hello again");
}

#[test]
fn lines_kept_for_a_lost_name_wait() {
    let held = || {
        let mut alice = alice_at_a_terminal(&[]);
        let listener = lose_server(&mut alice);
        alice.screen.type_keys("it is me\r");
        alice.screen.expect_row("<You> it is me …");
        let mut server = Peer::accept(&listener);
        server.greet_with(NEW_SESSION);
        server.expect_line("/nick alice");
        server.expect_line("/last 500 0");
        server.refuse(1, "alice is in use; choose another");
        server.say(r#"{"kind":"reply","n":2,"to":"last"}"#);
        // A client that leaves with something unread resets the connection.
        server.tell(1, "bob", "hi");
        alice.screen.expect_row("<bob> hi");
        alice.screen.expect_last_row("[1 line waiting] >");
        alice
            .screen
            .assert_told_once("!! 1 line would be said without your name");
        (alice, server)
    };
    let (alice, mut server) = held();
    alice.screen.type_keys("/nick alicia\r");
    server.grant(3, "alicia");
    server.expect_line("it is me");

    let (alice, mut server) = held();
    alice.screen.type_keys("\r");
    server.expect_line("it is me");

    for leave in [CTRL_D, "/quit\r"] {
        let (mut alice, mut server) = held();
        alice.screen.type_keys(leave);
        assert_eq!(alice.client.exit_code(), 4);
        let said = alice.client.stderr().rest();
        assert!(said.contains("1 line could not be sent"), "{said}");
        server.expect_end();
    }
}

#[test]
fn a_server_that_never_admitted_us_is_not_retried() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.read_rest();
    assert!(screen.rows().is_empty(), "{:?}", screen.rows());
}

#[test]
fn a_kicked_client_does_not_come_back() {
    let mut screen = Screen::new(80, 24);
    let (mut server, mut client) = client_of_the_test_at(&screen, &[]);
    server.greet();
    server.say(
        r#"{"kind":"bye","code":"kicked","heard":0,"again":null,"text":"the operator: goodbye"}"#,
    );
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.expect_row("-- the operator: goodbye");
}

#[test]
fn a_client_refused_for_good_does_not_retry() {
    for words in [
        "!! your address is banned here; ask the operator",
        "!! your address is not allowed here; ask the operator",
    ] {
        let mut alice = alice_at_a_terminal(&[]);
        let listener = lose_server(&mut alice);
        let server = Peer::accept(&listener);
        server.say(words);
        drop(server);
        assert_eq!(alice.client.exit_code(), 5);
        alice.screen.expect_row(words);
    }
}

#[test]
fn unsent_lines_are_reported() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("one\rtwo\r\x04");
    assert_eq!(alice.client.exit_code(), 4);
    let said = alice.client.stderr().rest();
    assert!(said.contains("2 lines could not be sent"), "{said}");
}
