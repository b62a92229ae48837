//! Any input and any lines from a server, on a terminal of any size: the prompt writes no
//! control sequences but its own, and says exactly what was typed.

#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use chat::client::config::Bell;
use chat::client::conversation::Conversation;
use chat::frontend::prompt::layout::Size;
use chat::frontend::prompt::{Look, Prompt};
use chat::frontend::style::Palette;
use chat::frontend::{Action, Frontend, LinkStatus, MAX_SHOWN_LINES, Moment, Said, Status};
use chat_fuzz::is_harmless;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Act {
    Type(Vec<u8>),
    Receive(Vec<u8>),
    Connect,
    Write(u8),
    Wait(u8),
    Resize(u8, u8),
    Hide(bool),
    Link(Link),
    Draw,
}

#[derive(Arbitrary, Debug)]
enum Link {
    In(bool),
    Holding,
    Offline,
    Leaving,
}

fuzz_target!(|acts: Vec<Act>| {
    // The wall clock does not matter: no times are shown.
    let mut instant = Instant::now();
    let mut conversation = Conversation::new(Some("bob".to_owned()), false);
    let look = Look {
        palette: Palette { is_colored: true },
        stamp: None,
        bell: Bell::All,
    };
    let size = Size {
        columns: 20,
        rows: 8,
    };
    let mut prompt = Prompt::new(look, size);
    let mut link = LinkStatus::Offline;
    let mut said = Vec::new();
    for act in acts {
        let now = Moment {
            instant,
            ..Moment::now()
        };
        match act {
            Act::Type(bytes) => prompt.typed(&bytes, now),
            Act::Receive(bytes) => conversation.received(&bytes, instant, &mut |message| {
                prompt.heard(message, now);
            }),
            Act::Connect => conversation.connected(instant),
            Act::Write(count) => {
                let count = conversation.unwritten(instant).len().min(count.into());
                conversation.wrote(count, &mut |message| prompt.heard(message, now));
            }
            Act::Wait(hundredths) => {
                conversation.drained(instant);
                instant += Duration::from_millis(10) * u32::from(hundredths);
                let now = Moment { instant, ..now };
                prompt.expire(now);
                conversation.expire(instant, &mut |message| prompt.heard(message, now));
            }
            Act::Resize(columns, rows) => {
                prompt.resized(usize::from(columns).max(1), usize::from(rows).max(1));
            }
            Act::Hide(is_hidden) => prompt.set_hidden(is_hidden),
            Act::Link(Link::In(is_ours)) => link = LinkStatus::In { is_ours },
            Act::Link(Link::Holding) => link = LinkStatus::Holding,
            Act::Link(Link::Offline) => link = LinkStatus::Offline,
            Act::Link(Link::Leaving) => link = LinkStatus::Leaving,
            Act::Draw => draw(&mut prompt),
        }
        for action in prompt.actions() {
            if let Action::Say(bytes) = action {
                assert!(bytes.ends_with(b"\n"));
                let line = std::str::from_utf8(&bytes).expect("what is typed is UTF-8");
                assert!(
                    line.trim_end_matches('\n').chars().all(is_shown),
                    "{line:?}"
                );
                conversation.say(&bytes);
                said.push((line.trim_end().to_owned(), said.len() % 2 == 0));
            }
        }
        prompt.set_status(&Status {
            link,
            is_settled: true,
            said: Said {
                lines: said.len(),
                bytes: 0,
                last: &said[said.len().saturating_sub(MAX_SHOWN_LINES)..],
            },
            no_answer_for: None,
            name: conversation.name(),
        });
    }
    draw(&mut prompt);
});

fn draw(prompt: &mut Prompt) {
    let mut out = Vec::new();
    prompt.compose(&mut out);
    let mut rest = std::str::from_utf8(&out).expect("what is drawn is UTF-8");
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\x1b' => after_sequence(rest),
            _ => {
                assert!(is_shown(c) || matches!(c, '\r' | '\n' | '\x07'), "{c:?}");
                &rest[c.len_utf8()..]
            }
        };
    }
}

fn is_shown(c: char) -> bool {
    is_harmless(c) || c == '\t'
}

/// `text` after its first control sequence, which must be one the prompt uses.
fn after_sequence(text: &str) -> &str {
    let parameters = text.strip_prefix("\x1b[").expect("a control sequence");
    let end = parameters.find(|c: char| !matches!(c, '0'..='9' | ';' | '?'));
    let (parameters, rest) = parameters.split_at(end.expect("a final character"));
    let last = &rest[..1];
    let is_known = match (last, parameters) {
        ("m", _) | ("J", "" | "2") | ("H", "") | ("l" | "h", "?7") => true,
        ("A", rows) => rows.parse::<u16>().is_ok(),
        _ => false,
    };
    assert!(is_known, "{parameters}{last}");
    &rest[1..]
}
