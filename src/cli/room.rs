//! The arguments of every command that joins a room.

use clap::{Args, ValueHint};

use super::values::{Parse, Place, parse_number, parse_place, parse_port_to_connect};
use crate::protocol::name::Name;

/// An hour.
const MAX_SECONDS: u32 = 3600;

// Where the room is. (clap would show a doc comment as what the command does.)
#[derive(Args, Debug)]
pub(super) struct RoomArgs {
    /// The server's name or IP address; HOST:PORT will do, too
    #[arg(value_name = "HOST", value_parser = parse_place as Parse<Place, _>)]
    #[arg(value_hint = ValueHint::Hostname)]
    place: Place,

    /// The server's port [default: 8081]
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: Option<u16>,
}

impl RoomArgs {
    /// Host and port, or what is wrong with them.
    pub(super) fn into_address(self) -> Result<(String, u16), String> {
        self.place.with_port(self.port)
    }
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
