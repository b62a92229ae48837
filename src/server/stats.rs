//! The server's statistics.

use std::fmt;
#[cfg(feature = "web")]
use std::fmt::Write as _;

use crate::protocol::close::CloseReason;
use crate::reactor::service::Load;
use crate::server::admission::RefusalCounts;

/// The number of clients that the server disconnected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DropCounts {
    pub(crate) stuck: u64,
    /// Clients that held too much unfinished input.
    pub(crate) overload: u64,
    pub(crate) slow: u64,
    pub(crate) idle: u64,
    pub(crate) protocol: u64,
    /// Kicked or banned.
    pub(crate) kicked: u64,
}

impl DropCounts {
    /// Counts a client that left for `reason`, if the server made it.
    pub(crate) fn count(&mut self, reason: CloseReason) {
        match reason {
            CloseReason::Stuck => self.stuck += 1,
            CloseReason::TooSlow => self.slow += 1,
            CloseReason::Overload => self.overload += 1,
            CloseReason::Idle => self.idle += 1,
            CloseReason::WrongProtocol => self.protocol += 1,
            CloseReason::Kicked | CloseReason::Banned => self.kicked += 1,
            CloseReason::PeerClosed
            | CloseReason::Lost(_)
            | CloseReason::Quit
            | CloseReason::Replaced
            | CloseReason::TooSoon
            | CloseReason::Shutdown => {}
        }
    }
}

/// The number of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attendance {
    /// Now in the room.
    pub(crate) clients: u64,
    /// Since the server started.
    pub(crate) joined: u64,
    /// The maximum at once.
    pub(crate) most: u64,
    pub(crate) dropped: DropCounts,
    pub(crate) refused: RefusalCounts,
}

impl Attendance {
    pub(crate) fn joined(&mut self) {
        self.clients += 1;
        self.joined += 1;
        self.most = self.most.max(self.clients);
    }

    pub(crate) fn left(&mut self, reason: CloseReason) {
        self.clients -= 1;
        self.dropped.count(reason);
    }
}

/// Displayed as one line of `key=value` pairs, for people and for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stats {
    pub(crate) attendance: Attendance,
    pub(crate) load: Load,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attendance {
            clients,
            joined,
            most,
            dropped,
            refused,
        } = self.attendance;
        let Load {
            traffic,
            backlog_bytes,
            paused,
        } = self.load;
        write!(f, "clients={clients} most={most} joined={joined} ")?;
        write!(
            f,
            "lines_in={} bytes_in={} lines_out={} bytes_out={} bytes_lost={} ",
            traffic.lines_in,
            traffic.bytes_in,
            traffic.lines_out,
            traffic.bytes_out,
            traffic.bytes_lost
        )?;
        write!(f, "backlog_bytes={backlog_bytes} paused={paused} ")?;
        write!(
            f,
            "dropped_stuck={} dropped_slow={} dropped_overload={} dropped_idle={} \
             dropped_protocol={} dropped_kicked={} ",
            dropped.stuck,
            dropped.slow,
            dropped.overload,
            dropped.idle,
            dropped.protocol,
            dropped.kicked
        )?;
        write!(
            f,
            "refused_banned={} refused_denied={} refused_address={} refused_full={} \
             refused_password={}",
            refused.banned,
            refused.denied,
            refused.address_full,
            refused.room_full,
            refused.password
        )
    }
}

