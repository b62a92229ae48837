//! Progress bars, where standard error is a terminal, and nothing where it is not.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::crowd::Observer;
use super::load::End;
use super::round::Progress;

/// The shortest time between two drawings of a bar.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The bars of one step.
#[derive(Debug)]
pub(crate) struct Bars {
    clients: usize,
    talkers: usize,
    end: End,
    connecting: ProgressBar,
    talking: Option<ProgressBar>,
    drawn_at: Instant,
}

impl Bars {
    /// Bars for a step in which `clients` connect and `talkers` talk until `end`.
    pub(crate) fn new(clients: usize, talkers: usize, end: End) -> Self {
        Self {
            clients,
            talkers,
            end,
            connecting: bar(
                clients as u64,
                "connecting {bar:30} {human_pos}/{human_len}",
            ),
            talking: None,
            drawn_at: Instant::now(),
        }
    }

    /// Whether to draw again. Each drawing takes time from the load.
    fn is_due(&mut self) -> bool {
        if self.connecting.is_hidden() || self.drawn_at.elapsed() < DRAW_INTERVAL {
            return false;
        }
        self.drawn_at = Instant::now();
        true
    }

    fn start_talking(&mut self) -> ProgressBar {
        self.connecting.finish_and_clear();
        match self.end {
            End::Lines(lines) => bar(
                u64::from(lines) * self.talkers as u64,
                "talking    {bar:30} {human_pos}/{human_len} lines, {msg}",
            ),
            End::After(duration) => bar(
                duration.as_millis() as u64,
                "talking    {bar:30} {elapsed}, {msg}",
            ),
        }
    }
}

impl Observer for Bars {
    fn connected(&mut self, count: usize) {
        debug_assert!(count <= self.clients);
        if self.is_due() {
            self.connecting.set_position(count as u64);
        }
    }

    fn talked(&mut self, progress: Progress) {
        let bar = match self.talking.take() {
            Some(bar) => bar,
            None => self.start_talking(),
        };
        if self.is_due() {
            let Progress { tally, elapsed } = progress;
            bar.set_position(match self.end {
                End::Lines(_) => tally.lines,
                End::After(duration) => elapsed.min(duration).as_millis() as u64,
            });
            bar.set_message(format!("{} deliveries", HumanCount(tally.deliveries)));
        }
        self.talking = Some(bar);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.connecting.finish_and_clear();
        if let Some(bar) = &self.talking {
            bar.finish_and_clear();
        }
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
    bar
}
