//! Promise 12: nobody comes in without the password. Until a client has given it, it is no member,
//! and learns nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::json;

#[cfg(any(feature = "tls", feature = "web"))]
use crate::common::can_test_with;
use crate::common::peer::Peer;
#[cfg(feature = "tls")]
use crate::common::peer::WELCOME;
use crate::common::process::{Process, chat};
#[cfg(feature = "tls")]
use crate::common::secured::SecuredServer;
use crate::common::server::{PASSWORD, Server, password_file};
use crate::common::shell_with_a_network;
use crate::json::{next_event, next_of_kind};

const ASKED: &str = "-- this room has a password: /pass PASSWORD";

/// Somebody who has come, and has not said the password.
#[track_caller]
fn knock(server: &Server, ip: &str) -> Peer {
    let mut peer = server.join(ip);
    peer.expect_line(ASKED);
    peer
}

/// Somebody who has said it.
#[track_caller]
fn enter(server: &Server, ip: &str) -> Peer {
    let mut peer = knock(server, ip);
    peer.say("/pass green tea");
    peer.say("/who");
    loop {
        let line = peer.next_line().expect("the list of who is here");
        if line.contains(" here: ") {
            return peer;
        }
    }
}

/// Reads until everybody has been told that two are here.
#[track_caller]
fn await_two(alice: &mut Peer) {
    while !(alice.next_line().expect("a notice")).ends_with("joined (2 here)") {}
}

#[track_caller]
fn await_log(server: &mut Server, words: &str) {
    loop {
        let line = server.stderr().next_line().expect("a line of the log");
        if line.contains(words) {
            return;
        }
    }
}

#[test]
fn whoever_waits_at_the_door_hears_nothing_and_is_nobody() {
    let (server, _folder) = Server::locked(&["--welcome", "Be kind."]);
    let mut alice = enter(&server, "127.0.0.2");
    alice.say("/nick alice");
    alice.expect_line("-- you are now alice");
    alice.say("before");
    let mut bob = knock(&server, "127.0.0.3");
    alice.say("the secret is out");
    alice.say("/who");
    while alice.next_line().expect("who is here") != "-- 1 here: alice" {}
    bob.say("let me in");
    bob.expect_line("!! this room has a password: /pass PASSWORD");
    bob.say("/pass green coffee");
    bob.expect_line("!! wrong password; try again");
    bob.say("/pass green tea");
    // As whoever comes where there is no password.
    bob.expect_line("-- Be kind.");
    bob.expect_line("-- last 2 lines, latest just now:");
    bob.expect_line("<alice> before");
    bob.expect_line("<alice> the secret is out");
    bob.say("hello");
    await_two(&mut alice);
    alice.expect_line("<127.0.0.3> hello");
}

#[test]
fn a_program_is_asked_in_json_and_then_greeted() {
    let (server, _folder) = Server::locked(&["--welcome", "Be kind."]);
    let mut bot = knock(&server, "127.0.0.2");
    bot.say("/json");
    let needed = next_event(&mut bot);
    assert_eq!(needed["code"], "password_needed");
    bot.send("/pass nonsense\n/pass green tea\nhello\n");
    assert_eq!(next_event(&mut bot)["code"], "wrong_password");
    let hello = next_event(&mut bot);
    assert_eq!(hello["kind"], "hello");
    assert_eq!(hello["here"], 1);
    assert_eq!(
        next_event(&mut bot),
        json!({ "kind": "notice", "text": "Be kind." })
    );
    let echo = next_of_kind(&mut bot, "message");
    assert_eq!((&echo["n"], &echo["text"]), (&json!(1), &json!("hello")));
}

