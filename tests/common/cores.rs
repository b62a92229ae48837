//! A core for the server under test, and one for its load.

use std::fs;
use std::time::{Duration, Instant};

use chat::platform::proc::Process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Until this is dropped, this thread and those it starts run on the load's core.
pub(crate) struct Cores {
    usable: CpuSet,
    server: usize,
    load: usize,
}

impl Cores {
    /// The first two cores this process may use, or the only one twice.
    pub(crate) fn divide() -> Self {
        let usable = sched_getaffinity(None).expect("this thread's own cores");
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|&core| usable.is_set(core));
        let server = numbers.next().expect("this runs on some core");
        let load = numbers.next().unwrap_or(server);
        pin_to(load);
        Self {
            usable,
            server,
            load,
        }
    }

    /// Runs `spawn` so that the process it starts is on the server's core.
    pub(crate) fn on_servers<T>(&self, spawn: impl FnOnce() -> T) -> T {
        pin_to(self.server);
        let spawned = spawn();
        pin_to(self.load);
        spawned
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.usable).expect("this thread's own cores");
    }
}

fn pin_to(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("a core that this thread may use");
}

/// Measures CPU time from now on: of the server, the load, and others.
pub(crate) struct Watch {
    began: Instant,
    server: Process,
    server_cpu: Duration,
    load_cpu: Duration,
    machine_cpu: Duration,
}

/// CPU time in percent of one core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) server: f64,
    /// This process: all threads still alive.
    pub(crate) load: f64,
    pub(crate) others: f64,
}

impl Watch {
    pub(crate) fn start(server_pid: u32) -> Self {
        let server = Process::new(server_pid);
        Self {
            began: Instant::now(),
            server,
            server_cpu: cpu(server),
            load_cpu: cpu(this_process()),
            machine_cpu: machine_cpu(),
        }
    }

    pub(crate) fn shares(&self) -> Shares {
        let percent =
            |cpu: Duration| 100.0 * cpu.as_secs_f64() / self.began.elapsed().as_secs_f64();
        let server = percent(cpu(self.server).saturating_sub(self.server_cpu));
        let load = percent(cpu(this_process()).saturating_sub(self.load_cpu));
        let all = percent(machine_cpu().saturating_sub(self.machine_cpu));
        Shares {
            server,
            load,
            others: (all - server - load).max(0.0),
        }
    }
}

fn this_process() -> Process {
    Process::new(std::process::id())
}

/// Zero once the process has ended.
fn cpu(process: Process) -> Duration {
    process.cpu().unwrap_or_default()
}

/// CPU time of all cores since boot (proc_stat(5), in hundredths of a second).
fn machine_cpu() -> Duration {
    const IDLE_AND_IOWAIT: [usize; 2] = [3, 4];
    /// The user's time includes that of guests.
    const COUNTED: usize = 8;
    let stat = fs::read_to_string("/proc/stat").expect("proc_stat(5)");
    let cpus = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let ticks: u64 = cpus
        .expect("a first line for all cores")
        .split_whitespace()
        .take(COUNTED)
        .enumerate()
        .filter(|(nth, _)| !IDLE_AND_IOWAIT.contains(nth))
        .map(|(_, ticks)| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(10 * ticks)
}
