//! A chat room over TCP, in one small binary.
//!
//! The library behind the program `chat`; it exists so that tests and benches
//! can link to it, and promises nothing to other crates. ARCHITECTURE.md tells
//! how the parts work together. From the pure to the impure:
//!
//! - Decisions, without sockets or clocks: [`mod@line`] cuts bytes into lines,
//!   [`text`] makes them safe to show, [`http`] tells a browser from a person,
//!   [`telnet`] answers telnet, [`name`] says what is one, [`room`] knows who is there
//!   and says what is said to whom, [`operator`] what its operator asks for, [`turn`]
//!   gathers it, [`write_queue`] holds what a reader is still owed, [`backlog`] what
//!   several are, [`flow`] knows who waits for whom; [`network`] says what lies within
//!   one, [`admission`] who gets in, [`rate`] how often something may happen,
//!   [`log_limit`] how often it is logged, [`figures`] what there was, [`stamp`] when.
//! - One socket: [`connection`], which ends with a [`close`] reason.
//! - The server: [`reactor`] is the event loop, [`server`] puts the room into
//!   it, [`console`] shows it and [`transcript`] writes it down, through a
//!   [`line_sink`] that waits for nobody.
//! - The client: [`client`].
//! - The load harness: `stress`, behind the feature of that name.
//! - The program: [`cli`], [`error`], [`exit`], [`interrupt`], [`job`], [`logging`],
//!   [`machine`], [`process`], [`socket`], [`standard_io`].

// For what the tests in here share with those in tests/.
#[cfg(test)]
extern crate self as chat;

pub mod admission;
pub mod backlog;
pub mod cli;
pub mod client;
pub mod close;
pub mod connection;
pub mod console;
pub mod error;
pub mod exit;
pub mod figures;
pub mod flow;
pub mod http;
pub mod interrupt;
pub mod job;
pub mod line;
pub mod line_sink;
pub mod log_limit;
pub mod logging;
pub mod machine;
pub mod name;
pub mod network;
pub mod operator;
pub mod process;
pub mod rate;
pub mod reactor;
pub mod room;
pub mod server;
pub mod socket;
pub mod stamp;
pub mod standard_io;
#[cfg(feature = "stress")]
pub mod stress;
pub mod telnet;
pub mod text;
pub mod transcript;
pub mod turn;
pub mod write_queue;