#[test]
fn a_token_replaces_no_password_and_works_after_it() {
    let (server, _folder) = Server::locked(&[]);
    let mut bot = knock(&server, "127.0.0.2");
    bot.send("/json\n/pass green tea\n/nick bot\n");
    assert_eq!(next_event(&mut bot)["code"], "password_needed");
    let hello = next_event(&mut bot);
    let token = hello["token"].as_str().expect("a token").to_owned();
    next_of_kind(&mut bot, "reply");
    bot.reset();
    let mut thief = knock(&server, "127.0.0.2");
    thief.send(format!("/json\n/resume {token} 0\n/who\n"));
    for _ in 0..2 {
        assert_eq!(next_event(&mut thief)["code"], "password_needed");
    }
    thief.send(format!("/pass green tea\n/resume {token} 0\n"));
    assert_eq!(next_event(&mut thief)["resumed"], false);
    let resumed = next_of_kind(&mut thief, "hello");
    assert_eq!(
        (&resumed["resumed"], &resumed["name"]),
        (&json!(true), &json!("bot"))
    );
    assert_eq!(resumed["you"], hello["you"]);
}

#[test]
fn three_wrong_lines_end_a_connection_and_five_wrong_passwords_slow_an_address_down() {
    let (server, _folder) = Server::locked(&[]);
    for wrong in 0..2 {
        let mut guesser = knock(&server, "127.0.0.2");
        for nth in 0..3 {
            if 3 * wrong + nth < 5 {
                guesser.say("/pass x");
            }
        }
        for _ in 0..2 {
            guesser.expect_line("!! wrong password; try again");
        }
        if wrong == 0 {
            guesser.expect_line("-- goodbye: wrong password; ask the host for it");
        } else {
            guesser.say("/pass green tea");
            let slowed = guesser.next_line().expect("last words");
            assert!(
                slowed.starts_with("-- too many wrong passwords"),
                "{slowed}"
            );
        }
        guesser.expect_end();
    }
    // Others are not.
    enter(&server, "127.0.0.3");
    let mut talker = knock(&server, "127.0.0.3");
    talker.send("one\ntwo\nthree\nfour\n");
    for _ in 0..2 {
        talker.expect_line("!! this room has a password: /pass PASSWORD");
    }
    talker.expect_line("-- goodbye: this room has a password; ask the host for it");
    talker.expect_end();
}

/// Flow control paces members alone.
#[test]
fn whoever_floods_at_the_door_is_sent_away() {
    let (server, _folder) = Server::locked(&[]);
    let empty_lines = vec![b'\n'; 8 * 1024];
    let endless_line = vec![b'x'; 8 * 1024];
    let resumptions = [&b"/json\n"[..], &b"/resume 1.ab 0\n".repeat(400)].concat();
    for flood in [empty_lines, endless_line, resumptions] {
        let mut flooder = knock(&server, "127.0.0.2");
        flooder.send(flood);
        let rest = flooder.rest();
        let told = "goodbye: no password within 60 s or 4096 bytes";
        assert!(rest.contains(told), "{rest}");
    }
    // What follows the password counts for the room.
    let mut alice = enter(&server, "127.0.0.3");
    let lines = "hello\n".repeat(2000);
    let hasty = Peer::connect_from("127.0.0.4", server.address);
    hasty.send(format!("/pass green tea\n{lines}"));
    for _ in 0..2000 {
        while alice.next_line().expect("a line") != "<127.0.0.4> hello" {}
    }
}

#[test]
fn a_crowd_that_waits_keeps_nobody_out() {
    let (server, _folder) = Server::locked(&["--max-clients", "2"]);
    let mut crowd: Vec<Peer> = (0..300).map(|_| knock(&server, "127.0.0.9")).collect();
    let mut alice = enter(&server, "127.0.0.2");
    for mut gone in crowd.drain(..crowd.len() - 255) {
        gone.expect_line("-- too many connections wait to give the password; try again");
        gone.expect_end();
    }
    let _bob = enter(&server, "127.0.0.3");
    await_two(&mut alice);
    // Only now is the room full, and only who knows the password learns that.
    let mut carol = knock(&server, "127.0.0.4");
    carol.say("/pass green tea");
    carol.expect_line("!! the room is full (2 clients); try again later");
    carol.expect_end();
}