/// The content type of [`Stats::metrics`].
#[cfg(feature = "web")]
pub(crate) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(feature = "web")]
impl Stats {
    /// The same in Prometheus' text format.
    pub(crate) fn metrics(&self) -> String {
        let Attendance {
            clients,
            joined,
            most,
            dropped,
            refused,
        } = self.attendance;
        let Load {
            traffic,
            backlog_bytes,
            paused,
        } = self.load;
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
            let _ = write!(
                text,
                "# HELP chat_{name} {help}\n# TYPE chat_{name} {kind}\n"
            );
            for (reason, value) in samples {
                let labels = match *reason {
                    "" => String::new(),
                    reason => format!("{{reason=\"{reason}\"}}"),
                };
                let _ = writeln!(text, "chat_{name}{labels} {value}");
            }
        };
        let mut gauge = |name, help, value| family(name, "gauge", help, &[("", value)]);
        gauge("clients", "Clients in the room.", clients);
        gauge(
            "clients_most",
            "The most clients at once since the start.",
            most,
        );
        gauge(
            "backlog_bytes",
            "Memory held for readers that lag.",
            backlog_bytes as u64,
        );
        gauge(
            "paused_clients",
            "Clients that are not read because readers are behind.",
            paused as u64,
        );
        let mut counter = |name, help, value| family(name, "counter", help, &[("", value)]);
        counter("joined_total", "Clients that have joined.", joined);
        counter("lines_in_total", "Lines from clients.", traffic.lines_in);
        counter("bytes_in_total", "Bytes from clients.", traffic.bytes_in);
        counter(
            "lines_out_total",
            "Lines for everybody, once for each reader.",
            traffic.lines_out,
        );
        counter("bytes_out_total", "Bytes for readers.", traffic.bytes_out);
        counter(
            "bytes_lost_total",
            "Bytes that waited for readers that went.",
            traffic.bytes_lost,
        );
        let reasons = [
            ("stuck", dropped.stuck),
            ("slow", dropped.slow),
            ("overload", dropped.overload),
            ("idle", dropped.idle),
            ("protocol", dropped.protocol),
            ("kicked", dropped.kicked),
        ];
        let help = "Clients that the server disconnected.";
        family("dropped_total", "counter", help, &reasons);
        let reasons = [
            ("banned", refused.banned),
            ("denied", refused.denied),
            ("address", refused.address_full),
            ("password", refused.password),
            ("full", refused.room_full),
        ];
        family(
            "refused_total",
            "counter",
            "Clients that were not let in.",
            &reasons,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnected_clients_are_counted_by_reason() {
        let mut dropped = DropCounts::default();
        for (times, reason) in [
            (1, CloseReason::Stuck),
            (2, CloseReason::TooSlow),
            (3, CloseReason::Idle),
            (4, CloseReason::WrongProtocol),
            (5, CloseReason::PeerClosed),
            (6, CloseReason::Shutdown),
            (7, CloseReason::Kicked),
            (8, CloseReason::Banned),
            (9, CloseReason::Quit),
        ] {
            (0..times).for_each(|_| dropped.count(reason));
        }
        let expected = DropCounts {
            stuck: 1,
            slow: 2,
            overload: 0,
            idle: 3,
            protocol: 4,
            kicked: 15,
        };
        assert_eq!(dropped, expected);
    }

    #[cfg(feature = "web")]
    #[test]
    fn metrics_have_the_same_figures_as_the_line() {
        let mut attendance = Attendance::default();
        attendance.joined();
        attendance.left(CloseReason::Stuck);
        let load = Load::default();
        let metrics = Stats { attendance, load }.metrics();
        for line in [
            "# TYPE chat_clients gauge",
            "chat_clients 0",
            "# HELP chat_joined_total Clients that have joined.",
            "chat_joined_total 1",
            "chat_dropped_total{reason=\"stuck\"} 1",
            "chat_refused_total{reason=\"full\"} 0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}");
        }
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').unwrap();
            assert!(name.starts_with("chat_") && value.parse::<u64>().is_ok());
        }
    }

    #[test]
    fn stats_are_one_line_of_pairs() {
        let mut attendance = Attendance::default();
        attendance.joined();
        attendance.joined();
        attendance.left(CloseReason::Stuck);
        attendance.left(CloseReason::PeerClosed);
        attendance.joined();
        let mut load = Load::default();
        load.traffic.lines_out = 3;
        load.traffic.bytes_out = 40;
        let stats = Stats { attendance, load }.to_string();
        assert!(stats.starts_with("clients=1 most=2 joined=3 lines_in=0 "));
        for pair in [
            "lines_out=3",
            "bytes_out=40",
            "dropped_stuck=1",
            "dropped_idle=0",
        ] {
            assert!(stats.split(' ').any(|found| found == pair), "{pair}");
        }
        for pair in stats.split(' ') {
            let (key, value) = pair.split_once('=').unwrap();
            assert!(!key.is_empty() && value.parse::<u64>().is_ok(), "{pair}");
        }
    }
}
