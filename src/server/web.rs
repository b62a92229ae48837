//! The web port: who may ask for what, and what they get. The page, one line by somebody who
//! does not join, figures, and the way into the room by WebSocket.
//!
//! A request is a value here: what comes of it is an [`Answer`] or a [`Wish`].

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use log::warn;
use serde_json::{Value, json};

use super::admission::{Admission, Refusal};
use super::config;
use super::door::{Door, NotLetIn, too_many};
use super::stats::{METRICS_TYPE, Stats};
use crate::platform::host_names::host_names;
use crate::protocol::batch::{ClientId, Context, Frame};
use crate::protocol::event::ErrorCode;
use crate::protocol::http::{
    self, Answer, CONTINUE, Fault, HostNames, Request, Status, Upgrade, is_json, may_end_head,
};
use crate::protocol::websocket;
use crate::rate::{AndMore, Bucket, LogLimit, Rate};
use crate::reactor::connection::visit::REQUEST_BYTES;
use crate::reactor::service::{More, Wish};
use crate::room::Room;

/// However many clients an address may have, it may have so many requests at once: browsers
/// make up to six.
const MIN_VISITORS_PER_ADDRESS: usize = 8;

/// Lines by `/say` from one address, unless `--rate` says otherwise: there is no connection
/// whose reading could be put off.
const SAY_RATE: Rate = Rate::new(20, 50);

/// Addresses whose rate is known. Above this, those that have said nothing lately are
/// forgotten.
const MAX_BUCKETS: usize = 1024;

/// Requests with a key that are remembered.
const MAX_KEYS: usize = 256;

const MAX_KEY_BYTES: usize = 255;

/// JSON may take this many bytes for one of text: `\u00e9` is two bytes in UTF-8.
const JSON_BYTES_PER_BYTE: usize = 3;

/// For the name and the rest of the object.
const SAY_OVERHEAD_BYTES: usize = 1024;

/// Whatever `--max-line` is: a body waits in memory until it is complete.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Visitors are read so far before they are understood.
const _: () = assert!(http::MAX_HEAD_BYTES <= REQUEST_BYTES);

const JSON: &str = "application/json";

/// The page: what it is asked for by, what it is, and what it holds.
const FILES: [(&str, &str, &[u8]); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_bytes!("../../web/index.html"),
    ),
    (
        "/chat.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../web/chat.js"),
    ),
    (
        "/chat.css",
        "text/css; charset=utf-8",
        include_bytes!("../../web/chat.css"),
    ),
    (
        "/icon.svg",
        "image/svg+xml",
        include_bytes!("../../web/icon.svg"),
    ),
];

/// The web port.
pub(super) struct Web {
    names: HostNames,
    /// Whether TLS is spoken at the same port.
    has_tls: bool,
    max_body_bytes: usize,
    say_rate: Rate,
    visitors: HashMap<ClientId, IpAddr>,
    buckets: HashMap<IpAddr, Bucket>,
    /// Requests with a key, the oldest first.
    said: VecDeque<Said>,
    /// Of bodies, to tell them apart.
    hasher: RandomState,
    /// For passwords that others could read.
    clear_log: LogLimit,
}

/// A line that was said by a request with a key.
struct Said {
    address: IpAddr,
    key: Box<str>,
    body_hash: u64,
    seq: Option<u64>,
}

/// What a request is about, besides itself.
pub(super) struct Scene<'a, 'b> {
    pub(super) admission: &'a Admission,
    pub(super) door: Option<&'a mut Door>,
    pub(super) room: &'a mut Room,
    pub(super) stats: Stats,
    pub(super) is_closing: bool,
    pub(super) context: &'a mut Context<'b>,
}

impl Web {
    pub(super) fn new(
        config: &config::Web,
        has_tls: bool,
        max_line_bytes: u32,
        rate: Option<Rate>,
    ) -> Self {
        let body_bytes = JSON_BYTES_PER_BYTE * max_line_bytes as usize + SAY_OVERHEAD_BYTES;
        Self {
            names: HostNames::new(host_names().into_iter().chain(config.names.clone())),
            has_tls,
            max_body_bytes: body_bytes.min(MAX_BODY_BYTES),
            say_rate: rate.unwrap_or(SAY_RATE),
            visitors: HashMap::new(),
            buckets: HashMap::new(),
            said: VecDeque::new(),
            hasher: RandomState::new(),
            clear_log: LogLimit::new(),
        }
    }

