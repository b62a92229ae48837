//! The arguments of `chat send`.

use std::time::Duration;

use clap::{Args, ValueHint};

use super::room::{
    PasswordArgs, Place, parse_name, parse_place, parse_port_to_connect, parse_timeout,
};
use super::values::Parse;
use crate::client::config::{Config, Purpose, Wish};

#[derive(Args, Debug)]
#[command(after_help = SEND_EXAMPLES, after_long_help = SEND_NOTES)]
pub(super) struct SendArgs {
    /// The server's name or IP address; HOST:PORT will do, too
    #[arg(value_name = "HOST", value_parser = parse_place as Parse<Place, _>)]
    #[arg(value_hint = ValueHint::Hostname)]
    place: Place,

    /// The server's port, if this is a number and HOST has none [default: 8081]
    ///
    /// What is no number begins the text. Text that begins with a number needs HOST:PORT or HOST
    /// PORT before it.
    #[arg(value_name = "PORT", allow_negative_numbers = true, value_parser = parse_text as Parse<String, _>)]
    port: Option<String>,

    /// The name to say it under
    #[arg(long, value_name = "NAME", value_parser = parse_name as Parse<String>)]
    name: Option<String>,

    /// How long to wait for the room to go on
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(allow_negative_numbers = true, value_parser = parse_timeout as Parse<u32>)]
    timeout: u32,

    #[command(flatten)]
    password: PasswordArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,

    /// What to say [default: each line of standard input]
    #[arg(value_name = "TEXT", allow_negative_numbers = true, value_parser = parse_text as Parse<String, _>)]
    text: Vec<String>,
}

const SEND_EXAMPLES: &str = "\
Examples:
  chat send 192.168.1.5 the backup is done
  uptime | chat send 192.168.1.5:8081 --name box";

const SEND_NOTES: &str = "\
Examples:
  chat send 192.168.1.5 the backup is done
  uptime | chat send 192.168.1.5:8081 --name box
  chat send 192.168.1.5 8081 /msg alice the backup is done

It shows nothing, and ends once the room has answered its last line. A room that takes it no \
further for --timeout seconds is given up; one that paces its members says so, and is waited for. \
With --name it says nothing unless it gets that name. A leading slash makes a command, as \
everywhere; // stands for a slash. A word that begins with - is an option unless it follows --:
  chat send 192.168.1.5 8081 -- -v is broken

Exit codes: 0 the room took everything; 1 failure; 2 wrong usage; 3 cannot connect; 4 the \
connection was lost, nothing answered in time, or what answered is no chat server; 5 refused: \
not let in, the text not taken, or the name not given, with the reason on standard error; 6 in \
doubt: lines were sent and not answered (they are on standard error); 7 the room's key is unknown \
or has changed.";

impl SendArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let mut text = self.text;
        let mut port = None;
        match self.port {
            Some(digits) if self.place.port.is_none() && is_number(&digits) => {
                let wrong = |expected| {
                    format!(
                        "{digits} is no PORT ({expected}); if it begins the text, write HOST:PORT"
                    )
                };
                port = Some(parse_port_to_connect(&digits).map_err(wrong)?);
            }
            word => text.splice(..0, word).for_each(drop),
        }
        let (host, port) = self.place.with_port(port)?;
        Ok(Config {
            host,
            port,
            name: self.name.map_or(Wish::None, Wish::Asked),
            password_file: self.password.password_file,
            #[cfg(not(feature = "tls"))]
            is_plain: self.password.plain,
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
            purpose: Purpose::Send {
                text: (!text.is_empty()).then(|| text.join(" ")),
                timeout: Duration::from_secs(self.timeout.into()),
            },
        })
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("an empty text says nothing")
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn config(arguments: &str) -> Result<(String, u16, Option<String>), String> {
        let command = SendArgs::augment_args(Command::new("send").no_binary_name(true));
        let matches = command.get_matches_from(arguments.split_whitespace());
        let config = SendArgs::from_arg_matches(&matches)
            .unwrap()
            .into_config()?;
        match config.purpose {
            Purpose::Send { text, .. } => Ok((config.host, config.port, text)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_begins_behind_the_port_or_in_its_place() {
        for (arguments, port, text) in [
            ("box", 8081, None),
            ("box 1", 1, None),
            ("box:1", 1, None),
            ("box hello there", 8081, Some("hello there")),
            ("box 1 hello there", 1, Some("hello there")),
            ("box 1 2 files", 1, Some("2 files")),
            ("box:1 2 files", 1, Some("2 files")),
            ("box:1 0 files", 1, Some("0 files")),
            ("box -5 degrees", 8081, Some("-5 degrees")),
            ("box 2nd try", 8081, Some("2nd try")),
        ] {
            let expected = ("box".to_owned(), port, text.map(str::to_owned));
            assert_eq!(config(arguments), Ok(expected), "{arguments}");
        }
        for wrong in ["box 0 files", "box 65536"] {
            let said = config(wrong).unwrap_err();
            assert!(said.contains("write HOST:PORT"), "{said}");
        }
    }
}
