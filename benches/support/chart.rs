//! Charts of the results, as SVG files.

use std::io;
use std::path::Path;

use chat::stress::plot::{Area, DrawResult, FONT, MAIN_COLOR, TITLE_FONT, draw_legend};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A panel of bars, one for each server.
pub(crate) struct Bars {
    pub(crate) title: String,
    /// Name and value, in the order shown.
    pub(crate) bars: Vec<(String, f64)>,
}

/// A panel of lines over the number of connections.
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH_PIXELS: u32 = 900;
const BAR_PIXELS: i32 = 26;
const TITLE_PIXELS: u32 = 34;
const LINES_PIXELS: u32 = 280;

/// Where bars begin, and the longest of them ends.
const BARS_FROM_PIXELS: i32 = 230;
const BARS_TO_PIXELS: i32 = 780;

const OTHER_COLOR: RGBColor = RGBColor(170, 170, 170);

/// This project's server, which stands out.
const OWN_NAME: &str = "chat";

/// Draws `panels` of bars, one below the other. Values may differ by orders of magnitude,
/// so each bar carries its value; `label` writes it.
pub(crate) fn bars(path: &Path, panels: &[Bars], label: fn(f64) -> String) -> io::Result<()> {
    let heights: Vec<u32> = panels
        .iter()
        .map(|panel| TITLE_PIXELS + panel.bars.len() as u32 * BAR_PIXELS as u32 + 16)
        .collect();
    let size = (WIDTH_PIXELS, heights.iter().sum());
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE).map_err(io::Error::other)?;
    let mut rest = area.clone();
    for (panel, height) in panels.iter().zip(heights) {
        let (upper, lower) = rest.split_vertically(height);
        draw_bars(&upper, panel, label).map_err(io::Error::other)?;
        rest = lower;
    }
    area.present().map_err(io::Error::other)
}

fn color(name: &str) -> RGBColor {
    if name == OWN_NAME {
        MAIN_COLOR
    } else {
        OTHER_COLOR
    }
}

fn draw_bars<'a>(area: &Area<'a>, panel: &Bars, label: fn(f64) -> String) -> DrawResult<'a> {
    let longest = panel.bars.iter().map(|&(_, value)| value);
    let longest = longest.fold(f64::MIN_POSITIVE, f64::max);
    let title = TITLE_FONT.into_text_style(area);
    area.draw_text(&panel.title, &title, (10, 8))?;
    let left = FONT
        .into_text_style(area)
        .pos(Pos::new(HPos::Left, VPos::Center));
    let right = FONT
        .into_text_style(area)
        .pos(Pos::new(HPos::Right, VPos::Center));
    for (nth, (name, value)) in (0..).zip(&panel.bars) {
        let top = TITLE_PIXELS as i32 + nth * BAR_PIXELS;
        let middle = top + BAR_PIXELS / 2;
        let length = (BARS_TO_PIXELS - BARS_FROM_PIXELS) as f64 * value / longest;
        let end = BARS_FROM_PIXELS + (length as i32).max(1);
        area.draw_text(name, &right, (BARS_FROM_PIXELS - 10, middle))?;
        area.draw(&Rectangle::new(
            [(BARS_FROM_PIXELS, top + 4), (end, top + BAR_PIXELS - 4)],
            color(name).filled(),
        ))?;
        area.draw_text(&label(*value), &left, (end + 8, middle))?;
    }
    Ok(())
}

/// Draws `panels` of lines over the number of connections, one below the other.
pub(crate) fn lines(path: &Path, panels: &[Lines]) -> io::Result<()> {
    let size = (WIDTH_PIXELS, LINES_PIXELS * panels.len() as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE).map_err(io::Error::other)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((panels.len(), 1))) {
        draw_lines(&area, panel).map_err(io::Error::other)?;
    }
    area.present().map_err(io::Error::other)
}

fn draw_lines<'a>(area: &Area<'a>, panel: &Lines) -> DrawResult<'a> {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let least = points().map(|point| point.0).fold(f64::MAX, f64::min);
    let most = points().map(|point| point.0).fold(1.0, f64::max);
    let highest = points().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, TITLE_FONT)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (least.min(most * 0.9)..most * 1.1).log_scale(),
            0.0..highest * 1.5,
        )?;
    chart
        .configure_mesh()
        .label_style(FONT)
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_labels(6)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, points) in &panel.lines {
        let style = color(name).stroke_width(3);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(4))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    draw_legend(&mut chart, SeriesLabelPosition::UpperRight)
}
