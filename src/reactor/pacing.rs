//! How much a batch gathers before it is sent.
//!
//! The larger a batch, the fewer writes a flood costs; and the longer it takes to send, the
//! longer an ordinary line waits: for the batch on its way, and for its own. So a batch
//! grows while input is left over and sending stays fast, and shrinks when it does not.
//! Where throughput and the delay of an ordinary line conflict, delay wins.
//!
//! Pure: it is handed the time that sending took.

use std::time::Duration;

use super::outbound::WRITE_COST_BYTES;

/// The most that a batch gathers, give or take what one client says in one go.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;

/// How long sending a batch should take at most.
const TARGET: Duration = Duration::from_millis(20);

/// Decides how much the next batch gathers.
#[derive(Debug)]
pub(super) struct Pacing {
    budget_bytes: usize,
    most_bytes: usize,
}

impl Pacing {
    /// Batches of at most `most_bytes`: a batch that is larger than a reader's socket
    /// buffer makes each reader lag each time.
    pub(super) fn new(most_bytes: usize) -> Self {
        let most_bytes = most_bytes.min(MAX_BATCH_BYTES);
        Self {
            budget_bytes: least_bytes(most_bytes),
            most_bytes,
        }
    }

    /// How much the batch that is being gathered is to hold.
    pub(super) fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// A batch of `bytes` took `time` to send, and clients were left over to be read.
    pub(super) fn sent(&mut self, bytes: usize, time: Duration) {
        if time > TARGET {
            self.budget_bytes = (self.budget_bytes / 2).max(least_bytes(self.most_bytes));
        } else if bytes >= self.budget_bytes && time < TARGET / 2 {
            self.budget_bytes = (self.budget_bytes * 2).min(self.most_bytes);
        }
    }
}

/// A batch never gathers less than costs as much to send as the writes themselves, or
/// most of the time would go into these.
fn least_bytes(most_bytes: usize) -> usize {
    WRITE_COST_BYTES.min(most_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_millis(50);

    #[test]
    fn a_batch_grows_while_sending_is_fast_and_shrinks_when_it_is_slow() {
        let mut pacing = Pacing::new(usize::MAX);
        assert_eq!(pacing.budget_bytes(), WRITE_COST_BYTES);
        for _ in 0..20 {
            pacing.sent(pacing.budget_bytes(), FAST);
        }
        assert_eq!(pacing.budget_bytes(), MAX_BATCH_BYTES);
        pacing.sent(MAX_BATCH_BYTES, SLOW);
        assert_eq!(pacing.budget_bytes(), MAX_BATCH_BYTES / 2);
        for _ in 0..20 {
            pacing.sent(MAX_BATCH_BYTES, SLOW);
        }
        assert_eq!(pacing.budget_bytes(), WRITE_COST_BYTES);
    }

    #[test]
    fn a_batch_that_was_not_full_says_nothing_about_a_larger_one() {
        let mut pacing = Pacing::new(usize::MAX);
        pacing.sent(WRITE_COST_BYTES - 1, FAST);
        assert_eq!(pacing.budget_bytes(), WRITE_COST_BYTES);
        pacing.sent(WRITE_COST_BYTES, TARGET);
        assert_eq!(pacing.budget_bytes(), WRITE_COST_BYTES, "it is just right");
    }

    #[test]
    fn small_sockets_get_small_batches() {
        let mut pacing = Pacing::new(4096);
        for _ in 0..20 {
            assert_eq!(pacing.budget_bytes(), 4096);
            pacing.sent(4096, FAST);
        }
        pacing.sent(4096, SLOW);
        assert_eq!(pacing.budget_bytes(), 4096);
    }
}
