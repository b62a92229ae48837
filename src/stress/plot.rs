//! Charts as SVG. One of the delays of a round, over time and as a distribution, and one of
//! those of a ramp, are drawn here; the benches draw others in the same style.

use std::ops::Range;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::Ranged;
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

/// The result of drawing.
pub type DrawResult<'a> =
    Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Draws the names of the lines of `chart` into its upper right corner.
///
/// # Errors
///
/// Those of the backend.
pub fn draw_legend<'a, B: DrawingBackend + 'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, B, Cartesian2d<X, Y>>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()
}

/// Draws `delays` under `title`. Returns the text of an SVG file.
pub(crate) fn draw(title: &str, delays: &Delays) -> String {
    let mut svg = String::new();
    draw_into(&mut svg, title, delays).expect("a String takes every write");
    svg
}

/// Draws the delays of a ramp's steps against their clients.
pub(crate) fn draw_ramp<'a>(title: &str, steps: impl Iterator<Item = &'a Outcome>) -> String {
    let steps: Vec<(f64, Distribution)> = steps
        .filter_map(|step| Some((step.clients as f64, step.delays.total()?)))
        .collect();
    let mut svg = String::new();
    draw_ramp_into(&mut svg, title, &steps).expect("a String takes every write");
    svg
}

fn draw_ramp_into<'a>(
    svg: &'a mut String,
    title: &str,
    steps: &[(f64, Distribution)],
) -> DrawResult<'a> {
    let area = SVGBackend::with_string(svg, SIZE_PIXELS).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, TITLE_FONT)?;
    let delay = |delays: &Distribution, percent| millis(delays.at_percentile(percent));
    let ends = steps
        .iter()
        .flat_map(|(_, delays)| [delay(delays, 50.0), delay(delays, 100.0)]);
    let (clients, delays) = (around(steps.iter().map(|step| step.0)), around(ends));
    let (clients_marks, delays_marks) = (marks(&clients), marks(&delays));
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            clients.log_scale().with_key_points(clients_marks),
            delays.log_scale().with_key_points(delays_marks),
        )?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .y_desc("delay, ms")
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, color, percent) in [
        ("max", MAX_COLOR, 100.0),
        ("p99", P99_COLOR, 99.0),
        ("median", MAIN_COLOR, 50.0),
    ] {
        let style = color.stroke_width(2);
        let points = || {
            steps
                .iter()
                .map(|(at, delays)| (*at, delay(delays, percent)))
        };
        chart
            .draw_series([PathElement::new(points().collect::<Vec<_>>(), style)])?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        chart.draw_series(points().map(|point| Circle::new(point, 4, color.filled())))?;
    }
    draw_legend(&mut chart)?;
    drop(chart);
    area.present()
}

fn draw_into<'a>(svg: &'a mut String, title: &str, delays: &Delays) -> DrawResult<'a> {
    let area = SVGBackend::with_string(svg, SIZE_PIXELS).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, TITLE_FONT)?;
    let (upper, lower) = area.split_vertically(SIZE_PIXELS.1 / 2);
    draw_over_time(&upper, delays)?;
    draw_distribution(&lower, delays)?;
    area.present()
}

fn draw_over_time<'a>(area: &Area<'a>, delays: &Delays) -> DrawResult<'a> {
    let spans: Vec<Span> = delays.spans().collect();
    let end = spans
        .last()
        .map_or(1.0, |span| span.at.as_secs_f64() * 1.02);
    let medians = spans.iter().map(|span| millis(span.median));
    let maxima = spans.iter().map(|span| millis(span.max));
    let delays_range = around(medians.chain(maxima));
    let delays_marks = marks(&delays_range);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            0.0..end,
            delays_range.log_scale().with_key_points(delays_marks),
        )?;
    chart
        .configure_mesh()
        .x_desc("seconds since the round began")
        .y_desc("delay, ms")
        .label_style(FONT)
        .x_labels(LABELS)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, color, delay) in [
        ("max", MAX_COLOR, (|span| span.max) as fn(&Span) -> _),
        ("p99", P99_COLOR, |span| span.p99),
        ("median", MAIN_COLOR, |span| span.median),
    ] {
        let style = color.stroke_width(2);
        let point = |span: &Span| (span.at.as_secs_f64(), millis(delay(span)));
        // A span without deliveries leaves a gap.
        let is_next = |a: &Span, b: &Span| b.at - a.at < delays.span_length() * 3 / 2;
        let stretches = spans.chunk_by(is_next).map(|stretch| {
            let points: Vec<_> = stretch.iter().map(point).collect();
            match points[..] {
                [only] => PathElement::new(vec![only, (only.0 + end / 500.0, only.1)], style),
                _ => PathElement::new(points, style),
            }
        });
        chart
            .draw_series(stretches)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    draw_legend(&mut chart)
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
    let delays_range = around(ends);
    let delays_marks = marks(&delays_range);
    let caption = total.as_ref().map(percentiles).unwrap_or_default();
    let mut chart = ChartBuilder::on(area)
        .caption(caption, FONT)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            delays_range.log_scale().with_key_points(delays_marks),
            0.0..highest * 1.05,
        )?;
    chart
        .configure_mesh()
        .x_desc("delay, ms")
        .y_desc("deliveries, %")
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(steps.iter().map(|&(to, count)| {
        let corners = [(to / STEP_FACTOR, 0.0), (to, percent(count))];
        Rectangle::new(corners, MAIN_COLOR.filled())
    }))?;
    Ok(())
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
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        assert!(draw("nothing", &Delays::default()).contains("</svg>"));
        assert!(draw_ramp("nothing", std::iter::empty()).contains("</svg>"));
    }
}
