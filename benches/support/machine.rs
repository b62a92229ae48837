//! The cores of the machine under the benches.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for the server under test, and one for the load generator.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    server: usize,
    generator: usize,
}

impl Cores {
    /// The first two cores this process may use, or the only one twice. Moves this thread, the
    /// load generator, to its own.
    pub(crate) fn divide() -> io::Result<Self> {
        let usable = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&core| usable.is_set(core));
        let server = usable.next().expect("this runs on some core");
        let generator = usable.next().unwrap_or(server);
        pin_to(generator)?;
        Ok(Self { server, generator })
    }

    /// Runs `spawn` so that the process it starts is on the server's core.
    pub(crate) fn on_servers<T>(self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        pin_to(self.server)?;
        let spawned = spawn();
        pin_to(self.generator)?;
        spawned
    }
}

fn pin_to(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}
