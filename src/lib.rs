//! A chat room over TCP, in one small binary.
//!
//! This library is the program `chat`; it exists so that tests, benches and fuzz
//! targets can link to it, and promises nothing to other crates. ARCHITECTURE.md
//! says what lives where, and why. Imports run one way: `protocol` and `platform`
//! know nobody here; then come [`reactor`] and [`room`], which do not know each
//! other; on top of them [`server`] and [`client`], which share [`frontend`].

// For what the tests in here share with those in tests/.
#[cfg(test)]
extern crate self as chat;

#[cfg(not(feature = "box"))]
compile_error!(
    "too few features: `--no-default-features --features box` is the smallest build \
     (chat server, send and ping); see [features] in Cargo.toml for the others"
);

/// What travels, without sockets or clocks: lines, text, names, commands, what is
/// said to whom, and what is no chat at all.
pub mod protocol {
    #[cfg(any(feature = "tls", feature = "web"))]
    pub(crate) mod base64;
    pub mod batch;
    pub mod close;
    pub mod command;
    pub mod event;
    #[cfg(feature = "web")]
    pub mod http;
    pub mod label;
    pub mod line;
    pub mod name;
    #[cfg(feature = "nats")]
    pub mod nats;
    pub mod sniff;
    pub mod telnet;
    pub mod text;
    pub mod time;
    #[cfg(feature = "tls")]
    pub mod tls;
    pub mod websocket;
    pub mod wording;
}

/// The system around the program: sockets, standard streams, /proc, local time. What is
/// [asked of Linux](platform::system) is asked here and nowhere else.
pub mod platform {
    pub mod addresses;
    #[cfg(feature = "web")]
    pub(crate) mod host_names;
    pub mod job;
    pub mod local_time;
    pub mod logging;
    pub mod memory;
    #[cfg(all(target_os = "linux", not(portable)))]
    pub mod memory_file;
    #[cfg(not(all(target_os = "linux", not(portable))))]
    #[path = "no_memory_file.rs"]
    pub mod memory_file;
    pub mod proc;
    pub mod random;
    pub(crate) mod secret_file;
    pub mod service_manager;
    pub mod socket;
    // Without what shows a conversation, and without keys, nothing is kept.
    #[cfg_attr(not(any(feature = "client", feature = "tls")), allow(dead_code))]
    pub(crate) mod state;
    pub mod stdio;
    pub mod system;
}

pub mod cli;
// Without what shows a conversation, some of it is not used.
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub mod client;
pub mod error;
pub mod exit;
// Without what shows a conversation, some of it is not used.
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub mod frontend;
pub mod rate;
pub mod reactor;
pub mod room;
pub mod server;
#[cfg(feature = "stress")]
pub mod stress;
