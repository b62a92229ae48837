//! Recognises what is not chat, so that neither a web page nor a program that has the
//! wrong port talks into a room.
//!
//! Any web page can make a browser send requests to an address on the browser's LAN: HTTP
//! with a body of the page's choice, a TLS handshake with a host name of its choice, STUN
//! and TURN over TCP with a user name of its choice. If the server took the lines of these
//! for chat, every page could talk into every room that its readers can reach. So the first
//! line of a connection decides: if it begins as another protocol does, the server closes
//! the connection, and hears nothing of it.
//!
//! People type first lines, too: `GET me a coffee` is chat. A line is another protocol's if
//! nobody types it, or if it is one to the last word.

use super::line::Decoded;
use super::text::is_invisible;

/// As much of an unfinished line is looked at, with each piece of it that comes.
const MAX_LOOK_BYTES: usize = 256;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is chat.
    Chat,
    /// It is blank, and comes before the first words: they decide, and it is not said.
    Blank,
    /// It is another protocol's first, and the connection is to be closed.
    Foreign,
}

/// What is known of the first line of a connection. Blank lines do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FirstWords {
    /// There is none, or it has not ended.
    #[default]
    Awaited,
    /// As before, but what is there begins as another protocol does.
    Suspect,
    /// It was chat: everything may be said now.
    Heard,
}

impl FirstWords {
    /// A line has come.
    pub(crate) fn judge(&mut self, line: Decoded<'_>) -> Verdict {
        if *self == Self::Heard {
            return Verdict::Chat;
        }
        let is_foreign = match line {
            Decoded::Line(line) => is_foreign(line),
            Decoded::TooLong(beginning) => {
                begins_foreign(beginning) || may_begin_request_line(without_lead(beginning))
            }
        };
        let is_blank =
            |line: &[u8]| std::str::from_utf8(line).is_ok_and(|_| without_lead(line).is_empty());
        match line {
            _ if is_foreign => Verdict::Foreign,
            Decoded::Line(line) if is_blank(line) => Verdict::Blank,
            _ => {
                *self = Self::Heard;
                Verdict::Chat
            }
        }
    }

    /// `beginning` is the unfinished line. False if no first line of chat begins so.
    pub(crate) fn may_become_chat(self, beginning: &[u8]) -> bool {
        self == Self::Heard || !begins_foreign(first_bytes(beginning))
    }

    /// Whether it is time to give `beginning`, the unfinished line, no more than some
    /// seconds: it begins as another protocol does, and did not so far.
    pub(crate) fn become_suspect(&mut self, beginning: &[u8]) -> bool {
        let is_suspect =
            *self == Self::Awaited && begins_as_another_protocol(first_bytes(beginning));
        if is_suspect {
            *self = Self::Suspect;
        }
        is_suspect
    }

    /// Those seconds are over. Whether `beginning` is still no chat.
    pub(crate) fn are_still_suspect(&mut self, beginning: &[u8]) -> bool {
        if *self != Self::Suspect {
            return false;
        }
        *self = Self::Awaited;
        begins_as_another_protocol(first_bytes(beginning))
    }

    /// The peer has ended, and `beginning` is its last line, unfinished. False if it is a
    /// torn first line of another protocol.
    pub(crate) fn end_as_chat(self, beginning: &[u8]) -> bool {
        self == Self::Heard || !(is_foreign(beginning) || begins_as_another_protocol(beginning))
    }
}

/// Whether no first line of chat begins with `beginning`, however it goes on: it holds NUL,
/// or begins with a control character, with an SSLv2 hello (known by the first bit of its
/// length, and its type), or with a banner or a header that is complete.
fn begins_foreign(beginning: &[u8]) -> bool {
    if beginning.contains(&0) || matches!(beginning, [0x80..=0xff, _, 1, ..]) {
        return true;
    }
    let beginning = without_lead(beginning);
    let begins_with_control = matches!(beginning, [0..b' ', ..] | [0xc2, 0x80..=0x9f, ..]);
    begins_with_control
        || begins_ssh_banner(beginning)
        || PROXY_HEADERS
            .iter()
            .any(|header| beginning.starts_with(header))
}

