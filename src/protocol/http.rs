//! HTTP/1.1, as much of it as the web port needs: the head of one request, who may make it, and
//! one answer, after which the connection ends. No I/O.
//!
//! A connection has one request, so nothing can be smuggled behind it. What could be read in two
//! ways is refused all the same.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest head of a request.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// The longest name of a host (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// The port of an `http` address that has none.
const HTTP_PORT: u16 = 80;

/// Goes with every answer: no page of ours runs what is not ours or shows up in another page, and
/// nobody keeps a copy.
const SECURITY_HEADERS: &str = "\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cache-Control: no-store\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal,)*) => {
        /// What became of a request (RFC 9110, 15).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "they are the RFC's")]
        pub enum Status {
            $($name = $code,)*
        }

        impl Status {
            fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)*
                }
            }
        }
    };
}

statuses! {
    Ok = 200 "OK",
    PermanentRedirect = 308 "Permanent Redirect",
    BadRequest = 400 "Bad Request",
    Unauthorized = 401 "Unauthorized",
    Forbidden = 403 "Forbidden",
    NotFound = 404 "Not Found",
    MethodNotAllowed = 405 "Method Not Allowed",
    RequestTimeout = 408 "Request Timeout",
    Conflict = 409 "Conflict",
    LengthRequired = 411 "Length Required",
    ContentTooLarge = 413 "Content Too Large",
    UnsupportedMediaType = 415 "Unsupported Media Type",
    MisdirectedRequest = 421 "Misdirected Request",
    UnprocessableContent = 422 "Unprocessable Content",
    UpgradeRequired = 426 "Upgrade Required",
    TooManyRequests = 429 "Too Many Requests",
    HeadTooLarge = 431 "Request Header Fields Too Large",
    ServiceUnavailable = 503 "Service Unavailable",
}

/// Why a request is not carried out: a status, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, for programs.
    pub status: Status,
    /// What is wrong, and what to do.
    pub words: Cow<'static, str>,
}

impl Fault {
    /// With these words.
    pub fn new(status: Status, words: impl Into<Cow<'static, str>>) -> Self {
        let words = words.into();
        Self { status, words }
    }

    fn bad(words: &'static str) -> Self {
        Self::new(Status::BadRequest, words)
    }
}

/// The head of a request, without what is of no use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// In capitals, as in `GET`.
    pub method: &'a str,
    /// What is asked for, without a query.
    pub path: &'a str,
    /// What the client takes this server for: a host, and a port if there is one.
    pub host: &'a str,
    /// Where the page comes from that makes the request, if a page does.
    pub origin: Option<&'a str>,
    /// Whether it has come over TLS, which its text does not say.
    pub is_secured: bool,
    /// The size of the body that follows. `None` if the head does not say.
    pub body_bytes: Option<usize>,
    /// The body comes in chunks, and nobody knows how long it will be.
    pub is_chunked: bool,
    /// What the body is.
    pub content_type: Option<&'a str>,
    /// By what the client proves that it may ask.
    pub authorization: Option<&'a str>,
    /// Names this request among its repetitions.
    pub idempotency_key: Option<&'a str>,
    /// The client wants to hear that it may go on before it sends the body.
    pub expects_continue: bool,
    /// What the client wants to go on with.
    pub upgrade: Upgrade<'a>,
}

impl Request<'_> {
    /// Where the same is to be had over TLS, at the same port. `None` if the host that is named
    /// is none.
    pub fn secured_address(&self) -> Option<String> {
        let Authority { host, port } = Authority::parse(self.host)?;
        let host = match host {
            Host::Ip(ip @ IpAddr::V6(_)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_owned(),
        };
        Some(format!("https://{host}:{port}{}", self.path))
    }
}

/// What a client wants to go on with after the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade<'a> {
    /// Nothing.
    No,
    /// WebSocket, with this key.
    WebSocket(&'a str),
    /// Another version of WebSocket than RFC 6455's.
    Unknown,
}

