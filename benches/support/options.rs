//! What a bench can be told on its command line.

use std::path::PathBuf;

use clap::Parser;

/// Measures, and prints Markdown tables.
#[derive(Parser)]
pub(crate) struct Options {
    /// Little and short, to see that everything works; the figures mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,

    /// How often each trial is repeated; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) repeat: usize,

    /// The folder for the tables and the chart
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench"))]
    pub(crate) out: PathBuf,

    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}
