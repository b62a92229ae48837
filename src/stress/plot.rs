//! Charts as SVG. One of the delays of a round, over time and as a distribution, is drawn
//! here; the benches draw others in the same style.

use std::ops::Range;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use super::delays::{Delays, STEP_FACTOR, Span};
use super::report::percentiles;

/// The font of titles: family, and size in pixels.
pub const TITLE_FONT: (&str, u32) = ("sans-serif", 20);

/// The font of all other text.
pub const FONT: (&str, u32) = ("sans-serif", 16);

/// The colour of what matters most.
pub const MAIN_COLOR: RGBColor = RGBColor(31, 119, 180);

const P99_COLOR: RGBColor = RGBColor(255, 127, 14);
const MAX_COLOR: RGBColor = RGBColor(214, 39, 40);

const SIZE_PIXELS: (u32, u32) = (900, 640);

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
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, around(medians.chain(maxima)).log_scale())?;
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
    let steps: Vec<(f64, u64)> = total
        .iter()
        .flat_map(|total| total.steps())
        .map(|(to, count)| (millis(to), count))
        .collect();
    let all: u64 = steps.iter().map(|&(_, count)| count).sum();
    let percent = |count: u64| count as f64 * 100.0 / all.max(1) as f64;
    let highest = steps.iter().map(|&(_, count)| percent(count));
    let highest = highest.fold(1.0, f64::max);
    let ends = steps.iter().flat_map(|&(to, _)| [to / STEP_FACTOR, to]);
    let caption = total.as_ref().map(percentiles).unwrap_or_default();
    let mut chart = ChartBuilder::on(area)
        .caption(caption, FONT)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(around(ends).log_scale(), 0.0..highest * 1.05)?;
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

/// The decades that hold all `values`.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    if least > most {
        return 0.1..10.0;
    }
    let decade = |value: f64| 10_f64.powf(value);
    let (from, to) = (least.log10().floor(), most.log10().ceil());
    decade(from)..decade(to.max(from + 1.0))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_whole_decades() {
        assert_eq!(around([3.0, 40.0].into_iter()), 1.0..100.0);
        assert_eq!(around([5.0].into_iter()), 1.0..10.0);
        assert_eq!(around([1.0].into_iter()), 1.0..10.0);
        assert!(!around(std::iter::empty()).is_empty());
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        assert!(draw("nothing", &Delays::default()).contains("</svg>"));
    }
}
