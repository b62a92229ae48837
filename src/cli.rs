//! The command line: clap's arguments in, typed configuration out.

use std::net::{IpAddr, SocketAddr};

use clap::{ArgAction, Args, Parser, Subcommand};
use log::LevelFilter;

use crate::room::Limits;
use crate::{client, server};

/// A chat room over TCP: a server for any box on a LAN, and a client for any shell
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more on standard error: -v what happens, -vv each client, -vvv everything
    /// (the variable RUST_LOG chooses more finely)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(ServerArgs),
    Client(ClientArgs),
}

/// Run a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat server 192.168.1.5 8081    a room for the LAN, at this machine's address
  chat server 0.0.0.0 8081        at every address of this machine
  chat server 127.0.0.1 8081      for this machine alone

Ctrl-C or SIGTERM closes the room: everybody is told, and gets what was said.")]
struct ServerArgs {
    /// The IP address to listen on: one that this machine has, or 0.0.0.0 or :: for all
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: IpAddr,

    /// The port to listen on; 0 for any free one
    #[arg(value_name = "PORT")]
    port: u16,

    /// The most clients in the room at once
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,

    /// The longest line a client may say, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    max_line: u32,

    /// Show nothing on standard output; problems still go to standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Join a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat client 192.168.1.5 8081                          type, and read
  uptime | chat client 192.168.1.5 8081                 say what a command prints
  tail -f backup.log | chat client 192.168.1.5 8081     and go on saying it

Each line of standard input is said; what others say goes to standard output.
At the end of standard input the client has everything delivered, and ends.")]
struct ClientArgs {
    /// The server's IP address or name
    #[arg(value_name = "HOST")]
    host: String,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failure, 2 wrong usage, 3 cannot connect, 4 connection lost";

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a room.
    Server(server::Config),
    /// Join a room.
    Client(client::Config),
}

impl Cli {
    /// Reads the command line. Ends the program when it is wrong, or asks for
    /// help.
    pub fn from_command_line() -> Self {
        Self::parse()
    }

    /// The least important messages that are logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Warn,
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }

    /// What the program is to do.
    pub fn into_task(self) -> Task {
        match self.command {
            Command::Server(args) => Task::Server(server::Config {
                address: SocketAddr::new(args.ip, args.port),
                limits: Limits {
                    max_clients: args.max_clients as usize,
                    max_line_bytes: args.max_line,
                },
                quiet: args.quiet,
            }),
            Command::Client(args) => Task::Client(client::Config {
                host: args.host,
                port: args.port,
            }),
        }
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        "not an IP address, such as 192.168.1.5, or 0.0.0.0 for every address of this machine"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::error::Exit;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        assert!(EXIT_CODES.contains(&format!("{} connection lost", Exit::ConnectionLost as u8)));
    }
}
