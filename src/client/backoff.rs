//! How long to wait before the client connects to a lost server again.

use std::time::Duration;

/// Before the first attempt: the server may only be restarting.
const FIRST: Duration = Duration::from_millis(500);

const LONGEST: Duration = Duration::from_secs(30);

/// A connection that lasted this long starts the backoff over; a server that comes and goes
/// is tried ever more rarely.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Exponential backoff with "equal jitter": a random part of each delay, at most half of it,
/// is left out, so that the many clients of one server do not return all at once. Full
/// jitter would let some return without any delay.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    /// `seed` is to differ from client to client.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            next: FIRST,
            random: seed,
        }
    }

    /// The delay after the loss of a connection that was open for `open_for`.
    pub(crate) fn after_loss(&mut self, open_for: Duration) -> Duration {
        if open_for >= STABLE_AFTER {
            self.next = FIRST;
        }
        self.after_failure()
    }

    /// The delay after a failed attempt to connect.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        delay.mul_f64(0.5 + 0.5 * self.fraction())
    }

    /// From 0 to less than 1. SplitMix64 (Steele, Lea, Flood 2014).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // As many bits as a double holds.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_start_over_after_a_stable_connection() {
        let nexts: [fn(&mut Backoff) -> Duration; 2] = [Backoff::after_failure, |backoff| {
            backoff.after_loss(STABLE_AFTER - Duration::from_millis(1))
        }];
        for next in nexts {
            let mut backoff = Backoff::new(7);
            let mut most = FIRST;
            for _ in 0..20 {
                let delay = next(&mut backoff);
                assert!(delay >= most / 2 && delay <= most, "{delay:?}");
                most = (most * 2).min(LONGEST);
            }
            assert_eq!(most, LONGEST);
            assert!(backoff.after_loss(STABLE_AFTER) <= FIRST);
        }
    }

    #[test]
    fn clients_do_not_return_together() {
        let delays: Vec<_> = (0..100)
            .map(|seed| Backoff::new(seed).after_failure())
            .collect();
        let early = delays
            .iter()
            .filter(|&&delay| delay < FIRST * 3 / 4)
            .count();
        assert!((25..=75).contains(&early), "{early} of 100");
    }
}
