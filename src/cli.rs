//! The command line: clap's arguments in, typed configuration out.

mod address_rules;
mod client;
mod pages;
mod server;
#[cfg(feature = "stress")]
mod stress;
mod values;

use clap::{ArgAction, Parser, Subcommand};
use clap_complete::Shell;
use log::LevelFilter;

/// A chat room over TCP: a server for any box on a LAN, and a client for any shell
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(max_term_width = 80, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more on standard error; -vv and -vvv even more (the variable RUST_LOG chooses
    /// more finely)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    #[arg(display_order = LAST_BUT_HELP)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::ServerArgs),
    Client(client::ClientArgs),
    Send(client::SendArgs),
    Tail(client::TailArgs),
    #[cfg(feature = "stress")]
    Stress(stress::StressArgs),
    /// Print the completion script for a shell
    #[command(after_help = "Examples:
  chat completions bash > ~/.local/share/bash-completion/completions/chat
  chat completions fish > ~/.config/fish/completions/chat.fish
  chat completions zsh > ~/.zfunc/_chat      (a folder of your $fpath)")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or that of a command
    #[command(after_help = "Examples:
  chat man | man -l -
  chat man client > chat-client.1")]
    Man {
        /// The command
        #[arg(value_name = "COMMAND", value_parser = pages::commands())]
        command: Option<String>,
    },
}

/// Where the help of a command shows what all commands have.
const LAST_BUT_HELP: usize = 900;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failure, 2 wrong usage, 3 cannot connect,
4 the server closed the connection or it was lost, 5 not let in, as when the
room is full, or what was sent was not taken";

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a room.
    Server(Box<crate::server::Config>),
    /// Join a room, or say one thing there, or listen.
    Client(crate::client::Config),
    /// Load a room and see.
    #[cfg(feature = "stress")]
    Stress(crate::stress::Config),
    /// Write this to standard output.
    Print(Vec<u8>),
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
            Command::Server(args) => Task::Server(Box::new(args.into_config())),
            Command::Client(args) => Task::Client(args.into_config()),
            Command::Send(args) => Task::Client(args.into_config()),
            Command::Tail(args) => Task::Client(args.into_config()),
            #[cfg(feature = "stress")]
            Command::Stress(args) => Task::Stress(args.into_config()),
            Command::Completions { shell } => Task::Print(pages::completions(shell)),
            Command::Man { command } => Task::Print(pages::manual(command.as_deref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        for (exit, meaning) in [
            (Exit::Success, "done"),
            (Exit::Failure, "failure"),
            (Exit::Usage, "wrong usage"),
            (Exit::CannotConnect, "cannot connect"),
            (Exit::ConnectionLost, "the server closed"),
            (Exit::Refused, "not let in"),
        ] {
            assert!(EXIT_CODES.contains(&format!("{} {meaning}", exit as u8)));
        }
    }

    #[test]
    fn every_help_can_be_read_at_80_columns() {
        let mut program = Cli::command();
        program.build();
        let commands = program.get_subcommands().cloned();
        let commands = commands.filter(|command| command.get_name() != "help");
        for mut command in commands.chain([program.clone()]) {
            let help = command.render_long_help().to_string();
            // This clap would break anywhere.
            let after = command.get_after_help().cloned().unwrap_or_default();
            for line in help.lines().chain(after.to_string().lines()) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        }
    }
}