/// Whether `line` is not chat, as a first line.
fn is_foreign(line: &[u8]) -> bool {
    let text = without_lead(line);
    begins_foreign(line) || is_request_line(text) || is_mail_hello(text) || is_mail_greeting(text)
}

/// Whether `beginning` is likely to become another protocol's first line. A person who
/// types so much, and no more within seconds, is rare.
fn begins_as_another_protocol(beginning: &[u8]) -> bool {
    let text = without_lead(beginning);
    matches!(beginning, [0x80] | [0x80, _])
        || begins_as_request_line(text)
        || is_mail_hello(text)
        || is_mail_greeting(text)
        || text.starts_with(b"SSH-") && text[4..].iter().all(|byte| b"0123456789.".contains(byte))
        || text.len() >= b"PROXY ".len()
            && PROXY_HEADERS.iter().any(|header| header.starts_with(text))
}

fn first_bytes(line: &[u8]) -> &[u8] {
    &line[..line.len().min(MAX_LOOK_BYTES)]
}

/// `line` without what shows nothing at its beginning, is not UTF-8, or moves the cursor
/// only.
fn without_lead(line: &[u8]) -> &[u8] {
    let is_lead = |c| matches!(c, '\t' | '\r' | '\u{8}' | '\u{7f}') || is_invisible(c);
    let mut lead_bytes = 0;
    for chunk in line.utf8_chunks() {
        let text = chunk.valid().trim_start_matches(is_lead);
        lead_bytes += chunk.valid().len() - text.len();
        if !text.is_empty() {
            break;
        }
        lead_bytes += chunk.invalid().len();
    }
    &line[lead_bytes..]
}

/// Of the PROXY protocol, version 1. Version 2 begins with blank lines and NUL.
const PROXY_HEADERS: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// `SSH-2.0-` and so on (RFC 4253, section 4.2).
fn begins_ssh_banner(text: &[u8]) -> bool {
    let version = text.strip_prefix(b"SSH-").unwrap_or_default();
    let version_end = version.iter().position(|&byte| byte == b'-');
    version_end.is_some_and(|end| {
        matches!(&version[..end], [major, b'.', minor @ ..]
            if major.is_ascii_digit() && !minor.is_empty() && minor.iter().all(u8::is_ascii_digit))
    })
}

