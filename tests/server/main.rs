//! The server as its clients, its operator and its machine find it: the real binary over real
//! sockets. One module per theme.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod attacks;
mod bots;
mod broadcast;
mod by_reference;
mod console;
mod descriptors;
mod figures;
mod flow_control;
mod foreign_clients;
mod framing;
mod half_close;
mod idle;
mod interruptions;
mod ipv6;
mod json;
mod latency;
mod names;
mod newcomers;
mod operator;
mod overload;
mod password;
mod presence;
#[cfg(feature = "client")]
mod prompt;
mod refusals;
mod resets;
mod restraint;
mod service;
mod sessions;
mod shutdown;
mod soak;
mod standard_error;
mod start;
mod text_safety;
#[cfg(feature = "tls")]
mod tls;
mod transcript;
#[cfg(feature = "web")]
mod web;
