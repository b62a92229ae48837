//! Tells a browser from a person.
//!
//! Any web page can make the browser that shows it send a request to an address
//! of the LAN the browser sits in, with a body of the page's choosing. Were the
//! lines of that body taken for chat, every page could talk into every room its
//! readers can reach. So a connection whose first line is a request line, or the
//! beginning of a TLS handshake (which holds a host name of the page's choosing),
//! is closed before anything after it is looked at.

/// Whether `line` is a request line: `method SP request-target SP HTTP-version`
/// (RFC 9112, section 3).
///
/// ```
/// use chat::protocol::sniff::is_request_line;
///
/// assert!(is_request_line(b"POST /say?it HTTP/1.1"));
/// assert!(!is_request_line(b"GET me a coffee"));
/// ```
pub fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    method.is_some_and(is_token)
        && target.is_some_and(|target| !target.is_empty())
        && version.is_some_and(is_version)
}

/// Whether `beginning`, all that is known of a line too long to keep, may be the
/// beginning of a request line: `method SP`, and then one of the four forms of a
/// request target (RFC 9112, section 3.2). The form `host:port` counts only after
/// CONNECT, the one method that has it: chat is full of words before a colon.
pub(crate) fn may_begin_request_line(beginning: &[u8]) -> bool {
    let mut words = beginning.splitn(2, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let is_target = match target {
        [b'/' | b'*', ..] => true,
        _ => target
            .get(..4)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http")),
    };
    is_token(method) && (is_target || method == b"CONNECT") || is_cut_short(beginning)
}

/// Whether `beginning` is so short, with a tiny limit for lines, that it ends before
/// the target of one of the usual methods can be told.
fn is_cut_short(beginning: &[u8]) -> bool {
    const METHODS: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    !beginning.is_empty()
        && METHODS
            .iter()
            .any(|method| format!("{method} /").as_bytes().starts_with(beginning))
}

/// Whether `beginning` is that of a TLS handshake: a record of type 22, of a
/// version 3.x (RFC 8446, section 5.1). In UTF-8 that is a control character
/// nobody types, followed by another.
pub(crate) fn begins_tls_handshake(beginning: &[u8]) -> bool {
    beginning.starts_with(&[22, 3])
}

/// `HTTP/1.1` and its kin (RFC 9112, section 2.3), in any case: leniency here is
/// on the safe side.
fn is_version(word: &[u8]) -> bool {
    match word {
        [name @ .., b'/', major, b'.', minor] => {
            name.eq_ignore_ascii_case(b"http") && major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// A token as RFC 9110, section 5.6.2 has it.
fn is_token(word: &[u8]) -> bool {
    !word.is_empty()
        && word
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_recognised() {
        for line in [
            "GET / HTTP/1.1",
            "POST /x HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "CONNECT 192.168.1.5:8081 HTTP/1.1",
            "GET http://192.168.1.5:8081/ HTTP/1.1",
            "M-SEARCH * http/1.1",
        ] {
            assert!(is_request_line(line.as_bytes()), "{line}");
            assert!(may_begin_request_line(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_tls_handshake_is_recognised() {
        assert!(begins_tls_handshake(b"\x16\x03\x01\x02\x00\x01"));
        assert!(!begins_tls_handshake(b"\x16") && !begins_tls_handshake(b"hello"));
    }

    #[test]
    fn chat_is_not_taken_for_a_request() {
        for line in [
            "",
            "hello",
            "I read about HTTP/1.1",
            "say HTTP/1.1",
            "GET / HTTP/1.1 is what a browser sends",
            "GET / HTTP/x.y",
            "two  HTTP/1.1",
            "(GET) / HTTP/1.1",
        ] {
            assert!(!is_request_line(line.as_bytes()), "{line}");
        }
        assert!(may_begin_request_line(b"POS") && may_begin_request_line(b"POST "));
        for line in ["", "well", "well well /", "note: see this", "POSTpone"] {
            assert!(!may_begin_request_line(line.as_bytes()), "{line}");
        }
    }
}
