//! Charts as SVG. One of the delays of a round, over time and as a distribution, and one of
//! those of a ramp, are drawn here; the benches draw others in the same style.

use std::ops::Range;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::delays::{Delays, Distribution, STEP_FACTOR, Span};
use super::report::percentiles;
use super::round::Outcome;

/// The font of titles: family, and size in pixels.
pub const TITLE_FONT: (&str, u32) = ("sans-serif", 20);

/// The font of all other text.
pub const FONT: (&str, u32) = ("sans-serif", 16);

/// The colour of what matters most.
pub const MAIN_COLOR: RGBColor = RGBColor(31, 119, 180);

const P99_COLOR: RGBColor = RGBColor(255, 127, 14);
const MAX_COLOR: RGBColor = RGBColor(214, 39, 40);

const SIZE_PIXELS: (u32, u32) = (900, 640);

/// The least and the greatest power of ten on an axis: beyond any delay in milliseconds, and any
/// number of clients.
const LEAST_DECADE: i32 = -4;
const MOST_DECADE: i32 = 8;

/// The most labels on the time axis.
const LABELS: usize = 10;

/// Where a chart is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

type DrawingError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// The result of drawing.
pub type DrawResult<'a> = Result<(), DrawingError<'a>>;

/// Draws the names of the lines of `chart` into a corner of it.
///
/// # Errors
///
/// Those of the backend.
pub fn draw_legend<'a, B: DrawingBackend + 'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, B, Cartesian2d<X, Y>>,
    corner: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()
}

/// Draws `delays` under `title`. Returns the text of an SVG file.
pub(crate) fn draw(title: &str, delays: &Delays) -> String {
    svg(title, |area| {
        let (upper, lower) = area.split_vertically(SIZE_PIXELS.1 / 2);
        draw_over_time(&upper, delays)?;
        draw_distribution(&lower, delays)
    })
}

/// Draws the delays of a ramp's steps against their clients.
pub(crate) fn draw_ramp<'s>(title: &str, steps: impl Iterator<Item = &'s Outcome>) -> String {
    let steps: Vec<(f64, Distribution)> = steps
        .filter_map(|step| Some((step.clients as f64, step.delays.total()?)))
        .collect();
    svg(title, |area| draw_steps(area, &steps))
}

fn svg(title: &str, draw: impl for<'a> Fn(&Area<'a>) -> DrawResult<'a>) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        let drawn = area
            .fill(&WHITE)
            .and_then(|()| area.titled(title, TITLE_FONT))
            .and_then(|inner| draw(&inner))
            .and_then(|()| area.present());
        drawn.expect("a String takes every write");
    }
    svg
}

fn draw_over_time<'a>(area: &Area<'a>, delays: &Delays) -> DrawResult<'a> {
    let spans: Vec<Span> = delays.spans().collect();
    let end = spans
        .last()
        .map_or(1.0, |span| span.at.as_secs_f64() * 1.02);
    let medians = spans.iter().map(|span| millis(span.median));
    let maxima = spans.iter().map(|span| millis(span.max));
    let x = Axis::linear("seconds since the round began", end);
    let y = Axis::log("delay, ms", medians.chain(maxima));
    let mut chart = chart(area, "", x, y)?;
    // A span without deliveries leaves a gap.
    let is_next = |a: &Span, b: &Span| b.at - a.at < delays.span_length() * 3 / 2;
    for (line, delay) in LINES.iter().zip([
        (|span| span.max) as fn(&Span) -> Duration,
        |span| span.p99,
        |span| span.median,
    ]) {
        let point = |span: &Span| (span.at.as_secs_f64(), millis(delay(span)));
        let stretches = spans.chunk_by(is_next);
        let stretches = stretches.map(|stretch| stretch.iter().map(point).collect());
        draw_line(&mut chart, line, stretches.collect(), end / 500.0)?;
    }
    draw_legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn draw_steps<'a>(area: &Area<'a>, steps: &[(f64, Distribution)]) -> DrawResult<'a> {
    let delay = |delays: &Distribution, percent| millis(delays.at_percentile(percent));
    let ends = steps
        .iter()
        .flat_map(|(_, delays)| [delay(delays, 50.0), delay(delays, 100.0)]);
    let x = Axis::log("clients", steps.iter().map(|step| step.0));
    let y = Axis::log("delay, ms", ends);
    let mut chart = chart(area, "", x, y)?;
    for (line, percent) in LINES.iter().zip([100.0, 99.0, 50.0]) {
        let point = |(clients, delays): &(f64, Distribution)| (*clients, delay(delays, percent));
        let points = steps.iter().map(point).collect();
        draw_line(&mut chart, line, vec![points], 1.0)?;
    }
    // Delays grow with the clients.
    draw_legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

fn draw_distribution<'a>(area: &Area<'a>, delays: &Delays) -> DrawResult<'a> {
    let total = delays.total();
    let mut steps: Vec<(f64, u64)> = total
        .iter()
        .flat_map(|total| total.steps())
        .map(|(to, count)| (millis(to), count))
        .collect();
    let all: u64 = steps.iter().map(|&(_, count)| count).sum();
    let percent = |count: u64| count as f64 * 100.0 / all.max(1) as f64;
    let highest = steps.iter().map(|&(_, count)| percent(count));
    let highest = highest.fold(1.0, f64::max);
    // Bars that nobody can see would only push the others together.
    steps.retain(|&(_, count)| percent(count) * f64::from(SIZE_PIXELS.1) >= highest);
    let ends = steps.iter().flat_map(|&(to, _)| [to / STEP_FACTOR, to]);
    let caption = total.as_ref().map(percentiles).unwrap_or_default();
    let x = Axis::log("delay, ms", ends);
    let y = Axis::linear("deliveries, %", highest * 1.05);
    let mut chart = chart(area, &caption, x, y)?;
    chart.draw_series(steps.iter().map(|&(to, count)| {
        let corners = [(to / STEP_FACTOR, 0.0), (to, percent(count))];
        Rectangle::new(corners, MAIN_COLOR.filled())
    }))?;
    Ok(())
}

