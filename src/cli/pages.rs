//! Shell completions and manual pages, generated from the definition of the command line.

use clap::CommandFactory;
use clap::builder::PossibleValuesParser;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::{Cli, OPTIONAL_COMMANDS};

const PROGRAM: &str = "chat";

/// A script that makes `shell` complete commands, options and their values.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    script
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
