//! The command line of a bench, and where its results go.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Parser;

/// Measure, and write Markdown tables and an SVG chart
#[derive(Parser)]
#[command(name = "cargo bench --bench NAME --")]
pub(crate) struct Options {
    /// Short run to see that everything works; the results mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,

    /// Repeat each trial N times; the median counts
    #[arg(long, value_name = "N", default_value = "5")]
    repeat: NonZeroUsize,

    /// Folder for tables and chart, instead of target/bench
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Cargo passes this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn repeat(&self) -> usize {
        if self.smoke { 1 } else { self.repeat.get() }
    }

    /// The text above the tables.
    pub(crate) fn heading(&self, what: &str, machine: &str) -> String {
        if self.smoke {
            return "A short run to see that everything works: the results mean nothing.\n\n"
                .into();
        }
        format!(
            "{what}; medians of {} interleaved trials.\n{machine}.\n\n",
            self.repeat
        )
    }

    /// Prints `report`, and writes it to the file `name`.md. Returns the path for the
    /// chart.
    pub(crate) fn publish(&self, name: &str, report: &str) -> io::Result<PathBuf> {
        // A short run must not replace a result.
        let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = match (&self.out, self.smoke) {
            (Some(folder), _) => folder.clone(),
            (None, false) => build.with_file_name("bench"),
            (None, true) => build.with_file_name("bench-smoke"),
        };
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name).with_extension("md"), report)?;
        print!("{report}");
        eprintln!("\nwritten to {}: {name}.md, {name}.svg", folder.display());
        Ok(folder.join(name).with_extension("svg"))
    }
}