/// Reads the head of a request from the beginning of `bytes`, and says how long it is; `None` if
/// it is not complete.
///
/// # Errors
///
/// If it is none, or cannot be understood in one way only.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Fault> {
    let too_large = || {
        let words = format!("the head of the request is over {MAX_HEAD_BYTES} bytes");
        Err(Fault::new(Status::HeadTooLarge, words))
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= MAX_HEAD_BYTES => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return too_large(),
        Err(_) => return Err(Fault::bad("the request is not valid HTTP/1.1")),
    };
    let mut request = Request {
        method: head.method.unwrap_or_default(),
        path: path_of(head.path.unwrap_or_default())?,
        host: "",
        origin: None,
        is_secured: false,
        body_bytes: None,
        is_chunked: false,
        content_type: None,
        authorization: None,
        idempotency_key: None,
        expects_continue: false,
        upgrade: Upgrade::No,
    };
    // What HTTP/1.0 does not have is ignored there (RFC 9110, 7.8 and 10.1.1).
    let is_http_1_1 = head.version == Some(1);
    let mut host = None;
    let mut websocket = WebSocketFields::default();
    for header in head.headers.iter() {
        // What is not UTF-8 is there, too, and no value of any of these.
        let value = str::from_utf8(header.value).unwrap_or("\u{fffd}");
        let is = |name| header.name.eq_ignore_ascii_case(name);
        if is("Host") {
            once(&mut host, value, "two Host fields")?;
        } else if is("Origin") {
            once(&mut request.origin, value, "two Origin fields")?;
        } else if is("Content-Length") {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number {
                return Err(Fault::bad("the Content-Length is not a number"));
            }
            let bytes = value.parse().unwrap_or(usize::MAX);
            once(&mut request.body_bytes, bytes, "two Content-Length fields")?;
        } else if is("Transfer-Encoding") {
            request.is_chunked = true;
        } else if is("Content-Type") {
            once(&mut request.content_type, value, "two Content-Type fields")?;
        } else if is("Authorization") {
            once(
                &mut request.authorization,
                value,
                "two Authorization fields",
            )?;
        } else if is("Idempotency-Key") {
            once(
                &mut request.idempotency_key,
                value,
                "two Idempotency-Key fields",
            )?;
        } else if is("Expect") {
            let expects = value.eq_ignore_ascii_case("100-continue");
            request.expects_continue |= is_http_1_1 && expects;
        } else if is("Connection") {
            websocket.is_upgrade |= is_http_1_1 && has_token(value, "upgrade");
        } else if is("Upgrade") {
            websocket.is_websocket |= has_token(value, "websocket");
        } else if is("Sec-WebSocket-Version") {
            websocket.is_version_13 = value == "13";
        } else if is("Sec-WebSocket-Key") {
            once(&mut websocket.key, value, "two Sec-WebSocket-Key fields")?;
        }
    }
    if request.is_chunked && request.body_bytes.is_some() {
        return Err(Fault::bad(
            "both Content-Length and Transfer-Encoding; send one",
        ));
    }
    request.host = host.ok_or_else(|| Fault::bad("a request needs a Host field"))?;
    request.upgrade = websocket.upgrade();
    Ok(Some((request, head_bytes)))
}

#[derive(Default)]
struct WebSocketFields<'a> {
    is_upgrade: bool,
    is_websocket: bool,
    is_version_13: bool,
    key: Option<&'a str>,
}

impl<'a> WebSocketFields<'a> {
    fn upgrade(self) -> Upgrade<'a> {
        match self.key {
            _ if !self.is_upgrade || !self.is_websocket => Upgrade::No,
            Some(key) if self.is_version_13 => Upgrade::WebSocket(key),
            _ => Upgrade::Unknown,
        }
    }
}

/// Whether the end of a head may be in `bytes`, or no head begins so, as with TLS: there is no
/// point in looking at it before.
pub fn may_end_head(bytes: &[u8]) -> bool {
    let begins_head = |byte: &u8| byte.is_ascii_graphic() || b"\r\n".contains(byte);
    if !bytes.first().is_none_or(begins_head) {
        return true;
    }
    let has = |end: &[u8]| memchr::memmem::find(bytes, end).is_some();
    has(b"\n\r\n") || has(b"\n\n") || bytes.len() >= MAX_HEAD_BYTES
}