    /// `visitor`, at `address`, has connected. Returns whether it may ask for something.
    pub(super) fn visits(
        &mut self,
        visitor: ClientId,
        address: IpAddr,
        admission: &Admission,
    ) -> bool {
        if let Some(left) = admission.left_for(address) {
            let visitors = self.visitors.values().filter(|&&it| it == address).count();
            if visitors >= left.max(MIN_VISITORS_PER_ADDRESS) {
                return false;
            }
        }
        self.visitors.insert(visitor, address);
        true
    }

    /// The socket of `visitor` is closed, or is a client's now.
    pub(super) fn closed(&mut self, visitor: ClientId) {
        self.visitors.remove(&visitor);
    }

    /// Says what `visitor` is to have, which has sent `bytes` so far.
    pub(super) fn asked(
        &mut self,
        visitor: ClientId,
        bytes: &[u8],
        more: More,
        scene: Scene<'_, '_>,
    ) -> Wish {
        let Some(&address) = self.visitors.get(&visitor) else {
            return Wish::None;
        };
        match more {
            // A browser that has connected ahead of need.
            More::TooLate | More::Never if bytes.is_empty() => return Wish::None,
            More::TooLate => {
                let words = "the request did not arrive in time";
                return refuse(Fault::new(Status::RequestTimeout, words));
            }
            More::MayCome if !may_end_head(bytes) => return wait_until(0),
            More::MayCome | More::Never => {}
        }
        let (mut request, head_bytes) = match http::parse(bytes) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if more != More::Never => return wait_until(0),
            Ok(None) => {
                let words = "the request ended before it was complete";
                return refuse(Fault::new(Status::BadRequest, words));
            }
            Err(fault) => return refuse(fault),
        };
        request.is_secured = scene.room.is_secured(visitor);
        let body = &bytes[head_bytes..];
        let is_head = request.method == "HEAD";
        match self.handle(address, &request, body, more, scene) {
            Ok(Handled::Answer(answer)) => {
                Wish::Answer(answer.encode(Some(&request), is_head).into())
            }
            Ok(Handled::Upgrade(accept)) => Wish::Membership {
                answer: http::switching(&accept).into(),
                head_bytes,
            },
            Ok(Handled::BodyMissing { body_bytes }) => Wish::Unknown {
                until_bytes: head_bytes + body_bytes,
                interim: if request.expects_continue && body.is_empty() {
                    CONTINUE
                } else {
                    &[]
                },
            },
            Err(fault) => Wish::Answer(Answer::fault(fault).encode(None, is_head).into()),
        }
    }

    fn handle(
        &mut self,
        address: IpAddr,
        request: &Request<'_>,
        body: &[u8],
        more: More,
        mut scene: Scene<'_, '_>,
    ) -> Result<Handled, Fault> {
        let admitted = scene.admission.admits(address, scene.context.now);
        admitted.map_err(|refusal| Fault::new(Status::Forbidden, refusal.to_string()))?;
        self.names.check(request)?;
        let file = FILES.iter().find(|(path, ..)| *path == request.path);
        let allowed = match (request.path, file) {
            ("/say", _) => "POST",
            ("/ws", _) => "GET",
            ("/healthz" | "/metrics", _) | (_, Some(_)) => "GET, HEAD",
            _ => {
                let words = "not found; the page is at /";
                return Err(Fault::new(Status::NotFound, words));
            }
        };
        if !allowed.split(", ").any(|method| method == request.method) {
            let words = format!("{} takes {allowed}", request.path);
            let fault = Fault::new(Status::MethodNotAllowed, words);
            return Ok(Handled::Answer(Answer::fault(fault).with("Allow", allowed)));
        }
        self.check_clear(address, request, &scene)?;
        if let Err(refusal) = scene.admission.admits_by(address, request.is_secured) {
            return self.to_tls(request, refusal);
        }
        if scene.is_closing {
            let words = "the room is closing";
            return Err(Fault::new(Status::ServiceUnavailable, words));
        }
        if let ("/say" | "/metrics", Some(door)) = (request.path, &mut scene.door)
            && let Err(answer) = self.check_bearer(address, request, door, scene.context.now)
        {
            return Ok(Handled::Answer(answer));
        }
        let answer = match (request.path, file) {
            (_, Some(&(_, content_type, content))) => Answer::ok(content_type, content),
            ("/healthz", _) => Answer::ok("text/plain; charset=utf-8", &b"ok\n"[..]),
            ("/metrics", _) => Answer::ok(METRICS_TYPE, scene.stats.metrics().into_bytes()),
            ("/ws", _) => return upgrade(request),
            _ => return self.hear(address, request, body, more, scene),
        };
        Ok(Handled::Answer(answer))
    }

    /// Whether `request`, from `address`, has no password that others could read on the way.
    ///
    /// # Errors
    ///
    /// What it is told if it has.
    fn check_clear(
        &mut self,
        address: IpAddr,
        request: &Request<'_>,
        scene: &Scene<'_, '_>,
    ) -> Result<(), Fault> {
        let is_clear = !request.is_secured && !address.to_canonical().is_loopback();
        if !is_clear || scene.door.is_none() || request.authorization.is_none() {
            return Ok(());
        }
        if let Some(suppressed) = self.clear_log.allow(scene.context.now) {
            let more = AndMore(suppressed);
            warn!(
                "{address} has sent a password in clear, where others can read it; if that was \
                 the room's, change it{more}"
            );
        }
        let words = "a password may not be sent in clear, and others may have read this one; use \
                     https if the room has it, or ask from the room's own machine";
        Err(Fault::new(Status::Forbidden, words))
    }

    /// What `request`, which was `refusal`d because others could read it, is answered.
    fn to_tls(&self, request: &Request<'_>, refusal: Refusal) -> Result<Handled, Fault> {
        let is_page = !["/say", "/ws"].contains(&request.path);
        let address = request.secured_address().filter(|_| self.has_tls);
        match address {
            Some(address) if is_page => {
                let words = format!("the room is at {address}");
                let fault = Fault::new(Status::PermanentRedirect, words);
                let answer = Answer::fault(fault).with("Location", address);
                Ok(Handled::Answer(answer))
            }
            Some(address) => {
                let words = format!(
                    "without TLS only the room's own machine may use this; go to {address}"
                );
                Err(Fault::new(Status::Forbidden, words))
            }
            None => Err(Fault::new(Status::Forbidden, refusal.to_string())),
        }
    }

    /// Whether `request` has the password of the room. The page, which anybody may have, asks for
    /// it later.
    ///
    /// # Errors
    ///
    /// What it is answered if not.
    fn check_bearer(
        &mut self,
        address: IpAddr,
        request: &Request<'_>,
        door: &mut Door,
        now: Instant,
    ) -> Result<(), Answer<'static>> {
        if !request.is_secured && !address.to_canonical().is_loopback() {
            let words = "this needs the room's password, which may not be sent in clear; use \
                         https if the room has it, or ask from the room's own machine";
            return Err(Answer::fault(Fault::new(Status::Forbidden, words)));
        }
        let guess = request.authorization.and_then(bearer);
        let checked = match guess {
            Some(guess) => door.check(address, guess.as_bytes(), now),
            None => Err(NotLetIn::Wrong),
        };
        checked.map_err(|why| match why {
            NotLetIn::Wrong => {
                let words = "the room has a password: send it as Authorization: Bearer PASSWORD";
                let answer = Answer::fault(Fault::new(Status::Unauthorized, words));
                answer.with("WWW-Authenticate", "Bearer")
            }
            NotLetIn::TooMany { seconds } => {
                let fault = Fault::new(Status::TooManyRequests, too_many(seconds));
                Answer::fault(fault).with("Retry-After", seconds)
            }
        })
    }

    /// `POST /say`: one line.
    fn hear(
        &mut self,
        address: IpAddr,
        request: &Request<'_>,
        body: &[u8],
        more: More,
        scene: Scene<'_, '_>,
    ) -> Result<Handled, Fault> {
        if !request.content_type.is_some_and(is_json) {
            let words = "/say takes application/json, as in curl --json";
            return Err(Fault::new(Status::UnsupportedMediaType, words));
        }
        let Some(body_bytes) = request.body_bytes else {
            let words = "/say needs a Content-Length; it takes no chunked body";
            return Err(Fault::new(Status::LengthRequired, words));
        };
        if body_bytes > self.max_body_bytes {
            let words = format!("/say takes at most {} bytes", self.max_body_bytes);
            return Err(Fault::new(Status::ContentTooLarge, words));
        }
        let is_key = |key: &str| {
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|it| it.is_ascii_graphic())
        };
        if !request.idempotency_key.is_none_or(is_key) {
            let words =
                format!("an Idempotency-Key has 1 to {MAX_KEY_BYTES} characters, no spaces");
            return Err(Fault::new(Status::BadRequest, words));
        }
        let Some(body) = body.get(..body_bytes) else {
            return if more == More::Never {
                let words = "the body is shorter than its Content-Length";
                Err(Fault::new(Status::BadRequest, words))
            } else {
                Ok(Handled::BodyMissing { body_bytes })
            };
        };
        let answer = match self.say(address, request.idempotency_key, body, scene) {
            Ok(seq) => Answer::ok(JSON, json_line(&json!({ "seq": seq }))),
            Err(no) => no.answer(),
        };
        Ok(Handled::Answer(answer))
    }

    /// Has the line in `body` said, unless it was by a request with the same `key`. Returns the
    /// number of its event.
    fn say(
        &mut self,
        address: IpAddr,
        key: Option<&str>,
        body: &[u8],
        scene: Scene<'_, '_>,
    ) -> Result<Option<u64>, No> {
        let context = scene.context;
        let body_hash = self.hasher.hash_one(body);
        if let Some(key) = key
            && let Some(said) =
                (self.said.iter()).find(|it| it.address == address && *it.key == *key)
        {
            return if said.body_hash == body_hash {
                Ok(said.seq)
            } else {
                let words = "another line was said with this Idempotency-Key";
                Err(No::new(Status::UnprocessableContent, "key_reused", words))
            };
        }
        let usage = || {
            let words = r#"expected {"name":"backup","text":"the backup is done"}"#;
            No::new(Status::BadRequest, ErrorCode::Usage.as_str(), words)
        };
        let line: Value = serde_json::from_slice(body).map_err(|_| usage())?;
        let (name, text) = (line["name"].as_str(), line["text"].as_str());
        let (name, text) = name.zip(text).ok_or_else(usage)?;
        self.take_token(address, context.now)?;
        let said = scene.room.say_once(name, address, text, context);
        let seq = said.map_err(|(code, words)| No::new(status_of(code), code.as_str(), words))?;
        if let Some(key) = key {
            if self.said.len() >= MAX_KEYS {
                self.said.pop_front();
            }
            self.said.push_back(Said {
                address,
                key: key.into(),
                body_hash,
                seq,
            });
        }
        Ok(seq)
    }

    /// Counts a line from `address` against its rate.
    fn take_token(&mut self, address: IpAddr, now: Instant) -> Result<(), No> {
        let rate = self.say_rate;
        let too_many = |seconds: u64| {
            let words = format!("too many lines from your address; try again in {seconds} s");
            let no = No::new(Status::TooManyRequests, "too_many", words);
            No {
                retry_after: Some(seconds),
                ..no
            }
        };
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_BUCKETS {
                return Err(too_many(1));
            }
        }
        let bucket = self.buckets.entry(address).or_default();
        if let Some(at) = bucket.ready_at(rate, now) {
            return Err(too_many((at - now).as_secs() + 1));
        }
        bucket.take(rate, now);
        Ok(())
    }
}

