//! Diagnostics for who runs the program, on standard error.

use std::io::Write;

use env_logger::{Builder, Env};
use log::LevelFilter;

/// Starts logging what is at least as important as `level`; the environment
/// variable `RUST_LOG`, when it is set, decides instead.
///
/// Writing there may block, so nothing that a peer can cause at will is logged
/// at the level that is on when nobody asks for more.
pub fn init(level: LevelFilter) {
    Builder::from_env(Env::default().default_filter_or(level.as_str()))
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "chat: {level}: {}", record.args())
        })
        .init();
}
