//! The command line: clap's arguments in, typed configuration out.

mod address_rules;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "manual")]
mod pages;
mod ping;
mod room;
mod send;
mod server;
#[cfg(feature = "stress")]
mod stress;
#[cfg(feature = "tls")]
mod tls;
mod values;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use log::LevelFilter;

/// A chat room over TCP: a server for any machine on a LAN, a client for any shell
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(max_term_width = 80, after_help = EXAMPLES, after_long_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log more to standard error: -v info, -vv debug, -vvv trace
    ///
    /// The environment variable RUST_LOG, if set, decides instead.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    #[arg(display_order = LAST_BUT_HELP, hide_short_help = true)]
    verbose: u8,
}

// Only the command that is run gets its arguments built: those of all take 44 kB of memory,
// which a server would keep.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run a room
    Server(Box<server::ServerArgs>),
    /// Join a room
    #[cfg(feature = "client")]
    Client(client::ClientArgs),
    /// Say something in a room, and leave
    Send(send::SendArgs),
    /// Show what others say in a room, and say nothing
    #[cfg(feature = "client")]
    Tail(client::TailArgs),
    /// Check whether there is a room; nobody in it notices
    Ping(ping::PingArgs),
    /// Forget the key of a room, so that it may have a new one
    #[cfg(feature = "tls")]
    Forget(tls::ForgetArgs),
    /// Load a room with clients and check every delivery
    #[cfg(feature = "stress")]
    Stress(stress::StressArgs),
    /// Print a shell completion script
    #[cfg(feature = "manual")]
    #[command(after_help = COMPLETIONS_NOTES)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[cfg(feature = "manual")]
    #[command(after_help = "Examples:
  chat man | man -l -
  chat man client > chat-client.1")]
    Man {
        /// The command [default: the program as a whole]
        #[arg(value_name = "COMMAND", value_parser = pages::commands())]
        command: Option<String>,
    },
}

#[cfg(feature = "manual")]
const COMPLETIONS_NOTES: &str = "\
Examples:
  eval \"$(chat completions bash)\"
      in ~/.bashrc
  mkdir -p ~/.config/fish/completions
  chat completions fish > ~/.config/fish/completions/chat.fish
      once
  mkdir -p ~/.zfunc
  chat completions zsh > ~/.zfunc/_chat
      once; in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit";

/// Help lists the options that all commands share after a command's own.
const LAST_BUT_HELP: usize = 900;

const EXAMPLES: &str = "\
Examples:
  chat server
  chat client 192.168.1.5 --name alice";

const NOTES: &str = "\
Examples:
  chat server
      run a room on this machine, for its LAN
  chat client 192.168.1.5 --name alice
      join it as alice
  chat server --help
      all options of a command

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 cannot connect, 4 the server closed the \
connection or it was lost, 5 refused: not let in (the room is full, for example), or the room \
did not take what was sent, 6 in doubt: the room may or may not have taken what was sent, 7 the \
room's key is unknown or has changed.";

/// The commands that a build without one of the features lacks, and that feature.
const OPTIONAL_COMMANDS: [(&str, &str, bool); 6] = [
    ("forget", "tls", cfg!(feature = "tls")),
    ("client", "client", cfg!(feature = "client")),
    ("tail", "client", cfg!(feature = "client")),
    ("stress", "stress", cfg!(feature = "stress")),
    ("completions", "manual", cfg!(feature = "manual")),
    ("man", "manual", cfg!(feature = "manual")),
];

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a room.
    Server(Box<crate::server::Config>),
    /// Join a room, or only send to it, or only listen.
    Client(crate::client::Config),
    /// Look whether there is a room.
    Ping(crate::client::ping::Config),
    /// Forget the key of the room at this host and port.
    #[cfg(feature = "tls")]
    Forget(String, u16),
    /// Load a room and check what it delivers.
    #[cfg(feature = "stress")]
    Stress(crate::stress::Config),
    /// Write this to standard output.
    #[cfg(feature = "manual")]
    Print(Vec<u8>),
}

