//! A server under a load, ordinary people beside it, and what they notice.

use std::env;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::long_names::join_with_a_long_name;
use super::newcomers::{Newcomers, newcomers};
use crate::common::alone_under_load;
use crate::common::cores::{Cores, Shares, Watch};
use crate::common::load::{Group, Load, Reads, Says, Wait, connect_from};
use crate::common::probe::{Delays, Probe};
use crate::common::server::Server;
use crate::flow_control::{kernel_tcp_bytes, sample};

/// How often a scene is tried until it holds, unless the environment says otherwise
/// (`CHAT_OVERLOAD_TRIES`): the machine may be busy.
const TRIES: usize = 3;

/// A server on a core of its own, its load, and ordinary people.
pub(super) struct Scene {
    // Dropped in this order: the load before the server.
    pub(super) load: Load,
    pub(super) probe: Probe,
    pub(super) server: Server,
    /// None in CI, where other tests run meanwhile.
    _cores: Option<Cores>,
}

impl Scene {
    pub(super) fn set(options: &[&str]) -> Self {
        let cores = Cores::divide();
        let server = cores.on_servers(|| Server::sociable(options));
        Self::around(server, Some(cores))
    }

    /// On any cores.
    pub(super) fn brief(options: &[&str]) -> Self {
        Self::around(Server::sociable(options), None)
    }

    pub(super) fn around(server: Server, cores: Option<Cores>) -> Self {
        Self {
            load: Load::start(server.address),
            probe: Probe::join(server.address),
            server,
            _cores: cores,
        }
    }

    /// Adds clients that say nothing and read.
    pub(super) fn readers(&mut self, count: usize) -> Arc<Group> {
        self.load
            .join(count, "127.0.1.1", Reads::Always, |_| Says::Nothing)
    }

    pub(super) fn talkers(&mut self, count: usize, says: impl Fn(usize) -> Says) -> Arc<Group> {
        self.load.join(count, "127.0.2.1", Reads::Always, says)
    }

    /// Adds clients with the longest name that the server accepts.
    pub(super) fn named_talkers(
        &mut self,
        count: usize,
        says: impl Fn(usize) -> Says,
    ) -> Arc<Group> {
        let group = self.load.group();
        for nth in 0..count {
            let socket = join_with_a_long_name(&self.server, nth);
            self.load.adopt(&group, socket, Reads::Always, says(nth));
        }
        group
    }

    /// Everybody talks. A second later `pending` clients queue for admission, and newcomers from
    /// other addresses come for `span`.
    pub(super) fn besiege(
        mut self,
        pending: usize,
        span: Duration,
        patience: Duration,
    ) -> (Newcomers, Figures) {
        const PRELUDE: Duration = Duration::from_secs(1);
        let measure = measure(self.server.pid());
        let probe = self.probe;
        let probe = thread::spawn(move || probe.run(PRELUDE + span));
        self.load.talk();
        let waiting = self.load.group();
        // Time itself is tested: the flood has to be at its height.
        thread::sleep(PRELUDE);
        for _ in 0..pending {
            let socket = connect_from("127.0.4.1", self.server.address, Wait::No);
            self.load
                .adopt(&waiting, socket, Reads::Always, Says::Nothing);
        }
        let mut found = newcomers(self.server.address, span, patience);
        found.greeted_before = waiting.greeted();
        let delays = probe.join().expect("a probe that does not panic");
        let figures = measure(delays, &self.load, &mut self.server);
        drop(self.load);
        (found, figures)
    }

    /// Everybody talks for `span`.
    pub(super) fn play(self, span: Duration) -> Figures {
        self.play_to_the_end(span).0
    }

    /// [`play`](Self::play), and what the server wrote to standard error until it was told to
    /// end.
    pub(super) fn play_to_the_end(mut self, span: Duration) -> (Figures, String) {
        let measure = measure(self.server.pid());
        self.load.talk();
        let delays = self.probe.run(span);
        let figures = measure(delays, &self.load, &mut self.server);
        drop(self.load);
        if !figures.has_died {
            self.server.signal(Signal::TERM);
        }
        let said = self.server.stderr().rest();
        (figures, said)
    }
}

