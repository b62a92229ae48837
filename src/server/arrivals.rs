//! Newcomers that the console has not shown yet.
//!
//! A health check connects and closes every few seconds. Shown like people, it would fill
//! the console and whatever log the console goes to. So a newcomer is shown once it has said
//! something or stayed a while; one that does neither is not shown at all.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::protocol::batch::ClientId;

/// How long a newcomer must stay to be shown though it says nothing.
const SILENT_VISIT: Duration = Duration::from_secs(1);

/// The maximum of newcomers that wait. With more, the oldest are shown at once: health checks
/// do not come in such numbers.
const MAX_WAITING: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// In the order in which they came, which is that of their serial numbers. Invariant: the
    /// first one is still waiting.
    waiting: VecDeque<Arrival>,
}

#[derive(Debug)]
struct Arrival {
    serial: u64,
    due_at: Instant,
    /// `None` once it is not waiting any more.
    address: Option<IpAddr>,
}

impl Arrivals {
    pub(crate) fn came(&mut self, client: ClientId, address: IpAddr, now: Instant) {
        self.waiting.push_back(Arrival {
            serial: client.serial,
            due_at: now + SILENT_VISIT,
            address: Some(address),
        });
    }

    /// `client` says something or leaves: it is not waiting any more. Returns its address if
    /// it was, and so has not been shown.
    pub(crate) fn take(&mut self, client: ClientId) -> Option<IpAddr> {
        let found = self
            .waiting
            .binary_search_by_key(&client.serial, |arrival| arrival.serial);
        let address = self.waiting[found.ok()?].address.take();
        self.forget_taken();
        address
    }

    /// When [`Arrivals::next_due`] has the next one. `None` if nobody is waiting.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.waiting.front().map(|arrival| arrival.due_at)
    }

    /// The address of a newcomer that has stayed until `now`, the first of them. Call it
    /// until it returns `None`.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<IpAddr> {
        if self.waiting.len() <= MAX_WAITING && self.due_at()? > now {
            return None;
        }
        let first = self.waiting.pop_front()?;
        self.forget_taken();
        first.address
    }

    fn forget_taken(&mut self) {
        let is_taken = |arrival: &Arrival| arrival.address.is_none();
        while self.waiting.front().is_some_and(is_taken) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            // Thousands may have come at once.
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_are_due_in_the_order_they_came_unless_they_spoke_or_left() {
        let now = Instant::now();
        let later = now + SILENT_VISIT / 2;
        let address = |nth: u8| IpAddr::from([10, 0, 0, nth]);
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.due_at(), None);
        // Keys are used again and say nothing of the order.
        for (serial, key, at) in [(1, 9, now), (2, 8, now), (3, 7, now), (4, 6, later)] {
            let client = ClientId { key, serial };
            arrivals.came(client, address(serial as u8), at);
        }
        let second = ClientId { key: 8, serial: 2 };
        assert_eq!(arrivals.take(second), Some(address(2)));
        assert_eq!(arrivals.take(second), None);
        assert_eq!(arrivals.due_at(), Some(now + SILENT_VISIT));
        assert_eq!(arrivals.next_due(later), None);
        let due = now + SILENT_VISIT;
        assert_eq!(arrivals.next_due(due), Some(address(1)));
        assert_eq!(arrivals.next_due(due), Some(address(3)));
        assert_eq!(arrivals.next_due(due), None);
        assert_eq!(arrivals.due_at(), Some(later + SILENT_VISIT));
    }
}