impl Cli {
    /// Parses the command line. Exits if it is wrong or asks for help.
    pub fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|e| left_out(&e).unwrap_or(e).exit())
    }

    /// The lowest level that is logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Warn,
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }

    /// Turns the arguments into typed configuration. Exits if they do not go together.
    pub fn into_task(self) -> Task {
        match self.command {
            Command::Server(args) => Task::Server(Box::new(usable("server", args.into_config()))),
            #[cfg(feature = "client")]
            Command::Client(args) => Task::Client(usable("client", args.into_config())),
            Command::Send(args) => Task::Client(usable("send", args.into_config())),
            #[cfg(feature = "client")]
            Command::Tail(args) => Task::Client(usable("tail", args.into_config())),
            Command::Ping(args) => Task::Ping(usable("ping", args.into_config())),
            #[cfg(feature = "tls")]
            Command::Forget(args) => {
                let (host, port) = usable("forget", args.into_address());
                Task::Forget(host, port)
            }
            #[cfg(feature = "stress")]
            Command::Stress(args) => Task::Stress(usable("stress", args.into_config())),
            #[cfg(feature = "manual")]
            Command::Completions { shell } => Task::Print(pages::completions(shell)),
            #[cfg(feature = "manual")]
            Command::Man { command } => Task::Print(pages::manual(command.as_deref())),
        }
    }
}

/// The configuration of `command`. Exits if its arguments do not go together.
fn usable<T>(command: &str, config: Result<T, String>) -> T {
    config.unwrap_or_else(|words| unusable(command, words).exit())
}

// Apart, so that it is compiled once for all commands.
fn unusable(command: &str, words: String) -> clap::Error {
    let mut program = Cli::command();
    program.build();
    let command = program.find_subcommand_mut(command);
    let command = command.expect("the name of a command");
    command.error(ErrorKind::ArgumentConflict, words)
}

/// What to say of a command that this build lacks, if that is what `error` is about.
fn left_out(error: &clap::Error) -> Option<clap::Error> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let is_it = |(command, _, is_built): &&(&str, _, _)| command == given && !is_built;
    let (command, feature, _) = OPTIONAL_COMMANDS.iter().find(is_it)?;
    let words = format!(
        "this build of chat has no command '{command}'; \
         one made with `cargo build --release` has every command, \
         and one with `--features {feature}` has this one"
    );
    Some(Cli::command().error(ErrorKind::InvalidSubcommand, words))
}

#[cfg(test)]
mod tests {
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
            (Exit::Refused, "refused"),
            #[cfg(feature = "tls")]
            (Exit::Untrusted, "the room's key"),
        ] {
            assert!(NOTES.contains(&format!("{} {meaning}", exit as u8)));
        }
    }

    #[test]
    fn a_build_knows_the_commands_that_it_lacks() {
        let program = Cli::command();
        for (command, _, is_built) in OPTIONAL_COMMANDS {
            assert_eq!(program.find_subcommand(command).is_some(), is_built);
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn whatever_joins_a_room_says_how_it_ends_if_that_is_not_the_one() {
        let mut program = Cli::command();
        for command in ["client", "tail", "send", "ping", "stress"] {
            // A build may lack it.
            if let Some(command) = program.find_subcommand_mut(command) {
                let help = command.render_long_help().to_string();
                let (_, codes) = help.split_once("Exit codes:").expect("exit codes");
                let words = codes.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains("7 the room's key"), "{words}");
            }
        }
    }

    /// What a command does is said of it before its arguments are built, and after.
    #[test]
    fn help_says_what_a_command_does_as_the_list_does() {
        let about = |program: &clap::Command| -> Vec<_> {
            let commands = program.get_subcommands();
            let commands = commands.filter(|command| command.get_name() != "help");
            commands
                .map(|command| command.get_about().map(ToString::to_string))
                .collect()
        };
        let mut program = Cli::command();
        let listed = about(&program);
        program.build();
        assert_eq!(about(&program), listed);
        assert!(listed.iter().all(Option::is_some));
    }

    /// The program and its commands, ready to render help for a terminal of this width.
    fn at_width(columns: usize) -> Vec<clap::Command> {
        let mut program = Cli::command().term_width(columns);
        program.build();
        let commands = program.get_subcommands().cloned();
        let mut all: Vec<_> = commands.filter(|it| it.get_name() != "help").collect();
        all.push(program);
        all
    }

    #[test]
    fn help_fits_the_terminal() {
        for columns in [40, 80] {
            for mut command in at_width(columns) {
                let help = command.render_long_help().to_string();
                let short_help = command.render_help().to_string();
                for line in help.lines().chain(short_help.lines()) {
                    let is_breakable = line.trim().contains(' ') && !line.starts_with("Usage: ");
                    let fits = line.chars().count() <= columns || !is_breakable;
                    assert!(fits, "{columns}: {}: {line}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn short_help_fits_one_screen() {
        for mut command in at_width(80) {
            let help = command.render_help().to_string();
            assert!(help.lines().count() <= 24, "{help}");
        }
    }
}
