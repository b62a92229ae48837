//! Recognises HTTP and TLS, so that web pages cannot talk into a room.
//!
//! Any web page can make a browser send a request to an address on the browser's LAN, with
//! a body of the page's choice. If the server took the lines of that body for chat, every
//! page could talk into every room that its readers can reach. So the server closes a
//! connection whose first line is a request line or begins a TLS handshake (which contains
//! a host name of the page's choice), and ignores what follows.

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

/// Whether `beginning`, the kept part of a line over the limit, may begin a request line:
/// `method SP`, and one of the four forms of a request target (RFC 9112, section 3.2). The
/// form `host:port` counts only after CONNECT, the only method with that form: words with
/// a colon are common in chat.
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

/// Whether `beginning` ends before the target of a common method, as it does when the line
/// limit is tiny.
fn is_cut_short(beginning: &[u8]) -> bool {
    const METHODS: [&str; 9] = [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ];
    !beginning.is_empty()
        && METHODS
            .iter()
            .any(|method| format!("{method} /").as_bytes().starts_with(beginning))
}

/// Whether `beginning` begins a TLS handshake: a record of type 22, version 3.x (RFC 8446,
/// section 5.1). As text, these are two control characters that nobody types.
pub(crate) fn begins_tls_handshake(beginning: &[u8]) -> bool {
    beginning.starts_with(&[22, 3])
}

/// An HTTP version (RFC 9112, section 2.3). Any case, to be on the safe side.
fn is_version(word: &[u8]) -> bool {
    match word {
        [name @ .., b'/', major, b'.', minor] => {
            name.eq_ignore_ascii_case(b"http") && major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// RFC 9110, section 5.6.2.
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
    fn recognises_request_lines() {
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
    fn recognises_tls_handshakes() {
        assert!(begins_tls_handshake(b"\x16\x03\x01\x02\x00\x01"));
        assert!(!begins_tls_handshake(b"\x16") && !begins_tls_handshake(b"hello"));
    }

    #[test]
    fn chat_is_not_a_request() {
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