/// The lines of a chart of delays.
const LINES: [(&str, RGBColor); 3] = [
    ("max", MAX_COLOR),
    ("p99", P99_COLOR),
    ("median", MAIN_COLOR),
];

type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

fn chart<'a, 'b>(
    area: &Area<'a>,
    caption: &str,
    x: Axis,
    y: Axis,
) -> Result<Chart<'a, 'b>, DrawingError<'a>> {
    let (x_name, y_name) = (x.name, y.name);
    let mut builder = ChartBuilder::on(area);
    if !caption.is_empty() {
        builder.caption(caption, FONT);
    }
    let mut chart = builder
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(chart)
}

/// Draws a line with gaps. A stretch of one point is drawn so wide.
fn draw_line<'a>(
    chart: &mut Chart<'a, '_>,
    &(name, color): &(&'static str, RGBColor),
    stretches: Vec<Vec<(f64, f64)>>,
    width: f64,
) -> DrawResult<'a> {
    let style = color.stroke_width(2);
    let stretches = stretches.into_iter().map(|points| match points[..] {
        [only] => PathElement::new(vec![only, (only.0 + width, only.1)], style),
        _ => PathElement::new(points, style),
    });
    chart
        .draw_series(stretches)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    Ok(())
}

/// An axis of a chart. Those of plotters are of a type for each kind, so that each pair of kinds
/// would be compiled apart; and its logarithmic one marks only the powers of ten.
struct Axis {
    name: &'static str,
    is_log: bool,
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Axis {
    /// From 0 to `end`, which is above 0.
    fn linear(name: &'static str, end: f64) -> Self {
        let step = all_marks().find(|step| end / step <= LABELS as f64);
        let step = step.unwrap_or(end);
        let marks = (0..=LABELS).map(|nth| nth as f64 * step);
        Self {
            name,
            is_log: false,
            range: 0.0..end,
            marks: marks.filter(|&mark| mark <= end).collect(),
        }
    }

    /// Logarithmic, from the mark below all `values` to the one above them.
    fn log(name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let range = around(values);
        Self {
            name,
            is_log: true,
            marks: marks(&range),
            range,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let at = |value: f64| if self.is_log { value.log10() } else { value };
        let (start, end) = (at(self.range.start), at(self.range.end));
        let share = (at(*value) - start) / (end - start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(mark: &f64) -> String {
        // Beyond this, there is only what calculating has added.
        const DIGITS: f64 = 1e6;
        ((mark * DIGITS).round() / DIGITS).to_string()
    }
}

/// The marks of an axis, in the order of their values: 1, 2, 5, 10 and so on, and fractions.
fn all_marks() -> impl DoubleEndedIterator<Item = f64> {
    let decades = LEAST_DECADE..=MOST_DECADE;
    decades.flat_map(|decade| [1, 2, 5].map(|digit| decimal(digit, decade)))
}

/// `digit` times a power of ten, as precise as it is written.
fn decimal(digit: u32, decade: i32) -> f64 {
    let text = format!("{digit}e{decade}");
    text.parse().expect("a number")
}

/// From the mark below all `values` to the one above them.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    if least > most {
        return 0.1..10.0;
    }
    let from = all_marks().rfind(|&mark| mark <= least).unwrap_or(least);
    let to = all_marks().find(|&mark| mark >= most && mark > from);
    from..to.unwrap_or(most)
}

/// The marks within `range`, or only the powers of ten if they are too many.
fn marks(range: &Range<f64>) -> Vec<f64> {
    let within = |mark: &f64| (range.start..=range.end).contains(mark);
    let marks: Vec<f64> = all_marks().filter(within).collect();
    if marks.len() <= LABELS {
        return marks;
    }
    let decades = (LEAST_DECADE..=MOST_DECADE).map(|decade| decimal(1, decade));
    decades.filter(within).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_at_a_mark_beside_the_values() {
        assert_eq!(around([3.0, 40.0].into_iter()), 2.0..50.0);
        assert_eq!(around([5.0].into_iter()), 5.0..10.0);
        assert_eq!(around([0.3, 0.3].into_iter()), 0.2..0.5);
        assert!(!around(std::iter::empty()).is_empty());
        assert_eq!(marks(&(2.0..50.0)), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(marks(&(0.05..2e3)), [0.1, 1.0, 10.0, 100.0, 1000.0]);
        let axis = Axis::log("delay", [0.3, 40.0].into_iter());
        let labels: Vec<String> = axis.marks.iter().map(Axis::format).collect();
        assert_eq!(labels, ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]);
        let axis = Axis::linear("seconds", 2.04);
        assert_eq!(axis.marks[..3], [0.0, 0.5, 1.0]);
        assert_eq!(axis.marks.len(), 5);
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        assert!(draw("nothing", &Delays::default()).contains("</svg>"));
        assert!(draw_ramp("nothing", std::iter::empty()).contains("</svg>"));
    }
}
