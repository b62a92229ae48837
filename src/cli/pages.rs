//! Shell completions and manual pages, generated from the definition of the command line.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::{Cli, OPTIONAL_COMMANDS};

const PROGRAM: &str = "chat";

/// What clap's script for bash lacks: hosts, and words with a colon.
const BASH: &str = include_str!("completions.bash");

/// A script that makes `shell` complete commands, options and their values.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut program = Cli::command();
    program.build();
    let commands = program.get_subcommands();
    let names: Vec<String> = commands.map(|it| it.get_name().to_owned()).collect();
    for name in names {
        program = program.mut_subcommand(name, |command| command.mut_args(hinted));
    }
    let mut script = Vec::new();
    generate(shell, &mut program, PROGRAM, &mut script);
    let with_host = program.get_subcommands().filter(|command| {
        let mut positionals = command.get_positionals();
        positionals.any(|it| it.get_value_hint() == ValueHint::Hostname)
    });
    let with_host = with_host.map(Command::get_name);
    match shell {
        Shell::Bash => {
            let places: Vec<String> = with_host.map(|name| format!("2,{name},*")).collect();
            let added = BASH.replace("HOST_PLACES", &places.join(" | "));
            script.extend_from_slice(added.as_bytes());
        }
        // Clap's script for fish completes nothing that has no name.
        Shell::Fish => {
            script.extend_from_slice(b"complete -c chat -f\n");
            for name in with_host {
                let line = format!(
                    "complete -c chat -n \"__fish_chat_using_subcommand {name}; \
                     and test (count (commandline -opc)) -eq 2\" \
                     -f -a \"(__fish_print_hostnames)\"\n"
                );
                script.extend_from_slice(line.as_bytes());
            }
        }
        // Where a place may be left out, zsh would complete no option.
        Shell::Zsh => {
            let text = String::from_utf8_lossy(&script);
            script = text.replace("'::place --", "':place --").into_bytes();
        }
        _ => {}
    }
    script
}

/// `arg`, for which no shell offers files unless it is one.
fn hinted(arg: Arg) -> Arg {
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return arg;
    }
    let hint = match arg.get_value_hint() {
        ValueHint::Unknown => ValueHint::Other,
        // The script for bash knows these alone.
        ValueHint::AnyPath => ValueHint::FilePath,
        hint => hint,
    };
    arg.value_hint(hint)
}

/// The manual page of `command`, or of the program, for troff(1).
pub(super) fn manual(command: Option<&str>) -> Vec<u8> {
    // `chat help` prints what --help does: no page for it.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let command = program.find_subcommand(name);
            command.cloned().unwrap_or(program)
        }
    };
    // clap_mangen would omit the help of options that -h hides.
    let page = page.mut_args(|option| option.hide_short_help(false));
    let version = program_version();
    let mut text = Vec::new();
    let written = Man::new(page).source(version).render(&mut text);
    written.expect("a Vec takes every write");
    // clap_mangen calls the text after the options EXTRA.
    let text = String::from_utf8_lossy(&text);
    text.replace(".SH EXTRA", ".SH NOTES").into_bytes()
}

fn program_version() -> String {
    format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"))
}

/// The commands that have a page.
pub(super) fn commands() -> PossibleValuesParser {
    let optional = OPTIONAL_COMMANDS
        .iter()
        .filter(|(_, _, is_built)| *is_built);
    let names = optional.map(|&(command, _, _)| command);
    ["server", "send", "ping"].into_iter().chain(names).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_pages_describe_options_that_short_help_hides() {
        let page = String::from_utf8(manual(Some("server"))).unwrap();
        for words in [
            "Do not announce",
            "Disconnect a slow reader",
            "after this many",
        ] {
            assert!(page.contains(words), "no {words} in:\n{page}");
        }
    }
}
