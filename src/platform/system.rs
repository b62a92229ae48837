//! Which system this is built for.
//!
//! docs/porting.md lists what is taken from Linux, where it is asked for, and what other systems
//! get instead.

/// Whether the system is taken for Linux. With `CHAT_PORTABLE=1` in the environment, cargo builds a
/// program that takes Linux for any other system: so the tests run what other systems get.
pub const IS_LINUX: bool = cfg!(all(target_os = "linux", not(portable)));
