//! Progress bars, where standard error is a terminal, and nothing where it is not.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{End, Progress};

/// How often a bar is drawn anew at most.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A bar for the connections that are being made: `asked` in all.
pub fn connecting(asked: usize) -> Bar {
    Bar::new(asked as u64, "connecting {bar:30} {human_pos}/{human_len}")
}

/// A bar for a run that goes on until `end`, with so many talkers.
pub fn talking(end: End, talkers: usize) -> Bar {
    match end {
        End::Lines(lines) => Bar::new(
            u64::from(lines) * talkers as u64,
            "talking    {bar:30} {human_pos}/{human_len} lines, {msg}",
        ),
        End::After(duration) => Bar::new(
            duration.as_millis() as u64,
            "talking    {bar:30} {elapsed}, {msg}",
        ),
    }
}

/// A bar on the terminal, until it is dropped.
#[derive(Debug)]
pub struct Bar {
    inner: ProgressBar,
    drawn_at: Instant,
}

impl Bar {
    fn new(length: u64, template: &str) -> Self {
        let inner = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        inner.set_style(style);
        Self {
            inner,
            drawn_at: Instant::now(),
        }
    }

    /// So many connections have been made.
    pub fn connected(&mut self, count: usize) {
        if self.is_due() {
            self.inner.set_position(count as u64);
        }
    }

    /// The run that goes on until `end` is so far.
    pub fn talked(&mut self, end: End, progress: Progress) {
        if !self.is_due() {
            return;
        }
        let Progress { tally, elapsed } = progress;
        self.inner.set_position(match end {
            End::Lines(_) => tally.lines,
            End::After(duration) => elapsed.min(duration).as_millis() as u64,
        });
        let deliveries = HumanCount(tally.deliveries);
        self.inner.set_message(format!("{deliveries} deliveries"));
    }

    /// Whether it is to be drawn anew: not oftener than can be seen, for that takes
    /// time which the load needs.
    fn is_due(&mut self) -> bool {
        if self.inner.is_hidden() || self.drawn_at.elapsed() < DRAW_INTERVAL {
            return false;
        }
        self.drawn_at = Instant::now();
        true
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.inner.finish_and_clear();
    }
}
