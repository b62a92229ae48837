//! The stream of a room: how it is set up, and what JetStream answers about it.

use serde_json::{Value, json};

use super::subjects::Subjects;
use crate::protocol::event::MAX_INTEGER;
use crate::protocol::text::made_safe;

/// What the stream keeps: for servers that were away. When it is full, the oldest goes.
const MAX_STREAM_BYTES: u64 = 64 * 1024 * 1024;

/// For how long the stream knows that it has a batch already, in nanoseconds: longer than
/// a server sends it again.
const DUPLICATE_WINDOW_NANOS: u64 = 60_000_000_000;

/// JetStream's codes for errors (its `errors.json`).
const STREAM_NOT_FOUND: u64 = 10059;
const NO_REPLICAS_ON_ONE_NODE: u64 = 10074;

/// Somebody else made it meanwhile, in another way.
const NAME_IN_USE: u64 = 10058;

/// On how many nodes of a cluster each line is.
const REPLICAS: u64 = 3;

/// What there is to do about the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// Use it.
    Ready,
    /// Make it, with so many replicas.
    Create(u64),
    /// Ask again how it is.
    Ask,
    /// Ask again later: nobody is there to answer.
    Wait,
    /// It cannot be used: why, and what to do.
    Unusable(String),
}

/// What makes the stream.
pub(super) fn create(subjects: &Subjects, replicas: u64) -> String {
    json!({
        "name": subjects.stream(),
        "subjects": [subjects.all_said()],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_age": 0,
        "max_bytes": MAX_STREAM_BYTES,
        "num_replicas": replicas,
        "duplicate_window": DUPLICATE_WINDOW_NANOS,
        "allow_direct": true,
        "republish": {"src": subjects.all_said(), "dest": subjects.heard_pattern()},
    })
    .to_string()
}

/// What to do after the answer `info` about how the stream is.
pub(super) fn after_info(subjects: &Subjects, info: &[u8]) -> Setup {
    let info: Value = serde_json::from_slice(info).unwrap_or_default();
    if let Some(code) = error_code(&info) {
        return match code {
            STREAM_NOT_FOUND => Setup::Create(REPLICAS),
            _ => Setup::Unusable(error_words(&info)),
        };
    }
    let config = &info["config"];
    let republish = &config["republish"];
    let is_ours = republish["src"] == subjects.all_said()
        && republish["dest"] == subjects.heard_pattern()
        && config["allow_direct"] == true;
    if is_ours {
        return Setup::Ready;
    }
    if config.is_null() {
        return Setup::Wait;
    }
    Setup::Unusable(format!(
        "stream {} lacks allow_direct, or republish from {} to {}: delete it, or choose another room",
        subjects.stream(),
        subjects.all_said(),
        subjects.heard_pattern()
    ))
}

/// What to do after the answer `created` to what was to make the stream with so many `replicas`.
pub(super) fn after_create(created: &[u8], replicas: u64) -> Setup {
    let created: Value = serde_json::from_slice(created).unwrap_or_default();
    match error_code(&created) {
        None if created["config"].is_null() => Setup::Wait,
        None => Setup::Ready,
        Some(NO_REPLICAS_ON_ONE_NODE) if replicas > 1 => Setup::Create(1),
        Some(NAME_IN_USE) => Setup::Ask,
        Some(_) => Setup::Unusable(error_words(&created)),
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    Stored { seq: u64, is_duplicate: bool },
    Refused,
}

pub(super) fn read_ack(ack: &[u8]) -> Ack {
    let ack: Value = serde_json::from_slice(ack).unwrap_or_default();
    match ack["seq"].as_u64() {
        Some(seq) if error_code(&ack).is_none() && (1..MAX_INTEGER).contains(&seq) => Ack::Stored {
            seq,
            is_duplicate: ack["duplicate"] == true,
        },
        _ => Ack::Refused,
    }
}

/// What asks for the first message from `seq` on.
pub(super) fn get(subjects: &Subjects, seq: u64) -> String {
    json!({"seq": seq, "next_by_subj": subjects.all_said()}).to_string()
}

fn error_code(answer: &Value) -> Option<u64> {
    let error = answer.get("error")?;
    Some(error["err_code"].as_u64().unwrap_or_default())
}

fn error_words(answer: &Value) -> String {
    let words = answer["error"]["description"].as_str();
    let words = made_safe(words.unwrap_or("an error").as_bytes());
    format!("JetStream: {words}; see docs/many-machines.md")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::label::ServerLabel;

    fn subjects() -> Subjects {
        let label = |text| ServerLabel::parse(text).unwrap();
        Subjects::new(label("lounge"), label("box-a"), 1)
    }

    #[test]
    fn a_stream_is_used_if_it_is_as_we_make_it() {
        let config = create(&subjects(), 3);
        let info = format!("{{\"config\":{config},\"state\":{{}}}}");
        assert_eq!(after_info(&subjects(), info.as_bytes()), Setup::Ready);
        let other = info.replace("chat.lounge.heard", "chat.lounge.seen");
        let Setup::Unusable(words) = after_info(&subjects(), other.as_bytes()) else {
            panic!("it is not ours");
        };
        assert!(words.contains("CHAT_lounge") && words.contains("republish"));
        assert_eq!(after_info(&subjects(), b"nonsense"), Setup::Wait);
    }

    #[test]
    fn a_stream_that_is_missing_is_made_with_as_many_replicas_as_there_can_be() {
        let error = |code| {
            format!("{{\"error\":{{\"code\":1,\"err_code\":{code},\"description\":\"x\"}}}}")
        };
        let missing = error(STREAM_NOT_FOUND);
        assert_eq!(
            after_info(&subjects(), missing.as_bytes()),
            Setup::Create(3)
        );
        let single = error(NO_REPLICAS_ON_ONE_NODE);
        assert_eq!(after_create(single.as_bytes(), 3), Setup::Create(1));
        assert!(matches!(
            after_create(single.as_bytes(), 1),
            Setup::Unusable(_)
        ));
        assert_eq!(after_create(error(NAME_IN_USE).as_bytes(), 3), Setup::Ask);
        assert_eq!(after_create(b"{\"config\":{}}", 3), Setup::Ready);
        assert!(matches!(
            after_create(error(1).as_bytes(), 3),
            Setup::Unusable(_)
        ));
    }

    #[test]
    fn an_ack_says_where_the_batch_is() {
        let stored = |seq, is_duplicate| Ack::Stored { seq, is_duplicate };
        for (ack, meaning) in [
            ("{\"stream\":\"S\",\"seq\":7}", stored(7, false)),
            (
                "{\"stream\":\"S\",\"seq\":7,\"duplicate\":true}",
                stored(7, true),
            ),
            (
                "{\"error\":{\"code\":503,\"err_code\":10076},\"seq\":7}",
                Ack::Refused,
            ),
            ("{\"seq\":0}", Ack::Refused),
            ("{\"seq\":18446744073709551615}", Ack::Refused),
            ("", Ack::Refused),
        ] {
            assert_eq!(read_ack(ack.as_bytes()), meaning, "{ack}");
        }
    }
}
