//! Any bytes from one client, cut anywhere: what another client hears does not depend on the
//! cuts, is harmless, and holds no command behind something invisible. It is empty if no person
//! sends such first bytes.

#![no_main]

#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../../tests/common/plain_service.rs"]
mod plain_service;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../../tests/common/scripted_stream.rs"]
mod scripted_stream;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use chat::reactor::acceptor::Accepted;
use chat::reactor::event_loop::EventLoop;
use chat::reactor::service::Policy;
use chat::room::Config;
use chat_fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;

use self::plain_service::PlainService;
use self::scripted_stream::{FarEnd, ScriptedStream};

/// Small, so that inputs of a fuzzer's size exceed it.
const MAX_LINE_BYTES: u32 = 100;

const COMMANDS: [&str; 6] = ["/nick", "/me", "/msg", "/who", "/help", "/quit"];

// The first byte chooses the size of the pieces, and whether the client half-closes.
fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else {
        return;
    };
    let (piece_bytes, ends) = (usize::from(how & 0x7f) + 1, how & 0x80 != 0);
    let heard = heard([bytes], ends);
    assert_eq!(
        heard,
        self::heard(bytes.chunks(piece_bytes), ends),
        "in pieces"
    );
    assert_eq!(heard, self::heard(bytes.chunks(1), ends), "byte by byte");

    for line in heard.split_terminator('\n') {
        let said = assert_harmless(line.as_bytes())
            .strip_prefix('<')
            .and_then(|line| line.split_once("> "));
        let is_private = line.starts_with("* ") || line.starts_with('[');
        assert!(said.is_some() || is_private, "{line:?} is of no kind");
        if let Some((_, text)) = said {
            check_said(text.strip_prefix('\u{200e}').unwrap_or(text));
        }
    }
    if is_no_persons(bytes) {
        assert_eq!(heard, "", "no person sends these first bytes");
    }
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'\n');
    let lines = || bytes.split(|&byte| byte == b'\n');
    if ends && bytes.iter().all(is_plain) && lines().all(|line| line.len() <= 100) {
        let count = lines().filter(|line| !line.is_empty()).count();
        assert_eq!(heard.lines().count(), count, "nothing is lost");
    }
});

/// What one client hears of another that sends `pieces`, and then half-closes or not.
fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, ends: bool) -> String {
    let now = Instant::now();
    let policy = Policy {
        max_line_bytes: MAX_LINE_BYTES,
        ..Policy::DEFAULT
    };
    let mut event_loop: EventLoop<ScriptedStream> = EventLoop::new(policy, now);
    let mut service = PlainService::new(Config::plain(MAX_LINE_BYTES), 2);
    let clients = [FarEnd::new(), FarEnd::new()];
    let mut waiting = clients.iter();
    event_loop.mark_listener();
    let mut iterate = |event_loop: &mut EventLoop<ScriptedStream>| {
        for _ in 0..1000 {
            if event_loop.poll_timeout(&service, now) != Some(Duration::ZERO) {
                return;
            }
            let accept = |key: usize| match waiting.next() {
                Some(client) => {
                    let address = Ipv4Addr::new(10, 0, 0, key as u8);
                    Accepted::Client(client.stream(), address.into())
                }
                None => Accepted::Nobody,
            };
            let iterated = event_loop.iterate(now, &mut service, accept);
            iterated.expect("peers cannot cause an error");
        }
        panic!("the loop does not come to rest");
    };
    iterate(&mut event_loop);
    let [listener, talker] = &clients;
    assert_eq!(listener.received(), "Welcome to this chatroom!\n");
    for piece in pieces {
        talker.sends(piece);
        if talker.is_open_here() {
            event_loop.mark_client(1, true, false);
        }
        iterate(&mut event_loop);
    }
    if ends && talker.is_open_here() {
        talker.ends();
        event_loop.mark_client(1, true, false);
        iterate(&mut event_loop);
    }
    listener.received()
}

/// `//TEXT` says `/TEXT`, so its slash comes first.
fn check_said(text: &str) {
    let shows_nothing = |c: char| {
        matches!(c,
            '\t' | ' ' | '\u{a0}' | '\u{2000}'..='\u{200f}' | '\u{2060}'..='\u{2064}'
                | '\u{3000}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fffd}'
                // Stand-ins for control characters.
                | '\u{2400}'..='\u{241f}' | '\u{2421}')
    };
    let visible = text.trim_start_matches(shows_nothing);
    if visible.len() < text.len() {
        let word = visible.split_whitespace().next().unwrap_or_default();
        assert!(!COMMANDS.contains(&word), "{text:?} was said");
    }
}

/// Whether `bytes` begin with a control character nobody types, or have NUL in a first line that
/// is not telnet's.
fn is_no_persons(bytes: &[u8]) -> bool {
    let begins_with_control = matches!(bytes, [first, ..] if first.is_ascii_control() && !b"\t\r\n\x08\x7f".contains(first));
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let nul = line.iter().position(|&byte| byte == 0);
    let has_nul = line.len() <= 100
        && !line.contains(&0xff)
        && nul.is_some_and(|at| at == 0 || line[at - 1] != b'\r');
    begins_with_control || has_nul
}