/// The result of a scene.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) delays: Delays,
    shares: Shares,
    /// How many clients of the load were disconnected.
    pub(super) lost: usize,
    peak_bytes: usize,
    /// The most by which this machine's kernel memory for TCP grew.
    pub(super) kernel_bytes: usize,
    pub(super) has_died: bool,
}

/// Measures from now on, until the returned function is called.
fn measure(server_pid: u32) -> impl FnOnce(Delays, &Load, &mut Server) -> Figures {
    let watch = Watch::start(server_pid);
    let kernel_before = kernel_tcp_bytes();
    let kernel_most = sample(kernel_tcp_bytes);
    move |delays, load, server| {
        let has_died = !server.is_running();
        Figures {
            delays,
            shares: watch.shares(),
            lost: load.lost(),
            peak_bytes: if has_died { 0 } else { server.peak_bytes() },
            kernel_bytes: kernel_most().saturating_sub(kernel_before),
            has_died,
        }
    }
}

/// What must hold for an ordinary line.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) median: Option<Duration>,
    pub(super) p99: Option<Duration>,
    pub(super) longest: Option<Duration>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (delays, shares) = (&self.delays, self.shares);
        write!(
            f,
            "an ordinary line: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms, {} of {} unheard; \
             {} dropped; server at most {:.1} MB, kernel {:.1} MB more; \
             CPU: server {:.0}%, load {:.0}%, others {:.0}%",
            ms(delays.median()),
            ms(delays.p99()),
            ms(delays.longest()),
            delays.unheard,
            delays.len(),
            self.lost,
            self.peak_bytes as f64 / 1e6,
            self.kernel_bytes as f64 / 1e6,
            shares.server,
            shares.load,
            shares.others,
        )
    }
}

impl Figures {
    /// What does not hold, if anything. Nobody may be dropped.
    pub(super) fn fault(&self, bounds: Bounds) -> Option<String> {
        if self.has_died {
            return Some("the server has ended".to_owned());
        }
        let lost = self.lost;
        self.fault_of_delays(bounds)
            .or_else(|| (lost > 0).then(|| format!("{lost} were dropped")))
    }

    pub(super) fn fault_of_delays(&self, bounds: Bounds) -> Option<String> {
        let over = |what: &str, found: Duration, most: Option<Duration>| {
            most.filter(|most| found > *most)
                .map(|most| format!("{what} {found:?}, not {most:?} at most"))
        };
        let unheard = self.delays.unheard;
        over("median", self.delays.median(), bounds.median)
            .or_else(|| over("p99", self.delays.p99(), bounds.p99))
            .or_else(|| over("longest", self.delays.longest(), bounds.longest))
            .or_else(|| (unheard > 0).then(|| format!("{unheard} lines were not heard")))
    }
}

/// Plays a scene until it holds, a few times at most.
#[track_caller]
pub(super) fn try_out(name: &str, bounds: Bounds, scene: impl Fn() -> Figures) {
    try_until(name, || {
        let figures = scene();
        (figures.to_string(), figures.fault(bounds))
    });
}

/// `play` returns its figures, and what does not hold.
#[track_caller]
pub(super) fn try_until(name: &str, mut play: impl FnMut() -> (String, Option<String>)) {
    let _alone = alone_under_load();
    let tries = env::var("CHAT_OVERLOAD_TRIES").map_or(TRIES, |n| n.parse().expect("a number"));
    for left in (0..tries).rev() {
        let (figures, fault) = play();
        let Some(fault) = fault else {
            println!("{name}: {figures}; holds");
            return;
        };
        println!("{name}: {figures}; FAILS: {fault}");
        assert_ne!(left, 0, "{name}: {fault}");
    }
}
