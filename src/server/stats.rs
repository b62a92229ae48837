//! Statistics: what a server has done so far, and how it stands.

use std::fmt;

use crate::protocol::close::CloseReason;
use crate::reactor::service::Load;
use crate::server::admission::RefusalCounts;

/// Clients that did not leave by themselves, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DropCounts {
    /// They did not read.
    pub(crate) stuck: u64,
    /// They read too slowly.
    pub(crate) slow: u64,
    /// They said nothing for too long.
    pub(crate) idle: u64,
    /// They spoke another protocol.
    pub(crate) protocol: u64,
    /// The operator sent them away, or banned their address.
    pub(crate) kicked: u64,
}

impl DropCounts {
    /// Counts a client that goes for this reason, if it is one of these.
    pub(crate) fn count(&mut self, reason: CloseReason) {
        match reason {
            CloseReason::Stuck => self.stuck += 1,
            CloseReason::TooSlow => self.slow += 1,
            CloseReason::Idle => self.idle += 1,
            CloseReason::WrongProtocol => self.protocol += 1,
            CloseReason::Kicked | CloseReason::Banned => self.kicked += 1,
            CloseReason::PeerClosed
            | CloseReason::Lost(_)
            | CloseReason::Quit
            | CloseReason::Shutdown => {}
        }
    }
}

/// How many came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attendance {
    /// Are in the room.
    pub(crate) clients: u64,
    /// Have come in, since the server started.
    pub(crate) joined: u64,
    /// Were in the room at once, at most.
    pub(crate) most: u64,
    /// Did not leave by themselves.
    pub(crate) dropped: DropCounts,
    /// Were not let in.
    pub(crate) refused: RefusalCounts,
}

impl Attendance {
    /// Somebody has come in.
    pub(crate) fn joined(&mut self) {
        self.clients += 1;
        self.joined += 1;
        self.most = self.most.max(self.clients);
    }

    /// Somebody has gone.
    pub(crate) fn left(&mut self, reason: CloseReason) {
        self.clients -= 1;
        self.dropped.count(reason);
    }
}

/// All of it, as one line of `key=value`, for people and for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stats {
    /// Who came and went.
    pub(crate) attendance: Attendance,
    /// What was said.
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
            "dropped_stuck={} dropped_slow={} dropped_idle={} dropped_protocol={} \
             dropped_kicked={} ",
            dropped.stuck, dropped.slow, dropped.idle, dropped.protocol, dropped.kicked
        )?;
        write!(
            f,
            "refused_banned={} refused_denied={} refused_address={} refused_full={}",
            refused.banned, refused.denied, refused.address_full, refused.room_full
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_leave_by_itself_is_counted_by_reason() {
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
            idle: 3,
            protocol: 4,
            kicked: 15,
        };
        assert_eq!(dropped, expected);
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