#[test]
fn the_end_of_input_after_the_password_is_no_loss() {
    let (server, _folder) = Server::locked(&["--rate", "1"]);
    let mut alice = enter(&server, "127.0.0.2");
    let hasty = Peer::connect_from("127.0.0.3", server.address);
    hasty.send("/pass green tea\none\ntwo");
    hasty.close_write();
    await_two(&mut alice);
    alice.expect_line("<127.0.0.3> one");
    alice.expect_line("<127.0.0.3> two");
    alice.expect_line("-- 127.0.0.3 left (1 here)");
    let hasty = Peer::connect_from("127.0.0.4", server.address);
    hasty.send("/pass green tea");
    hasty.close_write();
    let rest = { hasty }.rest();
    assert!(rest.contains("<127.0.0.3> two"), "{rest}");
}

#[test]
fn sighup_reads_the_password_again_and_everybody_stays() {
    let (mut server, folder) = Server::locked(&["-v"]);
    let mut alice = enter(&server, "127.0.0.2");
    let path = folder.path().join("password");
    fs::write(&path, "black tea\n").expect("a file to write to");
    server.signal(Signal::HUP);
    await_log(&mut server, "read the password again");
    let mut bob = knock(&server, "127.0.0.3");
    bob.say("/pass green tea");
    bob.expect_line("!! wrong password; try again");
    bob.say("/pass black tea");
    await_two(&mut alice);
    fs::write(&path, "\n").expect("a file to write to");
    server.signal(Signal::HUP);
    await_log(&mut server, "the password is still what it was");
}

