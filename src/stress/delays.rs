//! How long deliveries took: in total, and over time.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The range of delays told apart, in microseconds.
const RANGE_MICROS: (u64, u64) = (1, 3600 * 1_000_000);

const SIGNIFICANT_DIGITS: u8 = 2;

/// The most spans of a round. When it outgrows them, each two become one.
const MAX_SPANS: usize = 120;

const FIRST_SPAN: Duration = Duration::from_millis(50);

/// The end of the first step of a chart.
const FIRST_STEP_MICROS: u64 = 10;

/// How much longer each step of a chart is than the one before.
pub(crate) const STEP_FACTOR: f64 = 1.25;

/// The percentiles in reports.
pub(crate) const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];

/// The delays of one round.
#[derive(Debug)]
pub(crate) struct Delays {
    /// One histogram per span of time since the round began, in microseconds.
    spans: Vec<Histogram<u64>>,
    span_nanos: u64,
}

/// The delays of one span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Its middle, since the round began.
    pub(crate) at: Duration,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            spans: Vec::new(),
            span_nanos: FIRST_SPAN.as_nanos() as u64,
        }
    }
}

impl Delays {
    /// Records a line due at `due_nanos` and heard at `heard_nanos`, both since the round
    /// began.
    pub(crate) fn record(&mut self, due_nanos: u64, heard_nanos: u64) {
        let mut span = (heard_nanos / self.span_nanos) as usize;
        while span >= MAX_SPANS {
            self.halve();
            span = (heard_nanos / self.span_nanos) as usize;
        }
        while self.spans.len() <= span {
            self.spans.push(empty());
        }
        let delay_micros = heard_nanos.saturating_sub(due_nanos).div_ceil(1000);
        self.spans[span].saturating_record(delay_micros.max(RANGE_MICROS.0));
    }

    /// Makes one span of each two.
    fn halve(&mut self) {
        self.span_nanos *= 2;
        let mut spans = std::mem::take(&mut self.spans).into_iter();
        while let Some(mut joined) = spans.next() {
            if let Some(second) = spans.next() {
                joined += second;
            }
            self.spans.push(joined);
        }
    }

    /// All delays. `None` when there are none.
    pub(crate) fn total(&self) -> Option<Distribution> {
        let mut total = empty();
        for span in &self.spans {
            total.add(span).expect("of the same bounds");
        }
        (!total.is_empty()).then_some(Distribution(total))
    }

    /// The length of each of the [`Delays::spans`].
    pub(crate) fn span_length(&self) -> Duration {
        Duration::from_nanos(self.span_nanos)
    }

    /// The delays over time, without spans in which nothing was heard.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> {
        let middle = self.span_nanos / 2;
        let numbered = (0..).zip(&self.spans);
        numbered.filter(|(_, histogram)| !histogram.is_empty()).map(
            move |(nth, histogram): (u64, _)| Span {
                at: Duration::from_nanos(nth * self.span_nanos + middle),
                median: Duration::from_micros(histogram.value_at_percentile(50.0)),
                p99: Duration::from_micros(histogram.value_at_percentile(99.0)),
                max: Duration::from_micros(histogram.max()),
            },
        )
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(RANGE_MICROS.0, RANGE_MICROS.1, SIGNIFICANT_DIGITS)
        .expect("the bounds are in order")
}

/// The distribution of the delays of a round.
#[derive(Debug)]
pub(crate) struct Distribution(Histogram<u64>);

impl Distribution {
    /// The delay that `percent` of the lines did not exceed.
    pub(crate) fn at_percentile(&self, percent: f64) -> Duration {
        // A bucket's upper end may lie above the maximum.
        let micros = self.0.value_at_percentile(percent).min(self.0.max());
        Duration::from_micros(micros)
    }

    /// Every delay told apart, in microseconds, and how many lines took so long. All tests tell
    /// the same delays apart, so their counts can be added up.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// How many lines took how long: the upper end of each step, and a count above 0.
    /// Each step is [`STEP_FACTOR`] longer than the one before.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0
            .iter_log(FIRST_STEP_MICROS, STEP_FACTOR)
            .map(|step| {
                let to = Duration::from_micros(step.value_iterated_to() + 1);
                (to, step.count_since_last_iteration())
            })
            .filter(|&(_, count)| count > 0)
    }
}

/// A time with three digits and a suitable unit.
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1e3;
        let text = match millis {
            ..9.995 => format!("{millis:.2} ms"),
            ..99.95 => format!("{millis:.1} ms"),
            ..999.5 => format!("{millis:.0} ms"),
            ..9_995.0 => format!("{:.2} s", millis / 1e3),
            _ => format!("{:.1} s", millis / 1e3),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn percentiles_are_of_all_lines() {
        let mut delays = Delays::default();
        for nth in 1..=1000 {
            delays.record(0, nth * MS);
        }
        let total = delays.total().unwrap();
        let p50 = total.at_percentile(50.0).as_millis();
        let p999 = total.at_percentile(99.9).as_millis();
        assert!((495..=505).contains(&p50), "{p50}");
        assert!((990..=1010).contains(&p999), "{p999}");
        assert!(total.at_percentile(100.0).as_millis() >= 1000);
    }

    #[test]
    fn a_long_run_has_few_spans_and_none_is_lost() {
        let mut delays = Delays::default();
        for second in 0..4000 {
            delays.record(second * 1000 * MS, (second * 1000 + 3) * MS);
        }
        let spans: Vec<Span> = delays.spans().collect();
        assert!(spans.len() <= MAX_SPANS && spans.len() > MAX_SPANS / 4);
        assert!(spans.is_sorted_by_key(|span| span.at));
        assert_eq!(delays.total().unwrap().0.len(), 4000);
    }

    #[test]
    fn steps_cover_all_lines() {
        let mut delays = Delays::default();
        for nth in 0..500 {
            delays.record(0, nth * nth * 1000);
        }
        let steps: Vec<(Duration, u64)> = delays.total().unwrap().steps().collect();
        assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), 500);
        assert!(steps.is_sorted_by_key(|&(to, _)| to));
        assert!(steps.last().unwrap().0 >= Duration::from_micros(499 * 499));
        let recorded = delays.total().unwrap();
        assert_eq!(
            recorded.recorded().map(|(_, count)| count).sum::<u64>(),
            500
        );
    }

    #[test]
    fn a_line_heard_at_once_counts() {
        let mut delays = Delays::default();
        delays.record(5, 5);
        assert!(delays.total().is_some());
        assert_eq!(delays.spans().count(), 1);
    }

    #[test]
    fn times_are_given_to_three_digits() {
        for (micros, text) in [
            (0, "0.00 ms"),
            (1_234, "1.23 ms"),
            (9_999, "10.0 ms"),
            (99_960, "100 ms"),
            (999_600, "1.00 s"),
            (5_901_000, "5.90 s"),
            (61_000_000, "61.0 s"),
        ] {
            assert_eq!(Time(Duration::from_micros(micros)).to_string(), text);
        }
    }
}
