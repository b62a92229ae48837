//! Progress bars, where standard error is a terminal, and nothing where it is not.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{End, Progress};

/// How often a bar is drawn anew at most.
const DRAWN_PER_SECOND: u8 = 10;

/// A bar for the connections that are being made: `asked` in all.
pub fn connecting(asked: usize) -> ProgressBar {
    bar(
        asked as u64,
        "connecting {bar:30} {human_pos}/{human_len} {per_sec}",
    )
}

/// A bar for a run that goes on until `end`, with so many talkers.
pub fn talking(end: End, talkers: usize) -> ProgressBar {
    match end {
        End::Lines(lines) => bar(
            u64::from(lines) * talkers as u64,
            "talking    {bar:30} {human_pos}/{human_len} lines  {msg}",
        ),
        End::After(duration) => bar(
            duration.as_millis() as u64,
            "talking    {bar:30} {elapsed}/{msg}",
        ),
    }
}

/// Brings the bar of a run up to date.
pub fn update(bar: &ProgressBar, end: End, progress: Progress) {
    let Progress { tally, elapsed } = progress;
    let deliveries = indicatif::HumanCount(tally.deliveries);
    match end {
        End::Lines(_) => {
            bar.set_position(tally.lines);
            bar.set_message(format!("{deliveries} deliveries"));
        }
        End::After(duration) => {
            bar.set_position(elapsed.min(duration).as_millis() as u64);
            let duration = indicatif::HumanDuration(duration);
            bar.set_message(format!("{duration:#}  {deliveries} deliveries"));
        }
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND);
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    bar.set_style(style);
    bar.reset_elapsed();
    bar
}