#[test]
fn what_is_not_safe_is_not_started() {
    let (_folder, path) = password_file(PASSWORD);
    let run = |options: &[&str]| {
        let mut command = chat(["server", "127.0.0.1", "0", "--password-file"]);
        command.arg(&path).args(options);
        let finished = Process::spawn(command).finish();
        (finished.code, finished.stderr)
    };
    let (code, words) = run(&[]);
    assert_eq!(code, 2, "{words}");
    assert!(
        words.contains("--plain all") && words.contains("--plain local"),
        "{words}"
    );
    let (code, words) = run(&["--plain", "all", "--max-line", "10"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("too long for --max-line"), "{words}");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a file of ours");
    let (code, words) = run(&["--plain", "all"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("others can read"), "{words}");
}

#[test]
fn plain_local_is_for_this_machine_alone() {
    let Some(mut shell) = shell_with_a_network(
        "ip address add 192.0.2.1/32 dev lo
        $0 server 0.0.0.0 8081 --plain local &
        until $0 ping 127.0.0.1; do sleep 0.1; done
        $0 ping 192.0.2.1; echo $?
        kill $!; wait",
    ) else {
        return;
    };
    loop {
        let line = shell.stdout().next_line().expect("how it ends");
        if line == "5" {
            break;
        }
        assert_ne!(line, "0");
    }
}

/// Over the network `/say` is no way to send a password in clear.
#[cfg(feature = "web")]
#[test]
fn a_bearer_in_clear_from_another_machine_is_refused_and_logged() {
    if !can_test_with("curl") {
        return;
    }
    let script = "ip address add 192.0.2.1/32 dev lo
        folder=$(mktemp -d); umask 077; echo green tea > $folder/password
        $0 server 192.0.2.1 8081 --plain all --password-file $folder/password --web 8080 >&2 &
        until $0 ping 192.0.2.1 > /dev/null 2>&1; do sleep 0.1; done
        for path in say metrics; do
            curl -s -o /dev/null -w '%{http_code}\\n' -H 'Authorization: Bearer green tea' \\
                -H 'Content-Type: application/json' $(test $path = metrics || echo -d {}) \\
                http://192.0.2.1:8080/$path
        done
        kill $!; rm -r $folder; wait";
    let Some(mut shell) = shell_with_a_network(script) else {
        return;
    };
    shell.stdout().expect_line("403");
    shell.stdout().expect_line("403");
    let finished = shell.finish();
    let warned = "192.0.2.1 has sent a password in clear";
    assert!(finished.stderr.contains(warned), "{}", finished.stderr);
    assert!(!finished.stderr.contains("green"), "{}", finished.stderr);
}

#[test]
fn the_password_is_nowhere_but_in_its_file() {
    let transcript = tempfile::tempdir().expect("a place for files");
    let said = transcript.path().join("said");
    let option = said.to_str().expect("a plain path");
    let (mut server, _folder) = Server::locked(&["--transcript", option, "-vvv"]);
    let mut alice = enter(&server, "127.0.0.2");
    let mut bob = knock(&server, "127.0.0.3");
    bob.send("/pass green teapot\n /pass green tea\n/json\nx\n");
    assert!(bob.rest().contains("wrong password"));
    alice.say("/pass green tea");
    alice.expect_line("!! you are in already; no password is needed");
    alice.say("said aloud");
    alice.say("/who");
    while !(alice.next_line().expect("who is here")).contains("1 here: ") {}
    let arguments = fs::read(format!("/proc/{}/cmdline", server.pid())).expect("a running server");
    server.signal(Signal::TERM);
    let finished = server.finish();
    let said = fs::read(&said).expect("a transcript");
    for bytes in [
        &arguments[..],
        &said,
        finished.stdout.as_bytes(),
        finished.stderr.as_bytes(),
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("green"), "{text}");
    }
    assert!(String::from_utf8_lossy(&said).contains("said aloud"));
}

/// A room that others may enter over TLS alone.
#[cfg(feature = "tls")]
#[test]
fn over_tls_the_door_is_the_same() {
    if !can_test_with("openssl") {
        return;
    }
    let (_folder, path) = password_file(PASSWORD);
    let path = path.to_str().expect("a plain path");
    let room = SecuredServer::with(&["--password-file", path]);
    let mut alice = enter(&room.server, "127.0.0.2");
    let mut bob = room.openssl();
    bob.stdout().expect_line(WELCOME);
    bob.stdout().expect_line(ASKED);
    alice.say("the secret is out");
    bob.type_line("/json");
    let told = next_object(&mut bob);
    assert_eq!(told["code"], "password_needed");
    bob.type_line("/pass green coffee");
    let told = next_object(&mut bob);
    assert_eq!(told["code"], "wrong_password");
    bob.type_line("/pass green tea");
    let hello = next_object(&mut bob);
    assert_eq!(hello["kind"], "hello");
    bob.type_line("hello");
    alice.expect_line("<127.0.0.1> hello");

    // The session has begun over TLS, though only after the password: nobody goes on with it in
    // clear.
    let token = hello["token"].as_str().expect("a token");
    let mut thief = knock(&room.server, "127.0.0.1");
    thief.send(format!("/json\n/pass green tea\n/resume {token} 0\n"));
    assert_eq!(next_event(&mut thief)["code"], "password_needed");
    assert_eq!(next_event(&mut thief)["resumed"], false);
    let refused = next_event(&mut thief);
    assert_eq!(refused["kind"], "hello");
    assert_eq!(refused["resumed"], false);
    // But the next one over TLS may.
    let mut again = room.openssl();
    again.type_line(&format!("/json\n/pass green tea\n/resume {token} 0"));
    again.stdout().expect_line(WELCOME);
    again.stdout().expect_line(ASKED);
    let resumed = loop {
        let told = next_object(&mut again);
        if told["kind"] == "hello" && told["resumed"] == true {
            break told;
        }
    };
    assert_eq!(resumed["you"], hello["you"]);
}

#[cfg(feature = "tls")]
#[track_caller]
fn next_object(process: &mut Process) -> serde_json::Value {
    let line = process.stdout().next_line().expect("an object");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// With a password, what comes in clear from another machine gets nowhere, and is told where to
/// go.
#[cfg(all(feature = "tls", feature = "web"))]
#[test]
fn from_other_machines_a_room_with_a_password_is_reached_over_tls_only() {
    if !can_test_with("curl") {
        return;
    }
    let script = "ip address add 192.0.2.1/32 dev lo
        folder=$(mktemp -d); umask 077; echo green tea > $folder/password
        export XDG_STATE_HOME=$folder
        $0 server 0.0.0.0 8081 --web 8080 --tls --password-file $folder/password > $folder/banner &
        until $0 ping 127.0.0.1 > /dev/null 2>&1; do sleep 0.1; done
        $0 ping 192.0.2.1 2> /dev/null; echo plain $?
        try() { curl -s -o /dev/null -w '%{http_code} %{redirect_url}\\n' \"$@\"; }
        try http://192.0.2.1:8080/
        try -I http://192.0.2.1:8080/chat.js
        try --http1.0 -H Host: http://192.0.2.1:8080/
        try -H Host:evil.example http://192.0.2.1:8080/
        try http://127.0.0.1:8080/
        try http://192.0.2.1:8080/ws
        try -H 'Content-Type: application/json' -d {} http://192.0.2.1:8080/say
        try -H 'Authorization: Bearer green tea' http://192.0.2.1:8080/metrics
        try -k https://192.0.2.1:8080/
        try -k https://192.0.2.1:8080/metrics
        try -k -H 'Authorization: Bearer green tea' https://192.0.2.1:8080/metrics
        grep -c 'chat client 192' $folder/banner; grep -c 'https://192' $folder/banner
        key=$(grep -o 'sha256:.*' $folder/banner | head -n 1)
        $0 send --tls 192.0.2.1:8080 hello 2> /dev/null; echo unknown $?
        $0 send --tls --fingerprint $key 192.0.2.1:8080 hello 2> /dev/null; echo locked $?
        $0 send --tls 192.0.2.1:8080 --password-file $folder/password hello; echo sent $?
        kill $!; wait; rm -r $folder";
    let Some(mut shell) = shell_with_a_network(script) else {
        return;
    };
    for line in [
        "plain 5",
        "308 https://192.0.2.1:8080/",
        "308 https://192.0.2.1:8080/chat.js",
        "400 ",
        "421 ",
        "200 ",
        "403 ",
        "403 ",
        "403 ",
        "200 ",
        "401 ",
        "200 ",
        "0",
        "1",
        "unknown 7",
        "locked 5",
        "sent 0",
    ] {
        shell.stdout().expect_line(line);
    }
    let finished = shell.finish();
    let warned = "192.0.2.1 has sent a password in clear";
    assert!(finished.stderr.contains(warned), "{}", finished.stderr);
    assert!(!finished.stderr.contains("green"), "{}", finished.stderr);
}

/// The port for TLS may not show more than the plain one.
#[cfg(feature = "tls")]
#[test]
fn what_is_said_before_the_password_is_not_heard_over_tls() {
    if !can_test_with("openssl") {
        return;
    }
    let (_folder, path) = password_file(PASSWORD);
    let path = path.to_str().expect("a plain path");
    let room = SecuredServer::with(&["--password-file", path]);
    let alice = enter(&room.server, "127.0.0.2");
    let mut flooder = room.openssl();
    flooder.stdout().expect_line(WELCOME);
    flooder.stdout().expect_line(ASKED);
    flooder.type_line(&"\n".repeat(8 * 1024));
    alice.say("the secret is out");
    let rest = flooder.stdout().rest();
    assert!(rest.contains("or 4096 bytes"), "{rest}");
    assert!(!rest.contains("secret"), "{rest}");
}
