//! `chat client`, `chat send`, `chat tail` and `chat ping`, in a pipe and at a terminal: the real
//! binary, with our server or one that the test plays. One module per theme.

#[path = "../common/mod.rs"]
mod common;

mod alice;
mod connection;
mod foreign_servers;
mod idle;
mod input;
mod interruptions;
mod memory;
mod names;
mod outages;
mod output;
mod password;
mod patience;
mod ping;
mod reconnection;
mod remembered;
mod send;
mod tail;
mod terminal;
#[cfg(feature = "tls")]
mod tls;
mod tmux;
mod ways_out;
