//! How long to wait before a lost server is tried again.

use std::time::Duration;

/// Before the first attempt: the server may just be restarted.
const FIRST: Duration = Duration::from_millis(500);

/// Between attempts that go on in vain.
const LONGEST: Duration = Duration::from_secs(30);

/// A server that was there for so long is tried again soon after it has gone; one that
/// comes and goes, ever more seldom.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Pauses that grow, each cut short by chance, so that a thousand clients of one server
/// do not come back all at once ("full jitter" would let some come at once; half of the
/// pause is always waited).
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    random: u64,
}

impl Pauses {
    /// A first pause is next. `seed` is different for each client.
    pub fn new(seed: u64) -> Self {
        Self {
            next: FIRST,
            random: seed,
        }
    }

    /// The pause once a server has gone that was there for so long.
    pub fn after_loss(&mut self, there_for: Duration) -> Duration {
        if there_for >= STABLE_AFTER {
            self.next = FIRST;
        }
        self.next_pause()
    }

    /// The pause once an attempt has failed.
    pub fn after_failure(&mut self) -> Duration {
        self.next_pause()
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause.mul_f64(0.5 + 0.5 * self.fraction())
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
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_server_that_stayed() {
        let nexts: [fn(&mut Pauses) -> Duration; 2] = [Pauses::after_failure, |pauses| {
            pauses.after_loss(STABLE_AFTER - Duration::from_millis(1))
        }];
        for next in nexts {
            let mut pauses = Pauses::new(7);
            let mut most = FIRST;
            for _ in 0..20 {
                let pause = next(&mut pauses);
                assert!(pause >= most / 2 && pause <= most, "{pause:?}");
                most = (most * 2).min(LONGEST);
            }
            assert_eq!(most, LONGEST);
            assert!(pauses.after_loss(STABLE_AFTER) <= FIRST);
        }
    }

    #[test]
    fn clients_do_not_come_back_together() {
        let pauses: Vec<_> = (0..100)
            .map(|seed| Pauses::new(seed).after_failure())
            .collect();
        let early = pauses
            .iter()
            .filter(|&&pause| pause < FIRST * 3 / 4)
            .count();
        assert!((25..=75).contains(&early), "{early} of 100");
    }
}