/// What comes of a request.
enum Handled {
    Answer(Answer<'static>),
    /// WebSocket, accepted by this.
    Upgrade(String),
    /// More of its body has to come: this much in all.
    BodyMissing {
        body_bytes: usize,
    },
}

/// Why a line was not said.
struct No {
    status: Status,
    code: &'static str,
    words: String,
    /// In seconds.
    retry_after: Option<u64>,
}

impl No {
    fn new(status: Status, code: &'static str, words: impl Into<String>) -> Self {
        Self {
            status,
            code,
            words: words.into(),
            retry_after: None,
        }
    }

    fn answer(self) -> Answer<'static> {
        let error = json!({ "kind": "error", "code": self.code, "text": self.words });
        let answer = Answer {
            status: self.status,
            ..Answer::ok(JSON, json_line(&error))
        };
        match self.retry_after {
            Some(seconds) => answer.with("Retry-After", seconds),
            None => answer,
        }
    }
}

fn status_of(code: ErrorCode) -> Status {
    match code {
        ErrorCode::NameTaken | ErrorCode::NameAlike | ErrorCode::NameHeld => Status::Conflict,
        ErrorCode::TooLong => Status::ContentTooLarge,
        ErrorCode::Muted => Status::Forbidden,
        _ => Status::BadRequest,
    }
}

fn upgrade(request: &Request<'_>) -> Result<Handled, Fault> {
    let Upgrade::WebSocket(key) = request.upgrade else {
        let fault = Fault::new(
            Status::UpgradeRequired,
            "/ws needs an upgrade to WebSocket, version 13",
        );
        let answer = Answer::fault(fault).with("Upgrade", "websocket");
        return Ok(Handled::Answer(answer.with("Sec-WebSocket-Version", 13)));
    };
    let accept = websocket::accept(key);
    let accept = accept.ok_or_else(|| {
        let words = "the Sec-WebSocket-Key is not 16 bytes in base64";
        Fault::new(Status::BadRequest, words)
    })?;
    Ok(Handled::Upgrade(accept))
}

/// What a field `Authorization` has for us (RFC 6750, 2.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn json_line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

fn wait_until(until_bytes: usize) -> Wish {
    Wish::Unknown {
        until_bytes,
        interim: &[],
    }
}

fn refuse(fault: Fault) -> Wish {
    Wish::Answer(Frame::from(Answer::fault(fault).encode(None, false)))
}
