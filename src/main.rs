//! `chat`: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

use chat::cli::{Cli, Task};
use chat::exit::Exit;
use chat::platform::logging::{self, last_words};
use chat::platform::proc::survive_file_size_limit;
use chat::server;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    logging::init(cli.log_level());
    if let Err(e) = survive_file_size_limit() {
        log::warn!("cannot catch SIGXFSZ: {e}; a limit on file sizes would end the program");
    }
    let result = match cli.into_task() {
        Task::Server(config) => server::run(&config),
        Task::Client(config) => chat::client::run(&config),
        Task::Ping(config) => chat::client::ping::run(&config),
        #[cfg(feature = "tls")]
        Task::Forget(host, port) => chat::client::known_rooms::forget(&host, port),
        #[cfg(feature = "stress")]
        Task::Stress(config) => chat::stress::run(&config),
        #[cfg(feature = "manual")]
        Task::Print(text) => {
            chat::platform::stdio::print(&text).map_err(chat::error::Error::WriteOutput)
        }
    };
    match result {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            last_words(&error);
            error.exit().into()
        }
    }
}
