//! The arguments of every command that joins a room.

use clap::Args;

use super::values::{Parse, parse_host, parse_number, parse_port_to_connect};
use crate::protocol::name::Name;

/// An hour.
const MAX_SECONDS: u32 = 3600;

// Where the room is. (clap would show a doc comment as what the command does.)
#[derive(Args, Debug)]
pub(super) struct RoomArgs {
    /// The server's IP address or name
    #[arg(value_name = "HOST", value_parser = parse_host as Parse<String, _>)]
    pub(super) host: String,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    pub(super) port: u16,
}

pub(super) fn parse_name(text: &str) -> Result<String, String> {
    match Name::parse(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

pub(super) fn parse_timeout(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=MAX_SECONDS).map_err(|expected| format!("{expected}, in seconds"))
}