/// What a mail client says first: EHLO and its host. A word without a dot may be whom
/// somebody greets.
fn is_mail_hello(text: &[u8]) -> bool {
    let mut words = words(text);
    let (Some(command), Some(host), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let is_host = host == b"localhost"
        || host.starts_with(b"[")
        || host[..host.len() - 1]
            .iter()
            .any(|byte| b".:".contains(byte));
    let is_command = |name: &&[u8]| name.eq_ignore_ascii_case(command);
    is_host && [&b"EHLO"[..], b"HELO", b"LHLO"].iter().any(is_command)
}

/// What a mail server says first: `220 host ESMTP`.
fn is_mail_greeting(text: &[u8]) -> bool {
    let mut words = words(text);
    let (code, protocol) = (words.next(), words.nth(1));
    code.is_some_and(|code| code == b"220" || code.starts_with(b"220-"))
        && protocol.is_some_and(|protocol| protocol == b"ESMTP" || protocol == b"SMTP")
}

/// Whether `text` is a request line: `method SP request-target SP version` (RFC 9112,
/// section 3; RTSP, SIP and others have taken that over). To be on the safe side, HTTP is
/// recognised in any case.
fn is_request_line(text: &[u8]) -> bool {
    let mut words = words(text);
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let [name @ .., b'/', major, b'.', minor] = version else {
        return false;
    };
    let is_version = is_token(name) && major.is_ascii_digit() && minor.is_ascii_digit();
    let is_http = name.eq_ignore_ascii_case(b"http");
    is_version
        && is_token(method)
        && (is_method(method) && (is_http || is_capital(name)) || is_http && is_target(target))
}

/// Whether `beginning`, the kept part of a line over the limit, may begin a request line.
fn may_begin_request_line(beginning: &[u8]) -> bool {
    let mut words = words(beginning);
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    is_method(method) && (is_target(target) || method == b"CONNECT") || is_cut_short(beginning)
}

/// Whether `beginning` ends before the target of a common method, as it does when the line
/// limit is tiny.
fn is_cut_short(beginning: &[u8]) -> bool {
    !beginning.is_empty()
        && METHODS
            .iter()
            .any(|method| format!("{method} /").as_bytes().starts_with(beginning))
}

/// Whether a request line was torn after `beginning`: not before the end of its method, or
/// every word would be one.
fn begins_as_request_line(beginning: &[u8]) -> bool {
    let Some(method_end) = beginning.iter().position(u8::is_ascii_whitespace) else {
        return false;
    };
    let method = &beginning[..method_end];
    let is_common = METHODS.iter().any(|common| common.as_bytes() == method);
    let mut words = words(&beginning[method_end..]);
    let target = words.next().unwrap_or_default();
    let is_target = is_target(target) || method == b"CONNECT";
    match words.next() {
        None if is_common => is_target || may_become_target(target),
        None => is_method(method) && is_target,
        Some(version) => {
            let is_begun = |byte: &u8| byte.is_ascii_uppercase() || b"0123456789/.".contains(byte);
            is_method(method) && is_target && version.iter().all(is_begun) && words.next().is_none()
        }
    }
}

/// Methods that are recognised before their target is.
const METHODS: [&str; 15] = [
    "ANNOUNCE", "CONNECT", "DELETE", "DESCRIBE", "GET", "HEAD", "INVITE", "OPTIONS", "PATCH",
    "POST", "PRI", "PUT", "REGISTER", "SETUP", "TRACE",
];

/// What targets begin with that are no paths.
const SCHEMES: [&str; 10] = [
    "http:", "https:", "icap:", "rtsp:", "rtsps:", "rtspu:", "sip:", "sips:", "tel:", "urn:",
];

/// The forms of a request target that cannot be words of chat (RFC 9112, section 3.2).
/// `host:port` is not among them, which only CONNECT has.
fn is_target(word: &[u8]) -> bool {
    let begins_with = |scheme: &&str| {
        let beginning = word.get(..scheme.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    matches!(word, [b'/' | b'*', ..]) || SCHEMES.iter().any(begins_with)
}

fn may_become_target(word: &[u8]) -> bool {
    let word = word.to_ascii_lowercase();
    SCHEMES
        .iter()
        .any(|scheme| scheme.as_bytes().starts_with(&word))
}

/// Browsers send no method but in capitals without having asked with OPTIONS first.
fn is_method(word: &[u8]) -> bool {
    is_token(word) && is_capital(word)
}

fn is_capital(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_uppercase) && !word.iter().any(u8::is_ascii_lowercase)
}

/// RFC 9110, section 5.6.2.
fn is_token(word: &[u8]) -> bool {
    !word.is_empty()
        && word
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First lines of other protocols, without their ends; `true` if they are known for
    /// what they are before these.
    const FOREIGN: [(&[u8], bool); 41] = [
        // HTTP/1, and HTTP/2's preface.
        (b"GET / HTTP/1.1", false),
        (b"POST /say?it HTTP/1.0", false),
        (b"OPTIONS * HTTP/1.1", false),
        (b"CONNECT 192.168.1.5:8081 HTTP/1.1", false),
        (b"GET http://192.168.1.5:8081/ HTTP/1.1", false),
        (b"M-SEARCH * http/1.1", false),
        (b"get / http/1.1", false),
        (b"PRI * HTTP/2.0", false),
        // RTSP, SIP, ICAP.
        (b"OPTIONS * RTSP/1.0", false),
        (b"DESCRIBE rtsp://192.168.1.5/said RTSP/1.0", false),
        (b"INVITE sip:said@192.168.1.5 SIP/2.0", false),
        (b"REGISTER sips:192.168.1.5 SIP/2.0", false),
        (b"REQMOD icap://192.168.1.5/ ICAP/1.0", false),
        // Behind something invisible.
        (b" GET / HTTP/1.1", false),
        (b"\t \r\x08\x7fGET / HTTP/1.1", false),
        (b"\xef\xbb\xbfGET / HTTP/1.1", false),
        (b"\xffGET  /  HTTP/1.1 ", false),
        (b"\0GET / HTTP/1.1", true),
        (b"GET / \0", true),
        // STUN, as it is and framed (RFC 4571).
        (b"\x00\x01\x00\x08\x21\x12\xa4\x42said", true),
        (b"\x00\x54\x00\x01\x00\x40\x21\x12\xa4\x42said", true),
        (b"\x01\x2c\x00\x01\x01\x18\x21\x12\xa4\x42said", true),
        // TLS, an alert, behind blanks; SSLv2.
        (b"\x16\x03\x01\x02\x00\x01", true),
        (b"\x16", true),
        (b"  \x16\x03\x01", true),
        (b"\xef\xbb\xbf\x16\x03", true),
        (b"\x15\x03\x01\x00\x02", true),
        (b"\x80\x2e\x01\x00\x02\x00\x15", true),
        // SOCKS 4 and 5, the PROXY protocol 1 and 2, SSH, mail, AMQP, ESC.
        (b"\x04\x01\x1f\x91\x7f\x00\x00\x01said", true),
        (b"\x05\x01", true),
        (b"PROXY TCP4 192.168.1.9 192.168.1.5 56324 8081", true),
        (b"PROXY TCP6 ::1 ::1 56324 8081", true),
        (b"PROXY UNKNOWN", true),
        (b"\x00\x0d", true),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2", true),
        (b"SSH-1.99-x", true),
        (b"EHLO mail.example.com", false),
        (b"HELO [192.168.1.9]", false),
        (b"220 mail.example.com ESMTP Postfix", false),
        (b"AMQP\0\0\x09\x01", true),
        ("\u{9b}31m".as_bytes(), true),
    ];

    fn is_chat(line: &[u8]) -> bool {
        FirstWords::default().judge(Decoded::Line(line)) == Verdict::Chat
    }

    fn may_become_chat(beginning: &[u8]) -> bool {
        FirstWords::default().may_become_chat(beginning)
    }

    #[test]
    fn first_lines_of_other_protocols_are_not_chat() {
        for (line, is_early) in FOREIGN {
            assert!(!is_chat(line), "{}", line.escape_ascii());
            assert_eq!(!may_become_chat(line), is_early, "{}", line.escape_ascii());
            assert!(
                !FirstWords::default().end_as_chat(line),
                "{}",
                line.escape_ascii()
            );
            assert_eq!(FirstWords::Heard.judge(Decoded::Line(line)), Verdict::Chat);
            assert!(FirstWords::Heard.may_become_chat(line) && FirstWords::Heard.end_as_chat(line));
        }
    }

    #[test]
    fn a_first_line_begins_with_no_control_character_but_those_of_typing() {
        for byte in (0..b' ').filter(|&byte| byte != b'\n') {
            let typed = b"\t\r\x08".contains(&byte);
            assert_eq!(is_chat(&[byte, b'a']), typed, "{byte:#x}");
            assert_eq!(may_become_chat(&[byte]), typed, "{byte:#x}");
        }
        assert!(is_chat(b"\x7fa") && is_chat(b"a\x07\x1b[A") && !is_chat(b"a\0"));
    }

    /// An incomplete first line is decided at the next byte, or by time.
    #[test]
    fn torn_first_lines_are_suspect() {
        for (line, is_early) in FOREIGN {
            for at in 1..line.len() {
                let torn = &line[..at];
                assert!(is_early || may_become_chat(torn), "{}", torn.escape_ascii());
                if !may_become_chat(torn) {
                    assert!(!may_become_chat(line) && !is_chat(torn));
                }
            }
        }
        for torn in [
            &b"GET "[..],
            b"GET htt",
            b"GET /",
            b"GET / ",
            b"GET / HTT",
            b"GET / HTTP/1.",
            b" POST http://x/ HTTP/",
            b"OPTIONS *",
            b"DESCRIBE rt",
            b"FOO /x HTTP",
            b"INVITE sip:said",
            b"CONNECT 192.168.1.5:80",
            b"SSH-",
            b"SSH-2.0",
            b"PROXY ",
            b"PROXY TCP",
            b"EHLO mail.exa",
            b"\x80",
            b"\x80\x2e",
        ] {
            let mut words = FirstWords::default();
            assert!(
                may_become_chat(torn) && words.become_suspect(torn),
                "{}",
                torn.escape_ascii()
            );
            assert!(!words.become_suspect(torn), "one timer is enough");
            assert!(!words.end_as_chat(torn));
            assert!(words.are_still_suspect(torn));
            assert!(words.become_suspect(torn) && !words.are_still_suspect(b"GET me"));
            assert_eq!(words, FirstWords::Awaited);
        }
    }

    #[test]
    fn people_are_heard() {
        for line in [
            "hello",
            "GET me a coffee",
            "GET me coffee",
            "POST it!",
            "hello HTTP/1.1",
            "say plain HTTP/1.1",
            "I read about HTTP/1.1",
            "GET / HTTP/1.1 is what a browser sends",
            "GET / HTTP/x.y",
            "GET /etc/passwd and look",
            "two  HTTP/1.1",
            "(GET) / HTTP/1.1",
            "use foo bar/2.0",
            "install python python/3.9",
            "ssh is down",
            "SSH-keys, anybody?",
            "SSH is down",
            "PROXY is down",
            "PROXY TCP is what?",
            "EHLO",
            "EHLO everybody",
            "HELO world!",
            "EHLO there, mail.example.com is back",
            "220 volts",
            "220 is what mail says",
            "你好",
            "¡Hola!",
            "👋",
            "🏳️‍🌈",
            "שלום",
            "\tindented",
            "  spaced",
            "\u{feff}from a file",
            "helo\u{8}lo",
            "\u{7f}\u{8}typed",
            "/nick alice",
            "1 + 1",
            "*waves*",
            "--",
        ] {
            let mut words = FirstWords::default();
            assert!(words.may_become_chat(line.as_bytes()), "{line}");
            assert_eq!(
                words.judge(Decoded::Line(line.as_bytes())),
                Verdict::Chat,
                "{line}"
            );
            assert_eq!(words, FirstWords::Heard, "{line}");
            let mut words = FirstWords::default();
            assert!(words.end_as_chat(line.as_bytes()), "{line}");
            for end in (1..=line.len()).filter(|&end| line.is_char_boundary(end)) {
                let typed = &line.as_bytes()[..end];
                assert!(words.may_become_chat(typed), "{line}");
                let is_like_it = ["GET ", "POST ", "PROXY", "SSH-", "EHLO m"];
                if !is_like_it.iter().any(|like| line.starts_with(like)) {
                    assert!(!words.become_suspect(typed), "{}", typed.escape_ascii());
                }
            }
        }
        for latin_1 in [&b"\xa1Hola!"[..], b"\xbfqu\xe9?", b"\x80 100"] {
            assert!(is_chat(latin_1), "{}", latin_1.escape_ascii());
        }
    }

    /// Or each byte of a long line would cost more than the one before.
    #[test]
    fn the_beginning_of_an_unfinished_line_is_enough() {
        let long = |beginning: &str| beginning.to_owned() + &"a".repeat(MAX_LOOK_BYTES) + "\0";
        let mut words = FirstWords::default();
        assert!(words.may_become_chat(long("GET /").as_bytes()));
        assert!(words.become_suspect(long("GET /").as_bytes()));
        assert!(words.are_still_suspect(long("GET /").as_bytes()));
        assert!(
            !is_chat(long("hello").as_bytes()),
            "as a line it is looked at whole"
        );
    }

    #[test]
    fn blank_lines_are_not_the_first() {
        for blank in [&b""[..], b" \t\r", b"\xef\xbb\xbf", b"\x08\x7f"] {
            let mut words = FirstWords::default();
            assert_eq!(words.judge(Decoded::Line(blank)), Verdict::Blank);
            assert_eq!(words, FirstWords::Awaited);
        }
    }

    #[test]
    fn an_over_long_first_line_is_judged_by_its_beginning() {
        let are_chat = |beginning: &str| {
            FirstWords::default().judge(Decoded::TooLong(beginning.as_bytes())) == Verdict::Chat
        };
        for beginning in [
            "GET /aaa",
            " GET http://aaa",
            "CONNECT aaa",
            "DESCRIBE rtsp://aaa",
            "INVITE sip:aaa",
            "\u{16}\u{3}aaa",
            "POS",
            "POST ",
        ] {
            assert!(!are_chat(beginning), "{beginning}");
        }
        for beginning in [
            "well",
            "well well /",
            "note: see this",
            "See http://",
            "POSTpone",
        ] {
            assert!(are_chat(beginning), "{beginning}");
        }
    }
}