fn once<T>(field: &mut Option<T>, value: T, twice: &'static str) -> Result<(), Fault> {
    if field.replace(value).is_some() {
        return Err(Fault::bad(twice));
    }
    Ok(())
}

fn path_of(target: &str) -> Result<&str, Fault> {
    if !target.starts_with('/') {
        return Err(Fault::bad(
            "expected a path, as in GET /; this is not a proxy",
        ));
    }
    Ok(target.split_once('?').map_or(target, |(path, _)| path))
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',')
        .any(|it| it.trim().eq_ignore_ascii_case(token))
}

/// A host and a port, as in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority<'a> {
    host: Host<'a>,
    port: u16,
}

#[derive(Clone, Debug)]
enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(other)) => one == other,
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, port)) => (Host::Ip(host.parse::<Ipv6Addr>().ok()?.into()), port),
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => HTTP_PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            _ => return None,
        };
        Some(Self { host, port })
    }
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(ip.into()));
        }
        is_host_name(text).then_some(Self::Name(text))
    }
}

/// Whether `text` can be the name of a host.
pub fn is_host_name(text: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_name_byte)
}

/// What the server may be called by a client. A name that the server does not know may be
/// anybody's, whose page then talks to this server as to its own (DNS rebinding); an address
/// cannot be made to mean another machine.
#[derive(Clone, Debug, Default)]
pub struct HostNames(Vec<String>);

