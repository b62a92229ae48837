//! How long an ordinary line takes beside flooders: people say a short line now and then, and a
//! reader notes when each arrives. Load and people are those of the tests.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::io;
use std::time::Duration;

use common::load::{Load, Reads, Says};
use common::probe::Probe;

use super::machine::Cores;
use super::subject::Subject;
use super::trial::LINE_BYTES;

/// Clients that talk as fast as the server takes it, and their readers.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) flooders: usize,
    /// Besides the flooders, which read as well.
    pub(crate) readers: usize,
}

/// How long the lines of one trial took.
#[derive(Clone, Copy)]
pub(crate) struct Delay {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

/// Tries this project's server for `span`.
///
/// # Errors
///
/// When the server does not start, drops a client, or loses a line.
pub(crate) fn trial(crowd: Crowd, span: Duration, cores: Cores) -> io::Result<Delay> {
    let server = Subject::chat().start(cores)?;
    let probe = Probe::join(server.address);
    let mut load = Load::start(server.address);
    let line = [&[b'='; LINE_BYTES - 1][..], b"\n"].concat();
    let says = Says::flood(line);
    load.join(crowd.readers, "127.0.1.1", Reads::Always, |_| Says::Nothing);
    load.join(crowd.flooders, "127.0.2.1", Reads::Always, |_| says.clone());
    load.talk();
    let delays = probe.run(span);
    if delays.unheard > 0 || load.lost() > 0 {
        return Err(io::Error::other(format!(
            "chat: {} lines lost, {} clients dropped",
            delays.unheard,
            load.lost()
        )));
    }
    Ok(Delay {
        median: delays.median(),
        p99: delays.p99(),
        longest: delays.longest(),
    })
}
