//! What a bench can be told on its command line, and where its results go.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Parser;

/// Measures, and writes what it finds as Markdown tables and an SVG chart
#[derive(Parser)]
#[command(name = "cargo bench --bench NAME --")]
pub(crate) struct Options {
    /// Little and short, to see that everything works; the figures mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,

    /// How often each trial is repeated; the median counts
    #[arg(long, value_name = "N", default_value = "5")]
    repeat: NonZeroUsize,

    /// The folder for tables and chart, instead of the build's `bench`
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How often each trial is repeated.
    pub(crate) fn repeat(&self) -> usize {
        match self.smoke {
            true => 1,
            false => self.repeat.get(),
        }
    }

    /// What stands above the tables.
    pub(crate) fn heading(&self, what: &str, machine: &str) -> String {
        match self.smoke {
            true => {
                "A short run to see that everything works: the figures mean nothing.\n\n".into()
            }
            false => format!(
                "{what}; medians of {} interleaved trials.\n{machine}.\n\n",
                self.repeat
            ),
        }
    }

    /// Prints `report`, and writes it to the file `name`.md; returns where a chart of
    /// that name goes.
    pub(crate) fn publish(&self, name: &str, report: &str) -> io::Result<PathBuf> {
        // Beside the build; a short run is not to replace a result.
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