impl HostNames {
    /// These names, besides `localhost` and all addresses.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether `request` is meant for this server, and made by nobody's page but its own.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Fault> {
        let host = Authority::parse(request.host);
        let host = host.ok_or_else(|| Fault::bad("the Host field does not name a host"))?;
        let is_known = match host.host {
            Host::Ip(_) => true,
            Host::Name(name) => self.is_known(name),
        };
        if !is_known {
            let words = format!(
                "this server is not known as {}; if that name is yours, start the server with \
                 --web-name",
                request.host
            );
            return Err(Fault::new(Status::MisdirectedRequest, words));
        }
        let scheme = if request.is_secured {
            "https://"
        } else {
            "http://"
        };
        match request.origin {
            None => Ok(()),
            Some(origin)
                if (origin.strip_prefix(scheme))
                    .and_then(Authority::parse)
                    .is_some_and(|origin| origin == host) =>
            {
                Ok(())
            }
            Some(_) => Err(Fault::new(
                Status::Forbidden,
                "pages of other origins cannot use this room",
            )),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        let names = self.0.iter().map(String::as_str);
        let mut names = names.chain(["localhost"]);
        names.any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Whether a body of this `Content-Type` is JSON. Only that is taken: a page of another origin
/// cannot send it without asking first (the Fetch standard's CORS-preflight), and is never told
/// that it may.
pub fn is_json(content_type: &str) -> bool {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The answer to a client that [waits](Request::expects_continue) with its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The answer to a client that goes on with WebSocket; `accept` is made of its key.
pub fn switching(accept: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// One answer, after which the connection ends.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// What became of the request.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// Further header lines, each with its end.
    pub fields: String,
    /// What was asked for, or words.
    pub body: Cow<'a, [u8]>,
}

impl<'a> Answer<'a> {
    /// What was asked for.
    pub fn ok(content_type: &'static str, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            status: Status::Ok,
            content_type,
            fields: String::new(),
            body: body.into(),
        }
    }

    /// Words for people.
    pub fn fault(fault: Fault) -> Answer<'static> {
        Answer {
            status: fault.status,
            content_type: "text/plain; charset=utf-8",
            fields: String::new(),
            body: format!("{}\n", fault.words).into_bytes().into(),
        }
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        write!(self.fields, "{name}: {value}\r\n").expect("a String takes every write");
        self
    }

    /// The whole of it; for HEAD without its body. The `request` says what the client calls this
    /// server, if that is known to be right: older Safari does not take `'self'` for WebSocket, too.
    pub fn encode(&self, request: Option<&Request<'_>>, is_head: bool) -> Vec<u8> {
        let websocket = request.map_or(String::new(), |request| {
            let scheme = if request.is_secured { "wss" } else { "ws" };
            format!(" {scheme}://{}", request.host)
        });
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\n\
             Content-Type: {}\r\n\
             Content-Length: {}\r\n\
             Connection: close\r\n\
             Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             img-src 'self'; connect-src 'self'{websocket}; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'\r\n\
             {SECURITY_HEADERS}{}\r\n",
            self.status as u16,
            self.status.reason(),
            self.content_type,
            self.body.len(),
            self.fields,
        )
        .into_bytes();
        if !is_head {
            answer.extend_from_slice(&self.body);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: &str) -> String {
        format!("GET /ws?x=1 HTTP/1.1\r\n{fields}\r\n")
    }

    #[track_caller]
    fn fault(fields: &str) -> Status {
        let head = head(fields);
        parse(head.as_bytes()).expect_err(&head).status
    }

    #[test]
    fn a_head_is_read_wherever_it_is_cut() {
        let head = head(
            "host: room.lan:8080\r\nOrigin: http://room.lan:8080\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        let bytes = format!("{head}and more");
        for cut in 0..head.len() {
            assert_eq!(parse(&bytes.as_bytes()[..cut]), Ok(None));
        }
        for cut in head.len()..=bytes.len() {
            let bytes = &bytes.as_bytes()[..cut];
            let (request, head_bytes) = parse(bytes).unwrap().unwrap();
            assert_eq!(head_bytes, head.len());
            assert_eq!((request.method, request.path), ("GET", "/ws"));
            assert_eq!(request.host, "room.lan:8080");
            assert_eq!(
                request.upgrade,
                Upgrade::WebSocket("dGhlIHNhbXBsZSBub25jZQ==")
            );
            assert!(may_end_head(bytes));
        }
        assert!(!may_end_head(b"GET / HTTP/1.1\r\nHost: x\r\n"));
    }

    #[test]
    fn what_is_asked_for_in_clear_is_at_the_same_port_over_tls() {
        for (host, address) in [
            ("room.lan:8080", Some("https://room.lan:8080/ws")),
            ("192.168.1.5", Some("https://192.168.1.5:80/ws")),
            ("[fd00::5]:8080", Some("https://[fd00::5]:8080/ws")),
            ("a b", None),
            ("evil.example/", None),
        ] {
            let head = head(&format!("Host: {host}\r\n"));
            let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(request.secured_address().as_deref(), address, "{host}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "",
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            "Host: a\r\nContent-Length: 1, 1\r\n",
            "Host: a\r\nContent-Length: +1\r\n",
            "Host: a\r\nContent-Length: \r\n",
            "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\ncontent-length: 1\r\n",
            "Host: a\r\nX : b\r\n",
            "Host: a\r\n folded\r\n",
            "Host: a\r\nX\0: b\r\n",
            "Host: a\r\nOrigin: null\r\nOrigin: http://a\r\n",
            "Host: a\r\nContent-Length: \u{a0}1\r\n",
        ] {
            assert_eq!(fault(fields), Status::BadRequest, "{fields}");
        }
        for fields in [
            &b"Host: \xff\r\nHost: a\r\n"[..],
            b"Host: a\r\nContent-Length: 1\xff\r\n",
            b"Host: a\r\nContent-Length: 1\xff\r\nContent-Length: 1\r\n",
            b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\xff\r\n",
        ] {
            let head = [b"GET / HTTP/1.1\r\n", fields, b"\r\n"].concat();
            let found = parse(&head).map_err(|fault| fault.status);
            assert_eq!(found, Err(Status::BadRequest), "{}", head.escape_ascii());
        }
        for line in [
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01",
            "/nick bob\n",
        ] {
            let found = parse(line.as_bytes()).map_err(|fault| fault.status);
            assert_eq!(found, Err(Status::BadRequest), "{line}");
        }
    }

    #[test]
    fn a_field_that_is_not_utf_8_is_there_all_the_same() {
        let head =
            b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\nCookie: \xe9\r\nOrigin: http://\xff\r\n\r\n";
        let (request, _) = parse(head).unwrap().unwrap();
        let checked = HostNames::default().check(&request);
        assert_eq!(checked.unwrap_err().status, Status::Forbidden);
    }

    #[test]
    fn what_came_with_http_1_1_is_not_for_older_clients() {
        let fields = "Host: a\r\nExpect: 100-continue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (version, is_new) in [("1.0", false), ("1.1", true)] {
            let head = format!("GET /ws HTTP/{version}\r\n{fields}\r\n");
            let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(request.expects_continue, is_new);
            assert_eq!(request.upgrade != Upgrade::No, is_new);
        }
    }

    #[test]
    fn what_no_request_begins_with_is_known_at_once() {
        for bytes in [
            &b"\x16"[..],
            b"\x16\x03\x01\x02\0\x01\xfc",
            b"\0",
            b"\x80\x2e",
            b" GET",
        ] {
            assert!(may_end_head(bytes));
            assert_eq!(
                parse(bytes).unwrap_err().status,
                Status::BadRequest,
                "{bytes:?}"
            );
        }
        for bytes in [&b""[..], b"\r", b"\r\nGET", b"G", b"P"] {
            assert!(!may_end_head(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let long = format!("Host: a\r\nX: {}\r\n", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(fault(&long), Status::HeadTooLarge);
        let unfinished = vec![b'A'; MAX_HEAD_BYTES];
        assert_eq!(parse(&unfinished[1..]), Ok(None));
        assert_eq!(parse(&unfinished).unwrap_err().status, Status::HeadTooLarge);
        assert!(may_end_head(&unfinished));
        let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
        assert_eq!(fault(&format!("Host: a\r\n{many}")), Status::HeadTooLarge);
    }

    #[test]
    fn who_may_is_decided_by_host_and_origin() {
        let names = HostNames::new(["box.local".to_owned(), "Chat.example.org".to_owned()]);
        let ok = Ok(());
        let misdirected = Err(Status::MisdirectedRequest);
        let forbidden = Err(Status::Forbidden);
        let bad = Err(Status::BadRequest);
        for (host, origin, expected) in [
            ("192.168.1.5:8080", None, ok),
            ("192.168.1.5", None, ok),
            ("[fe80::1]:8080", None, ok),
            ("[::ffff:127.0.0.1]", None, ok),
            ("localhost:8080", None, ok),
            ("LOCALHOST", None, ok),
            ("box.local:8080", None, ok),
            ("chat.EXAMPLE.org", None, ok),
            // Rebinding: a name of somebody else's that leads here, and what only looks like an
            // address.
            ("evil.example:8080", None, misdirected),
            ("127.evil.example", None, misdirected),
            ("127.0.0.1.evil.example", None, misdirected),
            ("192.168.1.5.", None, misdirected),
            ("0x7f000001", None, misdirected),
            ("2130706433", None, misdirected),
            ("0127.0.0.1", None, misdirected),
            ("localhost.evil.example", None, misdirected),
            ("evilbox.local", None, misdirected),
            ("box.local.evil.example", None, misdirected),
            ("box", None, misdirected),
            ("", None, bad),
            ("[::1", None, bad),
            ("[::1%25eth0]", None, bad),
            ("127.0.0.1:http", None, bad),
            ("127.0.0.1:80:80", None, bad),
            ("127.0.0.1:99999", None, bad),
            ("me@127.0.0.1", None, bad),
            ("127.0.0.1/x", None, bad),
            // The page's own origin, and no other.
            ("192.168.1.5:8080", Some("http://192.168.1.5:8080"), ok),
            ("192.168.1.5", Some("http://192.168.1.5:80"), ok),
            ("192.168.1.5:80", Some("http://192.168.1.5"), ok),
            ("[::1]:8080", Some("http://[0:0::1]:8080"), ok),
            ("Box.local:8080", Some("http://box.LOCAL:8080"), ok),
            (
                "192.168.1.5:8080",
                Some("http://192.168.1.5:8081"),
                forbidden,
            ),
            ("192.168.1.5:8080", Some("http://192.168.1.5"), forbidden),
            (
                "192.168.1.5:8080",
                Some("https://192.168.1.5:8080"),
                forbidden,
            ),
            (
                "192.168.1.5:8080",
                Some("http://192.168.1.6:8080"),
                forbidden,
            ),
            ("127.0.0.1:8080", Some("http://localhost:8080"), forbidden),
            ("127.0.0.1:8080", Some("http://evil.example"), forbidden),
            (
                "127.0.0.1:8080",
                Some("http://evil.example/@127.0.0.1:8080"),
                forbidden,
            ),
            ("127.0.0.1:8080", Some("null"), forbidden),
            ("127.0.0.1:8080", Some(""), forbidden),
            ("127.0.0.1:8080", Some("file://"), forbidden),
            ("127.0.0.1:8080", Some("moz-extension://x"), forbidden),
            ("evil.example", Some("http://evil.example"), misdirected),
        ] {
            let origin = origin.map(|origin| format!("Origin: {origin}\r\n"));
            let head = head(&format!("Host: {host}\r\n{}", origin.unwrap_or_default()));
            let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
            let checked = names.check(&request).map_err(|fault| fault.status);
            assert_eq!(checked, expected, "{head}");
        }
        for (scheme, expected) in [("https", ok), ("http", forbidden)] {
            let head = head(&format!(
                "Host: 10.0.0.1:1\r\nOrigin: {scheme}://10.0.0.1:1\r\n"
            ));
            let (mut request, _) = parse(head.as_bytes()).unwrap().unwrap();
            request.is_secured = true;
            let checked = names.check(&request).map_err(|fault| fault.status);
            assert_eq!(checked, expected, "{scheme} over TLS");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_option_that_makes_it_known() {
        let head = head("Host: chat.lan:8080\r\n");
        let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
        let fault = HostNames::default().check(&request).unwrap_err();
        assert!(fault.words.contains("--web-name") && fault.words.contains("chat.lan"));
    }

    #[test]
    fn an_upgrade_needs_all_its_fields() {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (fields, expected) in [
            ("", Upgrade::No),
            ("Upgrade: websocket\r\n", Upgrade::No),
            ("Connection: Upgrade\r\n", Upgrade::No),
            ("Connection: Upgrade\r\nUpgrade: h2c\r\n", Upgrade::No),
            (
                "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 8\r\n",
                Upgrade::Unknown,
            ),
        ] {
            let head = head(&format!("Host: a\r\n{fields}{key}"));
            let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(request.upgrade, expected, "{head}");
        }
    }

    #[test]
    fn an_answer_is_complete() {
        let answer = Answer::ok("text/html", &b"hello"[..]).with("Allow", "GET");
        let head = head("Host: box:1\r\n");
        let (mut request, _) = parse(head.as_bytes()).unwrap().unwrap();
        let whole = String::from_utf8(answer.encode(Some(&request), false)).unwrap();
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(whole.ends_with("\r\nAllow: GET\r\n\r\nhello"));
        for field in [
            "Content-Length: 5\r\n",
            "Connection: close\r\n",
            "connect-src 'self' ws://box:1;",
            "nosniff",
            "no-store",
        ] {
            assert!(whole.contains(field), "{field} in {whole}");
        }
        request.is_secured = true;
        let secured = String::from_utf8(answer.encode(Some(&request), false)).unwrap();
        assert!(secured.contains("connect-src 'self' wss://box:1;"));
        let head = String::from_utf8(answer.encode(None, true)).unwrap();
        assert!(head.ends_with("\r\n\r\n") && head.contains("connect-src 'self';"));
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("text/plain; application/json", false),
        ] {
            assert_eq!(is_json(content_type), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_the_parser(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            fields in "(Host: [ -~]{0,9}\r\n|[A-Za-z-]{1,9}: [ -~]{0,9}\r\n){0,5}",
        ) {
            let _ = parse(&bytes);
            if let Ok(Some((request, _))) = parse(head(&fields).as_bytes()) {
                let _ = HostNames::default().check(&request);
            }
        }
    }
}
